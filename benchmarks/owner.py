"""Processor time of the owner outside of the networks, and for asking for them, by stage: what limits a GPU.

    python -m benchmarks.owner --clips MANIFEST [--profile untrained] [--max-seconds 6] [--batch 32] [--repeats 10]
                               [--version NAME] [--unrecorded]

cpu        extraction on a CPU: every operation is the owner's
counted    extraction on a make-believe device (benchmarks.counted_device), on which the code does as beside a GPU. It
           is recorded once, what a GPU would compute included, and then played again, which computes nothing. What a
           played operator takes longer than the same operator on a few numbers in memory is left out, so an operator
           counts as what torch itself needs to dispatch it; a GPU's driver needs more to launch it. Beside it stands
           how many operators the device is given, and how often the owner would wait for it.
cuda       where there is a GPU, in place of both: the owner's own time beside it, in which its waits are spent awake

Times are of the owner's main thread, the one that feeds the networks; `other threads` are the rest of its process,
which share Python's lock with it. Decode workers and other processes are not counted. Each time is the least of the
repeats, of every visit to a stage by itself: other work on the machine adds to a thread's processor time, and never
takes from it. Untrained pose weights are stirred (benchmarks/stirred.py). The JSON keeps the figures of other versions
of the code under their `--version`.
"""

import argparse
import gc
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from threading import get_ident
from time import process_time, thread_time
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import _disable_current_modes

from benchmarks.common import SEEN, save, table
from benchmarks.counted_device import Counts, Tape, counted_device
from benchmarks.stirred import some_frames, stir, to_stir
from models.extractors import face
from models.extractors.extractor import Extractor
from models.extractors.recorded import RecordedFunction
from models.weights.catalogue import resolve
from models.weights.checkpoints import load_state_dict
from models.weights.profiles import Profile
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.extraction import extract
from pipeline.features.plan import feature_spec, plan_shards
from pipeline.features.shards import ShardWriter
from pipeline.ingest.clip_table import IngestedBatch, read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.registry import find_extracted, load_profile, modality_identity

NETWORKS = "networks"
REST = "engine"
_CALIBRATION = 400  # times each of the operators of _mix
_CALIBRATIONS = 15
PERSONS = 10  # kept a frame, as the profile `full` has it


@dataclass(frozen=True)
class Overhead:
    """Processor seconds by which an operator takes longer where the make-believe device is."""

    operator: float = 0.0  # of those that are played, compared with the same one on a few numbers in memory
    host_operator: float = 0.0  # of those on tensors of the host


NO_OVERHEAD = Overhead()


class Stopwatch:
    """Processor time of one thread by stage, what stages inside of it take left out."""

    def __init__(self, counts: Counts, overhead: Overhead) -> None:
        self.counts = counts  # of the device; zeros on a CPU
        self.overhead = overhead  # left out of all times
        self.visits: list[tuple[str, float]] = []  # to a stage, and their seconds
        self.operators: dict[str, int] = defaultdict(int)
        self.waits: dict[str, int] = defaultdict(int)
        self._stage = ""
        self._before = self._now()

    def _now(self) -> tuple[float, int, int]:
        counts, overhead = self.counts, self.overhead
        left_out = counts.operators * overhead.operator + counts.host_operators * overhead.host_operator
        return thread_time() - counts.seconds - left_out, counts.operators, counts.waits

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        outer = self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, name: str) -> str:
        now, before, stage = self._now(), self._before, self._stage
        if stage:
            self.visits.append((stage, now[0] - before[0]))
            self.operators[stage] += now[1] - before[1]
            self.waits[stage] += now[2] - before[2]
        self._stage, self._before = name, now
        return stage

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time in this thread counted to a stage."""
        thread = get_ident()

        def call(*arguments: Any, **options: Any) -> Any:
            if get_ident() != thread:
                return function(*arguments, **options)
            with self.stage(name):
                return function(*arguments, **options)

        return call


def _mix(values: torch.Tensor, index: torch.Tensor) -> None:
    """Operators of several kinds."""
    values.view(-1)
    values[:, 1:]
    values.float()
    values + 1
    values.gt(0)
    torch.cat([values, values])
    values.index_select(0, index)
    values.clamp(min=0)
    values.sum(1)


def calibrated(device: torch.device, counts: Counts) -> Overhead:
    """What playing and counting operators takes on this machine."""
    values, index = torch.ones(2, 2), torch.tensor([0, 1])
    on_device, index_there = values.to(device), index.to(device)
    counts.tape = Tape()
    for _ in range(_CALIBRATION):
        _mix(on_device, index_there)
    rounds = []
    for _ in range(_CALIBRATIONS):
        counts.tape.rewind()
        times = []
        for arguments, modes in (((values, index), False), ((values, index), True), ((on_device, index_there), True)):
            with ExitStack() as stack:
                if not modes:
                    stack.enter_context(_disable_current_modes())
                start = thread_time()
                for _ in range(_CALIBRATION):
                    _mix(*arguments)
                times.append(thread_time() - start)
        rounds.append(times)
    plain, host, played = (min(times) / len(counts.tape.steps) for times in zip(*rounds, strict=True))
    counts.tape = None
    return Overhead(played - plain, host - plain)


def build(modality: str, profile: Profile, device: torch.device, batch: int) -> Extractor:
    """The extractor with batches of one size on every device."""
    entry = profile.entry(modality)
    weights = resolve(entry.weights, None, profile=profile.name)
    state = load_state_dict(weights.path) if weights.path else None
    return find_extracted(modality).build_extractor(entry, state, device=device, batch_size=batch, seed=weights.seed)


def watch_extractor(watch: Stopwatch, extractor: Any, stack: ExitStack) -> None:
    """Time an extractor's parts."""
    modality = extractor.modality

    def part(owner: Any, attribute: str, name: str) -> None:
        stack.enter_context(patch.object(owner, attribute, watch.timed(name, getattr(owner, attribute))))

    if modality == "pose":
        with_decoder = extractor._is_rtmo and extractor.device.type != "cpu"
        owner, attribute = (extractor, "_decode_batch") if with_decoder else (extractor._outputs, "_network")
        part(owner, attribute, NETWORKS)
    elif modality == "face":
        part(extractor, "_embed", NETWORKS)
        part(extractor._cascade._pyramid, "pnet", NETWORKS)
        for network in ("_rnet", "_onet"):
            part(extractor._cascade, network, NETWORKS)
        part(extractor, "_cascade", "face: search")
    else:
        part(extractor._network, "_embed", NETWORKS)
        part(extractor._network._head, "forward", NETWORKS)
    part(extractor, "prepare", f"{modality}: input")
    part(extractor, "launch", f"{modality}: launch")
    part(extractor, "collect", f"{modality}: results")


def watch_rest(watch: Stopwatch, stack: ExitStack) -> None:
    """Time what is behind the extractors."""

    def part(owner: Any, attribute: str, name: str) -> None:
        stack.enter_context(patch.object(owner, attribute, watch.timed(name, getattr(owner, attribute))))

    part(face, "face_crops", "face: crops")
    part(face, "_jpeg", "face: JPEG")
    for modality in SEEN:
        part(find_extracted(modality), "assemble", "tracks" if modality == "pose" else "rows")
    for method in ("add", "skip", "close"):
        stack.enter_context(patch.object(ShardWriter, method, watch.timed("Parquet", getattr(ShardWriter, method))))


@dataclass(frozen=True)
class Extraction:
    """What is extracted, and by which networks."""

    profile: Profile
    sampling: SamplingOptions
    batch: str
    ingest: IngestedBatch
    extractors: dict[str, Any]
    counts: Counts

    def measured(self, overhead: Overhead = NO_OVERHEAD) -> tuple[Stopwatch, float]:
        """One extraction: its stages, and the seconds of the owner's other threads."""
        profile, sampling, extractors = self.profile, self.sampling, self.extractors
        specs = [feature_spec(m, sampling, profile.entry(m).stride, modality_identity(m, profile)) for m in SEEN]
        with tempfile.TemporaryDirectory() as workspace, ExitStack() as stack:
            watch = Stopwatch(self.counts, overhead)
            for extractor in extractors.values():
                watch_extractor(watch, extractor, stack)
            watch_rest(watch, stack)
            plans = plan_shards(workspace, self.batch, self.ingest, specs, sampling).shards
            gc.collect()
            gc.freeze()  # a tape holds thousands of objects that no owner has
            process, thread = process_time(), thread_time()
            with watch.stage(REST):
                extract.extract_shards(
                    workspace, self.batch, plans, extractors.__getitem__, sampling, DecodeLimits(),
                    workers=1, device=extractors["pose"].device, profile=profile.name,
                )  # fmt: skip
            others = (process_time() - process) - (thread_time() - thread)
        return watch, others


def warm_up(extractors: dict[str, Any], pictures: list[torch.Tensor]) -> None:
    """Have all there that is kept, of the sizes of frames and of batches, as it is after the first clips of many.

    pictures: frames of each clip's size.
    """
    for extractor in extractors.values():
        for frames in pictures:
            prepared = extractor.prepare(frames.to(extractor.device))
            extractor.launch(prepared.inputs, prepared.extras)


def set_up(
    profile: Profile, stirred: bool, device: torch.device, batch: int, pictures: list[torch.Tensor]
) -> dict[str, Extractor]:
    extractors = {modality: build(modality, profile, device, batch) for modality in SEEN}
    if stirred:
        extractors["pose"].model.load_state_dict(stirred_state(profile, batch, pictures))  # type: ignore[attr-defined]
    return extractors


def stirred_state(profile: Profile, batch: int, pictures: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the pose network after benchmarks.stirred.stir, made on the CPU."""
    pose: Any = build("pose", profile, torch.device("cpu"), batch)
    stir(pose, pictures)
    return {name: value.clone() for name, value in pose.model.state_dict().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, help="a manifest file")
    parser.add_argument("--profile", default="untrained")
    parser.add_argument("--max-seconds", type=float, default=6.0, help="of each clip")
    parser.add_argument("--batch", type=int, default=32, help="inputs a forward pass of every network")
    parser.add_argument("--repeats", type=int, default=10, help="extractions that are timed (default: %(default)s)")
    parser.add_argument("--version", default="now", help="name of this version of the code in the JSON")
    parser.add_argument("--unrecorded", action="store_true", help="ask a GPU for each operator of the networks anew")
    options = parser.parse_args()

    stirred, profile = to_stir(load_profile(options.profile))
    profile = profile.with_options("pose", max_persons=PERSONS)
    sampling = replace(SamplingOptions(**profile.sampling), max_seconds=options.max_seconds)
    (batch,) = read_manifests(options.clips)
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        ingest = read_ingest(run_ingest(folder, batch, 1, DecodeLimits()))
        clips = [clip for clip in ingest.clips if clip.shard]
        pictures = [torch.from_numpy(frames) for frames in some_frames(clips, sampling, 3).values()]
        for side in ("cuda",) if torch.cuda.is_available() else ("cpu", "counted"):
            with ExitStack() as stack:
                device, counts = torch.device("cpu" if side == "counted" else side), Counts()
                if options.unrecorded:
                    stack.enter_context(patch.object(RecordedFunction, "__call__", lambda self, x: self._function(x)))
                if side == "counted":
                    device, counts = stack.enter_context(counted_device())
                extractors = set_up(profile, stirred, device, options.batch, pictures)
                warm_up(extractors, pictures)
                extraction = Extraction(profile, sampling, batch.name, ingest, extractors, counts)
                timed = repeated(extraction, options.repeats)
            figures[side] = report(side, timed, len(clips))
    about = {"profile": profile.name, "max_seconds": options.max_seconds, "batch": options.batch, "clips": len(clips),
             "repeats": options.repeats, "frames": sum(len(picture) for picture in pictures)}  # fmt: skip
    save("owner", {options.version: {**about, **figures}}, keep_others=True)


def repeated(extraction: Extraction, repeats: int) -> list[tuple[Stopwatch, float]]:
    """As many measured extractions; on the make-believe device, of one that was recorded."""
    counts, device = extraction.counts, extraction.extractors["pose"].device
    if device.type != "counted":
        return [extraction.measured() for _ in range(repeats)]
    overhead = calibrated(device, counts)
    print(
        f"left out of every operator: {1e6 * overhead.operator:.1f} us, on the host {1e6 * overhead.host_operator:.1f}"
    )
    counts.tape, timed = Tape(), []
    # Processes that link tracks start once, as they do for any number of clips.
    with extract._linking_processes(device, 1) as linkers, patch.object(
        extract, "_linking_processes", lambda *_: nullcontext(linkers)
    ):  # fmt: skip
        extraction.measured()
        for _ in range(repeats):
            counts.tape.rewind()
            timed.append(extraction.measured(overhead))
    return timed


def least_by_stage(repeats: list[list[tuple[str, float]]], clips: int) -> dict[str, float]:
    """Milliseconds a clip by stage: of each visit to a stage the shortest of the repeats."""
    least: dict[str, float] = defaultdict(float)
    for visits in zip(*repeats, strict=True):
        names = sorted({name for name, _ in visits})
        if len(names) > 1:
            raise ValueError(f"repeats of one extraction visit different stages: {', '.join(names)}")
        least[names[0]] += 1000 * min(seconds for _, seconds in visits) / clips
    return least


def report(side: str, timed: list[tuple[Stopwatch, float]], clips: int) -> dict[str, Any]:
    """Print a side's table; its figures for the JSON, each a clip."""
    watches = [watch for watch, _ in timed]
    least = least_by_stage([watch.visits for watch in watches], clips)
    networks = {
        "ms": least.pop(NETWORKS),
        "operators": watches[0].operators[NETWORKS] / clips,
        "waits": watches[0].waits[NETWORKS] / clips,
    }
    stages = sorted(least, key=lambda name: -least[name])
    rows: list[list[Any]] = [
        [name, least[name], watches[0].operators[name] / clips, watches[0].waits[name] / clips] for name in stages
    ]
    columns = ("ms", "operators", "waits")
    totals = [sum(row[place] for row in rows) for place in (1, 2, 3)]
    sums = [sum(1000 * seconds / clips for name, seconds in watch.visits if name != NETWORKS) for watch in watches]
    spread = {"least_ms": min(sums), "median_ms": statistics.median(sums), "most_ms": max(sums)}
    others = min(1000 * seconds / clips for _, seconds in timed)
    rest: list[list[Any]] = [["all of these", *totals]]
    rest += [[f"{name[:-3]} of the repeats", value, "", ""] for name, value in spread.items()]
    rest.append(["other threads", others, "", ""])
    rest.append(["networks: computing" if side == "cpu" else "networks: asking for them", *networks.values()])
    print(f"\n{side}, a clip")
    print(table([*rows, *rest], ["stage", *columns]))
    by_stage = {column: {row[0]: row[place] for row in rows} for place, column in enumerate(columns, 1)}
    total = dict(zip(columns, totals, strict=True))
    return {**by_stage, "total": {**total, **spread}, "networks": networks, "ms_of_other_threads": others}


if __name__ == "__main__":
    main()
