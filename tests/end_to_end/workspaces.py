"""Running the `luigi` command on small workspaces, and seeing what it made or made anew."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from luigi.cmdline import luigi_run

from benchmarks.tiny_clips import PROFILE as TINY_PROFILE
from pipeline.commands.command import COMMANDS
from pipeline.core.locks import LOCKS
from pipeline.features.plan import SIZES
from tests.support.orphans import still_running
from tests.support.warm_process import ended, environment, start

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Finished:
    code: int
    output: str  # stdout and stderr together


def words(task: str, folder: Path, *options: str, profile: Path | str = TINY_PROFILE) -> list[str]:
    """What stands behind `luigi` on the command line. One decode worker, unless `options` say otherwise: each imports
    for a third of a second, longer than it takes to decode such clips.
    """
    return [
        *("--module", "tasks", task, "--profile", str(profile), "--device", "cpu", "--decode-workers", "1"),
        *(("--epochs", "1", "--folds", "0") if task == "BuildVDV" else ()),  # what is learned is not looked at here
        *(() if "--workspace" in options else ("--workspace", str(folder / "workspace"))),
        *options,
    ]  # fmt: skip


def run(
    task: str, folder: Path, *options: str, profile: Path | str = TINY_PROFILE, python_path: Path | None = None
) -> Finished:
    """Runs a task from an empty folder, so that nothing of the checkout is found by accident."""
    env = environment()
    if python_path:
        env["PYTHONPATH"] = os.pathsep.join([str(python_path), env.get("PYTHONPATH", "")])
    return luigi(words(task, folder, *options, profile=profile), folder, env)


def luigi(words: Sequence[str], folder: Path, env: dict[str, str] | None = None) -> Finished:
    """What `luigi` does in a process that begins with everything imported."""
    with tempfile.NamedTemporaryFile() as output:
        process = start(_luigi, list(words), folder=folder, env=env or environment(), output=output.name)
        return Finished(ended(process, 600), output.read().decode())


def _luigi(words: list[str]) -> None:
    luigi_run(words)


def build_and_save(folder: Path, *options: str) -> None:
    """Build folder/world, and keep a copy of it in folder/saved for `restored`."""
    done = run("BuildVDV", folder / "world", *options)
    assert done.code == 0, done.output
    shutil.copytree(folder / "world", folder / "saved")


def restored(folder: Path) -> Path:
    """folder/world as it was saved, at its place: clips that are elsewhere are looked at again."""
    shutil.rmtree(folder / "world")
    shutil.copytree(folder / "saved", folder / "world")
    return folder / "world"


def kill_after(seconds: float, task: str, folder: Path, *options: str) -> int:
    """Starts a task and kills its main process with SIGKILL after some time; its exit code (0: it had ended).

    Its workers get no signal: they must notice by themselves. Raises AssertionError when one outlives it by 10 s.
    """
    process = start(_luigi, words(task, folder, *options), folder=folder, env=environment())
    process.join(seconds)
    if process.is_alive():
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.join()
        alive = still_running(children)
        assert not alive, f"outlived their parent: {[child.cmdline() for child in alive]}"
    assert process.exitcode is not None
    return process.exitcode


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
    """What was written, but for the records of shards' sizes, for locks and for what is noted of every command."""
    written = {path for path, when in after.items() if before.get(path) != when}
    return {path for path in written if not path.endswith(SIZES) and not path.startswith((LOCKS, COMMANDS))}
