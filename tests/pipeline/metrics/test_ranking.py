"""Metrics of one challenge's order: what each number is, ties, and what cannot be compared."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.metrics.ranking import METRICS, expected_at_random, in_top, metrics_by_challenge, ranking_metrics


@pytest.mark.parametrize(
    ("score", "label", "expected"),
    [
        ([1, 2, 3], [10, 20, 30], (1, 1, 1)),
        ([3, 2, 1], [10, 20, 30], (-1, -1, 0)),
        ([1, 1, 2], [10, 20, 30], (0.866, 0.816, 5 / 6)),
        ([1, np.nan, 2], [10, 0, 30], (1, 1, 1)),
    ],
)
def test_agreement_is_what_it_says(score: list, label: list[int], expected: tuple) -> None:
    metrics = ranking_metrics(np.array(score, float), np.array(label, float))
    values = (metrics["spearman"], metrics["kendall_tau_b"], metrics["pairwise_accuracy"])
    assert values == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("score", "label", "reason"),
    [
        ([1], [1], "fewer than two"),
        ([], [], "fewer than two"),
        ([1, 1], [1, 2], "all scores are equal"),
        ([1, 2], [1, 1], "all labels are equal"),
    ],
)
def test_what_cannot_be_compared_is_null_with_a_reason(score: list, label: list, reason: str) -> None:
    metrics = ranking_metrics(np.array(score, float), np.array(label, float))
    assert metrics["spearman"] is None
    assert reason in metrics["reason"]
    json.dumps(metrics, allow_nan=False)


def test_the_first_places_count_in_ndcg_and_the_rest_does_not() -> None:
    label = np.arange(30.0)
    late, early = label.copy(), label.copy()
    late[:10] = late[:10][::-1]  # the lowest in a wrong order
    early[-10:] = early[-10:][::-1]
    assert ranking_metrics(late, label)["ndcg_10"] == pytest.approx(1)
    assert ranking_metrics(early, label)["ndcg_10"] < 0.999


def test_the_top_decile_is_found_or_not_and_ties_count_by_their_chance() -> None:
    label = np.arange(20.0)
    assert ranking_metrics(label, label)["top_decile_precision"] == 1
    assert ranking_metrics(-label, label)["top_decile_precision"] == 0
    half = np.where(label == 19, 2.0, np.where(label < 10, 1.0, 0.0))  # one of two found, ten tie for the other place
    assert ranking_metrics(half, label)["top_decile_precision"] == 0.5
    np.testing.assert_allclose(in_top(np.array([3.0, 1.0, 1.0, 1.0] + [0.0] * 11)), [1, 1 / 3, 1 / 3, 1 / 3] + [0] * 11)


def test_what_a_random_order_reaches_is_what_random_orders_reach() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 25, 33).astype(float)
    metrics = [ranking_metrics(rng.permutation(33).astype(float), label) for _ in range(200)]
    for name, expected in expected_at_random(label).items():
        values = [one[name] for one in metrics]
        assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / np.sqrt(200)), name


def test_a_large_challenge_weighs_as_much_as_a_small_one() -> None:
    challenge = pd.Series(["small"] * 3 + ["large"] * 30)
    label = pd.Series([1.0, 2, 3, *range(30)])
    score = pd.Series([1.0, 2, 3, *range(30, 0, -1)])
    metrics = metrics_by_challenge(challenge, label, score)
    assert metrics["mean"]["spearman"] == pytest.approx(0)
    assert metrics["mean"]["n"] == 33
    assert set(METRICS) < set(metrics["challenges"]["small"])


def test_challenges_that_cannot_be_compared_do_not_count() -> None:
    metrics = metrics_by_challenge(pd.Series(["a", "a", "b"]), pd.Series([1.0, 2, 3]), pd.Series([1.0, 2, 3]))
    assert metrics["mean"]["spearman"] == pytest.approx(1)
    assert metrics["mean"]["challenges"] == 1
