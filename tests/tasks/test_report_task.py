"""The report is made anew when it is to show something else, and nothing before it is."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import OptionError
from pipeline.runs.run import Run
from tasks.build import BuildVDV
from tasks.model import EvaluateRun, RenderReport, RunStage
from tests.support.whole_files import make_whole, write_json

FOLDER = "runs/" + "a" * 16
STAGES = ("run.json", "model.safetensors", "held_out.parquet", "folds.json", "scores.parquet", "metrics.json")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose dataset is there, and a run in it with a report that the usual options gave."""
    monkeypatch.setattr(RunStage, "dataset_done", lambda self: True)
    monkeypatch.setattr(RunStage, "run_folder", lambda self: Run(self.workspace, FOLDER))
    (tmp_path / FOLDER).mkdir(parents=True)
    for name in (*STAGES, "report.html"):
        make_whole(tmp_path / FOLDER / name)
    rendered(tmp_path)
    return tmp_path


def report(workspace: Path, **options: Any) -> RenderReport:
    return RenderReport(manifest="none.csv", workspace=str(workspace), **options)


def rendered(workspace: Path) -> None:
    """As RenderReport leaves it."""
    shown, folder = report(workspace).shown(), Run(str(workspace), FOLDER)
    folder.write_json("report.json", {"shown": shown, "files": folder.hashes("report.html")})


def test_a_report_that_shows_what_is_asked_for_is_done(workspace: Path) -> None:
    assert report(workspace).done()
    (workspace / FOLDER / "report.html").unlink()
    assert not report(workspace).done()


@pytest.mark.parametrize("options", [{"report_faces": "none"}, {"report_faces": "show"}, {"report_films": 7}])
def test_other_pictures_make_the_report_anew_and_train_nothing(workspace: Path, options: dict) -> None:
    assert not report(workspace, **options).done()
    assert EvaluateRun(manifest="none.csv", workspace=str(workspace)).done()
    assert report(workspace, **options).run_folder().place == FOLDER


def test_a_report_of_before_there_was_a_choice_is_made_anew(workspace: Path) -> None:
    (workspace / FOLDER / "report.json").unlink()
    assert not report(workspace).done()


def test_ablations_that_came_later_are_shown(workspace: Path) -> None:
    write_json(workspace / FOLDER / "ablations.json", {"seeds": 1, "variants": [], "all": True, "files": {}})
    assert not report(workspace).done()
    rendered(workspace)
    assert report(workspace).done()


def test_feedback_that_came_later_is_shown(workspace: Path) -> None:
    (workspace / FOLDER / "feedback").mkdir()
    (workspace / FOLDER / "feedback/a.mp4").write_bytes(b"a film is not in the page")
    assert report(workspace).done()
    (workspace / FOLDER / "feedback/a.json").write_text("{}")
    assert not report(workspace).done()
    rendered(workspace)
    assert report(workspace).done()


def test_a_name_is_no_reason_to_make_a_report_anew(workspace: Path) -> None:
    assert report(workspace, run_name="summer").done()
    assert report(workspace, run_name="summer").called() == "summer"
    assert report(workspace).called() is None
    write_json(workspace / "runs/names.json", {"june": "a" * 16, "other": "b" * 16})
    assert report(workspace).called() == "june"


def test_a_build_passes_the_choice_on_and_is_not_done_before_the_report_is(workspace: Path) -> None:
    write_json(
        (workspace / "latest.json"), ({"dataset": "datasets/None", "run": FOLDER, "report": f"{FOLDER}/report.html"})
    )
    build = BuildVDV(manifest="none.csv", workspace=str(workspace), report_faces="none", report_films=3)
    task = build.needs()
    assert isinstance(task, RenderReport)
    assert (task.report_faces, task.report_films) == ("none", 3)
    assert not build.done()


def test_faces_are_blurred_unless_asked_otherwise(tmp_path: Path) -> None:
    assert report(tmp_path).report_faces == "blur"
    with pytest.raises(OptionError, match="blur"):
        RenderReport.report_faces.normalize("pixelate")
