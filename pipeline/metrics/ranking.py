"""How well scores order the clips of one challenge. The mean is over challenges, never over batches."""

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
    """Where each value stands among those of its challenge, 0..1, ties in the middle; NaN where there is none."""
    by_challenge = values.astype("float64").groupby(challenge)
    return (by_challenge.rank(method="average") - 0.5) / by_challenge.transform("count")


def agreement(score: np.ndarray, label: np.ndarray) -> dict:
    """How the score orders what the label orders. float64 [N] each; clips with a NaN are left out.

    Returns:
        n; and, each None where there is nothing to compare, and then `reason`:
        spearman, kendall_tau_b: -1..1 (scipy).
        pairwise_accuracy: 0..1 over pairs whose labels differ; a tie of scores counts half.
        ndcg_10: 0..1, NDCG of the first ten (Järvelin and Kekäläinen 2002, scikit-learn: linear gain, ties averaged);
            a clip's gain is its label's `relevance`. A random order has more than 0: see `expected_at_random`.
        top_decile_precision: 0..1, the share of the tenth of clips scored highest that are in the label's top tenth;
            ties at the edge count with their chance of being in.
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


def by_challenge(challenge: pd.Series, label: pd.Series, score: pd.Series) -> dict:
    """`agreement` of each challenge's clips, and their mean; series of one index, missing is NA.

    Returns:
        challenges: by name. mean: n (clips compared), the metrics (mean over the challenges that have one), challenges
        (how many have a Spearman), reason where none has.
    """
    challenges = {}
    for name, group in challenge.groupby(challenge):
        rows = group.index
        challenges[str(name)] = agreement(
            score.loc[rows].to_numpy("float64", na_value=np.nan), label.loc[rows].to_numpy("float64", na_value=np.nan)
        )
    mean: dict = {"n": sum(found["n"] for found in challenges.values())}
    for name in METRICS:
        values = [found[name] for found in challenges.values() if found[name] is not None]
        mean[name] = float(np.mean(values)) if values else None
    mean["challenges"] = sum(found["spearman"] is not None for found in challenges.values())
    if not mean["challenges"]:
        mean["reason"] = "no challenge has two clips here that can be compared"
    return {"mean": mean, "challenges": challenges}


def expected_at_random(label: np.ndarray) -> dict[str, float]:
    """Each metric's expectation for a random order of the clips; label float64 [N], finite, two of them different."""
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
    """float64 [N], 0..1: the share of the other clips that a clip's label is above, ties half. label: finite, N > 1."""
    return (stats.rankdata(label) - 1) / (len(label) - 1)


def top_count(clips: int) -> int:
    """How many clips the top decile of so many has, at least 1."""
    return max(1, math.ceil(TOP_SHARE * clips))


def in_top(values: np.ndarray) -> np.ndarray:
    """float64 [N], 0..1: the chance of being among the highest `top_count`, when ties are broken by lot."""
    room = top_count(len(values))
    edge = np.sort(values)[-room]
    above, tied = values > edge, values == edge
    return np.where(above, 1.0, np.where(tied, (room - above.sum()) / tied.sum(), 0.0))


def _pairwise(score: np.ndarray, label: np.ndarray) -> float:
    right = total = 0.0
    for place in range(len(score) - 1):  # a row at a time: 10,000 clips would be 800 MB of pairs
        sign = np.sign(label[place] - label[place + 1 :])
        said = np.sign(score[place] - score[place + 1 :])
        compared = sign != 0
        right += ((said == sign) * 1.0 + (said == 0) * 0.5)[compared].sum()
        total += compared.sum()
    return float(right / total)
