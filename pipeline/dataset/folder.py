"""The folder of one dataset and the tables in it; the files of a batch that it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.files.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.ingest.manifest import Batch

DATASETS = "datasets"
CLIPS, FACES, STATISTICS = "clips.parquet", "faces.parquet", "statistics.json"
REFERENCES = "references.parquet"


@dataclass(frozen=True)
class BatchFiles:
    """Paths of one batch's files, as named by `pipeline.features.plan`."""

    batch: "Batch"
    ingest: str  # path
    endings: str  # folder
    features: Mapping[str, str]  # folder by modality; the modalities chosen, no others


@dataclass(frozen=True)
class DatasetFolder(Folder):
    """The folder datasets/<id>/ of a workspace, or that of uploads, which has the same files."""

    @classmethod
    def of(cls, workspace: str, dataset_id: str) -> "DatasetFolder":
        return cls(workspace, f"{DATASETS}/{dataset_id}")

    def read_clips(self) -> "pd.DataFrame":
        """clips.parquet as `assemble` wrote it: one row a clip, in the manifests' order."""
        return self.read_table(CLIPS)

    def read_faces(self) -> dict[str, np.ndarray]:
        """Indices of the lead dancer's faces among a clip's, int64 [F], at most one a frame, in order; by clip_id."""
        table = self.read_table(FACES)
        return {str(clip_id): group.to_numpy(np.int64) for clip_id, group in table.groupby("clip_id")["face"]}

    def read_references(self) -> "pd.DataFrame":
        """references.parquet: arrays of clips that others are compared with, of dataset.rows.REFERENCES_SCHEMA."""
        return self.read_table(REFERENCES)

    def read_statistics(self) -> dict:
        """statistics.json: counts, the label's kind, the features' widths."""
        return self.read_json(STATISTICS)
