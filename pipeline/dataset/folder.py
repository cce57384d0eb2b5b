"""The folder of one dataset and the tables in it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.files.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

DATASETS = "datasets"
CLIPS, FACES, STATISTICS = "clips.parquet", "faces.parquet", "statistics.json"


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

    def read_statistics(self) -> dict:
        """statistics.json: counts, the label's kind, the features' widths."""
        return self.read_json(STATISTICS)
