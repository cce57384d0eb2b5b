"""Whether processes have ended that no one here may wait for, such as children of a process that was killed."""

import time
from collections.abc import Sequence

import psutil


def still_running(processes: Sequence[psutil.Process], seconds: float = 10) -> list[psutil.Process]:
    """Those that run on after so many seconds, at most.

    A zombie has ended: whoever inherited it, in a container often a slow init, has only not asked how.
    """
    until = time.monotonic() + seconds
    running = list(processes)
    while True:
        running = [process for process in running if _runs(process)]
        if not running or time.monotonic() > until:
            return running
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
