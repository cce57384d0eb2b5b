"""kill -9 before each of its changes of files: the same request goes on, to what an undisturbed purge leaves."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from pipeline.features.plan import record_sizes
from pipeline.ingest.tombstones import read_tombstones
from pipeline.purge.job import read_job
from tests.pipeline.purge.test_results import make_full_run
from tests.support.made_once import Workspaces, begins_with
from tests.support.purging import lasting, purge
from tests.support.warm_process import ended, environment, start

CREATORS = ("creator0", "zoe")
EVERY = 8  # changes, before one of which a process is killed


def purge_until(workspace: str, change: int) -> None:
    """Purge, and kill this process before so many changes of files in the workspace are done."""
    left = change

    def act() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    before_each_change(workspace, act)
    purge(workspace, creators=CREATORS)


def purge_and_copy(workspace: str, copies: str) -> None:
    """Purge, and copy the workspace before each change of its files to copies/0, copies/1, ..."""
    number = count()
    before_each_change(workspace, lambda: shutil.copytree(workspace, f"{copies}/{next(number)}"))
    purge(workspace, creators=CREATORS)


def before_each_change(workspace: str, act: Callable[[], object]) -> None:
    """Have this process, to its end, act before it renames or removes a file in the workspace."""

    def look(event: str, arguments: tuple) -> None:
        if event in ("os.rename", "os.remove") and _is_there(arguments[0], workspace):
            act()

    sys.addaudithook(look)


@begins_with(make_full_run)
def make_recorded_run(workspace: Path) -> Path:
    """The full run, with the records of shards' sizes that commands leave."""
    shards = [*workspace.glob("features/*/*/*/*.parquet"), *workspace.glob("clips/*/endings/*/*.parquet")]
    for folder in sorted({path.parent for path in shards}):
        record_sizes(str(folder))
    return workspace


def _is_there(path: object, workspace: str) -> bool:
    return str(path).startswith(workspace) and os.path.exists(str(path))


def whole_files(workspace: Path) -> dict[str, str]:
    return {name: digest for name, digest in lasting(workspace).items() if ".staged-" not in name}


@pytest.mark.timeout(900)
def test_a_purge_killed_before_any_of_its_changes_goes_on_to_the_same_end(
    workspaces: Workspaces, tmp_path: Path
) -> None:
    """A process that is killed leaves what a copy of the moment holds: here and there one is, all others are copied."""
    whole, workspace = workspaces.copy(make_recorded_run), tmp_path / "workspace"
    before = lasting(whole)
    shutil.copytree(whole, workspace)
    process = start(purge_and_copy, str(workspace), str(tmp_path), folder=tmp_path, env=environment())
    assert ended(process, 300) == 0
    wanted, changes = lasting(workspace), len(list(tmp_path.glob("[0-9]*")))
    assert changes > 40
    for change in range(changes):
        copy = tmp_path / str(change)
        shutil.rmtree(workspace)
        if change % EVERY:
            copy.rename(workspace)
        else:
            shutil.copytree(whole, workspace)
            process = start(purge_until, str(workspace), change, folder=tmp_path, env=environment())
            assert ended(process, 120) == -signal.SIGKILL
            assert whole_files(workspace) == whole_files(copy)
        if read_job(str(workspace)) is None:
            assert whole_files(workspace) == before
        elif change > 1:
            assert read_tombstones(str(workspace)).has_clip("new0")
        _, proof = purge(workspace, creators=CREATORS)
        assert not proof.found
        assert lasting(workspace) == wanted
