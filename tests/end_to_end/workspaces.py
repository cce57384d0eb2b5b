"""Running the real `luigi` command on small workspaces, and seeing what it made or made anew."""

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_PROFILE = Path(__file__).parent / "tiny.toml"


@dataclass(frozen=True)
class Finished:
    code: int
    output: str  # stdout and stderr together


def command(task: str, folder: Path, *options: str, profile: Path | str = TINY_PROFILE) -> list[str]:
    return [
        *(sys.executable, "-m", "luigi", "--module", "tasks", task),
        *("--profile", str(profile), "--device", "cpu"),
        *(("--epochs", "2", "--folds", "0") if task == "BuildVDV" else ()),  # what is learned is not looked at here
        *(() if "--workspace" in options else ("--workspace", str(folder / "workspace"))),
        *options,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """One thread a process: the tests' machines are small, and results must not depend on how busy they are."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def run(
    task: str, folder: Path, *options: str, profile: Path | str = TINY_PROFILE, python_path: Path | None = None
) -> Finished:
    """Runs a task from an empty folder, so that nothing of the checkout is found by accident."""
    done = subprocess.run(
        command(task, folder, *options, profile=profile),
        cwd=folder,
        env={**environment(), **({"PYTHONPATH": str(python_path)} if python_path else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return Finished(done.returncode, done.stdout)


def kill_after(seconds: float, task: str, folder: Path, *options: str) -> int:
    """Starts a task and kills its main process with SIGKILL after some time; its exit code (0: it had ended).

    Its workers get no signal: they must notice by themselves. Raises AssertionError when one outlives it by 10 s.
    """
    process = subprocess.Popen(
        command(task, folder, *options),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        code = process.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, f"outlived their parent: {[child.cmdline() for child in alive]}"
        return code


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder by its relative path; files being written are seen too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def written(folder: Path) -> dict[str, int]:
    """Time of last change of every file below a folder by its relative path: what a run wrote shows as a difference."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()
    }


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {path for path, when in after.items() if before.get(path) != when}
