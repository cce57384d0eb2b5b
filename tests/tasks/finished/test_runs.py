"""Runs on the command line: naming two, naming one, and what is said of a wrong name."""

import json
from pathlib import Path

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser

from pipeline.core.errors import DataError, OptionError
from pipeline.runs.runs import latest, name_run, read_names
from tasks.build import BuildVDV
from tasks.finished.runs import CompareRuns, DeleteRun
from tasks.score_uploads import ScoreUploads
from tasks.terminal_text import comparison_text
from tests.end_to_end.workspaces import TINY_PROFILE
from tests.pipeline.evaluation.test_compare_runs import GOOD, POOR, add_run
from tests.support.whole_files import write_json, write_table


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    add_run(tmp_path, GOOD, noise=0.3)
    add_run(tmp_path, POOR, noise=3.0, seed=1)
    return tmp_path


def from_command_line(*words: str) -> luigi.Task:
    with CmdlineParser.global_instance(["--module", "tasks", *words]) as parser:
        return parser.get_task_obj()


@pytest.mark.parametrize(
    "words",
    [("--run", "A", "--run", "B"), ("--run", "A,B"), ("--runs", "A, B"), ("--CompareRuns-runs", "A,B")],
    ids=["twice", "with a comma", "in full", "of the task by name"],
)
def test_two_runs_can_be_given_in_each_way_that_looks_right(words: tuple) -> None:
    task = from_command_line("CompareRuns", *words)
    assert isinstance(task, CompareRuns)
    assert task.runs == ("A", "B")


def test_one_run_is_called_run_too() -> None:
    deleting = from_command_line("DeleteRun", "--run", "june")
    scoring = from_command_line("ScoreUploads", "--manifest", "new.csv", "--run", "june")
    assert isinstance(deleting, DeleteRun)
    assert isinstance(scoring, ScoreUploads)
    assert deleting.run_id == scoring.run_id == "june"


def test_comparing_says_the_differences_and_what_the_runs_differ_in(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name_run(str(workspace), GOOD, "june")
    CompareRuns(runs=("june", POOR), workspace=str(workspace)).run()
    said = capsys.readouterr().err
    assert f"june against {POOR}: Spearman within a challenge on 160 clips of 40 creators" in said
    (line,) = [line for line in said.splitlines() if line.strip().startswith("fused")]
    first, second, less = (float(word) for word in line.split()[1:4])
    assert less == pytest.approx(first - second, abs=0.002)
    assert less > 0.2
    assert "seed: 0 / 1" in said


def test_one_run_three_runs_or_a_wrong_name_stop_before_anything_is_read(workspace: Path) -> None:
    for runs in ((GOOD,), (GOOD, POOR, GOOD)):
        with pytest.raises(OptionError, match="comparing takes two runs"):
            CompareRuns(runs=runs, workspace=str(workspace)).complete()
    with pytest.raises(OptionError, match=f"'may'; there are {GOOD}, {POOR}"):
        CompareRuns(runs=(GOOD, "may"), workspace=str(workspace)).complete()
    with pytest.raises(OptionError, match="'may'"):
        DeleteRun(run_id="may", workspace=str(workspace)).complete()
    with pytest.raises(OptionError, match="'may'"):
        ScoreUploads(manifest="none.csv", run_id="may", workspace=str(workspace)).complete()


def test_deleting_by_name_takes_the_run_of_that_name(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name_run(str(workspace), GOOD, "june")
    write_json(workspace / "latest.json", latest("datasets/d", f"runs/{GOOD}"))
    DeleteRun(run_id="june", workspace=str(workspace)).run()
    assert [path.name for path in (workspace / "runs").iterdir() if path.is_dir()] == [POOR]
    assert (workspace / "datasets" / f"d{GOOD}").exists()
    assert read_names(str(workspace)) == {}
    assert f"deleted runs/{GOOD}" in capsys.readouterr().err


def test_a_name_that_is_no_name_stops_a_build_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "june.csv").write_text("clip_id,uri,challenge\na,a.mp4,dance\n")
    task = BuildVDV(
        manifest=str(tmp_path / "june.csv"), workspace=str(tmp_path / "ws"), profile=str(TINY_PROFILE), run_name="../x"
    )
    with pytest.raises(OptionError, match=r"--run-name is .\.\./x"):
        task.complete()


def test_a_run_of_a_profile_of_ones_own_asks_for_its_file(workspace: Path) -> None:
    path = workspace / "runs" / GOOD / "run.json"
    write_json(path, json.loads(path.read_text()) | {"profiles": ["mine"]})
    with pytest.raises(DataError, match="profile 'mine', which is none of vdv's own; give its TOML file"):
        ScoreUploads(manifest="none.csv", run_id=GOOD, workspace=str(workspace)).complete()


def test_features_that_would_be_made_otherwise_than_the_runs_are_refused(workspace: Path) -> None:
    with pytest.raises(DataError, match=r"learned from other pose features .*train a new run with BuildVDV"):
        ScoreUploads(manifest="none.csv", run_id=GOOD, workspace=str(workspace), profile=str(TINY_PROFILE)).complete()


def test_left_out_clips_are_told(workspace: Path) -> None:
    import pandas as pd

    from pipeline.evaluation.compare_runs import compare_runs

    path = workspace / "runs" / POOR / "folds.parquet"
    write_table(path, pd.read_parquet(path).iloc[:100])
    text = comparison_text(compare_runs(str(workspace), GOOD, POOR, 10), "june", "july")
    assert "left out: 60 that only june judged" in text
