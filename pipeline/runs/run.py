"""A run: the folder of one trained model and the names of its files."""

from dataclasses import dataclass

from pipeline.core.errors import WorkspaceError
from pipeline.files.folder import Folder

RUNS = "runs"
RUN_SCHEMA = 6  # of run.json; raised when it or the files beside it change meaning
INTERVAL_LEVEL = 0.8  # nominal coverage of a score's interval on new creators' clips; stored in run.json
RUN, MODEL, HELD_OUT = "run.json", "model.safetensors", "held_out.parquet"
SCORES, SCORES_CSV = "scores.parquet", "scores.csv"
SCORES_ABOUT = "scores.json"  # of uploads, written last
REPORT = "report.html"
METRICS, FOLDS, FOLDS_ABOUT = "metrics.json", "folds.parquet", "folds.json"
TABLE, ABLATIONS = "table", "ablations"  # each as .md and .tex; ablations as .parquet, too
FEEDBACK = "feedback"  # a folder: a .json and an .mp4 of each clip requested


@dataclass(frozen=True)
class Run(Folder):
    """The folder runs/<id>/ of a workspace."""

    @classmethod
    def of(cls, workspace: str, run_id: str) -> "Run":
        return cls(workspace, f"{RUNS}/{run_id}")

    def read_about(self) -> dict:
        """Content of run.json, as written by pipeline.runs.train.

        Raises:
            WorkspaceError: the run is of another schema.
        """
        about = self.read_json(RUN)
        if about["schema"] != RUN_SCHEMA:
            raise WorkspaceError(
                f"{self.file(RUN)} is of schema {about['schema']}, this version reads {RUN_SCHEMA}; train anew"
            )
        return about
