"""Peak memory over all processes of ExtractBatch as the number of clips grows: it must stay flat.

    python -m benchmarks.memory --clips FOLDER      # a folder with a manifest, e.g. eight real clips

The manifest's clips are repeated to 16, 64 and 256 rows, each with an id of its own, and extracted by a real `luigi`
run with the profile given. Memory is the sum over the process tree of PSS (pages that workers and owner share, such as
frames, count once), sampled every 0.2 s.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.common import save, table

PROFILE = Path(__file__).parent / "short.toml"


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


def tree_pss(root: psutil.Process) -> int:
    """Bytes of memory of a process and all below it, pages shared between them counted once."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended between being listed and being looked at
    return total


def peak_of(command: list[str]) -> tuple[int, float]:
    """Peak PSS in bytes and wall seconds of a command's process tree."""
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        peak = max(peak, tree_pss(psutil.Process(process.pid)))
        time.sleep(0.2)
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
        rows.append({"clips": count, "peak_mib": round(peak / 2**20), "wall_s": round(seconds, 1)})
        print(json.dumps(rows[-1]), flush=True)
    growth = max(row["peak_mib"] for row in rows) / rows[0]["peak_mib"]
    print(table([[row["clips"], row["peak_mib"], row["wall_s"]] for row in rows], ["clips", "peak MiB", "wall s"]))
    print(f"largest peak over that of {rows[0]['clips']} clips: {growth:.3f} (limit 1.10)")
    save("memory", {"profile": Path(options.profile).name, "rows": rows, "growth": round(growth, 4)})


if __name__ == "__main__":
    main()
