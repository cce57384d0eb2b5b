"""Intervals and tests over creators: as wide as they must be, and significant only where there is a difference."""

import numpy as np
import pytest

from pipeline.metrics.ranking import METRICS, ranking_metrics
from pipeline.metrics.significance import (
    PRIMARY,
    Clips,
    compare,
    draw_creators,
    estimate,
    holm,
    permutation_p,
    weighted_metrics,
)


def clips(creators: int = 60, each: int = 3, seed: int = 0) -> Clips:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(creators), each)
    label = rng.normal(size=creators)[group] + 0.5 * rng.normal(size=len(group))
    return Clips(label, np.array(["shuffle", "wave"])[rng.integers(0, 2, len(group))], group)


def noisy(labelled: Clips, noise: float, seed: int) -> np.ndarray:
    return labelled.label + noise * np.random.default_rng(seed).normal(size=len(labelled.label))


def test_a_resample_gives_what_the_libraries_give_of_the_repeated_clips() -> None:
    rng = np.random.default_rng(0)
    for _ in range(15):
        count = rng.integers(2, 40)
        label, score = (rng.integers(0, rng.integers(2, 50), count).astype(float) for _ in range(2))
        if np.ptp(label) == 0:
            continue
        weights = np.concatenate([np.ones((1, count)), rng.integers(0, 4, (3, count))])
        result = weighted_metrics(score, label, weights)
        for row, copies in enumerate(weights.astype(int)):
            expected = ranking_metrics(np.repeat(score, copies), np.repeat(label, copies))
            # NDCG's gains are those of the clips as they are, so only the first row has the library's.
            for name in METRICS if row == 0 else [name for name in METRICS if name != "ndcg_10"]:
                assert result[name][row] == pytest.approx(_number(expected[name]), abs=1e-9, nan_ok=True), name


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def test_ndcg_of_a_resample_counts_copies_as_clips() -> None:
    label, score = np.array([1.0, 2, 3]), np.array([3.0, 1, 2])
    (result,) = weighted_metrics(score, label, np.array([[2.0, 1, 1]]))["ndcg_10"]
    discounts = 1 / np.log2(np.arange(4) + 2)
    gained, best = (discounts * [0, 0, 1, 0.5]).sum(), (discounts * [1, 0.5, 0, 0]).sum()
    assert result == pytest.approx(gained / best)


def test_creators_are_drawn_whole() -> None:
    labelled = clips()
    draws = draw_creators(labelled.group, 50)
    assert (draws[0] == 1).all()
    for group in np.unique(labelled.group):
        assert (np.ptp(draws[:, labelled.group == group], axis=1) == 0).all()
    assert (draws[:, ::3].sum(1) == 60).all()


def test_the_estimate_lies_in_its_interval_and_the_interval_knows_that_a_creators_clips_are_alike() -> None:
    labelled = clips(each=6)
    score = noisy(labelled, 0.3, 1) + np.random.default_rng(2).normal(size=60)[labelled.group]
    result = estimate(labelled, score, draw_creators(labelled.group, 400))
    for name in METRICS:
        assert result[name].low < result[name].value < result[name].high
    as_if_apart = draw_creators(np.arange(len(score)), 400)
    narrow = estimate(labelled, score, as_if_apart)[PRIMARY]
    assert result[PRIMARY].high - result[PRIMARY].low > 1.3 * (narrow.high - narrow.low)


def test_a_better_predictor_is_found_and_an_equal_one_is_not() -> None:
    labelled = clips()
    good, bad, as_good = noisy(labelled, 0.5, 1), noisy(labelled, 3.0, 2), noisy(labelled, 0.5, 5)
    draws = draw_creators(labelled.group, 400)
    better = compare(labelled, good, bad, draws, 400)
    assert better.by_metric[PRIMARY].low > 0
    assert better.p < 0.01
    assert better.by_metric[PRIMARY].value > better.detectable > 0
    same = compare(labelled, good, as_good, draws, 400)
    assert same.by_metric[PRIMARY].low < 0 < same.by_metric[PRIMARY].high
    assert same.p > 0.05
    back = compare(labelled, bad, good, draws, 400)
    assert back.by_metric[PRIMARY].value == pytest.approx(-better.by_metric[PRIMARY].value)


def test_of_no_difference_p_is_uniform() -> None:
    values = []
    for seed in range(60):
        labelled = clips(creators=30, seed=seed)
        values.append(permutation_p(labelled, noisy(labelled, 1, seed + 100), noisy(labelled, 1, seed + 200), 99))
    assert np.mean(np.array(values) < 0.1) < 0.25
    assert 0.35 < np.mean(values) < 0.65


def test_scales_of_the_two_scores_do_not_matter() -> None:
    labelled = clips()
    one, other = noisy(labelled, 1, 1), noisy(labelled, 2, 2)
    assert permutation_p(labelled, one, other, 200) == permutation_p(labelled, 1000 * one + 7, np.exp(other), 200)


def test_only_clips_that_both_judge_are_compared() -> None:
    labelled = clips()
    half = np.where(np.arange(len(labelled.label)) % 2, np.nan, noisy(labelled, 1, 1))
    result = compare(labelled, noisy(labelled, 1, 2), half, draw_creators(labelled.group, 50), 50)
    assert result.clips == len(labelled.label) / 2


def test_a_predictor_that_says_nothing_gives_no_figure() -> None:
    labelled = clips()
    nothing = np.full(len(labelled.label), np.nan)
    result = compare(labelled, noisy(labelled, 1, 1), nothing, draw_creators(labelled.group, 20), 20)
    assert result.clips == 0
    assert np.isnan([result.p, result.by_metric[PRIMARY].value, result.detectable]).all()


def test_holm_corrects_for_how_many_there_are() -> None:
    assert holm([0.01, 0.04, float("nan"), 0.03]) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


# --- several trainings of a predictor


def test_a_predictor_trained_several_times_is_judged_by_the_mean_of_its_figures() -> None:
    labelled = clips()
    trainings = np.stack([noisy(labelled, noise, seed) for noise, seed in ((0.5, 1), (1.0, 2), (2.0, 3))])
    draws = draw_creators(labelled.group, 100)
    together = estimate(labelled, trainings, draws)
    alone = [estimate(labelled, score, draws) for score in trainings]
    for name in METRICS:
        values = [one[name].value for one in alone]
        assert together[name].value == pytest.approx(np.mean(values))
        assert together[name].spread == pytest.approx(np.std(values, ddof=1))
        assert np.isnan(alone[0][name].spread)
    # The interval is of the mean in the same resamples, not the mean of intervals.
    width = together[PRIMARY].high - together[PRIMARY].low
    assert 0 < width < np.mean([one[PRIMARY].high - one[PRIMARY].low for one in alone])


def test_one_training_as_a_list_is_the_training() -> None:
    labelled = clips()
    one, other = noisy(labelled, 1, 1), noisy(labelled, 2, 2)
    draws = draw_creators(labelled.group, 100)
    assert compare(labelled, one[None], other[None], draws, 100).by_metric[PRIMARY].value == pytest.approx(
        compare(labelled, one, other, draws, 100).by_metric[PRIMARY].value
    )
    assert permutation_p(labelled, one[None], other[None], 200) == permutation_p(labelled, one, other, 200)


def test_trainings_are_compared_one_by_one() -> None:
    """What two predictors share in a training is no difference between them."""
    labelled = clips()
    luck = np.stack([3 * np.random.default_rng(seed).normal(size=len(labelled.label)) for seed in range(3)])
    first = labelled.label + luck
    second = first + 0.3 * np.random.default_rng(9).normal(size=luck.shape)
    draws = draw_creators(labelled.group, 100)
    paired, mixed = (compare(labelled, first, order, draws, 100) for order in (second, second[[1, 2, 0]]))
    assert paired.by_metric[PRIMARY].spread < mixed.by_metric[PRIMARY].spread / 2
    assert paired.by_metric[PRIMARY].value == pytest.approx(mixed.by_metric[PRIMARY].value), "the same figures"


def test_a_small_difference_that_all_trainings_show_is_found_sooner() -> None:
    labelled = clips(creators=30)
    draws = draw_creators(labelled.group, 200)
    good, bad = (np.stack([noisy(labelled, noise, 10 * seed) for seed in range(1, 6)]) for noise in (1.0, 1.5))
    alone = [compare(labelled, *pair, draws, 400) for pair in zip(good, bad[::-1], strict=True)]
    together = compare(labelled, good, bad[::-1], draws, 400)
    assert together.p < np.median([one.p for one in alone])
    assert together.detectable < min(one.detectable for one in alone)


def test_a_clip_that_one_training_says_nothing_of_is_left_out_of_all() -> None:
    labelled = clips()
    score, other = (np.stack([noisy(labelled, 1, seed) for seed in seeds]) for seeds in ((1, 2), (3, 4)))
    score[1, :60] = np.nan
    result = compare(labelled, score, other, draw_creators(labelled.group, 50), 50)
    assert result.clips == len(labelled.label) - 60
    kept = Clips(labelled.label[60:], labelled.challenge[60:], labelled.group[60:])
    alone = compare(kept, score[:, 60:], other[:, 60:], draw_creators(kept.group, 50), 50)
    assert result.by_metric[PRIMARY].value == pytest.approx(alone.by_metric[PRIMARY].value)
