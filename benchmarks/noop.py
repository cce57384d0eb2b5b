"""What it costs to find out that nothing is to be done, or what is, as a workspace grows.

    python -m benchmarks.noop [--counts 2500 5000 10000]

Workspaces of that many clips are made by script: real small files, manifests, real ingest tables (with probes made up,
since probing is not what is measured), and, in place of 100 GB of features, empty files under the names that a real run
gives them: planning looks at names and sizes only. Each figure is of a process of its own, with its imports; those are
measured apart too. Beside wall time stands processor time, which other work on the machine moves less.

    no-op    luigi BuildVDV with everything there
    plan     finding all shards that another profile's features lack: every clip of the workspace is to be done
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.common import save, table
from pipeline.core.options import DecodeLimits
from pipeline.decode.clips import Probe
from tasks.build import BuildVDV
from tasks.features import ExtractBatch

CLIPS_A_BATCH = 2500
PLAN = """
import sys
from tasks import BuildVDV
build = BuildVDV(manifest=sys.argv[1], workspace=sys.argv[2], profile="full")
plans = [plan for task in build.extractions() for plan in task.plan().shards]
print(sum(len(plan.clips) for plan in plans), "clips to do")
"""


def made_up(clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
    """Stands in for pipeline.decode.pool.probe_clips."""
    for clip_id, _ in clips:
        yield Probe(
            clip_id, f"{hash(clip_id) & (2**256 - 1):064x}", 1, "mp4", "h264", 540, 960, 0, False, 30.0, 8.0, 240
        )


def make_workspace(folder: Path, count: int) -> None:
    """Manifests of `count` clips in all, and a workspace in which all of them are done."""
    rng = np.random.default_rng(0)
    (folder / "clips").mkdir(parents=True)
    (folder / "manifests").mkdir()
    for first in range(0, count, CLIPS_A_BATCH):
        rows = ["clip_id,uri,challenge,creator_id,uploaded_at,likes,followers"]
        for place in range(first, min(first + CLIPS_A_BATCH, count)):
            (folder / "clips" / f"{place}.mp4").write_bytes(b"x")
            likes, followers = rng.integers(0, 100_000, 2)
            rows.append(
                f"clip{place},../clips/{place}.mp4,challenge{place % 8},creator{place % 997},2026-05-01,"
                f"{likes},{followers}"
            )
        (folder / "manifests" / f"batch{first // CLIPS_A_BATCH}.csv").write_text("\n".join(rows) + "\n")
    pretend_done(folder, count)


def pretend_done(folder: Path, clips: int) -> None:
    from pipeline.features.plan import endings_folder, features_folder, record_sizes, shard_path
    from pipeline.files.tensors import write_tensors
    from pipeline.ingest.clip_table import read_ingest
    from pipeline.ingest.ingest_batch import run_ingest

    workspace = str(folder / "workspace")
    build = BuildVDV(manifest=str(folder / "manifests"), workspace=workspace)
    for task in build.extractions():
        assert isinstance(task, ExtractBatch)
        batch = task.snapshot.batches[0].batch
        ingest = read_ingest(run_ingest(workspace, batch, 1, DecodeLimits(), probe=made_up))
        folders = [features_folder(workspace, batch.name, item) for item in task.specs]
        for place in [*folders, endings_folder(workspace, batch.name, task.sampling)]:
            Path(place).mkdir(parents=True)
            for shard in ingest.shards:
                Path(shard_path(place, shard)).touch()
            record_sizes(place)
    dataset_folder, run_folder = build.dataset_folder(), build.run_folder()
    status = {"ok": 0, "partial": 0, "failed": 0}
    statistics = {"status": status, "without": {}, "copies": {"of_a_file": 0, "near": 0}}
    dataset_folder.write_json("statistics.json", statistics)
    rows = pa.table({"clip_id": [f"clip{place}" for place in range(clips)]})
    for name in ("clips.parquet", "faces.parquet", "references.parquet"):
        dataset_folder.write_table(name, rows)
    for name in ("held_out.parquet", "folds.parquet", "scores.parquet"):
        run_folder.write_table(name, rows)
    write_tensors(run_folder.file("model.safetensors"), {})
    run_folder.write_json("run.json", {"files": {}})
    fused = {"mean": {"spearman": None, "reason": "made up"}}
    run_folder.write_json("metrics.json", {"files": {}, "folds": {"clips": clips, "predictors": {"fused": fused}}})
    run_folder.write_json("folds.json", {"clips": clips})
    Path(run_folder.file("report.html")).touch()
    run_folder.write_json("report.json", {"shown": build.shown(), "files": run_folder.hashes("report.html")})
    build.make()


def seconds_of(command: list[str], says: str) -> tuple[float, float]:
    """Wall seconds and seconds of processor time of a command."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    taken, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or says not in done.stdout + done.stderr or "Traceback" in done.stderr:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}, or did not say {says!r}:\n{done.stdout}{done.stderr}"
        )
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[2500, 5000, 10_000])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    imports = [seconds_of([sys.executable, "-c", "import tasks; print('imported')"], "imported") for _ in range(5)]
    rows = []
    for count in options.counts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            make_workspace(folder, count)
            luigi = [sys.executable, "-m", "luigi", "--module", "tasks", "BuildVDV"]
            luigi += ["--manifest", str(folder / "manifests"), "--workspace", str(folder / "workspace")]
            noop = [seconds_of(luigi, "nothing to do") for _ in range(options.runs)]
            plan = [sys.executable, "-c", PLAN, str(folder / "manifests"), str(folder / "workspace")]
            planned = [seconds_of(plan, f"{count} clips to do") for _ in range(options.runs)]
        rows.append({"clips": count, "noop_s": wall(noop), "plan_s": wall(planned)})
        rows[-1] |= {"noop_processor_s": processor(noop), "plan_processor_s": processor(planned)}
        print(json.dumps(rows[-1]), flush=True)
    base = statistics.median(processor(imports))
    names = ("noop_s", "noop_processor_s", "plan_s", "plan_processor_s")
    medians = [[r["clips"], *(statistics.median(r[name]) for name in names)] for r in rows]
    print(f"imports alone: {statistics.median(wall(imports)):.2f} s, {base:.2f} s of processor time")
    print(table(medians, ["clips", "no-op s", "of a processor", "plan s", "of a processor"]))
    per_clip = [(noop - base) / clips * 1e6 for clips, _, noop, *_ in medians]
    print("microseconds of processor time a clip beyond the imports:", ", ".join(f"{value:.0f}" for value in per_clip))
    save("noop", {"imports_s": wall(imports), "imports_processor_s": processor(imports), "rows": rows})


def wall(runs: Iterable[tuple[float, float]]) -> list[float]:
    return [round(seconds, 3) for seconds, _ in runs]


def processor(runs: Iterable[tuple[float, float]]) -> list[float]:
    return [round(seconds, 3) for _, seconds in runs]


if __name__ == "__main__":
    main()
