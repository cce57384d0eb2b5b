"""Text for the terminal: progress, counts, and errors without tracebacks where the user can act on them."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import luigi
from luigi.rpc import RPCError
from tqdm import tqdm

import pipeline.commands.progress
from pipeline.commands.caller import caller
from pipeline.commands.command import Command, Stage, tell_caller
from pipeline.commands.progress import EVERY_S, LogLines, Show, Standing
from pipeline.commands.summary import end
from pipeline.core import errors
from pipeline.core.errors import DataError, VdvError, WorkspaceError
from pipeline.core.storage import disk_error
from tasks.terminal_text import progress_text, times_text


def say(message: str) -> None:
    tqdm.write(message, file=sys.stderr)


class Bar:
    """A bar on a terminal, from the first report that says of how many."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __call__(self, standing: Standing) -> None:
        if standing.ended:
            if self._bar is not None:
                self._bar.close()
            return
        if self._bar is None:
            self._bar = tqdm(
                desc=standing.title, unit=standing.unit, initial=standing.done, dynamic_ncols=True, leave=False
            )
        self._bar.total = standing.total
        self._bar.set_postfix_str(standing.detail, refresh=False)
        self._bar.update(standing.done - self._bar.n)


class Lines:
    """A line each time, and one at the end of what was long enough for a line before."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, standing: Standing) -> None:
        if self._said or not standing.ended:
            say(progress_text(standing))
            self._said = True


class LuigiStatus:
    """A task's status on the page of Luigi's central scheduler."""

    def __init__(self, task: luigi.Task):
        self._task = task
        self._answers = True

    def __call__(self, standing: Standing) -> None:
        # Luigi gives a task these two only while its scheduler runs it.
        tell, set_percentage = self._task.set_status_message, self._task.set_progress_percentage
        if not self._answers or tell is None:
            return
        try:
            if standing.total and set_percentage is not None:
                set_percentage(100 * standing.done / standing.total)
            tell(progress_text(standing))
        except RPCError as error:  # the work does not depend on it; Luigi itself asks again when the task has ended
            self._answers = False
            logging.getLogger("luigi-interface").warning(f"vdv: {error}; the scheduler is told no more of {self._task}")


class Progress(pipeline.commands.progress.Progress):
    """How far a task is: a bar on a terminal, else lines; in Luigi's own task status; in the command's log.

    A program that started the command, and shows the progress itself, reads it in the log.

    Call it with (done, total, counts or message).
    """

    def __init__(self, task: luigi.Task, title: str, unit: str = "clip"):
        is_terminal = sys.stderr.isatty()
        bar: list[Show] = [Bar()] if is_terminal else []
        by = caller()
        is_shown = is_terminal or (by is not None and by.shows_progress)
        timed: list[Show] = [LuigiStatus(task)] if is_shown else [Lines(), LuigiStatus(task)]
        stage: Stage | None = getattr(task, "stage", None)
        if stage is not None and stage.command is not None:
            timed.append(LogLines(stage.command, stage.name, stage.of))
        super().__init__(title, unit, bar, timed, getattr(task, "progress_s", EVERY_S))


@dataclass(frozen=True)
class Summary:
    """What there is when a task has ended."""

    lines: Sequence[str]  # for the terminal
    places: Mapping[str, str | list[str]]  # paths, by what lies there
    content: Mapping[str, Any] = field(default_factory=dict)  # of pipeline.commands.summary: clips, codes, results, ...

    def text(self, stages: Sequence[Mapping[str, Any]] = (), written: str = "") -> str:
        """The lines, where the time of the stages went, and the places, among them of the summary if it is written."""
        places = {**self.places, **({"summary": written} if written else {})}
        named = [
            f"{name.replace('_', ' ')}: {paths if isinstance(paths, str) else ', '.join(paths)}"
            for name, paths in places.items()
        ]
        return "\n".join([*self.lines, *times_text(stages), *named])


def finish(command: Command, summary: Summary) -> None:
    """End a command that went well: its summary to the terminal and, as data, into its workspace."""
    root = command.workspace.rstrip("/") + "/"
    places = {
        name: paths.removeprefix(root) if isinstance(paths, str) else [path.removeprefix(root) for path in paths]
        for name, paths in summary.places.items()
    }
    written = end(command, {**summary.content, "places": places})
    say(summary.text(command.events("stage_ended"), written))


def fail(command: Command, error: BaseException, content: Mapping[str, Any]) -> None:
    """End a command with an error: its summary into its workspace. content: as a Summary's."""
    written = end(command, content, error)
    if isinstance(error, Exception):  # nobody who interrupts a command asks for more words
        say(f"summary: {written}")


# Of a command that no longer finds what it has made or seen before.
GONE = "another command changed or removed what this one was to go on from; run it again. What was finished is kept"


class UserErrors(logging.Filter):
    """Shortens Luigi's report of an error that the user can act on to its message; others keep their traceback."""

    _UNFULFILLED = "Unfulfilled dependenc"  # Luigi's words where a task is no longer complete that was
    _HEADING = "Traceback (most recent call last):"
    _IN_TRACEBACK = re.compile(r"^(?:pipeline\.core|models)\.errors\.(\w+): ", re.MULTILINE)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, SystemExit):  # Ctrl-C in a process of --workers; pipeline.core.interrupt
            return False
        if (found := self._code_and_message(error, record)) is None:
            return True
        code, message = found
        if tell_caller(error={"code": code, "message": message}):  # raises it, so it is not said twice
            return False
        record.msg, record.args, record.exc_info, record.exc_text = f"vdv: {message}", (), None, None
        return True

    def _code_and_message(self, error: BaseException | None, record: logging.LogRecord) -> tuple[str, str] | None:
        """Of an error that the user can act on; None: of another one, or of none."""
        if isinstance(error, VdvError):
            return error.code, "\n".join((str(error), *getattr(error, "__notes__", ())))
        if isinstance(error, RPCError):
            return VdvError.code, (
                f"{error}; start luigid there, or leave out --scheduler-host and its like: vdv needs none"
            )
        if isinstance(error, RuntimeError) and str(error).startswith(self._UNFULFILLED):
            return DataError.code, f"{GONE} ({error})"
        if isinstance(error, OSError) and (words := disk_error(error)):  # of a library that writes files by itself
            return WorkspaceError.code, words
        # An error in complete() or requires() reaches the log as the text of its traceback: that of its cause first, so
        # only what is behind the last heading is the error itself.
        raised = "" if record.exc_info else record.getMessage().rpartition(self._HEADING)[2]
        named = self._IN_TRACEBACK.search(raised)
        return (getattr(errors, named[1]).code, raised[named.end() :].strip()) if named else None
