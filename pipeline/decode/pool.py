"""Clips to frames: a pool of worker processes that can be killed, one clip at a time each.

Frames come in chunks, as views of memory shared with the worker. A clip that hangs, crashes or outgrows its worker
costs that clip only; every clip gets exactly one ending.
"""

import base64
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending, Probe
from pipeline.decode.worker_process import Seat, Stopped

# Jobs pulled ahead, a worker. While the consumer is busy with one chunk a worker may end as many short clips as it
# has slots; then it waits for the consumer anyhow.
_AHEAD = 4


@dataclass(frozen=True)
class DecodeJob:
    """A clip to decode; of its sampled frames those are delivered whose position is a multiple of any stride."""

    clip_id: str
    uri: str
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Chunk:
    """Some consecutive sampled frames of one clip. The arrays of pictures are valid until `release()`.

    A chunk of a later attempt makes those of the earlier ones void: the clip is decoded from its start again.
    """

    clip_id: str
    attempt: int  # 1..
    frames: np.ndarray  # uint8 [n, H, W, 3] RGB, upright; read-only, in shared memory
    position: np.ndarray  # int32 [n] in the sequence of the clip's sampled frames, ascending
    frame_index: np.ndarray  # int32 [n] in the source stream
    timestamp: np.ndarray  # float32 [n] seconds from the clip's first frame
    scale: float  # frame px a source px; 1 where the clip was not scaled down
    width: int  # px of the upright source frame
    height: int
    _release: Callable[[], None] = field(repr=False)

    def release(self) -> None:
        """Gives the memory back to the worker, which waits when all of its slots are out. Call it once done."""
        self._release()


@dataclass(frozen=True)
class _Job:
    key: str  # clip_id
    command: dict


@dataclass(frozen=True)
class _Event:
    seat: Seat
    job: _Job
    attempt: int
    event: dict


class DecodePool:
    """Decode workers, for use in a `with` block; leaving it, in whichever way, kills them all.

    Memory: workers x limits.slots x limits.slot_mb of shared memory, touched only as far as frames fill it, and what
    each worker needs, at most limits.memory_limit_mb.

    Args:
        workers: processes, each of one thread; one a core.
    """

    def __init__(self, sampling: SamplingOptions, limits: DecodeLimits, workers: int):
        if workers < 1:
            raise ValueError(f"workers is {workers}; it takes 1 at least")
        self._sampling, self._limits, self._workers = sampling, limits, workers
        self._stop = threading.Event()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[_Event | BaseException] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running = False

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, jobs: Iterable[DecodeJob]) -> Iterator[Chunk | Ending]:
        """Decodes clips; yields the chunks of many interleaved, those of one in order and before its one ending.

        Args:
            jobs: pulled as workers need them, in the caller's thread. A clip_id may be used again once it has ended.

        Raises:
            WorkerError: workers cannot be started.
        """
        commands = (_Job(job.clip_id, {"op": "decode", "uri": job.uri, "strides": list(job.strides)}) for job in jobs)
        for event in self._stream(commands):
            yield _ending(event) if event.event["event"] == "done" else _chunk(event)

    def probe(self, clips: Iterable[tuple[str, str]]) -> Iterator[Probe]:
        """Describes clips, (clip_id, uri) each, in any order: even a header may be hostile."""
        hashed: dict[str, dict] = {}
        for event in self._stream(_Job(clip_id, {"op": "probe", "uri": uri}) for clip_id, uri in clips):
            if event.event["event"] == "hashed":
                hashed[event.job.key] = event.event
            else:
                yield _probe(event, hashed.pop(event.job.key, {}))

    def close(self) -> None:
        """Kills all workers and waits until they are gone."""
        self._stop.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _stream(self, jobs: Iterable[_Job]) -> Iterator[_Event]:
        if self._running or self._stop.is_set():
            raise RuntimeError("this DecodePool is closed, or still runs other jobs; make another one")
        self._running = True
        waiting = iter(jobs)
        more = True
        under_way = 0
        try:
            while True:
                while more and under_way < self._workers * _AHEAD:
                    job = next(waiting, None)
                    if job is None:
                        more = False
                        break
                    self._start_thread(under_way)
                    self._jobs.put(job)
                    under_way += 1
                if not under_way:
                    break
                event = self._events.get()
                if isinstance(event, BaseException):
                    raise event
                if event.event["event"] == "done":
                    under_way -= 1
                yield event
            self._running = False
        finally:
            if self._running:  # given up midway: what is under way would come up in the next run
                self.close()

    def _start_thread(self, under_way: int) -> None:
        """One more seat where there are more jobs than seats: two clips do not start sixteen workers."""
        if len(self._threads) < min(self._workers, under_way + 1):
            thread = threading.Thread(target=self._serve, name=f"decode-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        """A seat's thread: job after job until the pool closes."""
        seat = None
        try:
            seat = Seat(self._sampling, self._limits, self._stop)
            while (job := self._jobs.get()) is not None and not self._stop.is_set():
                for attempt, event in seat.attempts(job.command):
                    self._events.put(_Event(seat, job, attempt, event))
        except Stopped:
            pass
        except BaseException as error:  # whatever it is, it is raised where the pool is used
            self._events.put(error)
            if not isinstance(error, Exception):
                raise
        finally:
            if seat is not None:
                seat.close()


def probe_clips(clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
    """Describes and hashes clips without decoding them, in workers that can be killed; in any order.

    Args:
        clips: (clip_id, uri) each; pulled as workers need them.
    """
    with DecodePool(SamplingOptions(), limits, workers) as pool:
        yield from pool.probe(clips)


def _chunk(event: _Event) -> Chunk:
    seat, fields = event.seat, event.event
    size = int(np.prod(fields["shape"]))
    frames = np.frombuffer(seat.memory, np.uint8, size, fields["slot"] * seat.slot_bytes).reshape(fields["shape"])
    released = threading.Lock()  # a second release must not lend a slot that is being filled again

    def release() -> None:
        if released.acquire(blocking=False):
            seat.release(fields["slot"])

    return Chunk(
        event.job.key, event.attempt, frames, np.array(fields["position"], np.int32),
        np.array(fields["frame_index"], np.int32), np.array(fields["timestamp"], np.float32),
        fields["scale"], fields["width"], fields["height"], release,
    )  # fmt: skip


def _ending(event: _Event) -> Ending:
    fields: dict[str, Any] = event.event
    return Ending(
        event.job.key, fields["status"], fields["code"], fields["reason"], fields.get("frames", 0),
        fields.get("expected", 0), fields.get("decoder", ""), fields.get("width", 0), fields.get("height", 0),
        fields["attempts"], fields["worked_s"], tuple(fields.get("sketch_ms", ())),
        base64.b64decode(fields.get("sketches", "")),
    )  # fmt: skip


def _probe(event: _Event, hashed: dict) -> Probe:
    fields: dict[str, Any] = event.event
    return Probe(
        event.job.key, hashed.get("content_hash", ""), hashed.get("size_bytes", 0), fields.get("container", ""),
        fields.get("codec", ""), fields.get("width", 0), fields.get("height", 0), fields.get("rotation", 0),
        fields.get("fps", 0.0), fields.get("duration_s", 0.0), fields.get("frames", 0), fields.get("code", ""),
        fields.get("reason", ""),
    )  # fmt: skip
