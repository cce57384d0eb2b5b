"""A pool of worker processes that turn clips into frames, each one clip at a time, and that can be killed.

Frames come in chunks, as views of memory shared with the worker. A clip that hangs, crashes or outgrows its worker
costs that clip only; every clip gets exactly one ending.
"""

import base64
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from pipeline.access.prefetch import Fetched, Prefetch
from pipeline.access.requests import DISK_FULL
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending, Probe
from pipeline.decode.worker_process import Stopped, WorkerProcess

Record = TypeVar("Record", Ending, Probe)

# Jobs pulled ahead for each worker. While the consumer is busy with one chunk a worker may end as many short clips as
# it has slots; then it waits for the consumer anyhow.
_AHEAD = 4
_LOOK_S = 0.1  # between questions for jobs that are still to come
_NO_MORE = object()
_ROOM_S = 0.05  # between looks at whether a full disk has room


@dataclass(frozen=True)
class DecodeJob:
    """A clip to decode; the sampled frames are delivered whose position is a multiple of any stride.

    Without a stride no frame is, but the clip is decoded to its end all the same.
    """

    clip_id: str
    uri: str
    strides: tuple[int, ...]
    content_hash: str = ""  # sha256 that the file must have, else the clip ends `changed`; empty: any
    sound: bool = False  # whether its sound is delivered


@dataclass(frozen=True)
class Chunk:
    """Consecutive sampled frames of one clip. `frames` is valid until `release()`.

    A chunk of a later attempt makes those of the earlier ones void: the clip is decoded from its start again.
    """

    clip_id: str
    attempt: int  # 1..
    frames: np.ndarray  # uint8 [n, H, W, 3] RGB, upright; read-only, in shared memory
    taken: Any  # what the pool's `take` made of the frames
    position: np.ndarray  # int32 [n] in the sequence of the clip's sampled frames, ascending
    frame_index: np.ndarray  # int32 [n] in the source stream
    timestamp: np.ndarray  # float32 [n] seconds from the clip's first frame
    scale: float  # frame px a source px; 1 where the clip was not scaled down
    width: int  # px of the upright source frame
    height: int
    _release: Callable[[], None] = field(repr=False)

    def release(self) -> None:
        """Give the memory back to the worker, which waits while all of its slots are out."""
        self._release()


@dataclass(frozen=True)
class Sound:
    """The sound of one clip on the clock of its pictures. `samples` is valid until `release()`.

    It comes behind the clip's last chunk, and makes what came of earlier attempts void as a chunk does.
    """

    clip_id: str
    attempt: int  # 1..
    samples: np.ndarray  # int16 [N] mono at SOUND_HZ, to the end of the last picture; read-only; none with a code
    heard: tuple[float, float]  # s, from where to where the file has sound
    code: str  # empty: usable; else one of errors.SOUND_CODES
    reason: str
    _release: Callable[[], None] = field(repr=False)

    def release(self) -> None:
        """Give the memory back to the worker, which waits while all of its slots are out."""
        self._release()


@dataclass(frozen=True)
class _Job:
    clip_id: str
    command: dict
    fetched: Fetched | None = None  # its file, where that was fetched ahead
    needs_room: bool = False  # the disk was full: files that were fetched ahead are to be decoded before


@dataclass(frozen=True)
class _Event:
    worker: WorkerProcess
    job: _Job
    attempt: int
    event: dict
    taken: Any = None


class DecodePool:
    """Decode workers, for use in a `with` block; leaving it, in whichever way, kills them all.

    Memory: workers x limits.slots x limits.slot_mb of shared memory, touched only as far as frames fill it, what `take`
    makes of that, and what each worker needs, at most limits.memory_limit_mb.

    Clips elsewhere are fetched ahead, many at a time, and given to a worker once they are here. Those that were fetched
    to be probed are kept in limits.fetch_cache until they are decoded, by this pool or another.

    Args:
        workers: processes, each of one thread; one a core.
        take: called with the frames of each chunk in one thread a worker, beside the thread that consumes them.
    """

    def __init__(
        self, sampling: SamplingOptions, limits: DecodeLimits, workers: int,
        take: Callable[[np.ndarray], Any] | None = None,
    ):  # fmt: skip
        if workers < 1:
            raise ValueError(f"workers is {workers}; it takes 1 at least")
        self._sampling, self._limits, self._workers, self._take = sampling, limits, workers, take
        self._stop = threading.Event()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[_Event | BaseException | None] = queue.SimpleQueue()  # None: a clip was fetched
        self._prefetch = Prefetch(limits, workers, self._events.put)
        self._threads: list[threading.Thread] = []
        self._running = False

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, jobs: Iterable[DecodeJob | None]) -> Iterator[Chunk | Sound | Ending]:
        """Decode clips; yield the chunks of many interleaved, those of one in order, then its sound where the job asks
        for it, and then its one ending. A clip that fails may end without its sound.

        Args:
            jobs: pulled as workers need them, in the caller's thread. A clip_id may be used again once it has ended.
                None: there is no job yet, though there may be one later.

        Raises:
            WorkerError: workers cannot be started.
        """
        commands = (_Job(job.clip_id, {"op": "decode", **vars(job)}) if job else None for job in jobs)
        parts: dict[str, np.ndarray] = {}  # of sounds that do not fit a slot, by clip_id
        for event in self._stream(commands):
            if event.event["event"] == "done":
                parts.pop(event.job.clip_id, None)
                yield _ending(event)
            elif event.event["event"] == "chunk":
                yield _chunk(event)
            elif (sound := _sound(event, parts)) is not None:
                yield sound

    def probe(self, clips: Iterable[tuple[str, str] | None]) -> Iterator[Probe]:
        """Describe clips, (clip_id, uri) each, in any order: even a header may be hostile.

        clips: as the jobs of `run`.
        """
        hashed: dict[str, dict] = {}
        for event in self._stream(_Job(clip[0], {"op": "probe", "uri": clip[1]}) if clip else None for clip in clips):
            if event.event["event"] == "hashed":
                hashed[event.job.clip_id] = event.event
            else:
                yield _record(Probe, event, hashed.pop(event.job.clip_id, {}))

    def close(self) -> None:
        """Kill all workers and wait until they are gone."""
        self._stop.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._prefetch.close()

    def _stream(self, jobs: Iterable[_Job | None]) -> Iterator[_Event]:
        if self._running or self._stop.is_set():
            raise RuntimeError("this DecodePool is closed, or still runs other jobs; make another one")
        self._running = True
        waiting = iter(jobs)
        more = True
        under_way = 0
        try:
            while True:
                some_later = False
                while more and not some_later and self._has_room(under_way):
                    job = next(waiting, _NO_MORE)
                    if isinstance(job, _Job):
                        self._start_thread(under_way)
                        self._hand_on(job)
                        under_way += 1
                    else:
                        more, some_later = job is None, job is None
                if not under_way and not more:
                    break
                try:
                    event = self._events.get(timeout=_LOOK_S if some_later else None)
                except queue.Empty:
                    continue
                if isinstance(event, BaseException):
                    raise event
                if event is None:
                    continue
                if event.event["event"] == "done":
                    under_way -= 1
                yield event
            self._running = False
        finally:
            if self._running:  # given up midway: what is under way would come up in the next run
                self.close()

    def _has_room(self, under_way: int) -> bool:
        most = self._workers * _AHEAD
        if not self._prefetch.used:
            return under_way < most
        return under_way < most + self._prefetch.most_ahead and self._prefetch.has_room()

    def _hand_on(self, job: _Job) -> None:
        """Give a job to the workers, if its clip lies elsewhere once that is here."""
        uri, content_hash = job.command["uri"], job.command.get("content_hash", "")
        if not self._prefetch.takes(uri):
            self._jobs.put(job)
        elif content_hash and (cached := self._prefetch.cached(uri, content_hash)):
            self._jobs.put(replace(job, fetched=cached))
        else:
            self._prefetch.begin(uri, partial(self._fetched, job))

    def _fetched(self, job: _Job, fetched: Fetched | None) -> None:
        if fetched is not None and fetched.answer.error == DISK_FULL:
            self._jobs.put(replace(job, needs_room=True))
        else:
            self._jobs.put(replace(job, fetched=fetched))
        self._events.put(None)

    def _start_thread(self, under_way: int) -> None:
        """Add a worker where there are more jobs than workers: two clips do not start sixteen."""
        if len(self._threads) < min(self._workers, under_way + 1):
            thread = threading.Thread(target=self._serve, name=f"decode-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        """Body of a worker's thread: job after job until the pool closes."""
        worker = None
        try:
            worker = WorkerProcess(self._sampling, self._limits, self._stop)
            while (job := self._jobs.get()) is not None and not self._stop.is_set():
                if job.needs_room and self._prefetch.holds_any():
                    self._jobs.put(job)
                    self._stop.wait(_ROOM_S)
                    continue
                content_hash = ""
                for attempt, event in worker.run(job.command, job.fetched):
                    content_hash = event.get("content_hash", content_hash)
                    if event["event"] == "done":
                        self._give_back(job, event, content_hash if attempt == 1 else "")
                    taken = self._take(_frames(worker, event)) if self._take and event["event"] == "chunk" else None
                    self._events.put(_Event(worker, job, attempt, event, taken))
        except Stopped:
            pass
        except BaseException as error:  # whatever it is, it is raised where the pool is used
            self._events.put(error)
            if not isinstance(error, Exception):
                raise
        finally:
            if worker is not None:
                worker.close()

    def _give_back(self, job: _Job, done: dict, content_hash: str) -> None:
        """Part with a job's fetched file. content_hash: of the file, where it was probed at the first try."""
        if job.fetched is not None:
            to_be_decoded = content_hash and not done.get("code")
            self._prefetch.give_back(job.fetched, (job.command["uri"], content_hash) if to_be_decoded else None)


def probe_clips(clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
    """Describe and hash clips without decoding them, in workers that can be killed; in any order.

    Args:
        clips: (clip_id, uri) each; pulled as workers need them.
    """
    with DecodePool(SamplingOptions(), limits, workers) as pool:
        yield from pool.probe(clips)


def _frames(worker: WorkerProcess, chunk: dict) -> np.ndarray:
    size = int(np.prod(chunk["shape"]))
    return np.frombuffer(worker.memory, np.uint8, size, chunk["slot"] * worker.slot_bytes).reshape(chunk["shape"])


def _chunk(event: _Event) -> Chunk:
    worker, chunk = event.worker, event.event
    return Chunk(
        event.job.clip_id, event.attempt, _frames(worker, chunk), event.taken, np.array(chunk["position"], np.int32),
        np.array(chunk["frame_index"], np.int32), np.array(chunk["timestamp"], np.float32),
        chunk["scale"], chunk["width"], chunk["height"], _release_once(worker, chunk["slot"]),
    )  # fmt: skip


def _sound(event: _Event, parts: dict[str, np.ndarray]) -> Sound | None:
    """The sound that an event brings to its end; None where it is a part, which `parts` keeps, and more are to come."""
    worker, sound, clip_id = event.worker, event.event, event.job.clip_id
    whole, first, count, slot = sound["samples"], sound["first"], sound["count"], sound.get("slot", -1)
    release: Callable[[], None] = _nothing
    samples = np.zeros(0, np.int16)
    if slot >= 0:
        samples = np.frombuffer(worker.memory, np.int16, count, slot * worker.slot_bytes)
        release = _release_once(worker, slot)
    if count < whole:
        if first == 0:
            parts[clip_id] = np.zeros(whole, np.int16)
        parts[clip_id][first : first + count] = samples
        release()
        if first + count < whole:
            return None
        samples, release = parts.pop(clip_id), _nothing
        samples.flags.writeable = False
    heard = (float(sound["heard"][0]), float(sound["heard"][1]))
    return Sound(clip_id, event.attempt, samples, heard, sound["code"], sound["reason"], release)


def _nothing() -> None:
    """Release of what holds no slot."""


def _release_once(worker: WorkerProcess, slot: int) -> Callable[[], None]:
    released = threading.Lock()  # a second release must not lend a slot that is being filled again

    def release() -> None:
        if released.acquire(blocking=False):
            worker.release(slot)

    return release


def _ending(event: _Event) -> Ending:
    sketches = base64.b64decode(event.event.get("sketches", ""))
    return _record(Ending, event, {"sketches": sketches, "sketch_ms": tuple(event.event.get("sketch_ms", ()))})


def _record(kind: type[Record], event: _Event, values: dict[str, Any]) -> Record:
    """The clip's record as the worker's event gives it; `values` go before those of the event."""
    given = event.event | {"clip_id": event.job.clip_id} | values
    return kind(**{column.name: given[column.name] for column in fields(kind) if column.name in given})
