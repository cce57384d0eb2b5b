"""Processor time of the owner outside of the networks' forward passes, by stage: what limits a GPU.

    python -m benchmarks.owner --clips MANIFEST [--profile untrained] [--max-seconds 6] [--batch 32] [--version NAME]

cpu        extraction on a CPU: every operation is the owner's
counted    extraction on a make-believe device (benchmarks.counted_device), on which the code does as beside a GPU. What
           a GPU would compute is left out of the times; in its place stands how many operators it is given, and how
           often the owner waits for it.
cuda       where there is a GPU, in place of both: the owner's own time beside it, in which its waits are spent awake

Times are of the owner's main thread, the one that feeds the networks; `other threads` are the rest of its process,
which share Python's lock with it. Decode workers and other processes are not counted. Untrained pose weights are
stirred (benchmarks/stirred.py). The JSON keeps the figures of other versions of the code under their `--version`.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import get_ident
from time import process_time, thread_time
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.common import SEEN, save, table
from benchmarks.counted_device import Counts, counted_device
from benchmarks.stirred import some_frames, stir, to_stir
from models.extractors import face
from models.extractors.extractor import Extractor
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
_CALIBRATION = 5000  # operators
PERSONS = 10  # kept a frame, as the profile `full` has it


class Stopwatch:
    """Processor time of one thread by stage, what stages inside of it take left out."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts  # of the device; zeros on a CPU
        self.counting_s = 0.0  # that counting an operator takes outside of it, left out of all times
        self.seconds: dict[str, float] = defaultdict(float)
        self.operators: dict[str, int] = defaultdict(int)
        self.waits: dict[str, int] = defaultdict(int)
        self._stage = ""
        self._before = self._now()

    def _now(self) -> tuple[float, int, int]:
        operators = self.counts.operators
        return thread_time() - self.counts.seconds - operators * self.counting_s, operators, self.counts.waits

    def calibrate(self, device: torch.device) -> None:
        """Measure what the counting itself takes."""
        (before, operators, _), values = self._now(), torch.zeros(1).to(device)
        for _ in range(_CALIBRATION):
            values.view(1, 1)
        after, more, _ = self._now()
        self.counting_s = (after - before) / (more - operators)
        self._before = self._now()

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
            self.seconds[stage] += now[0] - before[0]
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
        part(extractor._outputs, "_network", NETWORKS)
    elif modality == "face":
        part(extractor, "_embed", NETWORKS)
        for network in ("_pnet", "_rnet", "_onet"):
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

    part(face, "face_crop", "face: crops")
    part(face, "_jpeg", "face: JPEG")
    for modality in SEEN:
        part(find_extracted(modality), "assemble", "tracks" if modality == "pose" else "rows")
    for method in ("add", "skip", "close"):
        stack.enter_context(patch.object(ShardWriter, method, watch.timed("Parquet", getattr(ShardWriter, method))))


def measured(
    profile: Profile, sampling: SamplingOptions, batch: str, ingest: IngestedBatch, extractors: dict[str, Any],
    counts: Counts, pictures: list[torch.Tensor],
) -> tuple[Stopwatch, float]:  # fmt: skip
    """One extraction: its stages, and the seconds of the owner's other threads.

    pictures: frames of each clip's size, for what is kept of a size to be there, as it is after the first clip of many.
    """
    for extractor in extractors.values():
        for frames in pictures:
            extractor.prepare(frames.to(extractor.device))
    specs = [feature_spec(m, sampling, profile.entry(m).stride, modality_identity(m, profile)) for m in SEEN]
    with tempfile.TemporaryDirectory() as workspace, ExitStack() as stack:
        watch = Stopwatch(counts)
        if counts.operators:
            watch.calibrate(extractors["pose"].device)
        for extractor in extractors.values():
            watch_extractor(watch, extractor, stack)
        watch_rest(watch, stack)
        plans = plan_shards(workspace, batch, ingest, specs, sampling).shards
        process, thread = process_time(), thread_time()
        with watch.stage(REST):
            extract.extract_shards(
                workspace, batch, plans, extractors.__getitem__, sampling, DecodeLimits(),
                workers=1, device=extractors["pose"].device, profile=profile.name,
            )  # fmt: skip
        others = (process_time() - process) - (thread_time() - thread)
    return watch, others


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
    parser.add_argument("--version", default="now", help="name of this version of the code in the JSON")
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
                if side == "counted":
                    device, counts = stack.enter_context(counted_device())
                extractors = set_up(profile, stirred, device, options.batch, pictures)
                watch, others = measured(profile, sampling, batch.name, ingest, extractors, counts, pictures)
            figures[side] = report(side, watch, others, len(clips))
    about = {"profile": profile.name, "max_seconds": options.max_seconds, "batch": options.batch, "clips": len(clips),
             "frames": sum(len(picture) for picture in pictures)}  # fmt: skip
    save("owner", {options.version: {**about, **figures}}, keep_others=True)


def report(side: str, watch: Stopwatch, others: float, clips: int) -> dict[str, Any]:
    """Print a side's table; its figures for the JSON, each a clip."""
    stages = sorted((name for name in watch.seconds if name != NETWORKS), key=lambda name: -watch.seconds[name])
    rows: list[list[Any]] = [
        [name, 1000 * watch.seconds[name] / clips, watch.operators[name] / clips, watch.waits[name] / clips]
        for name in stages
    ]
    columns = ("ms", "operators", "waits")
    totals = [sum(float(row[place]) for row in rows) for place in (1, 2, 3)]
    rest: list[list[Any]] = [["all of these", *totals], ["other threads", 1000 * others / clips, "", ""]]
    print(f"\n{side}, a clip")
    print(table([*rows, *rest], ["stage", *columns]))
    by_stage = {column: {row[0]: row[place] for row in rows} for place, column in enumerate(columns, 1)}
    total = dict(zip(columns, totals, strict=True))
    return {**by_stage, "total": total, "ms_of_other_threads": 1000 * others / clips}


if __name__ == "__main__":
    main()
