"""Full and read-only disks: a tmpfs that holds the workspace, and in every second trial temporary files, too.

Sizes are chosen so that each trial runs out of room at another file of the build. Mounting takes a namespace of one's
own (`unshare -rm`), which needs no root, but is not allowed on every machine.
"""

import argparse
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import hostile_builds
from benchmarks.hostile_builds import FAILED, REFUSED, Ended, Tally, World, ours_in

FULL = ("No space left on device", "free some space")  # what a command must say
READ_ONLY = ("Read-only file system", "check that")
_PAGE = 4096  # bytes; tmpfs gives whole ones
_ROOMY = "1g"


def add_options(parser: argparse.ArgumentParser) -> None:
    hostile_builds.add_options(parser, 20, "sizes of disks")
    parser.add_argument("--read-only", type=int, default=5, help="disks that turn read-only during a build (default 5)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, of which those in `must_be_0` must be. Raises SystemExit where no disk can be mounted."""
    if not can_mount():
        raise SystemExit("left out: this machine does not let users mount (unshare -rm), so no disk can be made full")
    rng, tally = random.Random(options.seed), Tally()
    roomy, turned = 0, 0
    with World.made(options.folds, "--decode-workers", "1") as world:
        (world.folder / "disk").mkdir()
        for number, size in enumerate(sizes(world.calm, options.trials)):
            with_temporary = number % 2 == 1
            ended = fill(world, size, with_temporary, tally)
            roomy += ended.code == 0
            print(f"{size} bytes{', temporary files too' * with_temporary}: {ended.code}", flush=True)
        read_only_from(world, 0.0, tally)
        for _ in range(options.read_only):
            turned += read_only_from(world, rng.uniform(0, world.calm_s), tally).code != 0
    return {
        **tally.results(),
        "sizes": options.trials,
        "sizes_that_were_enough": roomy,
        "read_only_before_the_build": 1,
        "read_only_during_the_build": turned,
        "ended_before_they_were_read_only": options.read_only - turned,
    }


def can_mount() -> bool:
    """Whether this machine gives users a namespace in which they may mount."""
    try:
        tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    except FileNotFoundError:
        return False
    return tried.returncode == 0


class Disk:
    """A filesystem in memory, mounted at `place` where only commands that begin with `inside` see it."""

    def __init__(self, place: Path, size: str):
        self._place = place
        self._shell = subprocess.Popen(
            ["unshare", "-rm", "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.inside = ("nsenter", "--preserve-credentials", "-U", "-m", "-t", str(self._shell.pid))
        self.seen = Path(f"/proc/{self._shell.pid}/root{place}")  # the same folder, for this process
        if not self._mount(f"-t tmpfs -o size={size} none"):
            raise OSError(f"cannot mount a disk of {size} bytes at {place}")

    def _mount(self, words: str) -> bool:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"mount {words} {self._place} 2>/dev/null; echo $?\n")
        self._shell.stdin.flush()
        return self._shell.stdout.readline() == "0\n"

    def remount(self, option: str) -> bool:
        """Whether it worked: a disk on which a file is open for writing cannot be made read-only."""
        return self._mount(f"-o remount,{option}")

    def close(self) -> None:
        """End the namespace, and so the disk."""
        self._shell.communicate()


@contextmanager
def mounted(world: World, size: str) -> Iterator[Disk]:
    disk = Disk(world.folder / "disk", size)
    try:
        yield disk
    finally:
        disk.close()


def sizes(calm: Path, count: int) -> list[int]:
    """Sizes of disks, in bytes, that are full half-way through a file of the build, from its first to its last."""
    files = sorted((path for path in calm.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    pages = [-(-path.stat().st_size // _PAGE) for path in files]
    chosen = [number * len(files) // count for number in range(count)]
    return [_PAGE * max(1, sum(pages[:number]) + pages[number] // 2) for number in chosen]


def fill(world: World, size: int, with_temporary: bool, tally: Tally) -> Ended:
    """Build on a disk of a size, and again once it is larger. Returns how the first build ended."""
    with mounted(world, str(size)) as disk:
        env = _environment(world, disk, with_temporary)
        ended = world.command(world.folder / "disk/workspace", env=env, before=disk.inside).ended()
        tally.judge(ended, (0, FAILED, REFUSED), FULL)
        disk.remount(f"size={_ROOMY}")
        finish(world, disk, env, tally)
    return ended


def read_only_from(world: World, moment_s: float, tally: Tally) -> Ended:
    """Build on a disk that is read-only from a moment on, and again once it can be written. As `fill`."""
    with mounted(world, _ROOMY) as disk:
        if not moment_s:
            disk.remount("ro")
        command = world.command(world.folder / "disk/workspace", before=disk.inside)
        if moment_s:
            time.sleep(moment_s)
            while command.runs and not disk.remount("ro"):
                time.sleep(0.01)
        ended = command.ended()
        tally.judge(ended, (0, FAILED, REFUSED) if moment_s else (FAILED, REFUSED), READ_ONLY)
        print(f"read-only after {moment_s:.0f} s: {ended.code}", flush=True)
        disk.remount("rw")
        finish(world, disk, {}, tally)
    return ended


def finish(world: World, disk: Disk, env: dict[str, str], tally: Tally) -> None:
    """Build where there is room, and judge what is there then."""
    tally.judge(world.command(world.folder / "disk/workspace", env=env, before=disk.inside).ended(), (0,))
    tally.compare(world.calm, disk.seen / "workspace")
    for name in ours_in(disk.seen / "tmp"):
        tally.count("partial files", f"temporary: {name}")


def _environment(world: World, disk: Disk, with_temporary: bool) -> dict[str, str]:
    if not with_temporary:
        return {}
    (disk.seen / "tmp").mkdir()
    return {"TMPDIR": str(world.folder / "disk/tmp")}
