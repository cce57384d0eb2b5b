"""Processes that end when the process that started them does, however that ends."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from pipeline.core.import_path import working_folder_left_out

Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends. No effect but on Linux.

    parent: id of the process that started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the line above
        os._exit(0)


class _Process(SpawnProcess):
    """A spawned process that imports nothing from the working folder: it takes over its parent's import path."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        with working_folder_left_out():
            return SpawnProcess._Popen(process_obj)


class _Context(SpawnContext):
    Process = _Process


class _Pool(ProcessPoolExecutor):
    """A pool whose block ends the tasks under way, and waits for none, when it ends by an error or by Ctrl-C."""

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool | None:
        if kind is not None:
            for process in list((self._processes or {}).values()):  # none once it is shut down
                process.kill()
            self.shutdown(wait=True, cancel_futures=True)
        return super().__exit__(kind, error, trace)  # type: ignore[arg-type]


def spawned_pool(workers: int, start: Callable[..., None] | None = None, arguments: tuple = ()) -> ProcessPoolExecutor:
    """A pool whose processes do not outlive this one; the standard library's wait for work for ever.

    Spawned, because a fork of a process with threads may hang.

    Args:
        start, arguments: `start(*arguments)` is called in every process before its first task; a module's function.
    """
    with working_folder_left_out():  # its queues start a process that keeps count of semaphores
        return _Pool(workers, _Context(), _start, (os.getpid(), start, arguments))


def called_in_processes(
    workers: int, function: Callable[..., Result], calls: Iterable[tuple], start: Callable[..., None] | None = None
) -> Iterator[Result]:
    """Results of calls, as they come; of a single worker or call in this process, for another has all to import.

    Args:
        function: a module's, and its results, which can be pickled.
        calls: the arguments of each.
        start: as of `spawned_pool`; not called in this process.
    """
    calls = list(calls)
    if min(workers, len(calls)) <= 1:
        yield from (function(*arguments) for arguments in calls)
        return
    with spawned_pool(min(workers, len(calls)), start) as pool:
        for done in as_completed([pool.submit(function, *arguments) for arguments in calls]):
            yield done.result()


def _start(parent: int, start: Callable[..., None] | None, arguments: tuple) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle, which ends this process
    if start is not None:
        start(*arguments)
