"""Comparison of two runs on the clips that the folds of both scored."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.core.errors import DataError, WorkspaceError
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import ENGAGEMENT, group_clips
from pipeline.evaluation.predictors import predictor_id
from pipeline.evaluation.tables import on_one_scale
from pipeline.metrics.significance import RESAMPLES, Clips, Difference, Estimate, compare, draw_creators, estimate, holm
from pipeline.runs.run import FOLDS, FOLDS_ABOUT, Run

_NAMED = 5  # clips in one message


@dataclass(frozen=True)
class Row:
    """One predictor of both runs: `fused`, or a modality alone."""

    name: str
    first: dict[str, Estimate]  # by metric of pipeline.metrics.ranking
    second: dict[str, Estimate]
    difference: Difference  # first less second
    p_holm: float = math.nan  # corrected over the rows


@dataclass(frozen=True)
class Comparison:
    label: str  # kind of label of both
    clips: int  # scored by both
    creators: int
    left_out: tuple[int, int]  # clips that only the first, only the second scored
    rows: tuple[Row, ...]
    differing: tuple[str, ...]  # settings that differ, one text each


def compare_runs(workspace: str, first: str, second: str, resamples: int = RESAMPLES) -> Comparison:
    """Ranking metrics of two runs on clips of creators that they never saw, and the differences, first less second.

    Each run's scores come from its own folds; the metrics of both are compared on the same clips, intervals and tests
    are over creators (see pipeline.metrics.significance). Where followers are taken out of the label, each fold fits
    that anew, and a clip's label is the mean of those in the two runs' folds.

    Args:
        first, second: ids, as runs.find_run gives them.

    Raises:
        DataError: the runs cannot be compared: no folds, different protocols or kinds of label, no clips in common, or
            clips whose file or engagement differs.
        WorkspaceError: files of a run or of its dataset are missing.
    """
    if first == second:
        raise DataError(f"{first} was named twice; comparing takes two runs")
    runs = [Run.of(workspace, run_id).about for run_id in (first, second)]
    kinds = [run["label"]["kind"] for run in runs]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"{first} was trained on the label {kinds[0]}, {second} on {kinds[1]}: their skill is of two kinds"
        )
    scores = [_read_scores(workspace, run_id) for run_id in (first, second)]
    protocols = [_protocol(workspace, run_id) for run_id in (first, second)]
    if protocols[0] != protocols[1]:
        raise DataError(
            f"{first} was judged by {protocols[0]}, {second} by {protocols[1]}: build both with the same --protocol"
        )
    both = scores[0].index.intersection(scores[1].index)
    clips = [_read_clips(workspace, run).reindex(both) for run in runs]
    _assert_same(first, second, *clips)
    groups = group_clips(clips[0]["creator_id"], clips[0]["copies"], clips[0].index)
    if len(np.unique(groups)) < 2:
        raise DataError(
            f"{first} and {second} judged {len(both)} clips in common, of {len(np.unique(groups))} creators; comparing"
            " takes two creators at least"
        )
    sides = [table.loc[both] for table in scores]
    label = (sides[0]["label"].to_numpy(float) + sides[1]["label"].to_numpy(float)) / 2
    evaluated = Clips(label, sides[0]["challenge"].to_numpy(str), groups)
    return Comparison(
        kinds[0],
        len(both),
        len(np.unique(groups)),
        (len(scores[0]) - len(both), len(scores[1]) - len(both)),
        _rows(evaluated, sides[0], sides[1], resamples),
        _differing(*runs),
    )


def _read_scores(workspace: str, run_id: str) -> pd.DataFrame:
    """folds.parquet by clip_id, its scores on one scale."""
    run_folder = Run.of(workspace, run_id)
    if not run_folder.has(FOLDS):
        raise DataError(
            f"{run_id} was not judged by folds, so nothing says how it does on creators never seen; build it again with"
            " --folds 2 or more"
        )
    scores = run_folder.read_table(FOLDS)
    names = [name for name in scores if name == "score" or name.startswith("score_")]
    return scores.assign(**{name: on_one_scale(scores, name) for name in names}).set_index("clip_id")


def _protocol(workspace: str, run_id: str) -> str:
    return Run.of(workspace, run_id).read_json(FOLDS_ABOUT)["protocol"]


def _read_clips(workspace: str, run: dict) -> pd.DataFrame:
    """The clips of a run's dataset by clip_id."""
    folder = DatasetFolder.of(workspace, run["dataset"])
    try:
        return folder.read_clips().set_index("clip_id")
    except FileNotFoundError as error:
        raise WorkspaceError(
            f"{folder.path} is gone, and with it what the clips were; run BuildVDV on the same manifest again"
        ) from error


def _assert_same(first: str, second: str, one: pd.DataFrame, other: pd.DataFrame) -> None:
    for name, what in (("challenge", "challenge"), ("content_hash", "file"), *((name, name) for name in ENGAGEMENT)):
        differ = ~((one[name] == other[name]) | (one[name].isna() & other[name].isna())).fillna(False)
        if differ.any():
            named = ", ".join(one.index[differ][:_NAMED])
            raise DataError(
                f"{first} and {second} cannot be compared: of {len(one)} clips that both judged,"
                f" {int(differ.sum())} changed their {what} in between ({named}); build both from the same manifest"
            )


def _rows(clips: Clips, one: pd.DataFrame, other: pd.DataFrame, resamples: int) -> tuple[Row, ...]:
    draws = draw_creators(clips.group, resamples)
    names = [name for name in one if (name == "score" or name.startswith("score_")) and name in other]
    rows = []
    for name in names:
        scores = [side[name].to_numpy(float) for side in (one, other)]
        # The same clips on both sides, so that the two metrics differ by the difference.
        shared = np.isfinite(scores[0]) & np.isfinite(scores[1])
        first, second = (estimate(clips, np.where(shared, score, np.nan), draws) for score in scores)
        rows.append(Row(predictor_id(name), first, second, compare(clips, scores[0], scores[1], draws)))
    corrected = holm([row.difference.p for row in rows])
    return tuple(replace(row, p_holm=p) for row, p in zip(rows, corrected, strict=True))


def _differing(one: dict, other: dict) -> tuple[str, ...]:
    sides = [
        {
            **run["config"],
            "profiles": run["profiles"],
            **{f"{name} features": digest for name, digest in run["data"]["features"].items()},
            "clips, labels and split": run["data"]["fingerprint"],
            "vdv": " ".join(filter(None, (run["code"]["version"], (run["code"]["commit"] or "")[:12]))),
            "device": run["environment"]["device"],
        }
        for run in (one, other)
    ]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    return tuple(
        f"{name}: {sides[0].get(name)} / {sides[1].get(name)}"
        for name in names
        if sides[0].get(name) != sides[1].get(name)
    )
