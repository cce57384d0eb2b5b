"""Main program of a decode worker: video from strangers is hostile input, decoded in a process that can be killed.

Started by pipeline.decode.worker_process as `python -P -m pipeline.decode.worker <json>`. Commands come and events go
as JSON messages on a connection (libraries print on stdout); pictures go into shared memory, in slots that the parent
lends.

    commands   {"op": "decode", ...}  {"op": "probe", ...}  {"op": "free", "slot": n}      end of file: exit
               "fetched" is the path of the file that holds the clip; without one it is a local file
    events     ready | hashed | chunk | wait (no free slot: the deadline's clock stops) | pictures | sound | done
               "pictures" is what `done` will be, where it is known before the sound is decoded
               "lacking" of ready is what the process cannot be kept from
"""

import base64
import faulthandler
import gc
import json
import mmap
import os
import signal
import sys
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from pipeline.access.sandbox import confine
from pipeline.core.child_processes import die_with_parent
from pipeline.core.clip_source import Source
from pipeline.core.errors import ClipError
from pipeline.core.memory import limit_memory, trim
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.container import fetch, fetched, open_clip
from pipeline.decode.decoders import ClipDecoding, Frame
from pipeline.decode.orientation import first_orientation
from pipeline.decode.picture import fit_rgb
from pipeline.decode.picture_sketch import picture_sketch, sketch_stride
from pipeline.decode.sound import NO_SOUND, ClipSound, decode_sound

KEPT_BYTES = 192 * 2**20  # free memory a worker keeps for the next clip: eight clips, up to 1080p, leave 125 MiB
MAX_CHUNK_FRAMES = 32  # what an extractor's batch can use; small pictures would else fill a slot with whole clips


@dataclass
class Link:
    """The worker's end of the connection to its parent, and the slots it may fill."""

    connection: Connection
    free: deque[int] = field(default_factory=deque)
    jobs: deque[dict] = field(default_factory=deque)

    def send(self, **event: Any) -> None:
        self.connection.send_bytes(json.dumps(event).encode())

    def receive(self, wait: bool) -> None:
        """Read the commands that have come; with `wait`, at least one. Exits where the parent is gone."""
        while wait or self.connection.poll():
            try:
                command = json.loads(self.connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)  # not sys.exit: a decoder's threads must not hold the process up
            if command["op"] == "free":
                self.free.append(command["slot"])
            else:
                self.jobs.append(command)
            wait = False

    def next_job(self) -> dict:
        while not self.jobs:
            self.receive(wait=True)
        return self.jobs.popleft()

    def next_slot(self) -> int:
        self.receive(wait=False)
        if not self.free:
            self.send(event="wait")
            while not self.free:
                self.receive(wait=True)
        return self.free.popleft()


class ChunkWriter:
    """Collects frames into chunks. Chunk c covers the positions [c K, (c + 1) K); K depends on a frame's size alone."""

    def __init__(self, memory: mmap.mmap, slot_bytes: int, link: Link):
        self.memory, self.slot_bytes, self.link = memory, slot_bytes, link
        self.pictures: np.ndarray | None = None  # [K, H, W, 3] in the slot being filled
        self.slot = -1
        self.shape: tuple[int, int, int] | None = None
        self.source: tuple[int, int] = (0, 0)
        self.filled: list[Frame] = []

    def see(self, frame: Frame) -> None:
        """Take the clip's size from its first frame, delivered or not.

        Raises: ClipError too_large, when a single frame does not fit a slot.
        """
        if self.shape is None:
            height, width, _ = self.shape = frame.rgb.shape
            self.source = (frame.width, frame.height)
            self.capacity = min(MAX_CHUNK_FRAMES, self.slot_bytes // frame.rgb.nbytes)
            if self.capacity == 0:
                raise ClipError(
                    "too_large",
                    f"a frame of {width} x {height} px does not fit a slot of {self.slot_bytes} bytes; "
                    "raise slot_mb or lower max_side",
                )

    def add(self, frame: Frame) -> None:
        """Put a frame that was seen into a chunk."""
        assert self.shape is not None
        if self.filled and self.filled[0].position // self.capacity != frame.position // self.capacity:
            self.flush()
        if self.pictures is None:
            self.slot = self.link.next_slot()
            shape = (self.capacity, *self.shape)
            self.pictures = np.frombuffer(
                self.memory, np.uint8, int(np.prod(shape)), self.slot * self.slot_bytes
            ).reshape(shape)
        rgb = frame.rgb
        if rgb.shape != self.shape:  # the stream changes its size midway: a clip has one size, that of its start
            rgb = fit_rgb(rgb, (self.shape[1], self.shape[0]))
        self.pictures[len(self.filled)] = rgb
        self.filled.append(frame)

    def flush(self) -> None:
        """Publish the frames collected so far as a chunk."""
        if not self.filled:
            return
        assert self.shape is not None
        self.link.send(
            event="chunk", slot=self.slot, shape=[len(self.filled), *self.shape],
            position=[frame.position for frame in self.filled],
            frame_index=[frame.frame_index for frame in self.filled],
            timestamp=[frame.timestamp for frame in self.filled],
            scale=max(self.shape[:2]) / max(self.source), width=self.source[0], height=self.source[1],
        )  # fmt: skip
        self.pictures, self.slot, self.filled = None, -1, []

    def send_sound(self, sound: ClipSound) -> None:
        """Publish a clip's sound, in as many slots as it takes."""
        about = {"heard": sound.heard, "code": sound.code, "reason": sound.reason, "samples": len(sound.samples)}
        if not len(sound.samples):
            self.link.send(event="sound", first=0, count=0, **about)
        most = self.slot_bytes // sound.samples.itemsize
        for first in range(0, len(sound.samples), most):
            part = sound.samples[first : first + most]
            slot = self.link.next_slot()
            np.frombuffer(self.memory, np.int16, len(part), slot * self.slot_bytes)[:] = part
            self.link.send(event="sound", slot=slot, first=first, count=len(part), **about)

    def give_back(self) -> None:
        """Keep an unpublished slot for the next clip."""
        if self.slot >= 0:
            self.link.free.append(self.slot)
        self.pictures, self.slot, self.filled = None, -1, []


def decode(source: Source, job: dict, chunks: ChunkWriter, sampling: SamplingOptions, limits: DecodeLimits) -> dict:
    """Decode one clip into chunks, and its sound where the job asks for it; return fields of its Ending, sketches as
    base64.
    """
    strides, every = job["strides"], sketch_stride(sampling)

    def wanted(position: int) -> bool:
        return any(position % stride == 0 for stride in strides)

    decoding = ClipDecoding(source, sampling, limits, lambda position: wanted(position) or position % every == 0)
    sketches: dict[int, bytes] = {}  # by ms
    try:
        for frame in decoding.frames():
            chunks.see(frame)
            if frame.position % every == 0 and (sketch := picture_sketch(frame.rgb)) is not None:
                sketches[round(1000 * frame.timestamp)] = sketch.tobytes()
            if wanted(frame.position):
                chunks.add(frame)
        chunks.flush()
    finally:
        chunks.give_back()
    ending = {
        "status": decoding.status, "code": decoding.code, "reason": decoding.reason, "decoder": decoding.decoder,
        "frames": decoding.cursor.frames, "expected": decoding.expected,
        "width": chunks.source[0], "height": chunks.source[1],
        "sketch_ms": list(sketches), "sketches": base64.b64encode(b"".join(sketches.values())).decode(),
    }  # fmt: skip
    if job["sound"]:
        timeline = decoding.cursor.timeline
        assert timeline is not None
        chunks.link.send(event="pictures", **ending)
        has_sound = bool(decoding.container.streams.audio)
        del decoding, frame  # the pictures' memory is for the sound
        chunks.send_sound(decode_sound(source, timeline, sampling.max_seconds) if has_sound else NO_SOUND)
    return ending


def probe(source: Source, link: Link, limits: DecodeLimits) -> dict:
    """Hash and describe one clip; return fields of its Probe."""
    link.send(event="hashed", content_hash=source.sha256, size_bytes=source.size_bytes)
    container, stream, header = open_clip(source, limits)
    orientation = first_orientation(container, stream)
    width, height = orientation.size(*header.square(header.width, header.height))
    return {
        "container": header.container, "codec": header.codec, "width": width, "height": height,
        "rotation": orientation.turns * 90, "mirrored": orientation.mirrored,
        "fps": header.fps, "duration_s": header.duration_s, "frames": header.frames,
    }  # fmt: skip


def _source(job: dict, limits: DecodeLimits) -> Source:
    return fetched(job["uri"], job["fetched"]) if "fetched" in job else fetch(job["uri"], limits.allow_uri)


def main() -> None:
    setting = json.loads(sys.argv[1])
    die_with_parent(setting["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle, which ends this process
    faulthandler.enable()  # a crash is named on stderr, which the parent reads
    sampling, limits = SamplingOptions(**setting["sampling"]), DecodeLimits(**setting["limits"])
    slot_bytes = limits.slot_mb * 2**20
    memory = mmap.mmap(setting["memory"], limits.slots * slot_bytes)
    link = Link(Connection(setting["connection"]))
    limit_memory(limits.memory_limit_mb)
    link.send(event="ready", lacking=confine())
    while True:
        job = link.next_job()
        try:
            source = _source(job, limits)
            with source.unchanged(job.get("content_hash", "")):
                if job["op"] == "probe":
                    ending = probe(source, link, limits)
                else:
                    ending = decode(source, job, ChunkWriter(memory, slot_bytes, link), sampling, limits)
        except ClipError as error:
            ending = {"status": "failed", "code": error.code, "reason": error.reason}
        except MemoryError:
            ending = {"status": "failed", "code": "memory", "reason": "decoding went over the worker's memory limit"}
        link.send(event="done", **ending)
        # A decoder's last pictures hang in reference cycles, megabytes in a few objects: too few for Python to notice.
        gc.collect()
        trim(above=KEPT_BYTES)


if __name__ == "__main__":
    main()
