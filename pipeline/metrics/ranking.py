"""Ranking metrics within a challenge. Their mean is over challenges, never over batches."""

import math
import warnings
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import ndcg_score

METRICS = ("spearman", "pairwise_accuracy", "kendall_tau_b", "ndcg_10", "top_decile_precision")
NDCG_AT = 10
TOP_SHARE = 0.1  # of a challenge's clips, rounded up: what `top_decile_precision` looks for
Columns = TypeVar("Columns", pd.Series, pd.DataFrame)


def percentile_within(values: Columns, challenge: pd.Series) -> Columns:
    """Percentile of each value among those of its challenge, 0..1, ties in the middle; NaN where a value is missing."""
    metrics_by_challenge = values.astype("float64").groupby(challenge)
    return (metrics_by_challenge.rank(method="average") - 0.5) / metrics_by_challenge.transform("count")


def ranking_metrics(score: np.ndarray, label: np.ndarray) -> dict:
    """Ranking metrics of one challenge. score, label: float64 [N]; clips with a NaN are left out.

    Returns:
        n, the clips compared; and the metrics, each None where it is undefined, and then `reason`:
        spearman, kendall_tau_b: -1..1 (scipy).
        pairwise_accuracy: 0..1 over pairs whose labels differ; a tie of scores counts half.
        ndcg_10: 0..1, NDCG of the first ten (Järvelin and Kekäläinen 2002, scikit-learn: linear gain, ties averaged);
            a clip's gain is its label's `relevance`. A random order has more than 0: see `expected_at_random`.
        top_decile_precision: 0..1, share of the top tenth by score that are in the top tenth by label; ties at the
            edge count with their chance of being in.
    """
    both = np.isfinite(score) & np.isfinite(label)
    score, label = score[both], label[both]
    result: dict = {"n": len(score)} | dict.fromkeys(METRICS)
    if len(score) < 2:
        return result | {"reason": "fewer than two clips"}
    if np.ptp(label) == 0:
        return result | {"reason": "all labels are equal"}
    result["pairwise_accuracy"] = _pairwise(score, label)
    result["ndcg_10"] = float(ndcg_score(relevance(label)[None], score[None], k=NDCG_AT))
    result["top_decile_precision"] = float((in_top(score) * in_top(label)).sum() / top_count(len(score)))
    if np.ptp(score) == 0:
        return result | {"reason": "all scores are equal"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, about the p-values of few clips, which are not used
        result["spearman"] = float(stats.spearmanr(score, label).statistic)
        result["kendall_tau_b"] = float(stats.kendalltau(score, label).statistic)
    return result


def metrics_by_challenge(challenge: pd.Series, label: pd.Series, score: pd.Series) -> dict:
    """`ranking_metrics` of each challenge, and their mean. Series of one index; NA where missing.

    Returns:
        challenges: by name. mean: n (clips compared), the metrics (mean over the challenges that have one), challenges
        (how many have a Spearman), reason where none has.
    """
    challenges = {}
    for name, group in challenge.groupby(challenge):
        rows = group.index
        challenges[str(name)] = ranking_metrics(
            score.loc[rows].to_numpy("float64", na_value=np.nan), label.loc[rows].to_numpy("float64", na_value=np.nan)
        )
    mean: dict = {"n": sum(metrics["n"] for metrics in challenges.values())}
    for name in METRICS:
        values = [metrics[name] for metrics in challenges.values() if metrics[name] is not None]
        mean[name] = float(np.mean(values)) if values else None
    mean["challenges"] = sum(metrics["spearman"] is not None for metrics in challenges.values())
    if not mean["challenges"]:
        mean["reason"] = "no challenge has two clips here that can be compared"
    return {"mean": mean, "challenges": challenges}


def expected_at_random(label: np.ndarray) -> dict[str, float]:
    """Expectation of each metric for a random order of the clips. label: float64 [N], finite, not all equal."""
    gains = relevance(label)
    places = min(NDCG_AT, len(gains))
    discounts = 1 / np.log2(np.arange(places) + 2)
    best = (np.sort(gains)[::-1][:places] * discounts).sum()
    return {
        "spearman": 0.0,
        "pairwise_accuracy": 0.5,
        "kendall_tau_b": 0.0,
        "ndcg_10": float(gains.mean() * discounts.sum() / best),
        "top_decile_precision": top_count(len(gains)) / len(gains),
    }


def relevance(label: np.ndarray) -> np.ndarray:
    """Graded relevance, float64 [N]: share of the other clips whose label is lower, ties half. label: finite, N > 1."""
    return (stats.rankdata(label) - 1) / (len(label) - 1)


def top_count(clips: int) -> int:
    """Size of the top decile of so many clips, at least 1."""
    return max(1, math.ceil(TOP_SHARE * clips))


def in_top(values: np.ndarray) -> np.ndarray:
    """Probability of each value, float64 [N], to be among the highest `top_count` when ties are broken at random."""
    size = top_count(len(values))
    edge = np.sort(values)[-size]
    above, tied = values > edge, values == edge
    return np.where(above, 1.0, np.where(tied, (size - above.sum()) / tied.sum(), 0.0))


def _pairwise(score: np.ndarray, label: np.ndarray) -> float:
    concordant = total = 0.0
    for place in range(len(score) - 1):  # a row at a time: 10,000 clips would be 800 MB of pairs
        expected = np.sign(label[place] - label[place + 1 :])
        predicted = np.sign(score[place] - score[place + 1 :])
        compared = expected != 0
        concordant += ((predicted == expected) * 1.0 + (predicted == 0) * 0.5)[compared].sum()
        total += compared.sum()
    return float(concordant / total)
