"""A piece of work is done by one process at a time, and a lock goes with the process that holds it."""

import errno
import fcntl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.core.errors import WorkspaceError
from pipeline.core.locks import LOCKS, exclusive, wait_for_others

_HOLDER = """
import sys
from pipeline.core.locks import exclusive
with exclusive(sys.argv[1], "train", lambda: None):
    print("holds", flush=True)
    sys.stdin.read()
"""


class _Waits(Exception):
    """Raised in place of waiting."""


def _wait() -> None:
    raise _Waits


def test_another_process_waits_until_the_one_that_holds_it_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holds\n"
    with exclusive(str(tmp_path), "score", _wait):  # other work
        pass
    with pytest.raises(_Waits), exclusive(str(tmp_path), "train", _wait):
        pass
    with exclusive(str(tmp_path), "train", holder.kill):
        assert holder.wait() == -9
    with exclusive(str(tmp_path), "train", _wait):
        pass


def test_who_holds_it_may_take_it_once_more_and_keeps_it_until_the_last_end(tmp_path: Path) -> None:
    with exclusive(str(tmp_path), "train", _wait):
        with exclusive(str(tmp_path), "train", _wait):
            pass
        with ThreadPoolExecutor(1) as other, pytest.raises(_Waits):
            other.submit(_take, tmp_path).result()


def _take(workspace: Path) -> None:
    with exclusive(str(workspace), "train", _wait):
        pass


def test_an_error_within_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(str(tmp_path), "train", _wait):
        _ = 1 // 0
    with exclusive(str(tmp_path), "train", _wait), exclusive(str(tmp_path), "score", _wait):
        pass
    assert all(not path.stat().st_size for path in (tmp_path / LOCKS).iterdir())


def test_a_workspace_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "workspace").write_text("no folder")
    with (
        pytest.raises(WorkspaceError, match=r"cannot write .*workspace"),
        exclusive(str(tmp_path / "workspace"), "train", _wait),
    ):
        pass


def test_a_file_system_without_locks_does_not_stop_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_flock)
    done = []
    with exclusive(str(tmp_path), "train", _wait):
        done.append("trained")
    assert done


def test_all_that_others_hold_is_waited_for_and_nothing_is_held_then(tmp_path: Path) -> None:
    wait_for_others(str(tmp_path), _wait)  # where nobody ever was
    with exclusive(str(tmp_path), "score", _wait):
        wait_for_others(str(tmp_path), _wait)  # what this process holds itself
        with ThreadPoolExecutor(1) as other, pytest.raises(_Waits):
            other.submit(wait_for_others, str(tmp_path), _wait).result()
    waited: list[int] = []
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holds\n"

    def end_it() -> None:
        holder.kill()
        waited.append(holder.wait())

    wait_for_others(str(tmp_path), end_it)
    assert waited == [-9]
    for work in ("train", "score"):
        with ThreadPoolExecutor(1) as other:
            other.submit(_hold, tmp_path, work).result()


def _hold(workspace: Path, work: str) -> None:
    with exclusive(str(workspace), work, _wait):
        pass
