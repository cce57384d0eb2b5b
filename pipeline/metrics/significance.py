"""Bootstrap intervals and permutation tests of ranking metrics, over creators.

Clips of one creator are alike, so creators are resampled (bootstrap) and swapped (permutation), not clips.

Scores are float64 [N]; or [S, N] of a predictor trained with S seeds, whose metrics are the mean of its trainings'.
NaN: the predictor has no score of the clip. Intervals are of that mean and cover the choice of clips; the standard
deviation between trainings is `Estimate.spread`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.metrics.ranking import METRICS, NDCG_AT, TOP_SHARE, relevance

RESAMPLES = 1000  # of creators; the ends of a 95 % interval are then exact to about a hundredth
PERMUTATIONS = 2000
_SEED = 0  # of both
PRIMARY = "spearman"  # the metric that differences are tested in; fixed before anything was measured
# A true difference of so many standard errors is significant at 5 %, two-sided, with a power of 80 %.
_DETECTABLE_ERRORS = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
_CHUNK = 1 << 22  # values of permuted scores in memory at a time


@dataclass(frozen=True)
class Clips:
    """N labelled clips on which predictors are evaluated."""

    label: np.ndarray  # float64 [N] finite
    challenge: np.ndarray  # str [N]
    group: np.ndarray  # int64 [N] the same for a creator's clips and for copies of a file


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval; all NaN where it is defined in no challenge."""

    value: float
    low: float
    high: float
    spread: float = math.nan  # standard deviation over trainings; NaN of a single one


@dataclass(frozen=True)
class Difference:
    """First predictor less second, on the clips that both score; paired by training where there are several."""

    clips: int
    by_metric: dict[str, Estimate]
    p: float  # of the primary metric: two-sided paired permutation over creators; NaN where it is undefined
    detectable: float  # smallest detectable difference of the primary metric (5 %, power 80 %)


def draw_creators(group: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray:
    """Counts of each clip in each resample of creators, float64 [resamples + 1, N]; in the first row 1."""
    _, place = np.unique(group, return_inverse=True)
    count = int(place.max(initial=-1)) + 1
    drawn = np.random.default_rng(_SEED).multinomial(count, np.full(count, 1 / max(count, 1)), resamples)
    return np.concatenate([np.ones((1, len(group))), drawn[:, place]])


def estimate(clips: Clips, score: np.ndarray, draws: np.ndarray) -> dict[str, Estimate]:
    """Mean of each metric over challenges, with its bootstrap interval.

    score: float64 [N] or [S, N]. draws: from `draw_creators`.
    """
    return estimate_several([(clips, score)], draws)


def estimate_several(trainings: Sequence[tuple[Clips, np.ndarray]], draws: np.ndarray) -> dict[str, Estimate]:
    """`estimate` of several trainings, averaged, with labels of their own: of each, the same clips, and the score."""
    means = [_mean_metrics(clips, score, draws) for clips, score in trainings]
    return {name: _interval(np.concatenate([one[name] for one in means])) for name in METRICS}


def compare(
    clips: Clips, first: np.ndarray, second: np.ndarray, draws: np.ndarray, permutations: int = PERMUTATIONS
) -> Difference:
    """Difference between two predictors. first, second: scores, float64 [N] or [S, N], of one shape."""
    both = (np.isfinite(first) & np.isfinite(second)).reshape(-1, len(clips.label)).all(0)
    one, other = (_mean_metrics(clips, np.where(both, score, np.nan), draws) for score in (first, second))
    by_metric = {name: _interval(one[name] - other[name]) for name in METRICS}
    resampled = (one[PRIMARY] - other[PRIMARY]).mean(0)[1:]
    error = np.std(resampled[np.isfinite(resampled)], ddof=1) if np.isfinite(resampled).sum() > 1 else np.nan
    kept = Clips(clips.label[both], clips.challenge[both], clips.group[both])
    p = permutation_p(kept, first[..., both], second[..., both], permutations)
    return Difference(int(both.sum()), by_metric, p, float(_DETECTABLE_ERRORS * error))


def permutation_p(clips: Clips, first: np.ndarray, second: np.ndarray, permutations: int) -> float:
    """Two-sided p of no difference in mean Spearman, by swapping the two scores of randomly chosen creators.

    Scores, [N] or [S, N] and finite, become ranks within the challenge, so that they can be swapped. Of several
    trainings the mean difference is tested; a creator is swapped in all of them. The p of B random permutations is
    (1 + as large) / (1 + B) (Phipson and Smyth 2010). NaN: no challenge can be compared.
    """
    creators, place = np.unique(clips.group, return_inverse=True)
    swaps = np.random.default_rng(_SEED).integers(0, 2, (permutations + 1, len(creators)), dtype=np.int8)
    swaps[0] = 0  # the scores as they are
    differences = np.zeros(permutations + 1)
    challenges = 0
    for rows in _challenges(clips):
        label = _standard(stats.rankdata(clips.label[rows])[None])
        # [trainings, 2, clips]
        ranks = np.stack([stats.rankdata(np.atleast_2d(score)[:, rows], axis=1) for score in (first, second)], 1)
        if len(rows) < 2 or np.isnan(label).any() or (np.ptp(ranks, axis=2) == 0).any():
            continue
        challenges += 1
        size = max(1, _CHUNK // len(rows))
        for start in range(0, len(differences), size):
            swapped = swaps[start : start + size, place[rows]]  # a creator is swapped in every challenge or in none
            for one, other in ranks:
                sides = [np.where(swapped == side, one, other) for side in (0, 1)]
                rho = [(_standard(stats.rankdata(side, axis=1)) * label).sum(1) for side in sides]
                differences[start : start + size] += (np.nan_to_num(rho[0]) - np.nan_to_num(rho[1])) / len(ranks)
    if not challenges:
        return float("nan")
    as_large = np.abs(differences[1:]) >= abs(differences[0]) - 1e-12
    return float((1 + as_large.sum()) / (1 + permutations))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for multiple comparisons (Holm 1979). NaN stays NaN."""
    values = np.asarray(p_values, float)
    corrected = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * (len(order) - np.arange(len(order)))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return corrected.tolist()


def _interval(values: np.ndarray) -> Estimate:
    """values: [S, 1 + R] of S trainings, on the clips as they are and on R resamples."""
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
    """Mean of each metric over the challenges that have one, [S, draws]; NaN where none has."""
    trainings = [_mean_of_training(clips, of_training, draws) for of_training in np.atleast_2d(score)]
    return {name: np.stack([training[name] for training in trainings]) for name in METRICS}


def _mean_of_training(clips: Clips, score: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
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
    """`ranking.ranking_metrics` of one challenge in many resamples.

    Each equals that of the clips repeated as often as the resample has them; only the gain of NDCG stays that of the
    clips as they are. All resamples at once: a table needs hundreds of thousands.

    Args:
        score, label: float64 [N], finite, N at least 2.
        weights: float64 [R, N], whole numbers from 0.

    Returns:
        By metric, float64 [R]; NaN where it is undefined.
    """
    predicted, actual = _weighted_ranks(score, weights), _weighted_ranks(label, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        spearman = _weighted_correlation(predicted, actual, weights)
        order, truth = (np.sign(values[:, None] - values[None, :]) for values in (score, label))
        agreed, label_differs, score_differs = (
            ((weights @ signs) * weights).sum(1) for signs in (order * truth, truth**2, order**2)
        )  # over ordered pairs
        tau = agreed / np.sqrt(label_differs * score_differs)
        pairs = 0.5 + agreed / (2 * label_differs)
        gains = relevance(label)
        ndcg = _discounted(score, gains, weights) / _discounted(gains, gains, weights)
        size = np.maximum(1, np.ceil(np.round(TOP_SHARE * weights.sum(1), 9)))
        top = (_weighted_top(score, weights, size) * _weighted_top(label, weights, size) * weights).sum(1) / size
    all_tied = score_differs == 0
    values = {
        "spearman": np.where(all_tied, np.nan, spearman), "pairwise_accuracy": pairs,
        "kendall_tau_b": np.where(all_tied, np.nan, tau), "ndcg_10": ndcg, "top_decile_precision": top,
    }  # fmt: skip
    return {name: np.where(label_differs > 0, values[name], np.nan) for name in METRICS}


def _blocks(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks of equal values, highest first: the block of each of N [N], weight before and in each block [R, K]."""
    _, block = np.unique(-values, return_inverse=True)
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.diff(block[order], prepend=-1))
    inside = np.add.reduceat(weights[:, order], starts, axis=1)
    return block, np.cumsum(inside, axis=1) - inside, inside


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean rank of the copies of each value, [R, N]."""
    block, before, inside = _blocks(values, weights)
    return -(before + (inside + 1) / 2)[:, block]


def _weighted_correlation(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(1, keepdims=True)
    one, other = (side - (side * weights).sum(1, keepdims=True) / total for side in (one, other))
    covariance, *variances = ((product * weights).sum(1) for product in (one * other, one**2, other**2))
    return covariance / np.sqrt(variances[0] * variances[1])


def _discounted(score: np.ndarray, gains: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """DCG of the first NDCG_AT places, [R]; tied clips share the discounts of their places."""
    block, before, inside = _blocks(score, weights)
    reached = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(NDCG_AT) + 2))])
    first, last = (np.minimum(places, NDCG_AT).astype(int) for places in (before, before + inside))
    share = (reached[last] - reached[first]) / np.maximum(inside, 1)
    return (share[:, block] * weights * gains).sum(1)


def _weighted_top(values: np.ndarray, weights: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Probability of a copy to be among the `size` [R] highest, [R, N]."""
    block, before, inside = _blocks(values, weights)
    return (np.clip(size[:, None] - before, 0, inside) / np.maximum(inside, 1))[:, block]


def _standard(ranks: np.ndarray) -> np.ndarray:
    """Rows centred and scaled to length 1, whose products are correlations; NaN for a constant row."""
    centred = ranks - ranks.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)
