"""A command's log: what its stages are at, as JSON lines in `commands/<id>.jsonl` (docs/progress.md has the fields).

The log is kept in memory that all processes of a command share, and written to the workspace whole, from time to time:
object stores cannot append, and a file that is whole or not there is one that anybody may read at any time.
"""

import fcntl
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pipeline.commands.caller import caller, journal_file
from pipeline.core import storage
from pipeline.core.errors import WorkspaceError
from pipeline.core.locks import exclusive
from pipeline.ingest.tombstones import purge_signature

log = logging.getLogger(__name__)

COMMANDS = "commands"  # the folder in a workspace
KEPT = 20  # commands of each task whose files are kept, beside the one under way
WITHHELD = "clips were purged while the command was at work; its message may name one, and is not kept"
FILE = re.compile(r"\d{8}T\d{6}Z-[A-Za-z]+-[0-9a-f]{6}\.jsonl?")  # name of a log or of a summary
_PAUSE_S = 1.0  # between writings of a log that nothing depends on: a thousand short stages would write it as often

# A line an event, of all commands that this process begins. Luigi's processes for --workers, however they were started,
# open it by its name below /proc: they live no longer than the one that began the command.
_JOURNAL = journal_file()
_writing = threading.Lock()
_written: dict[str, float] = {}  # when this process last wrote the log of a command
_said: set[str] = set()  # commands of which this process has said that their files could not be written
_failed: dict[str, float] = {}  # when that was last tried
_AGAIN_S = 60.0  # between such tries: a store that fell silent would keep each of them, and the command, for minutes


@dataclass(frozen=True)
class Command:
    """One run of a task that a person asked for."""

    workspace: str  # folder or URL
    task: str
    id: str  # <UTC time>-<task>-<6 random hex digits>: ordered by time, and no two commands have the same
    began_at: str  # ISO 8601, UTC
    began: float  # the same by time.monotonic(), one clock for all processes of a machine
    purges: str  # pipeline.ingest.tombstones.purge_signature, as it was then
    fetch_cache: str = ""  # folder on this machine for fetched clips that wait for their decoding; empty: none wait
    journal: str = field(default_factory=lambda: f"/proc/{os.getpid()}/fd/{_JOURNAL}")  # what its processes share

    @classmethod
    def begin(cls, workspace: str, task: str, fetch_cache: str = "") -> "Command":
        """A new command, in whose favour the files of old ones are removed. Nothing is written yet."""
        now, purges = datetime.now(UTC), purge_signature(workspace)
        try:
            _remove_old(workspace, task)
        except WorkspaceError as error:  # of a workspace that may only be read, which is enough for some tasks
            log.warning(f"vdv: {error}; logs and summaries of old commands stay")
        name = f"{now:%Y%m%dT%H%M%SZ}-{task}-{uuid.uuid4().hex[:6]}"
        command = cls(workspace, task, name, _text(now), time.monotonic(), purges, fetch_cache)
        command.note("began", task=task)
        return command

    def seconds(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self.began, 3)

    def note(self, event: str, **fields: Any) -> None:
        """Add an event to the log. The log reaches the workspace with the next `publish`."""
        about = {"command": self.id, "time": _text(datetime.now(UTC)), "seconds": self.seconds(), "event": event}
        _add_line(self.journal, about | fields)

    def events(self, event: str) -> list[dict[str, Any]]:
        """The events of a kind, oldest first, of all the command's processes."""
        return [noted for noted in self._all() if noted["event"] == event]

    def publish(self, at_once: bool = False) -> None:
        """Write the log, unless it was written a moment ago. One that cannot be written costs a warning, once.

        at_once: write it in any case.
        """
        with _writing, _locked(_opened(self.journal)):  # whoever writes later writes more
            if not at_once and time.monotonic() - _written.get(self.id, -_PAUSE_S) < _PAUSE_S:
                return
            _written[self.id] = time.monotonic()
            self.write(f"{self.id}.jsonl", self._lines)

    def write(self, name: str, content: Callable[[bool], bytes]) -> None:
        """Write a file beside the log, whole or not at all. One that cannot be written costs a warning, once.

        content: called with whether the file may name clips. It may not where some were purged since the command
        began: the purge has deleted, or is about to delete, what names them, and does not look again.
        """
        if time.monotonic() - _failed.get(self.id, -_AGAIN_S) < _AGAIN_S:
            return
        try:
            with exclusive(self.workspace, COMMANDS):  # a purge holds it, too, while it deletes files there
                may_name = bool(self.purges) and purge_signature(self.workspace) == self.purges
                storage.write_bytes(storage.join(self.workspace, COMMANDS, name), content(may_name))
        except WorkspaceError as error:
            # The stages say whether the command can go on; the log decides nothing.
            _failed[self.id] = time.monotonic()
            if self.id not in _said:
                _said.add(self.id)
                log.warning(f"vdv: {error}; what the command is at and what it did is only said here")

    def _lines(self, may_name: bool) -> bytes:
        events = self._all() if may_name else map(without_message, self._all())
        return "".join(json.dumps(noted) + "\n" for noted in events).encode()

    def _all(self) -> Iterator[dict[str, Any]]:
        journal = _opened(self.journal)
        text = os.pread(journal, os.fstat(journal).st_size, 0)
        for line in text.split(b"\n")[:-1]:  # behind the last end of a line is what another process is writing now
            noted = json.loads(line)
            if noted["command"] == self.id:
                yield noted


def tell_caller(**about: Any) -> bool:
    """Tell the program that started this process, by a line that is in no log; False: a person did.

    about: `results` of a command that went well, or `error`, with code and message.
    """
    if caller() is None:
        return False
    _add_line(f"/proc/{os.getpid()}/fd/{_JOURNAL}", {"command": None, "event": "told", **about})
    return True


class Stage:
    """A task at work for a command, from `began` to `stage_ended` in its log."""

    def __init__(self, command: Command | None, name: str, of: str):
        self.command = command  # None: of nobody's command, as in a test; nothing is logged
        self.name = name
        self.of = of  # the batch it works on; "": all of them
        self._measured: dict[str, Any] = {}
        self._began = time.monotonic()

    def measure(self, **fields: Any) -> None:
        """What was done, from which rates can be computed; it stands in the log and in the summary."""
        self._measured |= fields

    def __enter__(self) -> "Stage":
        if self.command:
            self.command.note("stage_began", stage=self.name, of=self.of)
            self.command.publish()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self.command is None:
            return
        took = round(time.monotonic() - self._began, 3)
        about = {"stage": self.name, "of": self.of, "took_s": took, **outcome(error)}
        self.command.note("stage_ended", **about, **self._measured)
        self.command.publish()


def outcome(error: BaseException | None) -> dict[str, Any]:
    """How something ended: done, failed or interrupted, and of an error its code and the words that a person reads."""
    if error is None:
        return {"outcome": "done", "error": None}
    ended = "failed" if isinstance(error, Exception) else "interrupted"
    code = getattr(error, "code", None)
    words = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
    about = {"code": code if isinstance(code, str) else type(error).__name__, "message": "\n".join(words)}
    return {"outcome": ended, "error": about}


def without_message(about: Mapping[str, Any]) -> dict[str, Any]:
    """The same with no more of its error, if it has one, than the code."""
    return {**about, **({"error": {**about["error"], "message": WITHHELD}} if about.get("error") else {})}


def _add_line(journal: str, content: Mapping[str, Any]) -> None:
    os.write(_opened(journal), (json.dumps(content) + "\n").encode())


@cache
def _opened(journal: str) -> int:
    return os.open(journal, os.O_RDWR | os.O_APPEND)


@contextmanager
def _locked(journal: int) -> Iterator[None]:
    """Between the processes of a command; the kernel lets go when one dies."""
    fcntl.lockf(journal, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(journal, fcntl.LOCK_UN)


def _remove_old(workspace: str, task: str) -> None:
    folder = storage.join(workspace, COMMANDS)
    files = storage.listing(folder, recursive=False)
    of_task: dict[str, list[str]] = {}
    for name in files:
        of, _, ending = name.rpartition(".")
        if ending in ("json", "jsonl") and of.split("-")[1:2] == [task]:
            of_task.setdefault(of, []).append(name)
    for of in sorted(of_task)[:-KEPT]:
        for name in of_task[of]:
            storage.remove(storage.join(folder, name))


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
