"""Processes for tests that start with everything imported: torch, lightning and mmpose take each new one ten seconds.

They are forked off Python's own forkserver, which does nothing but import, so each is as if it had just started. The
processes of a test run (pytest-xdist's) share one, which the process that started them has begun.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import cache
from multiprocessing import forkserver, popen_forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pipeline.core import child_processes
from pipeline.core.import_path import working_folder_left_out

WARM = "tests.support.warm_imports"
SPAWN = child_processes._Process._Popen  # how the product's pools start processes
_SHARED = "VDV_TEST_FORK_SERVER"  # address of the test run's server


def environment() -> dict[str, str]:
    """One thread a process: the tests' machines are small, and results must not depend on how busy they are."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def start(
    target: Callable[..., object], *arguments: Any, folder: Path, env: dict[str, str], output: Path | str = os.devnull
) -> ForkServerProcess:
    """A started process that calls `target`, a module's function, in a folder and an environment.

    Args:
        output: the file that takes what it writes to stdout and stderr.
    """
    context = server()
    env = env | {_SHARED: os.environ[_SHARED]}
    process = context.Process(target=_call, args=(target, arguments, str(folder), env, str(output)))
    process.start()
    return process


def ended(process: ForkServerProcess, seconds: float) -> int:
    """The exit code of a process that ends by itself. Raises TimeoutError, and kills it, when it does not."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"process {process.pid} did not end within {seconds} s")
    assert process.exitcode is not None
    return process.exitcode


@cache
def server() -> ForkServerContext:
    """The fork server of this process and of all that it starts from now on; it is ready once it has imported."""
    context = multiprocessing.get_context("forkserver")
    if _SHARED in os.environ:
        _use_server(os.environ[_SHARED])
        return context
    context.set_forkserver_preload([WARM])
    # It does not get this process's import path, and passes over what it cannot import.
    found_by = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with patch.dict(os.environ, environment() | found_by), chdir("/"):  # the checkout's luigi.cfg is not read
        forkserver.ensure_running()
    os.environ[_SHARED] = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]
    return context


def _use_server(address: str) -> None:
    """Have this process use a server that another one has started, and ends."""
    server: Any = forkserver._forkserver
    server._forkserver_address = address
    _, server._forkserver_alive_fd = os.pipe()  # by which the server would see that its users have ended
    server.ensure_running = resource_tracker.ensure_running


def _call(
    target: Callable[..., object], arguments: tuple[Any, ...], folder: str, env: dict[str, str], output: str
) -> None:
    assert WARM in sys.modules, "the fork server has not imported what it is for"
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    with warm_pools():
        target(*arguments)


@contextmanager
def warm_pools() -> Iterator[None]:
    """Have the product's pools fork their processes off the server, too, in place of spawning them.

    They begin with everything imported, and end with the process that asked for them, as spawned ones do.
    """
    with patch.object(child_processes._Process, "_Popen", staticmethod(_popen)):
        yield


def _popen(process: Any) -> popen_forkserver.Popen:
    server()
    with working_folder_left_out():
        begin = (dict(os.environ), Connection(os.dup(1)), Connection(os.dup(2)))
        process._args = (*begin, process._target, process._args, process._kwargs)
        process._target, process._kwargs = _begin, {}
        return popen_forkserver.Popen(process)


def _begin(
    env: dict[str, str], stdout: Connection, stderr: Connection, target: Callable[..., object],
    arguments: tuple[Any, ...], options: dict[str, Any],
) -> None:  # fmt: skip
    os.environ.clear()
    os.environ.update(env)
    for number, taken_over in enumerate((stdout, stderr), 1):
        os.dup2(taken_over.fileno(), number)
    with patch.object(child_processes, "die_with_parent", _die_with_parent):
        target(*arguments, **options)


def _die_with_parent(_parent: int) -> None:
    """As the product's, which would have this process end with the server."""

    def die() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()
