"""Processes for tests that start with everything imported: torch, lightning and mmpose take each new one ten seconds.

They are forked off Python's own forkserver, which does nothing but import, so each is as if it had just started.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import chdir
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

WARM = "tests.support.warm_imports"


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
    process = _server().Process(target=_call, args=(target, arguments, str(folder), env, str(output)))
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
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WARM])
    # It does not get this process's import path, and passes over what it cannot import.
    found_by = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with patch.dict(os.environ, environment() | found_by), chdir("/"):  # the checkout's luigi.cfg is not read
        forkserver.ensure_running()
    return context


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
    target(*arguments)
