"""Whether one predictor is better than another, or than chance: intervals and tests over creators.

Clips of one creator are alike, so creators are what is drawn anew (bootstrap) and what changes sides (permutation).

A predictor that was trained S times, with as many seeds, is judged by the mean of its trainings' figures: scores are
float64 [N], or [S, N] of S trainings; NaN: says nothing. Intervals then are of that mean. They speak of the clips; how
far trainings lie apart is `Estimate.spread`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.metrics.ranking import METRICS, NDCG_AT, TOP_SHARE, relevance

RESAMPLES = 1000  # of creators; the ends of a 95 % interval then hold to about a hundredth
PERMUTATIONS = 2000
PRIMARY = "spearman"  # the metric that differences are tested in; fixed before anything was measured
# A true difference this many standard errors wide is found at 5 %, two-sided, in 80 of 100 repetitions.
_DETECTABLE_ERRORS = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
_CHUNK = 1 << 22  # numbers at a time, of permutations


@dataclass(frozen=True)
class Clips:
    """What predictors are judged on: N clips with a label."""

    label: np.ndarray  # float64 [N] finite
    challenge: np.ndarray  # str [N]
    group: np.ndarray  # int64 [N] one number for a creator's clips and for copies of a file


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; all NaN where no challenge can be judged."""

    value: float
    low: float
    high: float
    spread: float = math.nan  # standard deviation over trainings; NaN: there is one


@dataclass(frozen=True)
class Difference:
    """First predictor less second, on the clips that both judge; training by training, where there are several."""

    clips: int
    by_metric: dict[str, Estimate]
    p: float  # of the primary metric: two-sided paired permutation over creators; NaN where nothing can be compared
    detectable: float  # the least true difference of the primary metric that these clips would show (5 %, power 80 %)


def draw_creators(group: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """float64 [resamples + 1, N]: how often a clip is in each resample of creators; in the first, every clip once."""
    _, place = np.unique(group, return_inverse=True)
    count = int(place.max(initial=-1)) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / max(count, 1)), resamples)
    return np.concatenate([np.ones((1, len(group))), drawn[:, place]])


def estimate(clips: Clips, score: np.ndarray, draws: np.ndarray) -> dict[str, Estimate]:
    """Each metric's mean over challenges with its bootstrap interval; score float64 [N] or [S, N].

    draws: as draw_creators gives it.
    """
    return estimate_several([(clips, score)], draws)


def estimate_several(judged: Sequence[tuple[Clips, np.ndarray]], draws: np.ndarray) -> dict[str, Estimate]:
    """The same of several trainings, averaged, whose labels differ: each its clips, the same ones, and its score."""
    means = [_mean_metrics(clips, score, draws) for clips, score in judged]
    return {name: _interval(np.concatenate([one[name] for one in means])) for name in METRICS}


def compare(
    clips: Clips,
    first: np.ndarray,
    second: np.ndarray,
    draws: np.ndarray,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Difference:
    """How much better `first` orders the clips than `second`; scores float64 [N] or [S, N], both of one shape."""
    both = (np.isfinite(first) & np.isfinite(second)).reshape(-1, len(clips.label)).all(0)
    one, other = (_mean_metrics(clips, np.where(both, score, np.nan), draws) for score in (first, second))
    by_metric = {name: _interval(one[name] - other[name]) for name in METRICS}
    resampled = (one[PRIMARY] - other[PRIMARY]).mean(0)[1:]
    error = np.std(resampled[np.isfinite(resampled)], ddof=1) if np.isfinite(resampled).sum() > 1 else np.nan
    kept = Clips(clips.label[both], clips.challenge[both], clips.group[both])
    p = permutation_p(kept, first[..., both], second[..., both], permutations, seed)
    return Difference(int(both.sum()), by_metric, p, float(_DETECTABLE_ERRORS * error))


def permutation_p(clips: Clips, first: np.ndarray, second: np.ndarray, permutations: int, seed: int = 0) -> float:
    """Two-sided p of no difference in mean Spearman: for each creator at random, the two scores change places.

    Scores, [N] or [S, N], are taken as ranks within the challenge, so that they can. Of several trainings the mean
    difference is tested; a creator changes sides in all of them. The p of B random permutations is
    (1 + as large) / (1 + B) (Phipson and Smyth 2010). Scores must be finite. NaN: no challenge can be compared.
    """
    creators, place = np.unique(clips.group, return_inverse=True)
    swaps = np.random.default_rng(seed).integers(0, 2, (permutations + 1, len(creators)), dtype=np.int8)
    swaps[0] = 0  # as it was
    found = np.zeros(permutations + 1)
    challenges = 0
    for rows in _challenges(clips):
        label = _standard(stats.rankdata(clips.label[rows])[None])
        # [trainings, 2, clips]
        ranks = np.stack([stats.rankdata(np.atleast_2d(score)[:, rows], axis=1) for score in (first, second)], 1)
        if len(rows) < 2 or np.isnan(label).any() or (np.ptp(ranks, axis=2) == 0).any():
            continue
        challenges += 1
        size = max(1, _CHUNK // len(rows))
        for start in range(0, len(found), size):
            swapped = swaps[start : start + size, place[rows]]  # a creator's side is the same in every challenge
            for one, other in ranks:
                sides = [np.where(swapped == side, one, other) for side in (0, 1)]
                rho = [(_standard(stats.rankdata(side, axis=1)) * label).sum(1) for side in sides]
                found[start : start + size] += (np.nan_to_num(rho[0]) - np.nan_to_num(rho[1])) / len(ranks)
    if not challenges:
        return float("nan")
    as_large = np.abs(found[1:]) >= abs(found[0]) - 1e-12
    return float((1 + as_large.sum()) / (1 + permutations))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being many (Holm 1979): each holds with the error rate of the family. NaN stays NaN."""
    given = np.asarray(p_values, float)
    corrected = np.full(len(given), np.nan)
    known = np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    steps = given[order] * (len(order) - np.arange(len(order)))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return corrected.tolist()


def _interval(values: np.ndarray) -> Estimate:
    """values [S, 1 + R] of S trainings: as it is, then resampled."""
    mean = values.mean(0)
    resampled = mean[1:][np.isfinite(mean[1:])]
    if not np.isfinite(mean[0]) or not len(resampled):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(resampled, (0.025, 0.975))
    spread = float(np.std(values[:, 0], ddof=1)) if len(values) > 1 else math.nan
    return Estimate(float(mean[0]), float(low), float(high), spread)


def _challenges(clips: Clips) -> Iterator[np.ndarray]:
    for name in np.unique(clips.challenge):
        yield np.flatnonzero(clips.challenge == name)


def _mean_metrics(clips: Clips, score: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    """[S, draws] of each metric's mean over the challenges that have one; NaN where none has."""
    trainings = [_of_training(clips, one, draws) for one in np.atleast_2d(score)]
    return {name: np.stack([training[name] for training in trainings]) for name in METRICS}


def _of_training(clips: Clips, score: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    sums = {name: np.zeros(len(draws)) for name in METRICS}
    counts = {name: np.zeros(len(draws)) for name in METRICS}
    for rows in _challenges(clips):
        rows = rows[np.isfinite(score[rows])]
        if len(rows) < 2:
            continue
        for name, values in weighted_metrics(score[rows], clips.label[rows], draws[:, rows]).items():
            defined = np.isfinite(values)
            sums[name] += np.where(defined, values, 0.0)
            counts[name] += defined
    return {name: np.where(counts[name] > 0, sums[name] / np.maximum(counts[name], 1), np.nan) for name in METRICS}


def weighted_metrics(score: np.ndarray, label: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """What ranking_metrics.agreement gives of one challenge, for many resamples at once.

    Each equals that of the clips repeated as often as the resample has them; only the gain of NDCG stays that of the
    clips as they are. All resamples at once, for a table asks for hundreds of thousands.

    Args:
        score, label: float64 [N], finite, N at least 2.
        weights: float64 [R, N], whole numbers from 0.

    Returns:
        By metric, float64 [R]; NaN where there is nothing to compare.
    """
    said, right = _weighted_ranks(score, weights), _weighted_ranks(label, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        spearman = _weighted_correlation(said, right, weights)
        order, truth = (np.sign(values[:, None] - values[None, :]) for values in (score, label))
        agreed, compared, told = (
            ((weights @ signs) * weights).sum(1) for signs in (order * truth, truth**2, order**2)
        )  # over ordered pairs
        tau = agreed / np.sqrt(compared * told)
        pairs = 0.5 + agreed / (2 * compared)
        gains = relevance(label)
        ndcg = _discounted(score, gains, weights) / _discounted(gains, gains, weights)
        room = np.maximum(1, np.ceil(np.round(TOP_SHARE * weights.sum(1), 9)))
        top = (_weighted_top(score, weights, room) * _weighted_top(label, weights, room) * weights).sum(1) / room
    something = compared > 0
    nothing_said = told == 0
    values = {
        "spearman": np.where(nothing_said, np.nan, spearman), "pairwise_accuracy": pairs,
        "kendall_tau_b": np.where(nothing_said, np.nan, tau), "ndcg_10": ndcg, "top_decile_precision": top,
    }  # fmt: skip
    return {name: np.where(something, values[name], np.nan) for name in METRICS}


def _blocks(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Highest first: the block of equal values that each of N is in [N], and weight before and in each block [R, K]."""
    _, block = np.unique(-values, return_inverse=True)
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.diff(block[order], prepend=-1))
    inside = np.add.reduceat(weights[:, order], starts, axis=1)
    return block, np.cumsum(inside, axis=1) - inside, inside


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[R, N] the mean rank of each value's copies."""
    block, before, inside = _blocks(values, weights)
    return -(before + (inside + 1) / 2)[:, block]


def _weighted_correlation(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(1, keepdims=True)
    one, other = (side - (side * weights).sum(1, keepdims=True) / total for side in (one, other))
    shared, own, others = ((product * weights).sum(1) for product in (one * other, one**2, other**2))
    return shared / np.sqrt(own * others)


def _discounted(score: np.ndarray, gains: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[R] DCG of the first places; the clips of a tie share the discounts of its places."""
    block, before, inside = _blocks(score, weights)
    reached = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(NDCG_AT) + 2))])
    first, last = (np.minimum(places, NDCG_AT).astype(int) for places in (before, before + inside))
    share = (reached[last] - reached[first]) / np.maximum(inside, 1)
    return (share[:, block] * weights * gains).sum(1)


def _weighted_top(values: np.ndarray, weights: np.ndarray, room: np.ndarray) -> np.ndarray:
    """[R, N] the chance of a copy to be among the `room` [R] highest."""
    block, before, inside = _blocks(values, weights)
    return (np.clip(room[:, None] - before, 0, inside) / np.maximum(inside, 1))[:, block]


def _standard(ranks: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1, whose products are correlations; NaN for a row without spread."""
    centred = ranks - ranks.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)
