"""Summaries of commands: what a task prints at its end, as data, in `commands/<id>.json` (fields: docs/progress.md)."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import Any, Protocol

from pipeline.commands.command import COMMANDS, Command, outcome, tell_caller, without_message
from pipeline.core import storage
from pipeline.core.errors import CLIP_CODES, DamagedFile
from pipeline.files.checksums import json_bytes
from pipeline.files.folder import Folder

log = logging.getLogger(__name__)

SCHEMA = 1  # raised when a field changes meaning or goes; new ones may come without
NAMED = 5  # clips of an ending that are named


class ClipOutcome(Protocol):
    """What the tables of clips say of one."""

    @property
    def clip_id(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def code(self) -> str: ...


def clip_counts(counts: Mapping[str, int], clips: Iterable[ClipOutcome]) -> dict[str, Any]:
    """How many clips ended in which way, and by which codes; the part of a summary that is about clips.

    counts: clips by ending. clips: at least those that were not ok.
    """
    named: dict[tuple[str, str], list[str]] = {}
    number: Counter[tuple[str, str]] = Counter()
    for clip in clips:
        if clip.status != "ok":
            ending = clip.status, clip.code
            number[ending] += 1
            if number[ending] <= NAMED:
                named.setdefault(ending, []).append(clip.clip_id)
    codes = [
        {
            "status": status,
            "code": code,
            "clips": number[status, code],
            "named": named[status, code],
            "meaning": CLIP_CODES[code].meaning,
            "retryable": status == "failed" and CLIP_CODES[code].retryable,
        }
        for status, code in sorted(number, key=lambda ending: (ending[0], -number[ending], ending[1]))
    ]
    return {"clips": dict(counts), "codes": codes}


def summary(command: Command, content: Mapping[str, Any], error: BaseException | None = None) -> dict[str, Any]:
    """The summary of a command that has ended, well or with an error.

    content: of these keys, those that the task has: clips, codes, without, copies, places, results.
    """
    stages = [
        {key: value for key, value in ended.items() if key not in ("command", "time", "seconds", "event")}
        for ended in command.events("stage_ended")
    ]
    return {
        "schema": SCHEMA,
        "command": command.id,
        "task": command.task,
        "began_at": command.began_at,
        "ended_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seconds": command.seconds(),
        **outcome(error),
        **{key: _finite(content.get(key)) for key in ("clips", "codes", "without", "copies")},
        "left_out": sum(noted["rows"] for noted in command.events("left_out")),
        "places": content.get("places") or {},
        "results": _finite(content.get("results") or {}),
        "stages": stages,
    }


def _finite(value: Any) -> Any:
    """The value, as JSON has it: without NaN and infinities, which it lacks, and without numpy's types."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return value


def unnamed(about: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without the names of clips that failed, and without messages of errors, which may name any."""
    codes = about["codes"] and [{**code, "named": []} for code in about["codes"]]
    return without_message({**about, "codes": codes, "stages": [without_message(stage) for stage in about["stages"]]})


def end(command: Command, content: Mapping[str, Any], error: BaseException | None = None) -> str:
    """Write a command's summary and the end of its log; returns the summary's path."""
    about = summary(command, content, error)
    name = f"{command.id}.json"
    path = storage.join(command.workspace, COMMANDS, name)
    command.write(name, lambda may_name: json_bytes(path, about if may_name else unnamed(about), allow_nan=False))
    command.note("ended", outcome=about["outcome"], error=about["error"])
    command.publish(at_once=True)
    if error is None:
        tell_caller(results=about["results"])
    return path


def summaries(workspace: str) -> Iterator[dict[str, Any]]:
    """The summaries that a workspace keeps, newest first. One that is damaged is passed over with a warning."""
    folder = Folder(workspace, COMMANDS)
    for name in sorted(storage.listing(folder.path, recursive=False), reverse=True):
        if not name.endswith(".json"):
            continue
        try:
            about = folder.read_json(name)
        except FileNotFoundError:  # removed in favour of a newer one since
            continue
        except DamagedFile as damaged:
            log.warning(f"vdv: {damaged.path} is damaged ({damaged.what}); it is passed over")
            continue
        if about["schema"] == SCHEMA:
            yield about
