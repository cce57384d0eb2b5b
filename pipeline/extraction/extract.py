"""Clips to Parquet shards: decode once, all extractors on the same frames, batches across clips.

    decode workers (killable) -> chunks in shared memory -> one owner a device, all extractors -> shard writers

The owner is the thread that calls this module's `extract_shards`. It only feeds the networks: their results are waited
for, made into rows and written by a thread beside it, and tracks, which are Python and would hold its lock, are linked
by other processes where the networks run on a GPU. On a CPU the networks run side by side.

What all of them hold at any time is bounded: the workers' slots, one batch of prepared inputs a modality, a few batches
of outputs, and the results of the clips in flight.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch

from models.extractors.extractor import Extractor, SoundExtractor
from pipeline.core.background import WorkThread
from pipeline.core.child_processes import spawned_pool
from pipeline.core.environment import decoder_versions
from pipeline.core.memory import keep_blocks, trim
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool, Sound
from pipeline.extraction.batches import Batcher, ClipInFlight, Launched, Partial, by_reading, picked
from pipeline.extraction.side_by_side import SideBySide
from pipeline.extraction.uploads import Uploads
from pipeline.features.endings import add_endings, read_endings
from pipeline.features.plan import FeatureSpec, ShardPlan, endings_folder, features_folder, shard_path
from pipeline.features.shards import ShardWriter, provenance
from pipeline.modalities.record import Decoded, Grid, ModalityRows
from pipeline.modalities.registry import find_extracted

_KEPT_BYTES = 512 * 2**20  # free memory kept for the next batch: about what its activations take
_WAITING = 8  # batches and endings that wait for the thread of results, before the owner does
_WORKERS_A_LINKER = 8  # decode workers whose clips one process can link: 30 ms a clip of 60 frames and 10 persons
_LINKED_AHEAD = 2  # clips a linking process whose rows are not waited for yet

Progress = Callable[[int, int, Mapping[str, int]], None]  # clips done, all clips, number of each status
Published = Callable[[ShardPlan, Counter[str]], None]  # the shard whose files are there, and its clips by status


@dataclass(frozen=True)
class Extracted:
    """Outcome of a call of `extract_shards`."""

    endings: Counter[str]  # clips by status: ok, partial, failed
    # The owner's wall time by modality, and of `waiting for frames` and `waiting for results`
    seconds: dict[str, float]
    device: str = ""  # its type: cpu or cuda
    owners: int = 1


@dataclass
class _ShardInFlight:
    plan: ShardPlan
    writers: dict[str, ShardWriter]
    remaining: int  # clips whose rows are not written yet
    undecoded: int  # clips whose decoding has not ended yet
    endings: list[Ending] = field(default_factory=list)


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
    taken: Iterator[ShardPlan | None] | None = None,
    modalities: Sequence[str] = (),
    published: Published | None = None,
) -> Extracted:
    """Extract the features that the plans lack (plan.plan_shards) and write their files, each whole or not at all.

    Args:
        build: makes the extractor of a modality on `device`; called once for each modality that a plan lacks.
        workers: decode processes.
        profile: its name, for the files' metadata.
        progress: called when the networks are there, and after every clip.
        taken: the plans that are extracted here, each asked for when it is begun; None: all. It yields None where
            none is there yet, though one may come.
        modalities: those that plans of `taken` may lack beside those of `plans`.
        published: called in another thread.
    """
    keep_blocks()
    lacked = dict.fromkeys([*modalities, *(spec.modality for plan in plans for spec in plan.missing)])
    batchers = {modality: Batcher(build(modality)) for modality in lacked}
    ahead = _LINKED_AHEAD * (workers // _WORKERS_A_LINKER + 1)
    with (
        _linking_processes(device, workers) as linkers,
        # Ends behind the thread: what a writer still holds is thrown away when nothing writes any more.
        closing(_Shards(workspace, batch, sampling, profile, linkers, ahead, published)) as shards,
        WorkThread("results", _WAITING) as thread,
        SideBySide(device, len(batchers)) as together,
    ):
        uploads = Uploads(device)
        owner = _Owner(plans, uploads, batchers, shards, thread, together)
        with DecodePool(sampling, limits, workers, uploads.take) as pool:
            events = _Timed(pool.run(owner.jobs(iter(plans) if taken is None else taken)))
            if progress:
                progress(0, sum(len(plan.clips) for plan in plans), owner.counts)
            for event in events:
                if isinstance(event, Chunk):
                    owner.take_chunk(event)
                elif isinstance(event, Sound):
                    owner.take_sound(event)
                else:
                    owner.take_ending(event)
                owner.report(progress)
        if owner.in_flight:
            raise AssertionError(f"decoding ended without an ending for {sorted(owner.in_flight)[:5]}")
        thread.do(shards.finish)
    owner.report(progress)
    seconds = {modality: batcher.seconds for modality, batcher in batchers.items()}
    waits = {"waiting for frames": events.seconds, "waiting for results": thread.blocked_s}
    return Extracted(owner.counts, {**seconds, **waits}, device.type)


@contextmanager
def _linking_processes(device: torch.device, workers: int) -> Iterator[Executor | None]:
    """Processes for Modality.assembled_apart. None beside a CPU's networks, to which 30 ms a clip are nothing."""
    if device.type == "cpu":
        yield None
        return
    count = workers // _WORKERS_A_LINKER + 1
    with spawned_pool(count) as pool:
        for _ in range(count):  # a process dies with the thread that starts it: this one, and not that of the results
            pool.submit(find_extracted, "pose")
        yield pool


class _Owner:
    """Feeds the networks of one device: everything that the thread which holds them does."""

    def __init__(
        self, plans: Sequence[ShardPlan], uploads: Uploads, batchers: Mapping[str, Batcher], shards: "_Shards",
        thread: WorkThread, together: SideBySide,
    ) -> None:  # fmt: skip
        self.counts: Counter[str] = Counter()  # clips written, by status
        self.in_flight: dict[str, ClipInFlight] = {}  # clips that are being decoded
        self._plans = plans
        self._uploads = uploads
        self._batchers = batchers
        self._shards = shards
        self._thread = thread  # that of `_shards`
        self._together = together

    def jobs(self, plans: Iterator[ShardPlan | None]) -> Iterator[DecodeJob | None]:
        """Clips to decode, shard after shard; each shard's writers are opened when its turn comes."""
        for plan in plans:
            if plan is None:
                self._thread.raise_error()  # no clip may come any more for which it would be raised
                yield None
                continue
            self._shards.open(plan)
            failed = {ending.clip_id: ending for ending in plan.failed}
            seen, heard = by_reading(plan, "frames"), by_reading(plan, "sound")
            strides = tuple(sorted({spec.stride for spec in seen}))
            for clip in plan.clips:
                partials = {spec.modality: Partial() for spec in plan.missing}
                self.in_flight[clip.clip_id] = ClipInFlight(clip.clip_id, partials=partials)
                if clip.clip_id in failed:
                    self.take_ending(failed[clip.clip_id])
                    continue
                yield DecodeJob(clip.clip_id, clip.uri, strides, clip.probe.content_hash, bool(heard))

    def take_chunk(self, chunk: Chunk) -> None:
        """Give the chunk's frames, by its stride, to every extractor, and its memory back to the decode worker."""
        clip = self.in_flight[chunk.clip_id]
        try:
            if chunk.attempt >= clip.attempt:
                self._extract(clip, chunk)
        finally:
            chunk.release()

    def _extract(self, clip: ClipInFlight, chunk: Chunk) -> None:
        if chunk.attempt > clip.attempt:
            clip.restart(chunk.attempt)
        clip.scale = chunk.scale
        frames = self._uploads.frames(chunk)
        calls: dict[Batcher, Callable[[], list[Launched]]] = {}
        for spec in by_reading(self._shards.of(clip).plan, "frames"):
            keep = np.flatnonzero(chunk.position % spec.stride == 0)
            if len(keep):
                grid = (chunk.frame_index[keep], chunk.timestamp[keep])
                batcher = self._batchers[spec.modality]
                calls[batcher] = partial(batcher.add, clip, picked(frames, keep), *grid)
        self._collect(self._together.run(calls))

    def take_sound(self, sound: Sound) -> None:
        """Give a clip's sound to every extractor that reads it, and its memory back to the decode worker."""
        clip = self.in_flight[sound.clip_id]
        try:
            if sound.attempt >= clip.attempt:
                self._listen(clip, sound)
        finally:
            sound.release()

    def _listen(self, clip: ClipInFlight, sound: Sound) -> None:
        if sound.attempt > clip.attempt:
            clip.restart(sound.attempt)
        clip.heard = sound.heard
        reading = [spec.modality for spec in by_reading(self._shards.of(clip).plan, "sound")]
        if sound.code:
            clip.without = dict.fromkeys(reading, sound.code)
            return
        samples = self._uploads.sound(sound.samples).float() / 32768
        for modality in reading:
            batcher = self._batchers[modality]
            assert isinstance(batcher.extractor, SoundExtractor)
            self._collect(batcher.add(clip, samples, *batcher.extractor.grid(len(samples))))

    def take_ending(self, ending: Ending) -> None:
        """Pass on the outcome of decoding a clip, behind all of its batches that are launched."""
        clip = self.in_flight.pop(ending.clip_id)
        shard = self._shards.of(clip)
        self._thread.do(self._shards.end, clip, ending)
        shard.undecoded -= 1
        if shard.undecoded == 0:
            # Batches are not filled beyond a shard: a kill then costs this shard only.
            self._collect(self._together.run({batcher: batcher.flush for batcher in self._batchers.values()}))

    def _collect(self, batches: Sequence[Launched]) -> None:
        for launched in batches:
            self._thread.do(self._shards.collect, launched)

    def report(self, progress: Progress | None) -> None:
        """Count the clips that were written since the last call."""
        written = self._shards.written
        while written:
            self.counts[written.popleft()] += 1
            if progress:
                progress(self.counts.total(), sum(len(plan.clips) for plan in self._plans), self.counts)


class _Shards:
    """Turns results into rows and rows into files; beside `open` and `of`, everything is done in one thread.

    Args:
        linkers: processes for Modality.assembled_apart; None: this one.
        ahead: clips whose rows are being made in them, before the thread waits for the first.
    """

    def __init__(
        self, workspace: str, batch: str, sampling: SamplingOptions, profile: str, linkers: Executor | None, ahead: int,
        published: Published | None,
    ) -> None:  # fmt: skip
        self.written: deque[str] = deque()  # statuses of clips; the owner takes them out
        self._workspace = workspace
        self._batch = batch
        self._sampling = sampling
        self._profile = profile
        self._linkers = linkers
        self._ahead = ahead
        self._published = published
        self._open: dict[str, _ShardInFlight] = {}  # by the shard's name
        self._shard_of: dict[str, _ShardInFlight] = {}  # by clip_id
        self._assembled: deque[tuple[ClipInFlight, dict[str, ModalityRows | Future]]] = deque()

    def open(self, plan: ShardPlan) -> None:
        """Open a shard's writers."""
        shard = self._open[plan.shard] = _open_shard(self._workspace, self._batch, plan, self._profile)
        self._shard_of |= {clip.clip_id: shard for clip in plan.clips}

    def of(self, clip: ClipInFlight) -> _ShardInFlight:
        """The shard of a clip that is not written yet."""
        return self._shard_of[clip.clip_id]

    def collect(self, launched: Launched) -> None:
        """Wait for a batch, and write the clips that are done by it."""
        for clip in launched.collect():
            self._assemble(clip)

    def end(self, clip: ClipInFlight, ending: Ending) -> None:
        """Record the outcome of decoding a clip."""
        clip.ending = ending
        self.of(clip).endings.append(ending)
        if clip.done():
            self._assemble(clip)

    def finish(self) -> None:
        """Write what is still being assembled."""
        self._write_assembled(0)

    def close(self) -> None:
        """Throw away what was written of shards that are not whole."""
        for shard in self._open.values():
            for writer in shard.writers.values():
                writer.discard()

    def _assemble(self, clip: ClipInFlight) -> None:
        """Begin to turn a clip's results into rows."""
        assert clip.ending is not None
        rows: dict[str, ModalityRows | Future] = {}
        if clip.ending.status != "failed":
            decoded = Decoded(clip.ending, clip.scale, clip.heard)
            for modality, partial in clip.partials.items():
                if modality in clip.without:
                    continue
                grid = Grid(np.array(partial.frame_index, np.int32), np.array(partial.timestamp, np.float32))
                results = (decoded, grid, np.array(partial.frame, np.int32), partial.results)
                apart = find_extracted(modality).assembled_apart and self._linkers
                rows[modality] = apart.submit(_assemble, modality, *results) if apart else _assemble(modality, *results)
        clip.partials = {}
        self._assembled.append((clip, rows))
        self._write_assembled(self._ahead)

    def _write_assembled(self, most: int) -> None:
        """Write clips in the order in which they were done, until at most `most` are left that are being assembled."""
        while self._assembled and (len(self._assembled) > most or _is_made(self._assembled[0][1])):
            clip, rows = self._assembled.popleft()
            self._write(clip, {name: of.result() if isinstance(of, Future) else of for name, of in rows.items()})

    def _write(self, clip: ClipInFlight, rows: Mapping[str, ModalityRows]) -> None:
        """Add a clip's rows to the writers of its shard, and publish that with its last clip."""
        ending, shard = clip.ending, self._shard_of.pop(clip.clip_id)
        assert ending is not None
        for modality, writer in shard.writers.items():
            if modality in rows:
                writer.add(rows[modality])
            else:
                writer.skip(ending.clip_id, ending.code if ending.status == "failed" else clip.without[modality])
        trim(above=_KEPT_BYTES)
        shard.remaining -= 1
        if shard.remaining == 0:
            _close_shard(self._workspace, self._batch, shard, self._sampling, self._profile)
            del self._open[shard.plan.shard]  # an extraction may go on for as long as a service does
            if self._published:
                self._published(shard.plan, Counter(ending.status for ending in shard.endings))
        self.written.append(ending.status)


def _assemble(modality: str, *results: Any) -> ModalityRows:
    return find_extracted(modality).assemble(*results)


def _is_made(rows: Mapping[str, "ModalityRows | Future"]) -> bool:
    return all(of.done() for of in rows.values() if isinstance(of, Future))


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


def _open_shard(workspace: str, batch: str, plan: ShardPlan, profile: str) -> _ShardInFlight:
    writers = {}
    for spec in plan.missing:
        path = shard_path(features_folder(workspace, batch, spec), plan.shard)
        writer = ShardWriter(path, spec.modality, plan.members, _provenance(spec, profile))
        writers[spec.modality] = writer
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
    now = sorted(shard.endings, key=lambda ending: order[ending.clip_id])
    add_endings(path, before, now, {"profile": profile, "decoder": decoder_versions()})


def _provenance(spec: FeatureSpec, profile: str) -> dict[str, str]:
    extractor = spec.identity["extractor"]
    weights = {name: value for name, value in extractor.items() if name.endswith("weights")}
    return provenance(profile=profile, weights=weights, decoder=decoder_versions(), options=spec.identity)
