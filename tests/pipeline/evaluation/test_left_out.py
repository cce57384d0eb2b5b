"""What the ranking with and without a modality differs in, on scores that are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from pipeline.evaluation.left_out import NAMED, RankingChange, ranking_changes

CLIPS = 40  # of each of two challenges
WITHOUT_FACE = "fusion_only_pose+scene"


def folds(change: np.ndarray, **columns: list) -> pd.DataFrame:
    """Scores of two challenges of other scales, and the same with `change` [2, CLIPS] where the face is left out."""
    score = np.stack([np.arange(CLIPS), 1000 + 5 * np.arange(CLIPS)]).astype(float)
    table = {
        "clip_id": [f"{challenge}{place}" for challenge in "ab" for place in range(CLIPS)],
        "challenge": np.repeat(["a", "b"], CLIPS), "score": score.ravel(),
        WITHOUT_FACE: (score + change).ravel(), **columns,
    }  # fmt: skip
    return pd.DataFrame(table)


def without_face(table: pd.DataFrame) -> RankingChange:
    (change,) = ranking_changes(table, ("pose", "face", "scene"))
    assert change.left_out == ("face",)
    return change


def moved(clip: int, by: float, challenge: int = 0) -> np.ndarray:
    change = np.zeros((2, CLIPS))
    change[challenge, clip] = by
    return change


def test_a_modality_that_says_nothing_changes_nothing() -> None:
    change = without_face(folds(np.zeros((2, CLIPS))))
    assert (change.clips, change.unscored, change.top, change.top_changed) == (2 * CLIPS, 0, 8, 0)
    assert (change.agreement, change.least_agreement) == pytest.approx((1, 1))
    assert (change.median_move, change.far_move, change.moved) == (0, 0, ())


def test_a_clip_that_falls_from_the_top_is_counted_and_named_with_its_places() -> None:
    change = without_face(folds(moved(CLIPS - 1, -100)))
    assert (change.top, change.top_changed) == (8, 1)
    first = change.moved[0]
    assert (first.clip_id, first.challenge) == (f"a{CLIPS - 1}", "a")
    assert (first.before, first.after) == pytest.approx((1 - 0.5 / CLIPS, 0.5 / CLIPS))
    assert [round(one.after - one.before, 3) for one in change.moved[1:]] == (NAMED - 1) * [round(1 / CLIPS, 3)]


def test_a_move_inside_the_top_changes_no_clip_of_it() -> None:
    assert without_face(folds(moved(CLIPS - 1, -1.5))).top_changed == 0


def test_orders_are_compared_within_their_challenges_whose_mean_and_lowest_are_given() -> None:
    change = folds(np.random.default_rng(0).normal(0, 20, (2, CLIPS)) * [[1], [0]])
    of_each = [
        spearmanr(one["score"], one[WITHOUT_FACE]).statistic for _, one in change.groupby("challenge", sort=True)
    ]
    result = without_face(change)
    assert (result.agreement, result.least_agreement) == pytest.approx((np.mean(of_each), min(of_each)))
    assert of_each[1] == pytest.approx(1)
    assert of_each[0] < 0.9


def test_moves_are_shares_of_the_challenge() -> None:
    reversed_b = np.stack([np.zeros(CLIPS), 5 * np.arange(CLIPS)[::-1] - 5 * np.arange(CLIPS)])
    result = without_face(folds(reversed_b))
    moves = np.concatenate([np.zeros(CLIPS), np.abs(np.arange(CLIPS)[::-1] - np.arange(CLIPS)) / CLIPS])
    assert (result.median_move, result.far_move) == pytest.approx((np.median(moves), np.quantile(moves, 0.9)))
    assert result.least_agreement == pytest.approx(-1)
    assert result.top_changed == 4


def test_clips_that_only_the_face_tells_of_are_counted_and_compared_with_nothing() -> None:
    table = folds(np.zeros((2, CLIPS)))
    table.loc[table["clip_id"].isin(["a0", "b7"]), WITHOUT_FACE] = np.nan
    table.loc[table["clip_id"] == "a1", ["score", WITHOUT_FACE]] = np.nan
    result = without_face(table)
    assert (result.clips, result.unscored) == (2 * CLIPS - 3, 2)
    assert result.moved == ()


def test_all_that_shows_looks_is_left_out_at_once_too_where_its_score_is_there() -> None:
    table = folds(np.zeros((2, CLIPS)), fusion_only_pose=[float(place) for place in range(2 * CLIPS)])
    assert [one.left_out for one in ranking_changes(table, ("pose", "face", "scene"))] == [("face",), ("face", "scene")]
    assert ranking_changes(table.drop(columns=["fusion_only_pose", WITHOUT_FACE]), ("pose", "face", "scene")) == []


def test_nothing_that_both_score_is_not_known_rather_than_0() -> None:
    table = folds(np.zeros((2, CLIPS)))
    table[WITHOUT_FACE] = np.nan
    result = without_face(table)
    assert (result.clips, result.top, result.unscored) == (0, 0, 2 * CLIPS)
    assert np.isnan([result.agreement, result.least_agreement, result.median_move, result.far_move]).all()
