"""Ctrl-C says one line, leaves nothing behind, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.tiny_clips import tiny_world
from tests.end_to_end.workspaces import environment, run, words
from tests.support.orphans import still_running

SAID = "vdv: interrupted; all that was finished is kept, and the same command goes on from there"
TINY = ("--manifest", "tiny.csv", "--modalities", "pose,scene")
OPTIONS = (*TINY, "--folds", "2", "--epochs", "8", "--shard-clips", "2")


def interrupted(folder: Path, moment: str, whole_group: bool) -> tuple[int, str]:
    """Exit code and output of a build that is interrupted once a file is there.

    whole_group: as a terminal does it; else only the command's own process gets the signal.
    """
    env = {**environment(), "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-m", "luigi", *words("BuildVDV", folder, *OPTIONS)]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 200
        while not list((folder / "workspace").glob(moment)):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = psutil.Process(process.pid).children(recursive=True)
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        alive = still_running(children)
        assert not alive, f"outlived the command: {[child.cmdline() for child in alive]}"
        return process.returncode, output


@pytest.mark.timeout(600)
def test_processes_of_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    tiny_world(tmp_path, 6)
    options = (*TINY, "--folds", "0", "--epochs", "5000", "--workers", "2")
    command = [sys.executable, "-m", "luigi", *words("TrainFusion", tmp_path, *options)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 200
        while not list((tmp_path / "workspace").glob("runs/*/checkpoints/*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.kill()
        alive = still_running(children)
        for child in alive:
            child.kill()
        assert not alive


@pytest.mark.timeout(600)
def test_an_interrupted_build_says_one_line_leaves_nothing_and_goes_on(tmp_path: Path) -> None:
    tiny_world(tmp_path, 6)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "luigi").write_text("somebody else's: no lock can lie here")
    for moment, whole_group in (("clips/*/*.parquet", True), ("runs/*/checkpoints/*", False)):
        code, output = interrupted(tmp_path, moment, whole_group)
        assert code == 130, output
        said = [line for line in output.splitlines() if line and "UNTRAINED WEIGHTS" not in line]
        assert said == [SAID]
        assert [path for path in (tmp_path / "tmp").iterdir() if path.name.startswith("vdv-")] == []
        assert list((tmp_path / "workspace").rglob(".staged-*")) == []
    done = run("TrainFusion", tmp_path, *OPTIONS)
    assert done.code == 0, done.output
    assert "6 ok" in done.output
