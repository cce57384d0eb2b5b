"""Which stages a run has, in which order, and when each is done."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import OptionError
from tasks.build import BuildVDV
from tasks.model import CrossValidate, EvaluateRun, RunAblations, RunStage, ScoreClips, TrainFusion

FOLDER = "runs/one"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose dataset is there; only what stands in the run's folder decides."""
    monkeypatch.setattr(RunStage, "dataset_complete", lambda self: True)
    monkeypatch.setattr(RunStage, "run_folder", lambda self: FOLDER)
    (tmp_path / FOLDER).mkdir(parents=True)
    return tmp_path


def stage(kind: type[RunStage], workspace: Path, **options: Any) -> RunStage:
    return kind(manifest="none.csv", workspace=str(workspace), **options)


def made(workspace: Path, *names: str) -> None:
    for name in names:
        (workspace / FOLDER / name).touch()


def test_clips_are_scored_after_the_folds_and_without_folds_after_training(workspace):
    assert isinstance(stage(ScoreClips, workspace).requires(), CrossValidate)
    assert isinstance(stage(ScoreClips, workspace, folds=0).requires(), TrainFusion)


def test_ablations_are_made_only_when_asked_for_and_then_nothing_is_complete_without_them(workspace):
    made(workspace, "run.json", "folds.json", "scores.parquet", "metrics.json")
    plain, asked = stage(EvaluateRun, workspace), stage(EvaluateRun, workspace, ablations=True)
    assert [type(task) for task in plain.requires()] == [ScoreClips]
    assert [type(task) for task in asked.requires()] == [ScoreClips, RunAblations]
    assert plain.complete()
    assert not asked.complete()
    assert stage(TrainFusion, workspace, ablations=True).complete(), "nothing before them is made anew"
    assert stage(CrossValidate, workspace, ablations=True).complete()
    made(workspace, "ablations.parquet")
    assert asked.complete()
    assert BuildVDV.shows_ablations


def test_ablations_without_folds_are_refused(workspace):
    with pytest.raises(OptionError, match="--folds"):
        stage(RunAblations, workspace, folds=0).requires()


def test_how_a_run_is_judged_is_a_part_of_its_id_but_ablations_are_not(monkeypatch):
    monkeypatch.setattr(RunStage, "dataset_id", "some")

    def folder(**options: Any) -> str:
        return TrainFusion(manifest="none.csv", **options).run_folder()

    assert len({folder(), folder(protocol="time"), folder(folds=5), folder(permuted=True), folder(seed=1)}) == 5
    assert folder() == folder(ablations=True)


def test_the_command_line_offers_the_protocols_there_are():
    from pipeline.protocol import PROTOCOLS

    (protocol,) = [option for name, option in RunStage.get_params() if name == "protocol"]
    assert [protocol.parse(name) for name in PROTOCOLS] == list(PROTOCOLS)
    with pytest.raises(ValueError, match="leave-challenge-out"):
        protocol.parse("bootstrap")
