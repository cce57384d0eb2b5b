"""Evaluation of a run: `folds.parquet`, `metrics.json` and the tables beside them."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch

from models.virality.config import VdvConfig
from pipeline.cluster.connection import Cluster
from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import TEST, TRAIN, VAL
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.evaluation.predictors import CHANCE, SCORE, predictor_id
from pipeline.evaluation.tables import as_json, as_text, clips_of, comparison_table, interval, on_one_scale
from pipeline.files.checksums import json_bytes
from pipeline.metrics.ranking import metrics_by_challenge
from pipeline.metrics.significance import PRIMARY, RESAMPLES, draw_creators, estimate
from pipeline.runs.run import FOLDS, FOLDS_ABOUT, METRICS, RUN, SCORES, TABLE, Run
from pipeline.scoring.intervals import coverage_of_run
from pipeline.training.checkpoints import CHECKPOINTS, clear
from pipeline.training.loggers import Tracker, flat_metrics, tracked


def cross_validate_run(
    dataset_folder: DatasetFolder,
    run_folder: Run,
    device: torch.device,
    protocol: str = "kfold",
    folds: int = 5,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    permuted: bool = False,
    cluster: Cluster | None = None,
) -> None:
    """Cross-validates a run's configuration; writes folds.parquet, as `cross_validate` gives it, then folds.json.

    folds.json: protocol, folds `asked` for, folds made, clips dealt into them, of which some may have no score.

    Too few clips or creators to cross-validate are no error of the run: folds.json then gives the `reason`, and there
    is no folds.parquet. The other arguments are cross_validate's. Killed and called again, finished folds are not
    trained again.
    """
    run = run_folder.read_json(RUN)
    config = VdvConfig.from_dict(run["config"])
    about: dict = {"protocol": protocol, "asked": folds, "folds": 0, "clips": 0}
    try:
        scores = cross_validate(
            dataset_folder, config, device, folds, workers, progress, protocol, baselines=True,
            permuted=permuted, checkpoints=run_folder.file(CHECKPOINTS), cluster=cluster,
        )  # fmt: skip
    except DataError as error:
        about["reason"] = str(error)
        storage.remove(run_folder.file(FOLDS))
    else:
        about |= {"folds": int(scores["fold"].nunique()), "clips": len(scores)}
        run_folder.write_table(FOLDS, scores)
    run_folder.write_json(FOLDS_ABOUT, about)
    clear(run_folder.file(CHECKPOINTS))


def evaluate_run(dataset_folder: DatasetFolder, run_folder: Run, trackers: Sequence[Tracker] = ()) -> None:
    """Writes metrics.json from scores.parquet and, where there are folds, from folds.parquet.

    `splits`: by split, by predictor: ranking.ranking_metrics of each challenge, and their mean. The predictors are the
    fused score, each modality alone, the creator's followers alone where any are known, and chance (its expectation).
    `n` is the number of clips of which the predictor has a score. An undefined metric is null, and `reason` says why.

    `coverage`: of the scores' intervals, as intervals.coverage_of_run gives it.

    `folds`: what folds.json has; `predictors`, as `fold_metrics` gives them; `table`, every predictor of the protocol
    compared with the model, as tables.as_json gives it. The table is written as table.md and table.tex, too.

    `files`: sha256 of these two.

    trackers: services that are told the means over challenges, beside the training's log.
    """
    scores = run_folder.read_table(SCORES)
    followers = dataset_folder.read_clips().set_index("clip_id").loc[scores["clip_id"], "followers"]
    predictors = {predictor_id(name): scores[name] for name in scores if name == SCORE or name.startswith(f"{SCORE}_")}
    if followers.notna().any():
        predictors["followers"] = followers.astype("Float64").reset_index(drop=True)
    splits = {}
    for split in (TEST, VAL, TRAIN):
        clips = scores[scores["split"] == split]
        if split != VAL or len(clips):
            of_predictors = {
                name: metrics_by_challenge(clips["challenge"], clips["label"], values)
                for name, values in predictors.items()
            }
            splits[split] = {"clips": len(clips), "predictors": of_predictors | {CHANCE: _chance()}}
    metrics: dict[str, Any] = {
        "label": dataset_folder.read_statistics()["label"]["kind"],
        "note": "test clips are of creators that training did not see; train shows the fit, not the skill",
        "splits": splits,
        "coverage": coverage_of_run(run_folder),
    }
    tables: list[str] = []
    if run_folder.has(FOLDS_ABOUT):
        metrics["folds"], tables = _folds(run_folder)
    metrics["files"] = run_folder.hashes(*tables)
    path = run_folder.file(METRICS)
    storage.write_bytes(path, json_bytes(path, metrics, allow_nan=False))
    with tracked(trackers, run_folder.id) as loggers:
        for logger in loggers:
            logger.log_metrics(flat_metrics(metrics))


def _folds(run_folder: Run) -> tuple[dict, list[str]]:
    """The section `folds` of metrics.json, and the names of the files with the table, written beside it."""
    about = run_folder.read_json(FOLDS_ABOUT)
    if not about["clips"]:
        return about | {"predictors": {}, "table": []}, []
    scores = run_folder.read_table(FOLDS)
    rows = comparison_table(scores)
    text = as_text(rows)
    names = [f"{TABLE}.md", f"{TABLE}.tex"]
    for name, content in zip(names, (text.markdown(), text.latex()), strict=True):
        storage.write_bytes(run_folder.file(name), content.encode())
    return about | {"predictors": fold_metrics(scores), "table": as_json(rows)}, names


def fold_metrics(scores: pd.DataFrame, resamples: int = RESAMPLES) -> dict:
    """Ranking metrics within a challenge of a cross-validation's scores, all folds of a challenge together.

    Clips of one creator are alike, so the interval is a bootstrap over creators.

    Args:
        scores: as `cross_validate` gives them.
        resamples: of the bootstrap.

    Returns:
        By predictor (fused, each modality): what `evaluate_run` writes of a split, and in `mean` beside it spearman_95,
        the ends of the interval of the mean Spearman; None where the mean is None.
    """
    clips = clips_of(scores)
    draws = draw_creators(clips.group, resamples)
    by_predictor = {}
    for name in (column for column in scores if column == SCORE or column.startswith(f"{SCORE}_")):
        score = on_one_scale(scores, name)
        metrics = metrics_by_challenge(scores["challenge"], scores["label"], pd.Series(score, index=scores.index))
        ends = interval(estimate(clips, score, draws)[PRIMARY])[1:]
        metrics["mean"][f"{PRIMARY}_95"] = None if None in ends else ends
        by_predictor[predictor_id(name)] = metrics
    return by_predictor


def _chance() -> dict:
    return {"mean": {"spearman": 0.0, "kendall_tau_b": 0.0, "pairwise_accuracy": 0.5, "note": "expectation"}}
