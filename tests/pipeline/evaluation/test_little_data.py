"""Data that hardly say anything: training, scores, folds and metrics end sanely, or in words that say what to add."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.virality.config import VdvConfig
from pipeline.core.errors import DataError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.runs.run import Run
from pipeline.runs.train import train_fusion
from pipeline.scoring.scores import score_clips
from tests.support.learnable_world import Clip, make_batch, speed_decides

CPU = torch.device("cpu")
TINY = VdvConfig(frames=16, samplings=1, joint_channels=4, part_channels=4, body_channels=4, refined_channels=4,
                 width=8, epochs=1, ensemble=2)  # fmt: skip


def five_creators() -> list[Clip]:
    return [replace(clip, creator=f"c{place % 5}") for place, clip in enumerate(speed_decides(15))]


def a_challenge_of_two() -> list[Clip]:
    two = [Clip("x", "rare", "ann", likes=5, speed=0.4), Clip("y", "rare", "bob", likes=500, speed=2.0)]
    return [*speed_decides(12), *two]


def a_challenge_of_equal_likes() -> list[Clip]:
    return [*speed_decides(12), *(Clip(f"e{n}", "flat", f"f{n}", likes=7, speed=n / 2) for n in range(1, 5))]


def no_followers() -> list[Clip]:
    return [replace(clip, followers=None) for clip in speed_decides(12)]


CASES = (five_creators, a_challenge_of_two, a_challenge_of_equal_likes, no_followers)


@pytest.fixture
def assembled(tmp_path: Path) -> Callable[[Sequence[Clip]], DatasetFolder]:
    def of(clips: Sequence[Clip]) -> DatasetFolder:
        dataset = DatasetFolder(str(tmp_path / "ws"), "datasets/one")
        files = make_batch(tmp_path / "ws", clips, modalities=("pose", "scene"))
        assemble(dataset, [files], LabelOptions(holdout=0.3))
        return dataset

    return of


@pytest.mark.parametrize("clips", CASES)
def test_a_run_of_it_is_judged_as_far_as_it_can_be(
    clips: Callable[[], list[Clip]], assembled: Callable[[Sequence[Clip]], DatasetFolder]
) -> None:
    dataset = assembled(clips())
    run = Run(dataset.workspace, "runs/one")
    train_fusion(dataset, run, TINY, CPU)
    score_clips(dataset, run, CPU)
    evaluate_run(dataset, run)
    scores = run.read_table("scores.parquet")
    assert np.isfinite(scores["score"]).all()
    assert scores["expected_percentile"].between(0, 1).all()
    assert (scores["low"] <= scores["high"]).all()
    metrics = run.read_json("metrics.json")["splits"]["train"]["predictors"]
    assert metrics["fused"]["mean"]["spearman"] is not None

    judged = cross_validate(dataset, TINY, CPU, folds=2)
    labelled = dataset.read_clips()["likes"].notna().sum()
    assert len(judged) == labelled
    assert np.isfinite(judged["score"]).all()
    assert (judged.groupby("group")["fold"].nunique() == 1).all()


def test_equal_likes_everywhere_are_nothing_to_learn(assembled: Callable[[Sequence[Clip]], DatasetFolder]) -> None:
    dataset = assembled([replace(clip, likes=7, followers=None) for clip in speed_decides(12)])
    for work in (lambda: train_fusion(dataset, Run(dataset.workspace, "runs/one"), TINY, CPU),
                 lambda: cross_validate(dataset, TINY, CPU, folds=2)):  # fmt: skip
        with pytest.raises(DataError, match="Add likes to the manifest"):
            work()
    assert not Path(dataset.workspace, "runs/one/run.json").exists()
