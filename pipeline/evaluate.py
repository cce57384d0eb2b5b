"""How well scores order the clips of a challenge: `metrics.json`. Per challenge, then the mean; never over batches."""

import json
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from scipy import stats

from models.config import VdvConfig
from pipeline import storage
from pipeline.crossval import cross_validate
from pipeline.dataset import read_clips, read_statistics, read_table
from pipeline.errors import DataError
from pipeline.labels import TEST, TRAIN, VAL
from pipeline.run_files import FOLDS, METRICS, SCORES
from pipeline.train import RUN

RESAMPLES = 1000  # of creators; the ends of a 95 % interval then hold to about a hundredth
_CORRELATIONS: tuple[tuple[str, Callable], ...] = (("spearman", stats.spearmanr), ("kendall_tau_b", stats.kendalltau))


def evaluate_run(
    workspace: str,
    dataset_dir: str,
    run_dir: str,
    device: torch.device | None = None,
    folds: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes metrics.json: by split, by predictor, for each challenge and their mean, what `agreement` returns.

    Predictors are the fused score, each cue alone, the creator's followers alone where any are known, and chance (its
    expectation). A clip counts where the predictor says something of it; `n` says how many do. A number that cannot be
    had is null, and `reason` says why.

    Args:
        folds: the whole training is judged by so many folds, too (see crossval.cross_validate, which takes the others):
            `folds` of metrics.json then holds what `judge_folds` returns, and folds.parquet the scores. 0: it is not.
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
    if folds:
        device = device or torch.device("cpu")
        metrics["folds"] = _folds(workspace, dataset_dir, run_dir, device, folds, workers, progress)
    text = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
    storage.write_bytes(storage.join(workspace, run_dir, METRICS), text.encode())


def _folds(
    workspace: str,
    dataset_dir: str,
    run_dir: str,
    device: torch.device,
    folds: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict:
    """The section `folds` of metrics.json; too few clips or creators to cross-validate are no error of the run."""
    run = json.loads(storage.read_bytes(storage.join(workspace, run_dir, RUN)))
    config = VdvConfig.from_dict(run["config"])
    try:
        judged = cross_validate(workspace, dataset_dir, config, device, folds, workers, progress)
    except DataError as error:
        return {"clips": 0, "predictors": {}, "reason": str(error)}
    with storage.staged(storage.join(workspace, run_dir, FOLDS)) as path:
        judged.to_parquet(path, index=False)
    return {"folds": int(judged["fold"].nunique()), "clips": len(judged), "predictors": judge_folds(judged)}


def judge_folds(judged: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> dict:
    """How well a cross-validation's scores order the clips of a challenge.

    The folds of a challenge are judged together, a fold's scores in units of their own spread, for the folds' models
    have scales of their own. Clips of one creator are alike, so the interval is a bootstrap over creators.

    Args:
        judged: as crossval.cross_validate gives it.
        resamples: of the bootstrap.

    Returns:
        By predictor (fused, each cue): what `evaluate_run` writes of a split, and in `mean` beside it spearman_95, the
        ends of the interval of the mean Spearman; None where the mean is None.
    """
    rng = np.random.default_rng(seed)
    of_group = [np.flatnonzero(judged["group"] == group) for group in judged["group"].unique()]
    draws = [
        np.concatenate([of_group[at] for at in rng.integers(0, len(of_group), len(of_group))]) for _ in range(resamples)
    ]
    challenge, label = judged["challenge"].to_numpy(str), judged["label"].to_numpy(float)
    found = {}
    for name in (column for column in judged if column == "score" or column.startswith("score_")):
        by_fold = judged.groupby("fold")[name]
        spread = by_fold.transform("std").replace(0, np.nan)
        score = ((judged[name].astype(float) - by_fold.transform("mean")) / spread).where(spread.notna(), judged[name])
        agreed = _by_challenge(judged, score)
        ends = None
        if agreed["mean"]["spearman"] is not None:
            values = score.to_numpy(float)
            means = [_mean_spearman(values[rows], label[rows], challenge[rows]) for rows in draws]
            ends = [float(end) for end in np.nanquantile(means, (0.025, 0.975))]
        agreed["mean"]["spearman_95"] = ends
        found["fused" if name == "score" else name.removeprefix("score_")] = agreed
    return found


def _mean_spearman(score: np.ndarray, label: np.ndarray, challenge: np.ndarray) -> float:
    """Mean over challenges; NaN where none has two clips that differ."""
    found = []
    for name in np.unique(challenge):
        rows = (challenge == name) & np.isfinite(score) & np.isfinite(label)
        ranks = [stats.rankdata(values[rows]) for values in (score, label)]
        if rows.sum() > 1 and all(np.ptp(rank) > 0 for rank in ranks):
            found.append(np.corrcoef(*ranks)[0, 1])
    return float(np.mean(found)) if found else float("nan")


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
