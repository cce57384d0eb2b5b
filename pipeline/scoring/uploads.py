"""Scores of new clips by a finished run; nothing is trained.

uploads/<id>/    clips.parquet, faces.parquet, statistics.json, as in a dataset, without labels;
                 references.parquet of the run's dataset
                 scores.parquet, scores.csv, scores.json
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import torch

from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import REFERENCES, BatchFiles, DatasetFolder
from pipeline.dataset.labels import ENGAGEMENT, LabelOptions
from pipeline.files.spreadsheets import spreadsheet_csv
from pipeline.runs.purged import purged_text
from pipeline.runs.run import SCORES, SCORES_ABOUT, SCORES_CSV, Run
from pipeline.runs.train import load_run
from pipeline.scoring.intervals import calibrate, read_unseen
from pipeline.scoring.scores import add_expected, score_table


def assemble_uploads(
    uploads_folder: DatasetFolder,
    batches: Sequence[BatchFiles],
    progress: Callable[[int, int], None] | None = None,
    run_folder: Run | None = None,
) -> None:
    """Assembles the batches like a dataset (dataset.assemble), without engagement, split and labels.

    run_folder: with whose clips derived modalities compare the uploads, and whose clips are the creators' records
        (dataset.context), of a run with the context; None: there are none.

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
    others = references = None
    if run_folder is not None:
        run = run_folder.read_about()
        dataset = DatasetFolder.of(run_folder.workspace, run["dataset"])
        references = dataset.read_table_if_there(REFERENCES)
        if run["config"]["context"]:
            others = dataset.read_clips()
    assemble(uploads_folder, unlabelled, LabelOptions("likes"), progress, others, references)


def score_uploads(
    uploads_folder: DatasetFolder,
    run_folder: Run,
    device: torch.device,
    level: float | None = None,
) -> None:
    """Writes scores.parquet, and the same as scores.csv, beside what `assemble_uploads` wrote; scores.json last.

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
    storage.write_bytes(uploads_folder.file(SCORES_CSV), spreadsheet_csv(table).encode())
    about = {"files": uploads_folder.hashes(SCORES_CSV), "purged": purged_text(run_folder)}
    uploads_folder.write_json(SCORES_ABOUT, about)
