"""Scores of new clips by a finished run; nothing is trained.

uploads/<id>/    clips.parquet, faces.parquet, statistics.json, as in a dataset, without labels
                 scores.parquet, scores.csv
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import torch

from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.dataset.assemble import BatchFiles, assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import ENGAGEMENT, LabelOptions
from pipeline.runs.run import SCORES, SCORES_CSV, Run
from pipeline.runs.train import load_run
from pipeline.scoring.intervals import calibrate, read_unseen
from pipeline.scoring.scores import add_expected, score_table


def assemble_uploads(
    uploads_folder: DatasetFolder,
    batches: Sequence[BatchFiles],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Assembles the batches like a dataset (dataset.assemble), without engagement, split and labels.

    Raises:
        DataError: there is no clip; or as of assemble.
    """
    if not any(len(files.batch.rows) for files in batches):
        raise DataError("the manifest names no clip that is not removed; there is nothing to score")
    unlabelled = []
    for files in batches:
        rows = files.batch.rows.copy()
        rows[[*ENGAGEMENT, "split"]] = pd.NA
        kept = rows.astype(files.batch.rows.dtypes.to_dict())
        unlabelled.append(replace(files, batch=replace(files.batch, rows=kept)))
    assemble(uploads_folder, unlabelled, LabelOptions("likes"), progress)


def score_uploads(
    uploads_folder: DatasetFolder,
    run_folder: Run,
    device: torch.device,
    level: float | None = None,
) -> None:
    """Writes scores.parquet, and the same as scores.csv, beside what `assemble_uploads` wrote; the CSV last.

    Columns: as scores.score_clips writes them, without split and label, and: known_challenge (the run was trained on
    clips of it; else the score is the network's guess across challenges, and no percentile is expected); status, code
    (how the clip's decoding ended). `percentile` is that among the uploads of the challenge.

    Args:
        level: of the intervals, above 0 and below 1; None: the run's.

    Raises:
        DataError: the features are of another width than the run's.
    """
    model, run = load_run(run_folder, device)
    table = score_table(uploads_folder, run_folder, model, run, device).drop(columns=["split", "label"])
    unseen, _ = read_unseen(run_folder)
    known = table["challenge"].isin(run["data"]["challenges"])
    score = table["score"].astype("float64").where(known)
    add_expected(table, calibrate(unseen, level or run["interval_level"]), score)
    table.insert(2, "known_challenge", known)
    clips = uploads_folder.read_clips()
    table[["status", "code"]] = clips[["status", "code"]]
    uploads_folder.write_table(SCORES, table)
    storage.write_bytes(uploads_folder.file(SCORES_CSV), table.to_csv(index=False).encode())


def first_clips(uploads_folder: DatasetFolder, top: int) -> list[str]:
    """Text for the terminal, line by line: the first clips of each challenge, and clips without a score."""
    table = uploads_folder.read_table(SCORES)
    lines = []
    for name, clips in table.groupby("challenge"):
        ordered = clips[~clips["abstained"]].sort_values(["score", "clip_id"], ascending=[False, True])
        known = bool(clips["known_challenge"].all())
        note = "" if known else "; the run was not trained on this challenge: an order, and no more"
        lines.append(f"{name}: {len(clips)} clips{note}")
        for place, clip in enumerate(ordered.head(top).itertuples(), start=1):
            line = f"  {place:>3}  {clip.clip_id:<24} score {clip.score:+.2f}"
            if not pd.isna(clip.expected_percentile):
                expected, low, high = (round(100 * end) for end in (clip.expected_percentile, clip.low, clip.high))
                line += f"   percentile {expected} ({low} to {high})"
            lines.append(line)
    abstained = table[table["abstained"]]
    if len(abstained):
        named = ", ".join(
            f"{clip.clip_id} ({clip.code or 'nothing to judge'})" for clip in abstained.head(top).itertuples()
        )
        lines.append(f"without a score: {len(abstained)} clips: {named}")
    return lines
