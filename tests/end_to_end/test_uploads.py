"""New clips and finished runs from the command line: scored, named, compared, deleted."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.tiny_clips import render_clip, tiny_world
from pipeline import Workspace
from pipeline.modalities.registry import extracted_names
from tests.docs.pages import ROOT, examples
from tests.end_to_end.workspaces import TINY_PROFILE, Finished, changed, luigi, run, written
from tests.support.whole_files import read_json, write_json

NEW = ("new0", "new1", "far0", "broken")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A workspace with a run named june, a manifest of four new clips without likes, and a copy of both."""
    folder = tmp_path_factory.mktemp("uploads")
    world = folder / "world"
    tiny_world(world, 10)
    done = run("BuildVDV", world, "--manifest", "tiny.csv", "--run-name", "june")
    assert done.code == 0, done.output
    rows = ["clip_id,uri,challenge,creator_id"]
    for place, name in enumerate(NEW):
        render_clip(world / "clips" / f"{name}.mp4", seed=90 + place)
        rows.append(f"{name},clips/{name}.mp4,{'c' if name == 'far0' else 'ab'[place % 2]},zoe{place}")
    (world / "clips/broken.mp4").write_text("not a video")
    (world / "new.csv").write_text("\n".join(rows) + "\n")
    shutil.copytree(world, folder / "saved")
    return world, folder / "saved"


@pytest.fixture
def built(pristine: tuple[Path, Path]) -> Path:
    """The folder as it was, at its place: clips that are elsewhere are looked at again."""
    world, saved = pristine
    shutil.rmtree(world)
    shutil.copytree(saved, world)
    return world


def run_task(folder: Path, task: str, *options: str) -> Finished:
    """A task that looks at runs only, and takes no profile or device."""
    return luigi(["--module", "tasks", task, "--workspace", "workspace", *options], folder)


def test_new_clips_are_extracted_and_scored_and_nothing_else_is_touched(built: Path) -> None:
    before = written(built / "workspace")
    done = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "june")
    assert done.code == 0, done.output
    new = changed(before, written(built / "workspace"))
    assert {path.split("/")[0] for path in new} == {"clips", "features", "uploads"}
    assert {path.split("/")[1] for path in new if path.startswith("clips/")} == {"new"}
    assert len([path for path in new if path.startswith("features/")]) == len(extracted_names())
    (scores,) = (built / "workspace/uploads").glob("*/scores.parquet")
    rows = {row["clip_id"]: row for row in pq.read_table(scores).to_pylist()}
    assert set(rows) == set(NEW)
    assert [rows[name]["known_challenge"] for name in NEW] == [True, True, False, True]
    assert rows["broken"]["code"] == "not_a_video"
    assert rows["new0"]["score"] is not None
    assert scores.with_suffix(".csv").read_text().startswith('"clip_id","challenge","known_challenge","score"')
    assert "UNTRAINED WEIGHTS" in done.output
    assert str(scores.relative_to(built)) in done.output
    assert "the run was not trained on this challenge" in done.output
    assert "broken (not_a_video)" in done.output

    before = written(built / "workspace")
    again = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "june")
    assert again.code == 0, again.output
    assert "nothing to do" in again.output
    assert written(built / "workspace") == before


def test_uploads_are_scored_from_python_as_its_page_says(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "june")
    assert done.code == 0, done.output
    (built / "luigi.cfg").write_text(f"[ScoreUploads]\nprofile={TINY_PROFILE}\ndevice=cpu\n")
    monkeypatch.chdir(built)
    (example,) = [example for example in examples(ROOT / "docs/python.md") if "ws.score(" in example.code]
    names: dict[str, Any] = {"ws": Workspace("workspace")}
    example.run(names)
    assert "nothing to do" in capsys.readouterr().err
    (written,) = (built / "workspace/uploads").glob("*/scores.parquet")
    pd.testing.assert_frame_equal(names["new"], pd.read_parquet(written))
    assert set(names["best"]["clip_id"]) == set(NEW)


def test_another_profile_or_a_run_that_is_not_there_starts_nothing_and_says_what_to_do(built: Path) -> None:
    before = written(built / "workspace")
    other = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "june", profile="untrained")
    unknown = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "july")
    for done, said in ((other, "Give the run's own profile with --profile"), (unknown, "(june)")):
        assert done.code == 35, done.output
        assert said in done.output
        assert "Traceback" not in done.output
    assert written(built / "workspace") == before


def test_a_run_is_named_again_without_being_made_again_and_deleted_by_that_name(built: Path) -> None:
    latest = json.loads((built / "workspace/latest.json").read_text())["run"]
    before = written(built / "workspace")
    done = run("BuildVDV", built, "--manifest", "tiny.csv", "--run-name", "summer")
    assert done.code == 0, done.output
    assert changed(before, written(built / "workspace")) == {"latest.json", "runs/names.json"}
    assert read_json(built / "workspace/runs/names.json") == {"summer": latest.removeprefix("runs/")}

    alone = run_task(built, "CompareRuns", "--run", "summer", "--run", "june")
    assert alone.code == 35
    assert "'june'" in alone.output
    assert "(summer)" in alone.output

    deleted = run_task(built, "DeleteRun", "--run", "summer")
    assert deleted.code == 0, deleted.output
    gone = set(before) - set(written(built / "workspace"))
    assert {"/".join(path.split("/")[:2]) for path in gone - {"latest.json"}} == {latest}
    assert not (built / "workspace" / latest).exists()


def test_a_name_that_another_run_has_is_refused_before_anything_is_trained(built: Path) -> None:
    before = written(built / "workspace")
    done = run("BuildVDV", built, "--manifest", "tiny.csv", "--seed", "1", "--run-name", "june")
    assert done.code == 35, done.output
    assert "choose another, or delete that run with DeleteRun --run june" in done.output
    assert "Traceback" not in done.output
    assert written(built / "workspace") == before


def test_comparing_a_run_that_no_folds_judged_says_what_to_do(built: Path) -> None:
    latest = built / "workspace" / json.loads((built / "workspace/latest.json").read_text())["run"]
    twin = built / "workspace/runs" / ("f" * 16)
    shutil.copytree(latest, twin)
    for path in latest.glob("*.json"):  # which state the run that they belong to
        write_json(twin / path.name, read_json(path))
    done = run_task(built, "CompareRuns", "--run", "june", "--run", twin.name)
    assert done.code == 30, done.output
    assert "was not judged by folds" in done.output
    assert "Traceback" not in done.output
