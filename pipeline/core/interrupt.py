"""Ctrl-C: one line, and exit code 130."""

import os
import signal
import sys
from functools import partial
from types import FrameType, TracebackType

from pipeline.core.child_processes import die_with_parent

EXIT_CODE = 128 + signal.SIGINT

MESSAGE = "vdv: interrupted; all that was finished is kept, and the same command goes on from there"


def end_on_interrupt() -> None:
    """From now on the first SIGINT of this process ends it in order, and a second one at once.

    Processes that Luigi forks for `--workers` end with it, and with it alone where it is killed.
    """
    command = os.getpid()
    os.register_at_fork(after_in_child=partial(_end_with, command))

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, _end_at_once)
        if os.getpid() == command:
            print(f"\n{MESSAGE}", file=sys.stderr, flush=True)
            raise KeyboardInterrupt
        raise SystemExit(EXIT_CODE)  # forked by Luigi for --workers

    signal.signal(signal.SIGINT, interrupt)
    sys.excepthook = _without_traceback


def _end_with(command: int) -> None:
    if os.getppid() in (command, 1):  # 1: it was killed meanwhile
        die_with_parent(command)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_CODE)


def _without_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        raise SystemExit(EXIT_CODE)
    sys.__excepthook__(kind, error, trace)
