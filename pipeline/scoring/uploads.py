"""Scores of new clips by a finished run; nothing is trained.

uploads/<id>/    clips.parquet, faces.parquet, statistics.json, as in a dataset, without labels;
                 references.parquet of the run's dataset
                 scores.parquet, scores.csv, scores.json
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.virality.vdv import Vdv
from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import REFERENCES, BatchFiles, DatasetFolder
from pipeline.dataset.labels import ENGAGEMENT, LabelOptions
from pipeline.dataset.rows import REFERENCES_SCHEMA
from pipeline.files.spreadsheets import spreadsheet_csv
from pipeline.runs.purged import purged_text
from pipeline.runs.run import SCORES, SCORES_ABOUT, SCORES_CSV, Run
from pipeline.runs.train import load_run, warn_if_untrained
from pipeline.scoring.intervals import Calibration, calibrate, read_unseen
from pipeline.scoring.scores import add_expected, score_table


@dataclass(frozen=True)
class Compared:
    """Clips of a run's dataset that uploads are compared with."""

    references: pa.Table | None = None  # of derived modalities (dataset.rows.REFERENCES_SCHEMA)
    others: pd.DataFrame | None = None  # which may be earlier ones of a creator; of a run with the context alone

    @classmethod
    def of(cls, run_folder: Run) -> "Compared":
        run = run_folder.about
        dataset = DatasetFolder.of(run_folder.workspace, run["dataset"])
        table = dataset.read_table_if_there(REFERENCES)
        references = None if table is None else pa.Table.from_pandas(table, REFERENCES_SCHEMA, preserve_index=False)
        return cls(references, dataset.read_clips() if run["config"]["context"] else None)

    def with_clips_like(self, challenge: str, creator: str | None) -> "Compared":
        """Those that one clip of the challenge and the creator is compared with."""
        references, others = self.references, self.others
        if references is not None:
            references = references.filter(pc.equal(references["challenge"], challenge))
        if others is not None:
            others = others[(others["creator_id"] == creator).fillna(False)] if creator else others[:0]
        return Compared(references, others)


def assemble_uploads(
    uploads_folder: DatasetFolder,
    batches: Sequence[BatchFiles],
    progress: Callable[[int, int], None] | None = None,
    compared: Compared | None = None,
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
    compared = compared or Compared()
    assemble(uploads_folder, unlabelled, LabelOptions("likes"), progress, compared.others, compared.references)


@dataclass(frozen=True)
class Judge:
    """A finished run, ready to score uploads."""

    run_folder: Run
    model: Vdv
    about: Mapping  # run.json
    calibration: Calibration
    device: torch.device

    @classmethod
    def of(cls, run_folder: Run, device: torch.device, level: float | None = None) -> "Judge":
        """level: of the intervals, above 0 and below 1; None: the run's."""
        model, run = load_run(run_folder, device)
        unseen, _ = read_unseen(run_folder)
        return cls(run_folder, model, run, calibrate(unseen, level or run["interval_level"]), device)

    def scores(self, uploads_folder: DatasetFolder) -> pd.DataFrame:
        """The table of `score_uploads`. Raises as it does."""
        table = score_table(uploads_folder, self.run_folder, self.model, self.about, self.device)
        table = table.drop(columns=["split", "label"])
        known = table["challenge"].isin(self.about["data"]["challenges"])
        score = table["score"].astype("float64").where(known)
        add_expected(table, self.calibration, score)
        table.insert(2, "known_challenge", known)
        clips = uploads_folder.read_clips()
        table[["status", "code"]] = clips[["status", "code"]]
        return table


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
        level: as of `Judge.of`.

    Raises:
        DataError: the features are of another width than the run's.
    """
    judge = Judge.of(run_folder, device, level)
    warn_if_untrained(judge.about)
    table = judge.scores(uploads_folder)
    uploads_folder.write_table(SCORES, table)
    storage.write_bytes(uploads_folder.file(SCORES_CSV), spreadsheet_csv(table).encode())
    about = {"files": uploads_folder.hashes(SCORES_CSV), "purged": purged_text(run_folder)}
    uploads_folder.write_json(SCORES_ABOUT, about)
