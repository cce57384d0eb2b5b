"""Peak memory over all processes of ExtractBatch as the number of clips grows: it must stay flat. Linux only.

    python -m benchmarks.memory --clips MANIFEST      # e.g. of eight real clips

The manifest's clips are repeated to 16, 64 and 256 rows, each with an id of its own, and extracted by a real `luigi`
run with the profile given. What is counted of the process tree:

* memory of each process's own, every 20 ms: a batch's activations come and go within tenths of a second, and a peak
  that is looked for too seldom is found the more often the longer the run;
* resident pages of mapped files (libraries, the frames in shared memory), each file once. Not PSS: it splits a page
  among all of the machine's processes that map it, so that libtorch's 400 MiB half vanish beside any other torch.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.common import save, table

PROFILE = Path(__file__).parent / "short.toml"

_OWN_EVERY_S = 0.02  # a short read a process
_SHARED_EVERY_S = 0.5  # the kernel walks all pages for it, and it changes little


@dataclass(frozen=True)
class Memory:
    """Bytes of a process tree at one moment."""

    owner: int  # the command's process: anonymous pages
    workers: int  # all processes below it: anonymous pages
    shared: int  # pages of mapped files, of the whole tree, each file once

    @property
    def total(self) -> int:
        return self.owner + self.workers + self.shared


def repeated_manifest(source: Path, rows: int, folder: Path) -> Path:
    """The clips of `source` over and over, in one manifest of `rows` rows."""
    with open(source, newline="") as file:
        clips = list(csv.DictReader(file))
    path = folder / f"repeated-{rows}.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip_id", "uri", "challenge"])
        for place in range(rows):
            clip = clips[place % len(clips)]
            writer.writerow([f"{clip['clip_id']}-{place}", source.resolve().parent / clip["uri"], clip["challenge"]])
    return path


def own_bytes(process: psutil.Process) -> int:
    """Anonymous resident memory of one process; 0 once it has ended."""
    try:
        told = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return told.rss - told.shared


def mapped_files(process: psutil.Process) -> dict[str, int]:
    """Resident bytes of each file that a process maps, by device and inode; {} once it has ended.

    Pages that the process changed for itself are anonymous and not in it.
    """
    found: dict[str, int] = {}
    try:
        with open(f"/proc/{process.pid}/smaps", encoding="utf-8", errors="replace") as smaps:
            for line in smaps:
                name, *rest = line.split()
                if not name.endswith(":"):  # a mapping begins: addresses, rights, offset, device, inode, path
                    key = "" if rest[3] == "0" else f"{rest[2]} {rest[3]}"
                elif key and name in ("Rss:", "Anonymous:"):
                    found[key] = found.get(key, 0) + (1 if name == "Rss:" else -1) * int(rest[0]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return found


def shared_bytes(tree: Sequence[psutil.Process]) -> int:
    """Resident pages of mapped files, each file as far as the process that holds most of it."""
    most: dict[str, int] = {}
    for process in tree:
        for key, size in mapped_files(process).items():
            most[key] = max(most.get(key, 0), size)
    return sum(most.values())


def peak_of(command: Sequence[str]) -> tuple[Memory, float]:
    """The moment of most memory, and wall seconds, of a command's process tree.

    Raises: SystemExit, when the command fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command)
    owner = psutil.Process(process.pid)
    peak, shared, look = Memory(0, 0, 0), 0, start
    below: list[psutil.Process] = []
    while process.poll() is None:
        if time.perf_counter() >= look:
            below = owner.children(recursive=True)
            shared = shared_bytes([owner, *below])
            look = time.perf_counter() + _SHARED_EVERY_S
        now = Memory(own_bytes(owner), sum(map(own_bytes, below)), shared)
        peak = max(peak, now, key=lambda memory: memory.total)
        time.sleep(_OWN_EVERY_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return peak, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="a manifest in CSV")
    parser.add_argument("--counts", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--profile", default=str(PROFILE))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    rows = []
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            manifest = repeated_manifest(options.clips, count, Path(folder))
            luigi = [sys.executable, "-m", "luigi", "--module", "tasks", "ExtractBatch", "--manifest", str(manifest)]
            luigi += ["--workspace", f"{folder}/workspace", "--profile", options.profile, "--device", options.device]
            peak, seconds = peak_of(luigi)
            shards = list(Path(folder, "workspace/features/appearance").rglob("*.parquet"))
            if (extracted := sum(pq.read_metadata(shard).num_row_groups for shard in shards)) != count:
                raise SystemExit(f"only {extracted} of {count} clips were extracted; is {options.clips} right?")
        parts = {"peak": peak.total, "owner": peak.owner, "workers": peak.workers, "shared": peak.shared}
        mib = {f"{name}_mib": round(size / 2**20) for name, size in parts.items()}
        rows.append({"clips": count, **mib, "wall_s": round(seconds, 1)})
        print(json.dumps(rows[-1]), flush=True)
    growth = max(row["peak_mib"] for row in rows) / rows[0]["peak_mib"]
    header = ["clips", "peak MiB", "of it: owner", "workers", "shared", "wall s"]
    print(table([list(row.values()) for row in rows], header))
    print(f"largest peak over that of {rows[0]['clips']} clips: {growth:.3f} (limit 1.10)")
    save("memory", {"profile": Path(options.profile).name, "rows": rows, "growth": round(growth, 4)})


if __name__ == "__main__":
    main()
