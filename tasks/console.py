"""Text for the terminal: progress, counts, and errors without tracebacks where the user can act on them."""

import logging
import re
import sys
from collections import Counter
from collections.abc import Mapping

import luigi
from tqdm import tqdm

from pipeline.core.errors import VdvError


def say(message: str) -> None:
    tqdm.write(message, file=sys.stderr)


_spent_s: dict[str, float] = {}  # by task family, in the order in which they ran; of this process
_parts_s: dict[str, Counter[str]] = {}  # the same, divided further


@luigi.Task.event_handler(luigi.Event.PROCESSING_TIME)
def _note_time(task: luigi.Task, seconds: float) -> None:
    _spent_s[task.task_family] = _spent_s.get(task.task_family, 0.0) + seconds


def note_parts(task: luigi.Task, seconds: Mapping[str, float]) -> None:
    """Where a task's own time went, for `time_spent`."""
    _parts_s.setdefault(task.task_family, Counter()).update(seconds)


def time_spent() -> str:
    """Where this run's time went, a stage a line; "" where nothing ran for a second."""
    lines = []
    for name, seconds in _spent_s.items():
        if seconds >= 1:
            parts = [f"{part} {_duration(took)}" for part, took in _parts_s.get(name, {}).items() if took >= 1]
            lines.append(f"  {name:<16} {_duration(seconds):>12}" + (f"   {', '.join(parts)}" if parts else ""))
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


class UserErrors(logging.Filter):
    """Shortens Luigi's report of an error that the user can act on to its message; others keep their traceback."""

    _HEADING = "Traceback (most recent call last):"
    _IN_TRACEBACK = re.compile(r"^(?:pipeline\.core|models)\.errors\.\w+: ", re.MULTILINE)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, VdvError):
            message = "\n".join((str(error), *getattr(error, "__notes__", ())))
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
