"""A long ExtractBatch of many small clips: memory, processes, descriptors and shared memory as it goes on.

    python -m benchmarks.soak [--clips 10000] [--remote]

Small clips, rendered here and repeated under ids of their own, go through one real `luigi` run with the networks of
tiny.toml. Every second is counted of its process tree, beside the clips that are done (by the shards that are there):

* own memory of all processes, as benchmarks.memory counts it, and why not as PSS is said there;
* processes, open descriptors, and bytes of memory without a name (memfd) that descriptors lead to.

What grows shows in the slope against the clips, from a fifth of them on, when all networks and buffers have been used.
At the end nothing may be left: no process of the tree, no file in its folder for temporary files, none in /dev/shm.
Exits with 1 where something grows or is left. With --remote the clips lie in an S3 store (moto).
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import psutil

from benchmarks.common import save, table
from benchmarks.memory import own_bytes
from benchmarks.remote import stored
from benchmarks.tiny_clips import PROFILE, tiny_world

_EVERY_S = 1.0
_FILES = 64  # rendered; the others are the same under other ids
_SHARD_CLIPS = 64
_SHARED_NAMES = ("psm_", "sem.mp-", "torch_", "vdv")  # of shared memory and semaphores
_WARM = 0.2  # share of the clips before which growth is that of a start
# Growth over all clips that is a leak: a share of the memory, and more of the others than their counts go up and down.
_MEMORY, _PROCESSES, _DESCRIPTORS, _SHARED_MIB = 0.1, 1, 8, 16


@dataclass(frozen=True)
class Sample:
    """The process tree at one moment."""

    seconds: float
    clips: int  # done
    memory_mib: float
    processes: int
    descriptors: int
    shared_mib: float  # of memory files, each once


def sample(tree: Sequence[psutil.Process], seconds: float, clips: int) -> Sample:
    """Count what the processes of a tree hold; those that have ended hold nothing."""
    descriptors, shared = 0, dict[int, int]()
    for process in tree:
        with suppress(FileNotFoundError, ProcessLookupError):
            for name in os.listdir(f"/proc/{process.pid}/fd"):
                descriptors += 1
                with suppress(FileNotFoundError):  # it was closed meanwhile
                    path = f"/proc/{process.pid}/fd/{name}"
                    if os.readlink(path).startswith("/memfd:"):
                        status = os.stat(path)
                        shared[status.st_ino] = status.st_blocks * 512
    memory = sum(map(own_bytes, tree)) / 2**20
    return Sample(round(seconds, 1), clips, memory, len(tree), descriptors, sum(shared.values()) / 2**20)


def watched(
    command: Sequence[str], clips_done: Callable[[], int], env: dict[str, str], every_s: float = _EVERY_S
) -> tuple[list[Sample], int]:
    """Samples of a command's process tree until it ends, and the number of its processes that are left then.

    Raises: SystemExit, when the command fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env)
    owner, seen, samples = psutil.Process(process.pid), set[psutil.Process](), list[Sample]()
    while process.poll() is None:
        tree = [owner, *owner.children(recursive=True)]
        seen.update(tree[1:])
        samples.append(sample(tree, time.perf_counter() - start, clips_done()))
        time.sleep(every_s)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    time.sleep(_EVERY_S)  # the kernel ends the children of a process that has ended
    return samples, sum(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in seen)


def slopes(samples: Sequence[Sample], clips: int) -> dict[str, float]:
    """Growth of each count by 1,000 clips, a straight line through the samples after the start."""
    warm = [one for one in samples if _WARM * clips <= one.clips < clips]
    names = [field.name for field in fields(Sample)][2:]
    if len({one.clips for one in warm}) < 3:
        raise SystemExit(f"{clips} clips were done too soon to see what grows; give more --clips")
    done = [one.clips / 1000 for one in warm]
    return {name: float(np.polyfit(done, [getattr(one, name) for one in warm], 1)[0]) for name in names}


def leaks(samples: Sequence[Sample], clips: int, left: dict[str, int]) -> list[str]:
    """What grows by more than it may over the whole run, and what is left at its end."""
    growth = {name: slope * clips / 1000 for name, slope in slopes(samples, clips).items()}
    memory = statistics.median(one.memory_mib for one in samples)
    most = {
        "memory_mib": _MEMORY * memory, "processes": _PROCESSES, "descriptors": _DESCRIPTORS, "shared_mib": _SHARED_MIB,
    }  # fmt: skip
    return [
        *(f"{name} grows by {growth[name]:.1f} over {clips} clips" for name in most if growth[name] > most[name]),
        *(f"{count} {name} left" for name, count in left.items() if count),
    ]


def repeated(source: Path, clips: int, folder: Path) -> Path:
    """The clips of a manifest over and over, under ids of their own."""
    with open(source, newline="") as file:
        uris = [row["uri"] for row in csv.DictReader(file)]
    path = folder / "soak.csv"
    rows = (f"clip{number},{uris[number % len(uris)]},x\n" for number in range(clips))
    path.write_text("clip_id,uri,challenge\n" + "".join(rows))
    return path


@contextmanager
def manifest_of(folder: Path, clips: int, remote: bool) -> Iterator[Path]:
    """A manifest of so many clips; while it is in use, the store that they lie in is open."""
    source = tiny_world(folder, min(_FILES, clips))
    if not remote:
        yield repeated(source, clips, folder)
        return
    source.write_text(source.read_text().replace(",clips/", ",s3://clips/clips/"))
    with stored(folder):
        yield repeated(source, clips, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--remote", action="store_true", help="clips in an S3 store")
    parser.add_argument("--modalities", default="pose,appearance,face,scene")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, temporary = Path(place), Path(place, "temporary")
        temporary.mkdir()
        shared_before = set(os.listdir("/dev/shm"))
        with manifest_of(folder, options.clips, options.remote) as manifest:
            luigi = [sys.executable, "-m", "luigi", "--module", "tasks", "ExtractBatch", "--manifest", str(manifest)]
            luigi += ["--workspace", f"{folder}/workspace", "--profile", str(PROFILE), "--device", "cpu"]
            luigi += ["--modalities", options.modalities, "--shard-clips", str(_SHARD_CLIPS)]

            def done() -> int:
                shards = sum(1 for _ in Path(folder, "workspace/clips").glob("*/endings/*/*.parquet"))
                return min(_SHARD_CLIPS * shards, options.clips)

            samples, running = watched(luigi, done, {**os.environ, "TMPDIR": str(temporary)})
            if done() != options.clips:
                raise SystemExit(f"only {done()} of {options.clips} clips were extracted")
        files = sum(path.is_file() for path in temporary.rglob("*"))
        left = {"processes": running, "temporary files": files, "files in /dev/shm": len(_new_shared(shared_before))}
    report(options, samples, left)


def _new_shared(before: set[str]) -> list[str]:
    """What Python's, torch's or our processes have put into /dev/shm since; other programs are at work, too."""
    return [name for name in set(os.listdir("/dev/shm")) - before if name.startswith(_SHARED_NAMES)]


def report(options: argparse.Namespace, samples: Sequence[Sample], left: dict[str, int]) -> None:
    """Print and save the figures; exit with 1 where something leaks."""
    found, slope = leaks(samples, options.clips, left), slopes(samples, options.clips)
    warm = [one for one in samples if one.clips >= _WARM * options.clips]
    rows = []
    for name, value in slope.items():
        counts = [getattr(one, name) for one in warm]
        rows.append([name, *(round(of(counts), 1) for of in (min, statistics.median, max)), round(value, 2)])
    print(table(rows, ["", "least", "median", "most", "slope by 1,000 clips"]))
    print(f"{options.clips} clips in {samples[-1].seconds:.0f} s; left at the end: {left}")
    about = {"clips": options.clips, "modalities": options.modalities, "seconds": samples[-1].seconds, "left": left}
    every = max(1, len(samples) // 100)
    results = {
        **about,
        "slope_by_1000_clips": {name: round(value, 3) for name, value in slope.items()},
        "leaks": found,
        "samples": [{**asdict(one), "memory_mib": round(one.memory_mib), "shared_mib": round(one.shared_mib, 1)}
                    for one in samples[::every]],
    }  # fmt: skip
    save("soak", {"remote" if options.remote else "local": results}, keep_others=True)
    for leak in found:
        print(f"LEAK: {leak}")
    if found:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
