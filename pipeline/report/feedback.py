"""The feedback that was made on clips of a run (pipeline.feedback.clip_feedback), checked, for the page."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError
from pipeline.feedback.clip_feedback import FEEDBACK_SCHEMA
from pipeline.runs.files import FEEDBACK

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    sentence: str  # which limb, when, and what is different
    meaning: str  # what the model makes of it
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Feedback:
    """On one clip."""

    clip: str  # clip_id
    references: tuple[str, ...]  # clip_ids
    fitting: int  # of the references, those that dance what the clip does
    findings: tuple[Finding, ...]  # the strongest first; none: nothing stands out
    caution: str
    film: str | None  # the MP4, relative to the workspace; None: it is not there


def read_feedback(workspace: str, run_dir: str, clip_ids: Iterable[str]) -> tuple[Feedback, ...]:
    """Of those of the clips that have some, in their order.

    Raises:
        WorkspaceError: a file is of another schema, or is not what its name says; the message names it.
    """
    files = storage.listing(storage.join(workspace, run_dir, FEEDBACK), recursive=False)
    return tuple(
        _read(workspace, run_dir, clip_id, f"{clip_id}.mp4" in files)
        for clip_id in clip_ids
        if f"{clip_id}.json" in files
    )


def _read(workspace: str, run_dir: str, clip_id: str, filmed: bool) -> Feedback:
    base = storage.join(run_dir, FEEDBACK, clip_id)
    path = storage.join(workspace, f"{base}.json")
    anew = f"make it anew with ActionFeedback --run {run_dir.rsplit('/', 1)[-1]} --clip {clip_id}, or delete it"
    content = storage.read_bytes(path)
    try:
        said = json.loads(content)
        schema = said["schema"]
        if schema == FEEDBACK_SCHEMA:
            return _checked(said, clip_id, f"{base}.mp4" if filmed else None)
    except (ValueError, TypeError, KeyError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise WorkspaceError(f"{path} is no feedback that can be read: {what}; {anew}") from error
    raise WorkspaceError(f"{path} is of schema {schema}, this version reads {FEEDBACK_SCHEMA}; {anew}")


def _checked(said: Any, clip_id: str, film: str | None) -> Feedback:
    """Raises ValueError, TypeError or KeyError where something is not what write_feedback writes."""
    if said["clip"] != clip_id:
        raise ValueError(f"it is on clip {said['clip']!r}")
    return Feedback(
        clip_id,
        tuple(_of(str, one) for one in _of(list, said["references"])),
        _of(int, said["fitting"]),
        tuple(
            Finding(_of(str, one["sentence"]), _of(str, one["meaning"]), _second(one["start_s"]), _second(one["end_s"]))
            for one in _of(list, said["findings"])
        ),
        _of(str, said["caution"]),
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
