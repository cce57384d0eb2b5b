"""What a person reads on the terminal."""

import errno
import logging
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable

import luigi
import pytest
from luigi.rpc import RPCError
from luigi.worker import TaskProcess

import tasks
from pipeline.core.errors import ManifestError, TooManyFailed, WorkspaceError
from tasks.console import Progress, UserErrors, say

LOG = "luigi-interface"


def logged(error: Exception, cause: Exception | None = None) -> str:
    """What a log line holds that reports a raised error as Luigi does when a task's run() fails."""
    handler = _Lines()
    logger = _logger(handler)
    try:
        raise error from cause
    except type(error):
        logger.exception("[pid %s] Worker %s failed    %s", 1, "Worker(salt=1)", "BuildVDV()")
    return handler.lines[0]


def logged_as_text(raise_it: Callable[[], object]) -> str:
    """The same when complete() or requires() fails: Luigi puts the traceback's text into the message."""
    handler = _Lines()
    logger = _logger(handler)
    try:
        raise_it()
    except Exception:  # noqa: BLE001 (as Luigi does)
        text = traceback.format_exc()
    logger.warning(f"Will not run BuildVDV() or any dependencies due to error in complete() method:\n{text}")
    return handler.lines[0]


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("of this test")
    logger.addFilter(UserErrors())
    logger.addHandler(handler)
    return logger


def test_the_filter_is_in_place_wherever_luigi_loads_the_tasks() -> None:
    assert tasks.UserErrors is UserErrors  # importing the package put it there
    assert sum(isinstance(found, UserErrors) for found in logging.getLogger(LOG).filters) == 1


def test_an_error_that_the_user_can_act_on_is_its_message_and_nothing_else() -> None:
    message = "3 of 4 clips failed (3 empty):\n  a: empty: 0 bytes\n  b: empty: 0 bytes"
    assert logged(TooManyFailed(message)) == f"vdv: {message}"
    assert logged(WorkspaceError("the disk is full"), cause=OSError(28, "No space left")) == "vdv: the disk is full"


def test_a_disk_that_is_full_or_read_only_is_named_whoever_wrote_to_it() -> None:
    full = logged(OSError(errno.ENOSPC, "No space left on device"))
    assert full.startswith("vdv: cannot write in the workspace, or the folder for temporary files (")
    assert full.endswith("): No space left on device; free some space there and run again; what was finished is kept")
    read_only = logged(OSError(errno.EROFS, "Read-only file system", "/data/runs/logs"))
    assert read_only.startswith("vdv: cannot write /data/runs/logs: Read-only file system; check that")
    assert "Traceback" in logged(OSError(errno.EIO, "Input/output error"))


def test_a_scheduler_that_does_not_answer_is_named_with_what_to_do() -> None:
    line = logged(RPCError("Errors (3 attempts) when connecting to remote scheduler 'http://there:8082'"), OSError())
    assert line.startswith(
        "vdv: Errors (3 attempts) when connecting to remote scheduler 'http://there:8082'; start luigid"
    )


def test_what_another_command_took_away_meanwhile_is_said_in_words() -> None:
    """In those of the Luigi that is installed."""
    logger = logging.getLogger(LOG)
    handler = _Lines()
    logger.addHandler(handler)
    try:
        TaskProcess(_AfterGone(), 1, multiprocessing.SimpleQueue(), None).run()
    finally:
        logger.removeHandler(handler)
    (line,) = [line for line in handler.lines if _Gone().task_id in line]
    assert line.startswith("vdv: another command changed or removed what this one was to go on from; run it again.")
    assert "Traceback" not in line


class _Gone(luigi.Task):
    def complete(self) -> bool:
        return False


class _AfterGone(luigi.Task):
    def requires(self) -> luigi.Task:
        return _Gone()


def test_where_it_happened_is_said_too_when_it_is_known() -> None:
    error = WorkspaceError("the disk is full")
    error.add_note("while extracting the modality pose of clip7")
    assert logged(error) == "vdv: the disk is full\nwhile extracting the modality pose of clip7"


def test_an_error_that_is_ours_to_mend_keeps_its_traceback() -> None:
    line = logged(ZeroDivisionError("division by zero"))
    assert line.startswith("[pid 1] Worker Worker(salt=1) failed")
    assert "Traceback (most recent call last)" in line
    assert "ZeroDivisionError: division by zero" in line


def test_an_error_while_planning_is_shortened_to_its_message_of_several_lines() -> None:
    def planning() -> None:
        raise ManifestError("2 problems\njune.csv:2 likes: '12k' is no number\njune.csv:3 uri: empty")

    expected = "vdv: 2 problems\njune.csv:2 likes: '12k' is no number\njune.csv:3 uri: empty"
    assert logged_as_text(planning) == expected


def test_of_an_error_with_a_cause_it_is_the_error_that_is_shown_and_not_its_cause() -> None:
    def planning() -> None:
        try:
            raise WorkspaceError("cannot list s3://bucket: Forbidden")
        except WorkspaceError as error:
            raise ManifestError("s3://bucket: cannot be read") from error

    assert logged_as_text(planning) == "vdv: s3://bucket: cannot be read"


def test_a_defect_while_planning_keeps_its_traceback_whatever_it_came_from() -> None:
    def planning() -> None:
        try:
            raise WorkspaceError("cannot list s3://bucket: Forbidden")
        except WorkspaceError as error:
            raise KeyError("a bug") from error

    line = logged_as_text(planning)
    assert line.startswith("Will not run BuildVDV()")
    assert "KeyError: 'a bug'" in line
    assert "Traceback" in line


def test_other_lines_pass_as_they_are() -> None:
    handler = _Lines()
    logger = _logger(handler)
    logger.warning("Task %s is not complete", "pipeline.core.errors.ManifestError: of which this only speaks")
    assert handler.lines == ["Task pipeline.core.errors.ManifestError: of which this only speaks is not complete"]


class Watched(luigi.Task):
    """A task as Luigi's worker runs it: with two functions to report to."""

    progress_s = 30.0

    def watch(self) -> tuple[list[float], list[str]]:
        percentages: list[float] = []
        messages: list[str] = []
        self.set_progress_percentage, self.set_status_message = percentages.append, messages.append
        return percentages, messages


def test_a_short_stage_off_a_terminal_prints_nothing_and_luigi_is_told_how_it_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = Watched()
    percentages, messages = task.watch()
    with Progress(task, "extract june") as progress:
        progress(0, 4, {})
        progress(1, 4, {"partial": 1})
        progress(4, 4, {"partial": 1, "ok": 2, "failed": 1})
    assert percentages == [100]
    (message,) = messages
    assert message.startswith("extract june after 0 s: 4 of 4 clips (100 %), 1 failed")
    assert capsys.readouterr() == ("", "")


def test_a_stage_off_a_terminal_says_at_the_interval_how_far_it_is_though_it_reports_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = Watched()
    task.progress_s = 0.05
    percentages, messages = task.watch()
    with Progress(task, "evaluate"):
        while len(messages) < 3:
            time.sleep(0.01)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(messages) >= 4, "at each interval, and at the end"
    assert set(lines) == {"evaluate after 0 s"}
    assert not percentages, "of how many is not known"


def test_progress_of_nothing_is_no_division_by_zero() -> None:
    task = Watched()
    percentages, messages = task.watch()
    with Progress(task, "assemble") as progress:
        progress(0, 0)
    assert (percentages, messages) == ([], ["assemble after 0 s"])


def test_a_scheduler_that_went_away_costs_its_status_and_not_the_work(caplog: pytest.LogCaptureFixture) -> None:
    task = Watched()
    task.progress_s = 0.05
    asked = []

    def gone(message: str) -> None:
        asked.append(message)
        raise RPCError("http://there:8082 does not answer", OSError())

    task.set_progress_percentage, task.set_status_message = None, gone
    with Progress(task, "assemble") as progress:
        progress(1, 2)
        time.sleep(0.3)
    assert len(asked) == 1
    assert [record.getMessage() for record in caplog.records if "does not answer" in record.getMessage()] == [
        f"vdv: http://there:8082 does not answer; the scheduler is told no more of {task}"
    ]


def test_progress_needs_no_luigi_to_report_to(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(luigi.Task(), "assemble") as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_a_bar_and_no_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    task = Watched()
    task.progress_s = 0.05
    with Progress(task, "extract june") as progress:
        progress(0, 4, {})
        time.sleep(0.2)
        progress(3, 4, {"ok": 3})
    shown = capsys.readouterr().err
    assert "extract june:  75%" in shown
    assert "3/4" in shown
    assert "3 ok" in shown
    assert "after" not in shown


def test_what_is_said_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("clips: 3 ok")
    assert capsys.readouterr() == ("", "clips: 3 ok\n")
