"""A run: the folder of one trained model and the names of its files."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pipeline.core.errors import WorkspaceError
from pipeline.files.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

RUNS = "runs"
RUN_SCHEMA = 8  # of run.json; raised when it or the files beside it change meaning
INTERVAL_LEVEL = 0.8  # nominal coverage of a score's interval on new creators' clips; stored in run.json
RUN, MODEL, HELD_OUT = "run.json", "model.safetensors", "held_out.parquet"
SCORES, SCORES_CSV = "scores.parquet", "scores.csv"
SCORES_ABOUT = "scores.json"  # of uploads, written last
CONTEXT_SCORE = "score_context"  # the column of scores and folds that holds the context's part, of a run with it
REPORT = "report.html"
EMBEDDINGS = "embeddings.parquet"  # made by whoever needs them first, the report or Recommend
PURGED = "purged.json"  # of a run whose model was trained on clips purged since; pipeline.runs.purged
METRICS, FOLDS, FOLDS_ABOUT = "metrics.json", "folds.parquet", "folds.json"
TABLE, ABLATIONS = "table", "ablations"  # each as .md and .tex; ablations as .parquet, too
FEEDBACK = "feedback"  # a folder: a .json and an .mp4 of each clip requested
WITH_ADJUSTED = (
    "the label `adjusted` takes out what the context puts in: give --with-context with --label likes, or leave --label"
    " away; to judge the content alone, leave --with-context away"
)


@dataclass(frozen=True)
class Run(Folder):
    """The folder runs/<id>/ of a workspace."""

    @classmethod
    def of(cls, workspace: str, run_id: str) -> "Run":
        return cls(workspace, f"{RUNS}/{run_id}")

    @property
    def about(self) -> dict:
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

    @property
    def report(self) -> str:
        """Path or URL of the report, which RenderReport writes."""
        return self.file(REPORT)

    def scores(self) -> "pd.DataFrame":
        """scores.parquet: a row a clip, as docs/running.md describes them of uploads, with `split` and `label`."""
        return self._made_by("ScoreClips", self.read_table, SCORES)

    def folds(self) -> "pd.DataFrame":
        """folds.parquet: scores of each clip by models that had not seen its creator (docs/evaluation.md)."""
        return self._made_by("CrossValidate, unless --folds is 0,", self.read_table, FOLDS)

    def held_out(self) -> "pd.DataFrame":
        """held_out.parquet: scores of the training clips by the joint model without their creators."""
        return self._made_by("TrainFusion", self.read_table, HELD_OUT)

    def metrics(self) -> dict:
        """metrics.json: ranking metrics, by split and predictor (pipeline.evaluation.evaluate)."""
        return self._made_by("EvaluateRun", self.read_json, METRICS)

    def _made_by(self, command: str, read: Callable[[str], T], name: str) -> T:
        try:
            return read(name)
        except FileNotFoundError as error:
            raise WorkspaceError(f"{self.file(name)} is not there; {command} makes it, and so does BuildVDV") from error


def content_score(scores: "pd.DataFrame") -> "pd.Series":
    """The score, float64, without the context's part, if it has one: what recommendations go by.

    scores: of scores.parquet or folds.parquet.
    """
    whole = scores["score"].astype("float64")
    return whole - scores[CONTEXT_SCORE].astype("float64") if CONTEXT_SCORE in scores else whole


def scored_modalities(scores: "pd.DataFrame") -> list[str]:
    """The modalities of scores.parquet or folds.parquet. The context is none: it has no attention."""
    return [name.removeprefix("attention_") for name in scores if name.startswith("attention_")]
