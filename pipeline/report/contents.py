"""What a run left, read together: the clips with their scores, what was measured, and what made it."""

import json
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from pipeline.core import storage
from pipeline.dataset.assemble import read_clips, read_statistics, read_table
from pipeline.report.feedback import Feedback, read_feedback
from pipeline.runs.files import ABLATIONS, FOLDS, METRICS, SCORES
from pipeline.runs.runs import read_run
from pipeline.scoring.intervals import read_unseen

_OF_SCORES = ("clip_id", "challenge", "split", "label")  # the clips' own, written down beside the scores


@dataclass(frozen=True)
class Found:
    """A run's files."""

    run_id: str
    run: dict  # run.json
    statistics: dict  # of the dataset
    metrics: dict  # metrics.json
    clips: pd.DataFrame  # clips.parquet with the columns of scores.parquet beside; index 0..N-1
    folds: pd.DataFrame | None  # folds.parquet: what models said of clips by creators they did not see
    judged: pd.DataFrame  # what the intervals were made from (intervals.read_unseen)
    ablations: pd.DataFrame | None  # ablations.parquet
    feedback: tuple[Feedback, ...] = ()  # on the clips that have some

    @property
    def scored_modalities(self) -> list[str]:
        """Those of the run's model."""
        return [name.removeprefix("score_") for name in self.clips if name.startswith("score_")]

    @property
    def modalities(self) -> list[str]:
        """Those of the dataset."""
        return [name.removeprefix("quality_") for name in self.clips if name.startswith("quality_")]

    @cached_property
    def challenges(self) -> list[str]:
        return sorted(str(name) for name in self.clips["challenge"].unique())


def read_found(workspace: str, dataset_dir: str, run_dir: str) -> Found:
    """dataset_dir, run_dir: relative to the workspace.

    Raises:
        WorkspaceError: the run, or feedback on one of its clips, is of another schema or damaged.
    """
    folder = storage.join(workspace, run_dir)
    clips = read_clips(workspace, dataset_dir)
    scores = read_table(storage.join(folder, SCORES)).set_index("clip_id")
    scores = scores.drop(columns=[name for name in _OF_SCORES if name in scores]).loc[clips["clip_id"]]
    beside = pd.concat([clips.rename(columns={"percentile": "trained_towards"}), scores.reset_index(drop=True)], axis=1)
    return Found(
        run_id=run_dir.rstrip("/").rsplit("/", 1)[-1],
        run=read_run(workspace, run_dir),
        statistics=read_statistics(workspace, dataset_dir),
        metrics=json.loads(storage.read_bytes(storage.join(folder, METRICS))),
        clips=beside,
        folds=_table(folder, FOLDS),
        judged=read_unseen(workspace, run_dir)[0],
        ablations=_table(folder, f"{ABLATIONS}.parquet"),
        feedback=read_feedback(workspace, run_dir, clips["clip_id"]),
    )


def _table(folder: str, name: str) -> pd.DataFrame | None:
    path = storage.join(folder, name)
    return read_table(path) if storage.exists(path) else None
