"""Whole builds of a small world for the parts that disturb one: the command, its processes, and what must come out."""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.compare_workspaces import FINGERPRINT, bits_of
from benchmarks.tiny_clips import PROFILE, tiny_world
from pipeline.commands.command import COMMANDS
from pipeline.core.locks import LOCKS

CLIPS = 8
MANIFEST = "tiny.csv"
DEADLINE_S = 600.0  # ten times what a build takes on a busy machine
FAILED = 30  # Luigi's exit code where a task ended in words, as tasks/luigi.cfg has it
REFUSED = 35  # the same where nothing was begun, since what there is cannot be looked at
MUST_BE_0 = ("crashes of the run", "hangs", "rows or files that differ", "orphaned processes", "partial files")

_REPOSITORY = Path(__file__).resolve().parents[1]
_MARK = "VDV_HOSTILE_COMMAND"  # in the environment of a command, and so of all that it starts
_GRACE_S = 10.0  # until workers must have noticed that their command is gone
_EVERY_S = 0.02
_NOT_OF_CONTENT = {"uri", "signature", "decode_s"}  # columns: where clips lie, when they changed, how long they took
_RUNNING = re.compile(r"\brunning +(\w+)\(")
_DONE = re.compile(r"\bdone +(\w+)\(")


def add_options(parser: argparse.ArgumentParser, trials: int, what: str) -> None:
    """Options of every part that disturbs builds."""
    parser.add_argument("--trials", type=int, default=trials, help=f"{what} (default {trials})")
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--folds", type=int, default=2, help="of the builds; 0 makes them shorter (default 2)")


@dataclass(frozen=True)
class World:
    """A folder with clips, their manifest and one undisturbed build of them."""

    folder: Path
    options: tuple[str, ...]  # of every build
    calm_s: float = 0.0  # that the undisturbed build took

    @classmethod
    @contextmanager
    def made(cls, folds: int, *options: str) -> Iterator["World"]:
        """A world in a temporary folder, built already. Raises RuntimeError where that fails."""
        with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
            folder = Path(temporary)
            tiny_world(folder, CLIPS)
            world = cls(folder, ("--folds", str(folds), "--epochs", "1", "--report-films", "0", *options))
            world.temporary.mkdir()
            calm = world.command(world.calm).ended()
            if calm.code != 0:
                raise RuntimeError(f"the undisturbed build ended with {calm.code}:\n{calm.output}")
            yield replace(world, calm_s=calm.wall_s)

    @property
    def calm(self) -> Path:
        """The workspace of the undisturbed build."""
        return self.folder / "calm"

    @property
    def manifest(self) -> Path:
        return self.folder / MANIFEST

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of all commands."""
        return self.folder / "tmp"

    def command(
        self,
        workspace: Path | str,
        *options: str,
        manifest: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> "Command":
        """Start a build. before: words in front of the command, such as `nsenter` and its options."""
        words = ["--module", "tasks", "BuildVDV", "--profile", str(PROFILE), "--device", "cpu", "--shard-clips", "4"]
        words += ["--manifest", str(manifest or self.manifest), "--workspace", str(workspace)]
        return Command([*before, sys.executable, "-m", "luigi", *words, *self.options, *options], self.temporary, env)


@dataclass(frozen=True)
class Ended:
    """A command that has ended, by itself or not."""

    code: int  # negative: the signal
    output: str  # stdout and stderr together
    wall_s: float
    hung: bool = False  # it was killed at its deadline
    orphans: tuple[str, ...] = ()  # command lines of its processes that outlived it by 10 s
    left: tuple[str, ...] = ()  # that it has put into the folder for temporary files

    @property
    def tasks_done(self) -> list[str]:
        return _DONE.findall(self.output)

    @property
    def last_task(self) -> str:
        """The task that ran when the command was killed; "planning" before the first one began."""
        running = _RUNNING.findall(self.output)
        return running[-1] if running else "planning"


class Command:
    """A `luigi` as users start it: a new Python, in a folder without anything to import."""

    def __init__(self, words: Sequence[str], temporary: Path, env: Mapping[str, str] | None = None):
        self._mark = uuid.uuid4().hex
        self._temporary = temporary
        self._found = frozenset(ours_in(temporary))
        self._place = Path(tempfile.mkdtemp(prefix="hostile-command-"))
        mine = {"PYTHONPATH": str(_REPOSITORY), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", _MARK: self._mark}
        environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONWARNINGS": "ignore", **(env or {}), **mine}
        self._start = time.monotonic()
        with open(self._place / "output", "wb") as output:
            self.process = subprocess.Popen(
                words, cwd=self._place, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def output(self) -> str:
        """Everything that the command and its processes have written so far."""
        return (self._place / "output").read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def ended(self, deadline_s: float = DEADLINE_S) -> Ended:
        """Wait for the command's end."""
        return self._ended(deadline_s, hung=True)

    def killed_after(self, seconds: float) -> Ended:
        """Kill the command's main process with SIGKILL after some time, if it runs then. Its workers get no signal."""
        return self._ended(seconds, hung=False)

    def _ended(self, seconds: float, hung: bool) -> Ended:
        try:
            self.process.wait(max(0.0, seconds - (time.monotonic() - self._start)))
            hung = False
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        wall_s = time.monotonic() - self._start
        orphans = self._survivors()
        left = tuple(name for name in ours_in(self._temporary) if name not in self._found)
        ended = Ended(self.process.returncode, self.output, wall_s, hung, orphans, left)
        shutil.rmtree(self._place, ignore_errors=True)
        return ended

    def _survivors(self) -> tuple[str, ...]:
        """Command lines of processes that live after the time in which they must end; they are killed now."""
        deadline = time.monotonic() + _GRACE_S
        alive = _marked(self._mark)
        while time.monotonic() < deadline:
            time.sleep(_EVERY_S)
            before, alive = alive, _marked(self._mark)
            if not alive and not before:  # one that just starts a program shows no environment for a moment
                break
        lines = []
        for process in alive:
            try:
                lines.append(" ".join(process.cmdline()))
                process.kill()
            except psutil.NoSuchProcess:
                continue
        return tuple(lines)


def ours_in(temporary: Path) -> list[str]:
    """Names of the product's own files and folders in a folder for temporary files."""
    return sorted(path.name for path in temporary.glob("vdv-*"))


def _marked(mark: str) -> list[psutil.Process]:
    """All processes that have the mark in their environment, whoever their parent is by now."""
    entry = f"{_MARK}={mark}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if entry in (place / "environ").read_bytes().split(b"\0"):
                found.append(psutil.Process(int(place.name)))
        except (OSError, psutil.NoSuchProcess):  # ended meanwhile, or another user's
            continue
    return found


@dataclass
class Tally:
    """Counts of what must not be, with a line for each time that it was."""

    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(MUST_BE_0, 0)))
    lines: list[str] = field(default_factory=list)

    def count(self, what: str, line: str) -> None:
        self.counts[what] += 1
        self.lines.append(f"{what}: {line}")
        print(self.lines[-1], flush=True)

    def judge(self, ended: Ended, codes: Collection[int], words: Sequence[str] = ()) -> None:
        """Judge a command by itself: its end, its processes and its temporary files.

        codes: those that it may end with. words: what it must say where it ends with another than 0.
        """
        missing = [word for word in words if word not in ended.output] if ended.code > 0 else []
        if ended.hung:
            self.count("hangs", f"after {ended.wall_s:.0f} s; {_tail(ended)}")
        elif ended.code not in codes:
            self.count("crashes of the run", f"exit code {ended.code}; {_tail(ended)}")
        elif "Traceback (most recent call last)" in ended.output:
            self.count("crashes of the run", f"a traceback; {_tail(ended)}")
        elif missing or (ended.code > 0 and "vdv: " not in ended.output):
            self.count("crashes of the run", f"its words lack {missing or 'vdv:'}; {_tail(ended)}")
        for line in ended.orphans:
            self.count("orphaned processes", line)
        if ended.code >= 0:  # one that was killed could not tidy up
            for name in ended.left:
                self.count("partial files", f"temporary: {name}")

    def compare(self, calm: Path, workspace: Path, masked: bool = False) -> None:
        """Judge a finished workspace by an undisturbed one. masked: fingerprints in the names need not be equal."""
        for line in differences(contents(calm, masked), contents(workspace, masked)):
            self.count("rows or files that differ", line)
        self.count_partial_files(workspace)

    def count_partial_files(self, workspace: Path) -> None:
        for path in workspace.rglob(".staged-*"):
            self.count("partial files", str(path.relative_to(workspace)))

    def results(self) -> dict[str, object]:
        """The part of a part's figures that says what went wrong."""
        return {"must_be_0": dict(self.counts), "wrong": self.lines}


def _tail(ended: Ended, lines: int = 12) -> str:
    return "\n".join(ended.output.splitlines()[-lines:])


def contents(workspace: Path, masked: bool = False) -> dict[str, str]:
    """What must come out the same of a build, by file.

    Digests of the bytes of features, and of all rows of other tables; of other files only that they are there. Logs of
    a training and of commands are left out, locks, and files that are still being written.
    """
    found = {}
    for path in sorted(workspace.rglob("*")):
        name = path.relative_to(workspace).as_posix()
        if not path.is_file() or "/logs/" in name or path.name.startswith(".staged-"):
            continue
        if name.startswith((LOCKS, f"{COMMANDS}/")):
            continue
        found[FINGERPRINT.sub("*", name) if masked else name] = _digest(path, name)
    return found


def _digest(path: Path, name: str) -> str:
    if name.startswith("features/") and path.suffix == ".parquet":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if path.suffix == ".parquet":
        try:
            rows, digest = pq.read_table(path), hashlib.sha256()
        except (OSError, pa.ArrowException):
            return "cannot be read"
        for column in sorted(set(rows.column_names) - _NOT_OF_CONTENT):
            for part in (column.encode(), *bits_of(rows[column].combine_chunks())):
                digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()
    return "there"


def differences(calm: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """A line for each file that is in only one of two workspaces, or holds something else."""
    return [
        *(f"{name} is missing" for name in calm if name not in found),
        *(f"{name} is of no undisturbed build" for name in found if name not in calm),
        *(f"{name} holds something else" for name in calm if name in found and found[name] != calm[name]),
    ]
