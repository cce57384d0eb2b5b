"""Processes of a pool when the one that started them is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.core.child_processes import called_in_processes, spawned_pool
from tests.support.orphans import still_running

pytestmark = pytest.mark.usefixtures("spawned_pools")
PROGRAM = """
import sys, time
from pipeline.core.child_processes import spawned_pool
if __name__ == "__main__":
    with spawned_pool(2) as pool:
        list(pool.map(abs, range(4)))
        print("busy", flush=True)
        pool.submit(time.sleep, 120).result()
"""


def test_a_pool_works(tmp_path: Path) -> None:
    with spawned_pool(2) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]


@pytest.mark.parametrize(("workers", "here"), [(1, True), (2, False)])
def test_calls_for_one_process_are_made_in_this_one(workers: int, here: bool) -> None:
    assert sorted(called_in_processes(workers, abs, [(-1,), (-2,)])) == [1, 2]
    processes = set(called_in_processes(workers, os.getpid, [(), ()]))
    assert (processes == {os.getpid()}) is here
    assert list(called_in_processes(2, os.getpid, [()])) == [os.getpid()], "a single call has nobody to share with"


def test_an_error_after_the_pool_was_shut_down_is_the_one_that_is_seen() -> None:
    def shut_down_and_fail() -> None:
        with spawned_pool(1) as pool:
            pool.submit(abs, -1).result()
            pool.shutdown(wait=False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shut_down_and_fail()


def test_killing_the_parent_ends_the_busy_and_the_idle_process(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "program.py")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "busy\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert not still_running(children)
