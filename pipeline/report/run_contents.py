"""A finished run's files, read together: clips with their scores, metrics, feedback, and rows of features."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from pipeline.core import storage
from pipeline.core.errors import DamagedFile, WorkspaceError
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.reader import ShardReader
from pipeline.feedback.clip_feedback import FEEDBACK_SCHEMA
from pipeline.files.checksums import json_content
from pipeline.modalities.record import ModalityRows
from pipeline.runs.purged import purged_text
from pipeline.runs.run import ABLATIONS, FEEDBACK, FOLDS, METRICS, SCORES, Run, scored_modalities
from pipeline.scoring.intervals import read_unseen

T = TypeVar("T")
_CLIP_COLUMNS = ("clip_id", "challenge", "split", "label")  # in scores.parquet, too


@dataclass(frozen=True)
class Finding:
    sentence: str  # which limb, when, and what is different
    meaning: str  # what the model makes of it
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Feedback:
    """Feedback on one clip, as pipeline.feedback.clip_feedback writes it."""

    clip: str  # clip_id
    references: tuple[str, ...]  # clip_ids
    fitting: int  # of the references, those that dance what the clip does
    findings: tuple[Finding, ...]  # the strongest first; none: nothing stands out
    caution: str
    film: str | None  # the MP4, relative to the workspace; None: not in the workspace


@dataclass(frozen=True)
class RunContents:
    """Files of a run and its dataset."""

    run_id: str
    run: dict  # run.json
    statistics: dict  # of the dataset
    metrics: dict  # metrics.json
    clips: pd.DataFrame  # clips.parquet with the columns of scores.parquet beside; index 0..N-1
    folds: pd.DataFrame | None  # folds.parquet: scores of clips by models that saw nothing of their creators
    judged: pd.DataFrame  # what the intervals were made from (intervals.read_unseen)
    ablations: pd.DataFrame | None  # ablations.parquet
    feedback: tuple[Feedback, ...] = ()  # in the clips' order
    purged: str | None = None  # what is to be said of clips that the model was trained on and that were purged since

    @property
    def scored_modalities(self) -> list[str]:
        """Modalities of the run's model."""
        return scored_modalities(self.clips)

    @property
    def modalities(self) -> list[str]:
        """Modalities of the dataset."""
        return [name.removeprefix("quality_") for name in self.clips if name.startswith("quality_")]

    @cached_property
    def challenges(self) -> list[str]:
        return sorted(str(name) for name in self.clips["challenge"].unique())


def scored_clips(contents: RunContents) -> int:
    """Clips that the folds judged: of those with a label, those that could be read and so have a score."""
    return 0 if contents.folds is None else int(contents.folds["score"].notna().sum())


def read_run_contents(dataset_folder: DatasetFolder, run_folder: Run) -> RunContents:
    """The run's files. dataset_folder: the run's own.

    Raises:
        WorkspaceError: the run, or feedback on one of its clips, is of another schema or damaged.
    """
    clips = dataset_folder.read_clips()
    scores = run_folder.read_table(SCORES).set_index("clip_id")
    scores = scores.drop(columns=[name for name in _CLIP_COLUMNS if name in scores]).loc[clips["clip_id"]]
    clips = clips.rename(columns={"percentile": "trained_towards"})
    return RunContents(
        run_id=run_folder.id,
        run=run_folder.about,
        statistics=dataset_folder.read_statistics(),
        metrics=run_folder.read_json(METRICS),
        clips=pd.concat([clips, scores.reset_index(drop=True)], axis=1),
        folds=run_folder.read_table_if_there(FOLDS),
        judged=read_unseen(run_folder)[0],
        ablations=run_folder.read_table_if_there(f"{ABLATIONS}.parquet"),
        feedback=read_feedback(run_folder, clips["clip_id"]),
        purged=purged_text(run_folder),
    )


def read_rows(
    workspace: str, clips: pd.DataFrame, modality: str, rows: Sequence[int], crops: bool = False
) -> Iterator[tuple[int, ModalityRows]]:
    """(row, features) of those of the clips that have features of the modality, one shard after the other."""
    column = clips[f"shard_{modality}"]
    by_shard: dict[str, list[int]] = {}
    for row in rows:
        if not pd.isna(column.iat[row]):
            by_shard.setdefault(str(column.iat[row]), []).append(row)
    for shard, members in by_shard.items():
        reader = ShardReader(storage.join(workspace, shard))
        for row in members:
            clip_id = str(clips["clip_id"].iat[row])
            if clip_id in reader.clip_ids:  # a shard written again since may lack it
                yield row, reader.read(clip_id, crops)
        reader.close()


def read_feedback(run_folder: Run, clip_ids: Iterable[str]) -> tuple[Feedback, ...]:
    """The feedback in the run's folder on these clips, in their order.

    Raises:
        WorkspaceError: a file is of another schema, or is not what its name says; the message names it.
    """
    files = storage.listing(run_folder.file(FEEDBACK), recursive=False)
    return tuple(
        _read_one_feedback(run_folder, clip_id, f"{clip_id}.mp4" in files)
        for clip_id in clip_ids
        if f"{clip_id}.json" in files
    )


def _read_one_feedback(run_folder: Run, clip_id: str, has_film: bool) -> Feedback:
    base = f"{run_folder.place}/{FEEDBACK}/{clip_id}"
    path = run_folder.file(FEEDBACK, f"{clip_id}.json")
    remedy = f"make it anew with ActionFeedback --run {run_folder.id} --clip {clip_id}, or delete it"
    data = storage.read_bytes(path)
    try:
        content = json_content(path, data)
        schema = content["schema"]
        if schema == FEEDBACK_SCHEMA:
            return _checked(content, clip_id, f"{base}.mp4" if has_film else None)
    except DamagedFile as damaged:
        raise WorkspaceError(f"{path} is damaged ({damaged.what}); {remedy}") from damaged
    except (ValueError, TypeError, KeyError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise WorkspaceError(f"{path} is no feedback that can be read: {what}; {remedy}") from error
    raise WorkspaceError(f"{path} is of schema {schema}, this version reads {FEEDBACK_SCHEMA}; {remedy}")


def _checked(content: Any, clip_id: str, film: str | None) -> Feedback:
    """Raises ValueError, TypeError or KeyError where something is not what write_feedback writes."""
    if content["clip"] != clip_id:
        raise ValueError(f"it is on clip {content['clip']!r}")
    return Feedback(
        clip_id,
        tuple(_of(str, reference) for reference in _of(list, content["references"])),
        _of(int, content["fitting"]),
        tuple(
            Finding(_of(str, one["sentence"]), _of(str, one["meaning"]), _second(one["start_s"]), _second(one["end_s"]))
            for one in _of(list, content["findings"])
        ),
        _of(str, content["caution"]),
        film,
    )


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} stands where a {kind.__name__} should")
    return value


def _second(value: Any) -> float:
    second = float(value) if isinstance(value, int) else _of(float, value)
    if not math.isfinite(second):  # JSON knows no such number, but Python reads it
        raise ValueError(f"{second} is no moment")
    return second
