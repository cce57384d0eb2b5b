"""Which stages a run has, in which order, and when each is done."""

from pathlib import Path
from typing import Any

import pytest
from luigi.task import flatten

from pipeline.core.errors import OptionError
from pipeline.dataset.folder import DatasetFolder
from pipeline.runs.run import Run
from pipeline.training.checkpoints import ABLATIONS_CHECKPOINTS, CHECKPOINTS
from tasks.build import BuildVDV
from tasks.model import CrossValidate, EvaluateRun, RunAblations, RunStage, ScoreClips, TrainFusion
from tasks.terminal_text import copies_text
from tests.support.whole_files import make_whole, write_json

FOLDER = "runs/one"
CHECKPOINT_FOLDERS = CHECKPOINTS, ABLATIONS_CHECKPOINTS
STAGES = ("run.json", "model.safetensors", "held_out.parquet", "folds.json", "scores.parquet", "metrics.json")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose dataset is there; only what stands in the run's folder decides."""
    monkeypatch.setattr(RunStage, "dataset_done", lambda self: True)
    monkeypatch.setattr(RunStage, "run_folder", lambda self: Run(self.workspace, FOLDER))
    (tmp_path / FOLDER).mkdir(parents=True)
    return tmp_path


def stage(kind: type[RunStage], workspace: Path, **options: Any) -> RunStage:
    return kind(**({"manifest": "none.csv", "workspace": str(workspace)} | options))


def made(workspace: Path, *names: str) -> None:
    for name in names:
        make_whole(workspace / FOLDER / name)


def ablated(workspace: Path, seeds: int, variants: list[str], whole: bool) -> None:
    """As run_ablations leaves it."""
    about = {"seeds": seeds, "variants": variants, "all": whole, "files": {}}
    make_whole(workspace / FOLDER / "ablations.parquet")
    write_json(workspace / FOLDER / "ablations.json", about)


def test_clips_are_scored_after_the_folds_and_without_folds_after_training(workspace: Path) -> None:
    assert isinstance(stage(ScoreClips, workspace).needs(), CrossValidate)
    assert isinstance(stage(ScoreClips, workspace, folds=0).needs(), TrainFusion)


def test_folds_are_trained_side_by_side_on_a_cpus_cores(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(RunStage, "dataset_folder", lambda self: DatasetFolder(self.workspace, "datasets/one"))
    monkeypatch.setattr("pipeline.evaluation.evaluate.cross_validate_run", lambda *arguments: given.append(arguments))
    for workers in (1, 3):
        stage(CrossValidate, workspace, folds=5, decode_workers=workers, device="cpu").make()
    assert [arguments[3:6] for arguments in given] == [("kfold", 5, 1), ("kfold", 5, 3)]


def test_checkpoints_that_a_killed_process_could_not_clear_go_with_the_next_stage(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunStage, "dataset_folder", lambda self: None)
    monkeypatch.setattr("pipeline.scoring.scores.score_clips", lambda *_: None)
    monkeypatch.setattr("pipeline.evaluation.evaluate.evaluate_run", lambda *_: None)
    left = [workspace / FOLDER / folder / "fold-1.pose.ab.safetensors" for folder in CHECKPOINT_FOLDERS]

    def kept_by(stage: RunStage) -> list[bool]:
        for path in left:
            path.parent.mkdir(exist_ok=True)
            path.touch()
        stage.make()
        return [path.exists() for path in left]

    assert kept_by(stage(ScoreClips, workspace)) == [False, True], "ablations may be under way"
    assert kept_by(stage(EvaluateRun, workspace)) == [True, True]
    assert kept_by(stage(EvaluateRun, workspace, ablations=True)) == [True, False]


def test_ablations_are_made_only_when_asked_for_and_then_nothing_is_complete_without_them(workspace: Path) -> None:
    made(workspace, *STAGES)
    plain, asked = stage(EvaluateRun, workspace), stage(EvaluateRun, workspace, ablations=True)
    assert [type(task) for task in flatten(plain.needs())] == [ScoreClips]
    assert [type(task) for task in flatten(asked.needs())] == [ScoreClips, RunAblations]
    assert plain.done()
    assert not asked.done()
    assert stage(TrainFusion, workspace, ablations=True).done(), "nothing before them is made anew"
    assert stage(CrossValidate, workspace, ablations=True).done()
    ablated(workspace, seeds=1, variants=["lstm", "mean_pool"], whole=True)
    assert asked.done()
    assert BuildVDV.shows_ablations


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ({}, True),
        ({"ablation_seeds": 3}, True),
        ({"ablation_seeds": 4}, False),
        ({"ablation_variants": "lstm"}, True),
        ({"ablation_variants": "lstm, no_huber"}, False),
    ],
)
def test_ablations_that_are_there_are_made_anew_only_for_more_seeds_or_other_variants(
    workspace: Path, asked: dict, there: bool
) -> None:
    made(workspace, *STAGES)
    ablated(workspace, seeds=3, variants=["lstm", "mean_pool"], whole=True)
    for kind in (RunAblations, EvaluateRun):
        assert stage(kind, workspace, ablations=True, **asked).done() == there


def test_some_of_the_ablations_are_not_all_of_them(workspace: Path) -> None:
    made(workspace, *STAGES)
    ablated(workspace, seeds=1, variants=["lstm", "mean_pool"], whole=False)
    assert not stage(EvaluateRun, workspace, ablations=True).done()
    assert stage(EvaluateRun, workspace, ablations=True, ablation_variants="mean_pool").done()


def test_an_ablation_that_there_is_not_is_refused_before_anything_is_trained(workspace: Path) -> None:
    manifest = workspace / "june.csv"
    manifest.write_text("clip_id,uri,challenge\na,a.mp4,dance\n")

    def first(**options: Any) -> object:
        return stage(RunAblations, workspace, manifest=str(manifest), **options).needs()

    assert isinstance(first(ablation_variants="lstm,no_levels"), CrossValidate)
    with pytest.raises(OptionError, match=r"--ablation-variants names lstn; this run has st_gcn, .*lstm"):
        first(ablation_variants="lstn")
    with pytest.raises(OptionError, match="this run has plain_tcn"):
        first(ablation_variants="st_gcn", modalities="scene")


@pytest.mark.parametrize("options", [{"ablation_seeds": 3}, {"ablation_variants": "lstm"}])
def test_how_ablations_are_made_is_not_asked_for_without_them(workspace: Path, options: dict) -> None:
    with pytest.raises(OptionError, match="--ablations"):
        stage(EvaluateRun, workspace, **options).needs()


def test_ablations_without_folds_are_refused(workspace: Path) -> None:
    with pytest.raises(OptionError, match="--folds"):
        stage(RunAblations, workspace, folds=0).needs()


def test_how_a_run_is_judged_is_a_part_of_its_id_but_ablations_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunStage, "dataset_id", "some")

    def folder(**options: Any) -> Run:
        return TrainFusion(manifest="none.csv", **options).run_folder()

    others: list[dict[str, Any]] = [
        {"protocol": "time"}, {"folds": 5}, {"permuted": True}, {"seed": 1}, {"label": "likes", "with_context": True},
    ]  # fmt: skip
    assert len({folder(), *(folder(**options) for options in others)}) == 6
    assert folder() == folder(ablations=True, ablation_seeds=3, ablation_variants="lstm")


def test_the_command_line_offers_the_protocols_there_are() -> None:
    from pipeline.evaluation.protocol import PROTOCOLS

    (protocol,) = [option for name, option in RunStage.get_params() if name == "protocol"]
    assert [protocol.normalize(name) for name in PROTOCOLS] == list(PROTOCOLS)
    with pytest.raises(OptionError, match="leave-challenge-out"):
        protocol.normalize("bootstrap")


def test_uploads_that_are_there_twice_are_told_of_by_kind() -> None:
    assert copies_text({"of_a_file": 0, "near": 0}) == []
    assert copies_text({"of_a_file": 0, "near": 3}) == ["copies: 3 uploads are near-copies of others; they share folds"]
    both = "copies: 2 uploads are copies of others' files, 1 upload is a near-copy of another; they share folds"
    assert copies_text({"of_a_file": 2, "near": 1}) == [both]
