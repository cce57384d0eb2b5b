"""Films that are damaged or lie (benchmarks.mutations), taken through `luigi --module tasks ExtractBatch` in one batch.

Among them are sound films, which must come out as if they were alone.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import table
from benchmarks.memory import PROFILE
from benchmarks.mutations import KINDS, base_films, hostile_films
from pipeline.core.errors import CLIP_CODES
from pipeline.decode.clips import Ending, Probe
from pipeline.features.endings import read_endings
from pipeline.features.reader import ShardReader
from pipeline.ingest.clip_table import read_ingest

SOUND = "sound"  # the kind of films that nothing was done to
_GRACE_S = 5.0  # beyond a deadline, until a worker is killed and its successor started
_EVERY_S = 0.1
_WORKER = "pipeline.decode.worker"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--deadline-s", type=float, default=30.0)
    parser.add_argument("--memory-limit-mb", type=int, default=1024)
    parser.add_argument("--keep", type=Path, help="a folder for films and workspace, which are thrown away otherwise")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, of which those in `must_be_0` must be."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        kinds = write_batch(folder, options.clips, options.seed)
        attacked = extract(folder, options.deadline_s, options.memory_limit_mb)
        found = outcomes(folder / "workspace")
    results = judged(kinds, found, attacked, options.deadline_s)
    print(table(_rows(results["kinds"]), ("kind", "clips", "ok", "partial", "failed", "codes")))
    print(json.dumps({name: value for name, value in results.items() if name != "kinds"}, indent=1))
    return {"clips": options.clips, "seed": options.seed, "deadline_s": options.deadline_s,
            "memory_limit_mb": options.memory_limit_mb, **results}  # fmt: skip


def write_batch(folder: Path, count: int, seed: int) -> dict[str, str]:
    """Write hostile films, sound ones and their manifest; return the kind of each clip."""
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    bases = base_films(clips, seed)
    films = [*((SOUND, film) for film in bases), *hostile_films(bases, count, seed)]
    kinds: dict[str, str] = {}
    with open(folder / "hostile.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip_id", "uri", "challenge"])
        for number, (kind, film) in enumerate(films):
            path = clips / f"film-{number:04d}.{film.suffix}"
            path.write_bytes(film.data)
            writer.writerow([path.stem, f"clips/{path.name}", "hostile"])
            kinds[path.stem] = kind
    return kinds


@dataclass(frozen=True)
class Attacked:
    """A command that was given hostile films."""

    code: int
    wall_s: float
    processes: int  # that it started, in all
    worker_mib: float  # most memory that one decode worker held
    orphans: int  # of its processes, alive after its end


def extract(folder: Path, deadline_s: float, memory_limit_mb: int) -> Attacked:
    """Extract the batch of a folder into its workspace, watching the processes."""
    shutil.rmtree(folder / "workspace", ignore_errors=True)
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "ExtractBatch", "--modalities", "scene"]
    command += ["--manifest", str(folder / "hostile.csv"), "--workspace", str(folder / "workspace")]
    command += ["--profile", str(PROFILE), "--device", "cpu", "--deadline-s", str(deadline_s)]
    command += ["--memory-limit-mb", str(memory_limit_mb)]
    start = time.monotonic()
    process = subprocess.Popen(command)
    seen: dict[int, psutil.Process] = {}
    most = 0
    while process.poll() is None:
        for child in _below(process.pid):
            seen[child.pid] = child
            most = max(most, _worker_bytes(child))
        time.sleep(_EVERY_S)
    wall_s = time.monotonic() - start
    _, alive = psutil.wait_procs(list(seen.values()), timeout=10)
    return Attacked(process.returncode, wall_s, len(seen), most / 2**20, len(alive))


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _worker_bytes(process: psutil.Process) -> int:
    """Resident memory of a decode worker of its own; 0 of another process, or one that has ended."""
    try:
        if _WORKER not in process.cmdline():
            return 0
        held = process.memory_info()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0
    return held.rss - held.shared


@dataclass(frozen=True)
class Outcomes:
    """What a workspace says of its clips, by clip_id."""

    probes: Mapping[str, Probe]
    endings: Mapping[str, Ending]
    written: frozenset[str]  # clips with rows
    skipped: Mapping[str, str]  # reasons of those without
    partial_files: tuple[str, ...]


def outcomes(workspace: Path) -> Outcomes:
    batch = workspace / "clips/hostile"
    tables = sorted(batch.glob("*-*.parquet"))
    probes = {clip.clip_id: clip.probe for clip in read_ingest(str(tables[-1])).clips} if tables else {}
    shards = [ShardReader(str(path)) for path in workspace.glob("features/scene/*/hostile/*.parquet")]
    return Outcomes(
        probes,
        {ending.clip_id: ending for ending in _endings(batch.glob("endings/*/*.parquet"))},
        frozenset(clip_id for shard in shards for clip_id in shard.clip_ids),
        {clip_id: reason for shard in shards for clip_id, reason in shard.skipped.items()},
        tuple(str(path.relative_to(workspace)) for path in workspace.rglob(".staged-*")),
    )


def _endings(paths: Iterable[Path]) -> Iterator[Ending]:
    for path in paths:
        yield from read_endings(str(path))


def judged(kinds: Mapping[str, str], found: Outcomes, attacked: Attacked, deadline_s: float) -> dict[str, Any]:
    """The figures of a run, from the kind of each of its clips and what the workspace says of them."""
    states: dict[str, Counter[str]] = {kind: Counter() for kind in (SOUND, *KINDS)}
    codes: dict[str, Counter[str]] = {kind: Counter() for kind in (SOUND, *KINDS)}
    silent = []
    for clip_id, kind in kinds.items():
        probe, ending = found.probes.get(clip_id), found.endings.get(clip_id)
        status, code, reason = ("failed", probe.code, probe.reason) if probe else ("", "", "")
        if probe and not probe.code and ending:
            status, code, reason = ending.status, ending.code, ending.reason
        if not _is_told(clip_id, probe, ending, found) or (status != "ok" and (code not in CLIP_CODES or not reason)):
            silent.append(clip_id)
        states[kind][status] += 1
        if code:
            codes[kind][code] += 1
    slow = [ending.clip_id for ending in found.endings.values() if ending.decode_s > deadline_s + _GRACE_S]
    slowest = max(found.endings.values(), key=lambda ending: ending.decode_s, default=None)
    return {
        "must_be_0": {
            "crashes of the run": int(attacked.code != 0),
            "clips past their deadline": len(slow),
            "rows silently missing": len(silent),
            "orphaned processes": attacked.orphans,
            "partial files": len(found.partial_files),
            "sound films not ok": sum(states[SOUND].values()) - states[SOUND]["ok"],
        },
        "wall_s": round(attacked.wall_s, 1),
        "processes_started": attacked.processes,
        "most_mib_of_a_worker": round(attacked.worker_mib),
        "slowest_clip_s": round(slowest.decode_s, 1) if slowest else 0.0,
        "slowest_kind": kinds[slowest.clip_id] if slowest else "",
        "codes": dict(sum(codes.values(), Counter()).most_common()),
        "kinds": {kind: {"endings": dict(states[kind]), "codes": dict(codes[kind])} for kind in states},
    }


def _is_told(clip_id: str, probe: Probe | None, ending: Ending | None, found: Outcomes) -> bool:
    """Whether a clip is in all the tables in which it must be, and in no others."""
    if probe is None:
        return False
    if probe.code:
        return ending is None and clip_id not in found.written and clip_id not in found.skipped
    if ending is None:
        return False
    has_rows = clip_id in found.written
    return has_rows != (clip_id in found.skipped) and has_rows == (ending.status != "failed")


def _rows(kinds: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[tuple]:
    return [
        (kind, sum(of["endings"].values()), *(of["endings"].get(status, 0) for status in ("ok", "partial", "failed")),
         ", ".join(f"{count} {code}" for code, count in sorted(of["codes"].items(), key=lambda item: -item[1])))
        for kind, of in kinds.items()
    ]  # fmt: skip
