"""Text for the terminal: progress, counts, and errors without tracebacks where the user can act on them."""

import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping

import luigi
from luigi.rpc import RPCError
from tqdm import tqdm

from pipeline.core.errors import VdvError
from pipeline.core.storage import disk_error


def say(message: str) -> None:
    tqdm.write(message, file=sys.stderr)


# A line a task that has run, [task, part of it or "", seconds], by whichever process ran it: Luigi forks those of its
# --workers off the process that has imported this.
_TIMES = os.memfd_create("vdv-times")


@luigi.Task.event_handler(luigi.Event.PROCESSING_TIME)
def _note_time(task: luigi.Task, seconds: float) -> None:
    note_parts(task, {"": seconds})


def note_parts(task: luigi.Task, seconds: Mapping[str, float]) -> None:
    """Where a task's own time went, for `time_spent`."""
    for part, took in seconds.items():
        os.write(_TIMES, (json.dumps([task.task_family, part, took]) + "\n").encode())


def times_noted() -> int:
    """Bytes noted so far: those of later tasks come after them."""
    return os.fstat(_TIMES).st_size


def time_spent(since: int) -> str:
    """Where the time of the tasks noted after `since` went, a stage a line; "" where nothing ran for a second."""
    spent: dict[str, Counter[str]] = {}
    for line in os.pread(_TIMES, times_noted() - since, since).splitlines():
        name, part, seconds = json.loads(line)
        spent.setdefault(name, Counter())[part] += seconds
    lines = []
    for name, parts in spent.items():
        if parts[""] >= 1:
            named = [f"{part} {_duration(took)}" for part, took in parts.items() if part and took >= 1]
            lines.append(f"  {name:<16} {_duration(parts['']):>12}" + (f"   {', '.join(named)}" if named else ""))
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Progress:
    """A bar on a terminal, and the same in Luigi's own task status. Call it with (done, total, counts or message)."""

    def __init__(self, task: luigi.Task, title: str, unit: str = "clip"):
        self._task = task
        self._bar = tqdm(desc=title, unit=unit, total=0, disable=None, dynamic_ncols=True, leave=False)

    def __call__(self, done: int, total: int, detail: Mapping[str, int] | str = "") -> None:
        if isinstance(detail, Mapping):
            detail = ", ".join(f"{count} {name}" for name, count in sorted(detail.items()))
        self._bar.total = total
        self._bar.set_postfix_str(detail, refresh=False)
        self._bar.update(done - self._bar.n)
        # Luigi gives a task these two only while its scheduler runs it.
        if total and self._task.set_progress_percentage:
            self._task.set_progress_percentage(100 * done / total)
        if self._task.set_status_message:
            self._task.set_status_message(f"{done} of {total} {detail}".strip())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


# Of a command that no longer finds what it has made or seen before.
GONE = "another command changed or removed what this one was to go on from; run it again. What was finished is kept"


class UserErrors(logging.Filter):
    """Shortens Luigi's report of an error that the user can act on to its message; others keep their traceback."""

    _UNFULFILLED = "Unfulfilled dependenc"  # Luigi's words where a task is no longer complete that was
    _HEADING = "Traceback (most recent call last):"
    _IN_TRACEBACK = re.compile(r"^(?:pipeline\.core|models)\.errors\.\w+: ", re.MULTILINE)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, SystemExit):  # Ctrl-C in a process of --workers; pipeline.core.interrupt
            return False
        if isinstance(error, VdvError):
            message = "\n".join((str(error), *getattr(error, "__notes__", ())))
        elif isinstance(error, RPCError):
            message = f"{error}; start luigid there, or leave out --scheduler-host and its like: vdv needs none"
        elif isinstance(error, RuntimeError) and str(error).startswith(self._UNFULFILLED):
            message = f"{GONE} ({error})"
        elif isinstance(error, OSError) and (words := disk_error(error)):  # of a library that writes files by itself
            message = words
        else:
            # An error in complete() or requires() reaches the log as the text of its traceback: that of its cause
            # first, so only what is behind the last heading is the error itself.
            raised = "" if record.exc_info else record.getMessage().rpartition(self._HEADING)[2]
            found = self._IN_TRACEBACK.search(raised)
            if found is None:
                return True
            message = raised[found.end() :].strip()
        record.msg, record.args, record.exc_info, record.exc_text = f"vdv: {message}", (), None, None
        return True
