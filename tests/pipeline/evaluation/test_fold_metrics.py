"""Ranking metrics of a cross-validation: folds together, intervals over creators."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from pipeline.evaluation.evaluate import fold_metrics


def folds(creators: int = 60, clips_each: int = 4, skill: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """A creator's clips share most of label and score."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(creators), clips_each)
    talent, luck = rng.normal(size=(2, creators))
    label = talent[group] + 0.3 * rng.normal(size=len(group))
    score = skill * talent[group] + luck[group] + 0.3 * rng.normal(size=len(group))
    fold = group % 3
    challenge = np.array(["shuffle", "wave"])[rng.integers(0, 2, len(group))]
    return pd.DataFrame(
        {
            "clip_id": [f"c{n}" for n in range(len(group))], "challenge": challenge, "group": group, "fold": fold,
            "label": label, "score": score, "score_scene": luck[group],
        }
    )  # fmt: skip


def test_a_challenges_clips_of_all_folds_are_judged_together() -> None:
    predictions = folds()
    metrics = fold_metrics(predictions, 10)
    by_hand = [spearmanr(some["score"], some["label"]).statistic for _, some in predictions.groupby("challenge")]
    assert metrics["fused"]["mean"]["spearman"] == pytest.approx(np.mean(by_hand))
    assert metrics["fused"]["mean"]["n"] == len(predictions)
    assert set(metrics) == {"fused", "scene"}
    # A fold's model that says more of all its clips than another must be right in that, too.
    shifted = predictions.assign(score=predictions["score"] + 100 * predictions["fold"])
    assert fold_metrics(shifted, 10)["fused"]["mean"]["spearman"] < metrics["fused"]["mean"]["spearman"] - 0.2


def test_the_interval_holds_what_it_is_of_and_knows_that_a_creators_clips_are_alike() -> None:
    predictions = folds(skill=0.0)
    low, high = fold_metrics(predictions, 300)["fused"]["mean"]["spearman_95"]
    assert low < 0 < high
    as_if_apart = predictions.assign(group=np.arange(len(predictions)))
    narrow = fold_metrics(as_if_apart, 300)["fused"]["mean"]["spearman_95"]
    assert high - low > 1.3 * (narrow[1] - narrow[0])
    low, high = fold_metrics(folds(), 300)["fused"]["mean"]["spearman_95"]
    assert 0 < low < fold_metrics(folds(), 300)["fused"]["mean"]["spearman"] < high < 1


def test_what_cannot_be_compared_has_no_interval() -> None:
    predictions = folds(creators=2, clips_each=1).assign(challenge=["shuffle", "wave"], score_scene=np.nan)
    metrics = fold_metrics(predictions, 10)
    assert metrics["fused"]["mean"]["spearman"] is None
    assert metrics["fused"]["mean"]["spearman_95"] is None
    json.dumps(metrics, allow_nan=False)


def test_clips_that_a_modality_lacks_are_left_out() -> None:
    predictions = folds()
    predictions.loc[::2, "score_scene"] = None
    assert fold_metrics(predictions, 5)["scene"]["mean"]["n"] == len(predictions) / 2
