"""kill -9 before each of its changes of files: the same request goes on, to what an undisturbed purge leaves."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from pipeline.features.plan import record_sizes
from pipeline.ingest.tombstones import read_tombstones
from pipeline.purge.job import read_job
from tests.pipeline.purge.test_results import make_full_run
from tests.support.made_once import Workspaces
from tests.support.purging import lasting, purge
from tests.support.warm_process import ended, environment, start

CREATORS = ("creator0", "zoe")


def purge_until(workspace: str, change: int) -> None:
    """Purge, and kill this process before so many changes of files in the workspace are done."""
    left = change

    def count(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in ("os.rename", "os.remove") and _is_there(arguments[0], workspace):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    purge(workspace, creators=CREATORS)


def make_recorded_run(workspace: Path) -> Path:
    """The full run, with the records of shards' sizes that commands leave."""
    make_full_run(workspace)
    shards = [*workspace.glob("features/*/*/*/*.parquet"), *workspace.glob("clips/*/endings/*/*.parquet")]
    for folder in sorted({path.parent for path in shards}):
        record_sizes(str(folder))
    return workspace


def _is_there(path: object, workspace: str) -> bool:
    return str(path).startswith(workspace) and os.path.exists(str(path))


@pytest.mark.timeout(900)
def test_a_purge_killed_before_any_of_its_changes_goes_on_to_the_same_end(
    workspaces: Workspaces, tmp_path: Path
) -> None:
    whole, workspace = workspaces.copy(make_recorded_run), tmp_path / "workspace"
    before = lasting(whole)
    shutil.copytree(whole, workspace)
    purge(workspace, creators=CREATORS)
    wanted = lasting(workspace)
    kills = 0
    for change in range(1000):
        shutil.rmtree(workspace)
        shutil.copytree(whole, workspace)
        process = start(purge_until, str(workspace), change, folder=tmp_path, env=environment())
        if ended(process, 120) == 0:
            break
        kills += 1
        assert process.exitcode == -9
        if read_job(str(workspace)) is None:
            assert {name: at for name, at in lasting(workspace).items() if ".staged-" not in name} == before
        elif change > 1:
            assert read_tombstones(str(workspace)).has_clip("new0")
        _, proof = purge(workspace, creators=CREATORS)
        assert not proof.found
        assert lasting(workspace) == wanted
    assert kills > 40
