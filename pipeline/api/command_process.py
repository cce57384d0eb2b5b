"""A command in a process of its own: progress shown, its errors raised, Ctrl-C passed on, its results returned."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any

from pipeline.api.bars import Bars, are_seen, say
from pipeline.commands.caller import Caller
from pipeline.core import interrupt
from pipeline.core.errors import (
    CommandFailed,
    DataError,
    ManifestError,
    OptionError,
    ProfileError,
    TooManyFailed,
    VdvError,
    WeightsError,
    WorkspaceError,
)
from pipeline.core.import_path import module_command, module_environment

_POLL_S = 0.2
_STOP_S = 60.0  # that an interrupted command may take to end in order
_KEPT = "all that was finished is kept, and the same call goes on from there"
_ERRORS: dict[str, type[VdvError]] = {
    kind.code: kind
    for kind in (DataError, ManifestError, OptionError, ProfileError, TooManyFailed, WeightsError, WorkspaceError)
}


def run_command(task: str, words: Sequence[str]) -> dict[str, Any]:
    """Run a task to its end, as `luigi --module tasks TASK WORDS` does, and show its progress and what it prints.

    Returns:
        `results` of its summary (docs/progress.md), also where there was nothing to do; {} of a dry run.

    Raises:
        VdvError: the command failed; of the class of its error, with its words.
        CommandFailed: it was killed, interrupted by somebody else, or ended by a defect.
        KeyboardInterrupt: in this process; the command has ended in order.
    """
    with ExitStack() as stack:
        journal = stack.enter_context(os.fdopen(os.memfd_create("vdv-journal"), "rb", buffering=0))
        output = stack.enter_context(tempfile.TemporaryFile())
        bars = stack.enter_context(Bars()) if are_seen() else None
        caller = Caller(os.getpid(), journal.fileno(), shows_progress=bars is not None)
        said = _Said(journal, output, bars)
        process = subprocess.Popen(
            module_command("luigi", "--module", "tasks", task, *words),
            env={**module_environment(), **caller.environment()}, pass_fds=(journal.fileno(),),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            # Ctrl-C and Jupyter interrupt a whole group; the command is to get one SIGINT, for a second one kills it.
            start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None:
                said.follow()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        except BaseException:
            _stop(process)
            raise
        said.follow()
        if process.returncode:
            raise said.error(task, process.returncode)
        return said.results


class _Said:
    """What a command says: the events in its journal, and what it prints."""

    def __init__(self, journal: IO[bytes], output: IO[bytes], bars: Bars | None):
        self.results: dict[str, Any] = {}
        self._journal, self._output, self._bars = _Lines(journal), _Lines(output), bars
        self._errors: list[dict[str, str]] = []  # those that a user can act on
        self._defect: dict[str, str] | None = None
        self._last = ""

    def follow(self) -> None:
        """Show what is new."""
        for line in self._journal.new():
            event = json.loads(line)
            if event["event"] == "told":
                self.results = event.get("results", self.results)
                self._errors += [event["error"]] if "error" in event else []
            elif event["event"] == "ended":
                self._defect = event["error"]
            elif self._bars:
                self._bars.show(event)
        for line in self._output.new():
            self._last = line.strip() or self._last
            say(line)

    def error(self, task: str, exit_code: int) -> VdvError:
        """The error of a command that ended with this exit code; a negative one is a signal's number."""
        if self._errors:
            messages = dict.fromkeys(error["message"] for error in self._errors)
            return _ERRORS.get(self._errors[0]["code"], CommandFailed)("\n".join(messages))
        if exit_code < 0:
            name = signal.Signals(-exit_code).name
            short = ", by the system where memory was short" if name == "SIGKILL" else ""
            return CommandFailed(f"{task} was ended by {name}{short}; {_KEPT}")
        if exit_code == interrupt.EXIT_CODE:
            return CommandFailed(f"{task} was interrupted; {_KEPT}")
        if self._defect:
            return CommandFailed(f"{task} failed by {self._defect['code']}: {self._defect['message']}; {_KEPT}")
        return CommandFailed(f"{task} ended with exit code {exit_code}: {self._last}")


class _Lines:
    """The lines of a file that another process writes. Its position, which the two may share, is left alone."""

    def __init__(self, file: IO[bytes]):
        self._descriptor = file.fileno()
        self._read = 0

    def new(self) -> Iterator[str]:
        """Those whole since the last call."""
        text = os.pread(self._descriptor, os.fstat(self._descriptor).st_size - self._read, self._read)
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        yield from whole.decode(errors="replace").splitlines()


def _stop(process: subprocess.Popen) -> None:
    """Interrupt a command and wait until it has ended; it is killed where that takes long, or by another Ctrl-C."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
    if process.wait() == interrupt.EXIT_CODE:
        say(interrupt.MESSAGE)
