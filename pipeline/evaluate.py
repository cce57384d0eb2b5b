"""How well scores order the clips of a challenge: `metrics.json`. Per challenge, then the mean; never over batches."""

import json
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from pipeline import storage
from pipeline.dataset import read_clips, read_statistics, read_table
from pipeline.labels import TEST, TRAIN, VAL
from pipeline.score import SCORES

METRICS = "metrics.json"
_CORRELATIONS: tuple[tuple[str, Callable], ...] = (("spearman", stats.spearmanr), ("kendall_tau_b", stats.kendalltau))


def evaluate_run(workspace: str, dataset_dir: str, run_dir: str) -> None:
    """Writes metrics.json: by split, by predictor, for each challenge and their mean, what `agreement` returns.

    Predictors are the fused score, each cue alone, the creator's followers alone where any are known, and chance (its
    expectation). A clip counts where the predictor says something of it; `n` says how many do. A number that cannot be
    had is null, and `reason` says why.
    """
    scores = read_table(storage.join(workspace, run_dir, SCORES))
    clips = read_clips(workspace, dataset_dir).set_index("clip_id").loc[scores["clip_id"]]
    predictors = {"fused": scores["score"]}
    predictors |= {name.removeprefix("score_"): scores[name] for name in scores if name.startswith("score_")}
    if clips["followers"].notna().any():
        predictors["followers"] = clips["followers"].astype("Float64").reset_index(drop=True)
    splits = {}
    for split in (TEST, VAL, TRAIN):
        rows = scores["split"] == split
        if split != VAL or rows.any():
            judged = {name: _by_challenge(scores[rows], values[rows]) for name, values in predictors.items()}
            splits[split] = {"clips": int(rows.sum()), "predictors": judged | {"chance": _chance()}}
    metrics = {
        "label": read_statistics(workspace, dataset_dir)["label"]["kind"],
        "note": "test clips are of creators that training did not see; train shows the fit, not the skill",
        "splits": splits,
    }
    text = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
    storage.write_bytes(storage.join(workspace, run_dir, METRICS), text.encode())


def _by_challenge(rows: pd.DataFrame, predicted: pd.Series) -> dict:
    challenges = {}
    for name, group in rows.groupby("challenge"):
        score = predicted.loc[group.index].to_numpy("float64", na_value=np.nan)
        challenges[str(name)] = agreement(score, group["label"].to_numpy("float64"))
    names = ("spearman", "kendall_tau_b", "pairwise_accuracy")
    mean: dict = {"n": sum(found["n"] for found in challenges.values())}
    for name in names:
        values = [found[name] for found in challenges.values() if found[name] is not None]
        mean[name] = float(np.mean(values)) if values else None
    mean["challenges"] = sum(found["spearman"] is not None for found in challenges.values())
    if not mean["challenges"]:
        mean["reason"] = "no challenge has two clips here that can be compared"
    return {"mean": mean, "challenges": challenges}


def _chance() -> dict:
    return {"mean": {"spearman": 0.0, "kendall_tau_b": 0.0, "pairwise_accuracy": 0.5, "note": "expectation"}}


def agreement(score: np.ndarray, label: np.ndarray) -> dict:
    """How the score orders what the label orders. float64 [N] each; clips with a NaN are left out.

    Returns n, spearman, kendall_tau_b, pairwise_accuracy (over pairs whose labels differ; a tie of scores counts half),
    each None where there is nothing to compare, and then `reason`.
    """
    both = np.isfinite(score) & np.isfinite(label)
    score, label = score[both], label[both]
    result: dict = {"n": len(score), "spearman": None, "kendall_tau_b": None, "pairwise_accuracy": None}
    if len(score) < 2:
        return result | {"reason": "fewer than two clips"}
    if np.ptp(label) == 0:
        return result | {"reason": "all labels are equal"}
    result["pairwise_accuracy"] = _pairwise(score, label)
    if np.ptp(score) == 0:
        return result | {"reason": "all scores are equal"}
    for name, measure in _CORRELATIONS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy's, about the p-values of few clips, which are not used
            result[name] = float(measure(score, label).statistic)
    return result


def _pairwise(score: np.ndarray, label: np.ndarray) -> float:
    right = total = 0.0
    for place in range(len(score) - 1):  # a row at a time: 10,000 clips would be 800 MB of pairs
        sign = np.sign(label[place] - label[place + 1 :])
        said = np.sign(score[place] - score[place + 1 :])
        compared = sign != 0
        right += ((said == sign) * 1.0 + (said == 0) * 0.5)[compared].sum()
        total += compared.sum()
    return float(right / total)
