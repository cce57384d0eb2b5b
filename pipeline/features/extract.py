"""Clips to Parquet shards: decode once, all extractors on the same frames, batches across clips.

    decode workers (killable) -> chunks in shared memory -> one owner a device, all extractors -> shard writers

The owner is this module's `extract_shards`. What it holds at any time is bounded: the workers' slots, one batch of
prepared inputs a modality, and the results of the clips in flight.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from time import perf_counter
from typing import Any

import numpy as np
import torch

from models.extractors.extractor import Extractor
from pipeline.core.memory import keep_blocks, trim
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool
from pipeline.features.endings import read_endings, write_endings
from pipeline.features.plan import FeatureSpec, ShardPlan, endings_folder, features_folder, shard_path
from pipeline.features.shards import ShardWriter, provenance
from pipeline.modalities.record import Grid
from pipeline.modalities.registry import find_modality

_KEPT_BYTES = 512 * 2**20  # free memory kept for the next batch: about what its activations take

Progress = Callable[[int, int, Mapping[str, int]], None]  # clips done, all clips, number of each status


@dataclass(frozen=True)
class Extracted:
    """Outcome of a call of `extract_shards`."""

    endings: Counter[str]  # clips by status: ok, partial, failed
    seconds: dict[
        str, float
    ]  # wall time by modality, and of `waiting for frames`; the remainder is tracking and writing


@dataclass
class _Partial:
    """Results so far of one modality on one clip."""

    frame_index: list[int] = field(default_factory=list)
    timestamp: list[float] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)  # [M] position in the grid of each input
    results: list[Any] = field(default_factory=list)  # [M] None until the network has run
    waiting: int = 0  # inputs without a result


@dataclass
class _ClipInFlight:
    clip_id: str
    shard: "_ShardInFlight"
    attempt: int = 1
    scale: float = 1.0  # frame pixels a source pixel
    partials: dict[str, _Partial] = field(default_factory=dict)
    ending: Ending | None = None

    def restart(self, attempt: int) -> None:
        """Begin a new decoding attempt; the results of earlier ones are dropped."""
        self.attempt = attempt
        self.partials = {spec.modality: _Partial() for spec in self.shard.plan.missing}

    def done(self) -> bool:
        return self.ending is not None and all(partial.waiting == 0 for partial in self.partials.values())


@dataclass
class _ShardInFlight:
    plan: ShardPlan
    writers: dict[str, ShardWriter]
    remaining: int  # clips whose rows are not written yet
    undecoded: int  # clips whose decoding has not ended yet
    endings: list[Ending] = field(default_factory=list)


class _Batcher:
    """Collects one modality's prepared inputs over clips and runs the network whenever a batch is full."""

    def __init__(self, extractor: Extractor):
        self.extractor = extractor
        self.seconds = 0.0  # in preparing inputs and in the network
        self._inputs: list[torch.Tensor] = []
        self._targets: list[tuple[_ClipInFlight, _Partial, int, Any]] = []  # clip, its partial, slot in results, extra

    def add(self, clip: _ClipInFlight, frames: torch.Tensor) -> list[_ClipInFlight]:
        """frames: uint8 [N, H, W, 3] of one clip. Returns clips that got their last result."""
        partial = clip.partials[self.extractor.modality]
        first = len(partial.frame_index) - frames.shape[0]
        start = perf_counter()
        with _name_clips(self.extractor.modality, [clip]):
            prepared = self.extractor.prepare(frames)
        self.seconds += perf_counter() - start
        for frame, extra in zip(prepared.frame, prepared.extras, strict=True):
            self._targets.append((clip, partial, len(partial.results), extra))
            partial.frame.append(first + frame)
            partial.results.append(None)
            partial.waiting += 1
        if len(prepared.frame):
            self._inputs.append(prepared.inputs)
        finished = []
        while len(self._targets) >= self.extractor.batch_size:
            finished += self._run(self.extractor.batch_size)
        return finished

    def flush(self) -> list[_ClipInFlight]:
        return self._run(len(self._targets)) if self._targets else []

    def _run(self, size: int) -> list[_ClipInFlight]:
        inputs = torch.cat(self._inputs) if len(self._inputs) > 1 else self._inputs[0]
        targets, self._targets = self._targets[:size], self._targets[size:]
        self._inputs = [inputs[size:]] if self._targets else []
        start = perf_counter()
        with _name_clips(self.extractor.modality, (clip for clip, *_ in targets)):
            results = self.extractor.infer(inputs[:size], [extra for *_, extra in targets])
        self.seconds += perf_counter() - start
        finished = []
        for (clip, partial, slot, _), result in zip(targets, results, strict=True):
            partial.results[slot] = result
            partial.waiting -= 1
            # Results of an earlier decoding attempt are dropped.
            if partial.waiting == 0 and clip.partials.get(self.extractor.modality) is partial and clip.done():
                finished.append(clip)
        return finished


@contextmanager
def _name_clips(modality: str, clips: Iterable[_ClipInFlight]) -> Iterator[None]:
    """Add the clips' names to an error raised in an extractor."""
    try:
        yield
    except Exception as error:
        names = ", ".join(dict.fromkeys(clip.clip_id for clip in clips))
        error.add_note(f"while extracting the modality {modality} of {names}")
        raise


def extract_shards(
    workspace: str,
    batch: str,
    plans: Sequence[ShardPlan],
    build: Callable[[str], Extractor],
    sampling: SamplingOptions,
    limits: DecodeLimits,
    *,
    workers: int,
    device: torch.device,
    profile: str,
    progress: Progress | None = None,
) -> Extracted:
    """Extract the features that the plans lack (plan.plan_shards) and write their files, each whole or not at all.

    Args:
        build: makes the extractor of a modality on `device`; called once for each modality that a plan lacks.
        workers: decode processes.
        profile: its name, for the files' metadata.
        progress: called when the networks are there, and after every clip.
    """
    keep_blocks()
    modalities = dict.fromkeys(spec.modality for plan in plans for spec in plan.missing)
    batchers = {modality: _Batcher(build(modality)) for modality in modalities}
    extraction = _Extraction(workspace, batch, plans, sampling, profile, device, batchers, progress)
    with ExitStack() as stack:
        pool = stack.enter_context(DecodePool(sampling, limits, workers))
        events = _Timed(pool.run(extraction.jobs(stack)))
        extraction.report()
        for event in events:
            if isinstance(event, Chunk):
                extraction.take_chunk(event)
            else:
                extraction.take_ending(event)
        if extraction.in_flight:
            raise AssertionError(f"decoding ended without an ending for {sorted(extraction.in_flight)[:5]}")
    seconds = {modality: batcher.seconds for modality, batcher in batchers.items()}
    return Extracted(extraction.counts, {**seconds, "waiting for frames": events.seconds})


@dataclass
class _Extraction:
    """The clips in flight between the decode workers and the shards' writers."""

    workspace: str
    batch: str
    plans: Sequence[ShardPlan]
    sampling: SamplingOptions
    profile: str
    device: torch.device
    batchers: Mapping[str, _Batcher]
    progress: Progress | None
    counts: Counter[str] = field(default_factory=Counter)  # clips written, by status
    in_flight: dict[str, _ClipInFlight] = field(default_factory=dict)

    def report(self) -> None:
        """Tell how far it is."""
        if self.progress:
            self.progress(self.counts.total(), sum(len(plan.clips) for plan in self.plans), self.counts)

    def jobs(self, stack: ExitStack) -> Iterator[DecodeJob]:
        """Clips to decode, shard after shard; each shard's writers are opened on `stack` when its turn comes."""
        for plan in self.plans:
            shard = _open_shard(self.workspace, self.batch, plan, self.profile, stack)
            strides = tuple(sorted({spec.stride for spec in plan.missing})) or (1,)
            for clip in plan.clips:
                self.in_flight[clip.clip_id] = _ClipInFlight(clip.clip_id, shard)
                self.in_flight[clip.clip_id].restart(1)
                yield DecodeJob(clip.clip_id, clip.uri, strides, clip.probe.content_hash)

    def take_chunk(self, chunk: Chunk) -> None:
        """Give the chunk's frames to the extractors, and its memory back to the decode worker."""
        try:
            self._finish(_take_chunk(self.in_flight[chunk.clip_id], chunk, self.batchers, self.device))
        finally:
            chunk.release()

    def take_ending(self, ending: Ending) -> None:
        """Record the outcome of decoding a clip."""
        clip = self.in_flight[ending.clip_id]
        clip.ending = ending
        clip.shard.endings.append(ending)
        clip.shard.undecoded -= 1
        if clip.done():
            self._finish([clip])
        if clip.shard.undecoded == 0:
            # Batches are not filled beyond a shard: a kill then costs this shard only.
            for batcher in self.batchers.values():
                self._finish(batcher.flush())

    def _finish(self, clips: Sequence[_ClipInFlight]) -> None:
        """Write clips that have all their results."""
        for clip in clips:
            assert clip.ending is not None
            _write_clip(clip)
            trim(above=_KEPT_BYTES)
            del self.in_flight[clip.ending.clip_id]
            self.counts[clip.ending.status] += 1
            self.report()
            clip.shard.remaining -= 1
            if clip.shard.remaining == 0:
                _close_shard(self.workspace, self.batch, clip.shard, self.sampling, self.profile)


class _Timed(Iterator[Any]):
    """An iterator that measures the time spent waiting for its items."""

    def __init__(self, items: Iterable[Any]):
        self._items = iter(items)
        self.seconds = 0.0

    def __next__(self) -> Any:
        start = perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += perf_counter() - start


def _open_shard(workspace: str, batch: str, plan: ShardPlan, profile: str, stack: ExitStack) -> _ShardInFlight:
    writers = {}
    for spec in plan.missing:
        path = shard_path(features_folder(workspace, batch, spec), plan.shard)
        writer = ShardWriter(path, spec.modality, plan.members, _provenance(spec, profile))
        writers[spec.modality] = stack.enter_context(writer)
        for removed in set(plan.members) - {clip.clip_id for clip in plan.clips}:
            writer.skip(removed, "no longer in the manifest")
    return _ShardInFlight(plan, writers, remaining=len(plan.clips), undecoded=len(plan.clips))


def _close_shard(workspace: str, batch: str, shard: _ShardInFlight, sampling: SamplingOptions, profile: str) -> None:
    for writer in shard.writers.values():
        writer.close()
    # Last: where the endings exist, so do the rows of all their clips.
    path = shard_path(endings_folder(workspace, batch, sampling), shard.plan.shard)
    order = {clip.clip_id: position for position, clip in enumerate(shard.plan.clips)}
    before = [] if shard.plan.endings_missing else read_endings(path)
    endings = _merge_endings(before, sorted(shard.endings, key=lambda ending: order[ending.clip_id]))
    if endings != before:
        write_endings(path, endings, {"profile": profile, "decoder": decoder_versions()})


def _merge_endings(before: Sequence[Ending], now: Sequence[Ending]) -> list[Ending]:
    """The worst ending of each clip: decoding it again for another modality may have ended differently.

    So a clip that any modality lacks, after a slow disk or a crash, is never called ok.
    """
    endings = {ending.clip_id: ending for ending in before}
    for ending in now:
        old = endings.get(ending.clip_id)
        if old is None or _loss(ending) > _loss(old):
            endings[ending.clip_id] = ending
    return list(endings.values())


def _loss(ending: Ending) -> tuple[int, int]:
    return ("ok", "partial", "failed").index(ending.status), -ending.frames


def _provenance(spec: FeatureSpec, profile: str) -> dict[str, str]:
    extractor = spec.identity["extractor"]
    weights = {name: value for name, value in extractor.items() if name.endswith("weights")}
    return provenance(profile=profile, weights=weights, decoder=decoder_versions(), options=spec.identity)


def decoder_versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("av", "decord"))


def _take_chunk(
    clip: _ClipInFlight, chunk: Chunk, batchers: Mapping[str, _Batcher], device: torch.device
) -> list[_ClipInFlight]:
    """Give a chunk's frames, by its stride, to every extractor that the clip's shard lacks."""
    if chunk.attempt < clip.attempt:
        return []
    if chunk.attempt > clip.attempt:
        clip.restart(chunk.attempt)
    clip.scale = chunk.scale
    with warnings.catch_warnings():
        # On a CPU the tensor is the shared memory itself, which no extractor writes to.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        frames = torch.from_numpy(chunk.frames).to(device)
    finished = []
    for spec in clip.shard.plan.missing:
        keep = np.flatnonzero(chunk.position % spec.stride == 0).astype(np.int64)
        if not len(keep):
            continue
        partial = clip.partials[spec.modality]
        partial.frame_index += chunk.frame_index[keep].tolist()
        partial.timestamp += chunk.timestamp[keep].tolist()
        taken = frames if len(keep) == len(chunk.position) else frames[torch.from_numpy(keep).to(device)]
        finished += batchers[spec.modality].add(clip, taken)
    return finished


def _write_clip(clip: _ClipInFlight) -> None:
    """Turn a finished clip's results into rows and add them to the writers of its shard."""
    ending = clip.ending
    assert ending is not None
    for modality, writer in clip.shard.writers.items():
        if ending.status == "failed":
            writer.skip(ending.clip_id, ending.code)
            continue
        partial = clip.partials[modality]
        grid = Grid(np.array(partial.frame_index, np.int32), np.array(partial.timestamp, np.float32))
        frames = np.array(partial.frame, np.int32)
        writer.add(find_modality(modality).assemble(ending, grid, frames, partial.results, clip.scale))
