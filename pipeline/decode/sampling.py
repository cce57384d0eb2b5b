"""Choice of a clip's frames by time, on one grid, so that variable frame rates come out right.

A source frame is on the screen from its own time until the next frame's. It is taken when a grid time k / sample_fps
falls into that span, and once at most: of 24 frames a second the grid of 10 takes floor(2.4 k), of 8 it takes every
frame once. Times count from the clip's first frame. The i-th taken frame has `position` i.

Pictures that neither the grid nor another picture needs are not even decoded (`needed_pictures`). Of 24 H.264 frames a
second the grid of 10 uses 10. Some of the rest are B pictures that no other picture refers to: FFmpeg leaves them out
when told so packet by packet, and the pixels of all others stay the same, bit for bit. On eight real clips that saves
a fifth of the decoding time. Only H.264 is treated so: FFmpeg's HEVC decoder leaves out pictures that others need, and
VP9 and AV1 gain nothing.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

import av

from pipeline.core.options import SamplingOptions

T = TypeVar("T")

# Decoders give times as float32 and containers as multiples of a time base; 0.1 ms is far above the rounding of
# either within max_seconds and far below any frame's duration.
TOLERANCE_S = 1e-4

# H.264 holds back 16 pictures at most, so a picture's neighbours in time are at most so many packets away.
_REORDER = 17
_BREAK_S = 1.0  # a longer step of decoding times than the packet's duration may be one at which the grid moves
_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE; of interlaced streams a packet may be half a picture


@dataclass(frozen=True)
class SampledFrame(Generic[T]):
    """A frame that the grid takes."""

    position: int  # 0.. in the sequence of sampled frames; a modality of stride s looks at position % s == 0
    frame_index: int  # in the source stream, counted from 0
    timestamp: float  # seconds from the clip's first frame
    item: T


def sample(
    frames: Iterable[tuple[float, T]], options: SamplingOptions, last_duration_s: Callable[[T], float]
) -> Iterator[SampledFrame[T]]:
    """Take the grid's frames from a stream, looking one frame ahead; stop reading at `max_seconds`.

    Args:
        frames: (time in seconds, anything) in order of presentation. A frame whose time is not above the one before
            it is never on the screen, so it is counted and never taken.
        last_duration_s: how long a frame stays when no other comes after it; asked only then.

    Raises: what `frames` raises, after the last good frame has had its turn.
    """
    position = 0
    origin = 0.0
    held: tuple[int, float, T] | None = None  # index, seconds from the first frame, item

    def due(until: float) -> bool:
        return held is not None and on_grid(held[1], until, options.sample_fps)

    failure: Exception | None = None
    index = -1
    iterator = iter(frames)
    while True:
        try:
            time_s, item = next(iterator)
        except StopIteration:
            break
        except Exception as error:  # noqa: BLE001 (raised again below, once the last good frame is out)
            failure = error
            break
        index += 1
        if held is None:
            origin = time_s
            held = (0, 0.0, item)
            continue
        elapsed = time_s - origin
        if elapsed <= held[1]:
            continue
        if due(elapsed):
            yield SampledFrame(position, held[0], held[1], held[2])
            position += 1
        if elapsed >= options.max_seconds - TOLERANCE_S:
            return
        held = (index, elapsed, item)
    if held is not None and due(held[1] + max(last_duration_s(held[2]), 2 * TOLERANCE_S)):
        yield SampledFrame(position, held[0], held[1], held[2])
    if failure is not None:
        raise failure


def on_grid(start: float, end: float, sample_fps: float) -> bool:
    """Whether a grid time lies in [start, end)."""
    first = max(0, math.ceil((start - TOLERANCE_S) * sample_fps))
    return first / sample_fps < end - TOLERANCE_S


def needed_pictures(
    container: Any, stream: Any, sampling: SamplingOptions, see: Callable[[Any], None] = lambda _: None
) -> Iterator[tuple[float | None, Any]]:
    """A stream's pictures in order of presentation, each with its timestamp; those that nothing needs are left out.

    Yields (seconds in the stream's own time, None where unknown; the picture, None where it was left out).

    see: shown every packet whose picture belongs to the film (an edit list may exclude some).

    Raises: av.FFmpegError at damaged data, after the pictures before it.
    """
    context = stream.codec_context
    may_leave_out = context.codec.name == "h264" and int(context.field_order) == _PROGRESSIVE
    before: deque[int] = deque(maxlen=_REORDER)  # times of the packets sent last, in units of the time base
    pending: list[int] = []  # heap: times of pictures that may be left out and have not come
    unit = stream.time_base
    origin: int | None = None  # of the first picture that came: nothing is left out before it is known
    order = _PacketOrder(unit)
    times = _Times(container.format.name)
    for sent, (packet, after) in enumerate(_look_ahead(packets_of(container, stream), order.check)):
        if sent == 0 and context.has_b_frames and container.format.name.startswith("mov"):
            times.look_at([packet, *after])
        may_skip = False
        if may_leave_out and order.good and times.are_stated and origin is not None and packet.size:
            others = [*before, *(other.pts for other in after if _is_shown(other))]
            may_skip = _is_off_grid(packet, others, origin, unit, sampling)
        if packet.pts is not None and _is_shown(packet):
            before.append(packet.pts)
        if may_skip:
            heapq.heappush(pending, packet.pts)
        if _is_shown(packet):
            see(packet)
            times.sent(packet)
        context.skip_frame = "NONREF" if may_skip else "DEFAULT"
        for picture in packet.decode():
            if picture.pts is not None:
                origin = picture.pts if origin is None else origin
                while pending and pending[0] <= picture.pts:
                    time = heapq.heappop(pending)
                    if time < picture.pts:
                        yield float(time * unit), None
            yield (picture.time if times.are_stated else times.next(unit)), picture
    while pending:
        yield float(heapq.heappop(pending) * unit), None


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """A stream's packets, and an empty one behind them.

    Raises: av.FFmpegError at damaged data.
    """
    with suppress(IndexError):  # PyAV's own, behind all that, where the file holds a stream that its head does not name
        yield from container.demux(stream)


def _is_shown(packet: Any) -> bool:
    """Whether a packet's picture belongs to the film: the last packet is empty, and an edit list may exclude others."""
    return packet.size > 0 and not packet.is_discard


def _is_off_grid(packet: Any, others: list[int], origin: int, unit: Fraction, sampling: SamplingOptions) -> bool:
    """Whether no grid time falls on a packet's picture. others: times of the packets around it."""
    later = [time for time in others if time > packet.pts]
    # The last of the stream stays: `sample` decides how long it is on the screen.
    return bool(later) and not on_grid(
        float((packet.pts - origin) * unit), float((min(later) - origin) * unit), sampling.sample_fps
    )


class _PacketOrder:
    """Whether all packets so far have timestamps from which a picture's neighbours in time can be told."""

    def __init__(self, unit: Fraction):
        self.good = True
        self._unit = unit
        self._last: int | None = None  # decoding time

    def check(self, packet: Any) -> None:
        if not packet.size:
            return
        self.good &= packet.pts is not None
        if packet.dts is None:
            return
        if self._last is not None:
            step = packet.dts - self._last
            self.good &= step > 0 and float((step - (packet.duration or 0)) * self._unit) <= _BREAK_S
        self._last = packet.dts


class _Times:
    """Times of pictures whose packets state only when to decode them, as all do in AVI, and in MP4 those of some
    writers: the next picture's is the earliest that is left.
    """

    def __init__(self, container: str):
        self._of_decoding = container == "avi"
        self.are_stated = not self._of_decoding
        self._left: list[int] = []  # heap

    def look_at(self, packets: list[Any]) -> None:
        """Tell from the first packets of a stream that may reorder its pictures whether they say when to show them."""
        stamped = [packet for packet in packets if packet.pts is not None and packet.dts is not None]
        if len(stamped) > 1 and len({packet.pts - packet.dts for packet in stamped}) == 1:
            self.are_stated = False

    def sent(self, packet: Any) -> None:
        time = packet.dts if self._of_decoding else packet.pts
        if not self.are_stated and time is not None:
            heapq.heappush(self._left, time)

    def next(self, unit: Fraction) -> float | None:
        return float(heapq.heappop(self._left) * unit) if self._left else None


def _look_ahead(packets: Iterator[Any], check: Callable[[Any], None]) -> Iterator[tuple[Any, list[Any]]]:
    """Each packet with those that follow, all of them checked. An error of `packets` is raised after the packets before
    it.
    """
    waiting: deque[Any] = deque()
    failure: av.FFmpegError | None = None
    more = True
    while more or waiting:
        while more and len(waiting) <= _REORDER:
            try:
                packet = next(packets)
                check(packet)
                waiting.append(packet)
            except StopIteration:
                more = False
            except av.FFmpegError as error:
                more, failure = False, error
        if waiting:
            packet = waiting.popleft()
            yield packet, list(waiting)
    if failure is not None:
        raise failure


def expected_frames(duration_s: float, fps: float, options: SamplingOptions) -> int:
    """Number of frames that a clip of this stated duration and average rate gives; 0 where either is unknown."""
    if duration_s <= 0 or fps <= 0:
        return 0
    seconds = min(duration_s, options.max_seconds)
    return max(1, math.ceil((seconds - TOLERANCE_S) * min(fps, options.sample_fps)))


def scaled_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height in px after scaling down so that the longer side is at most `max_side`; never up."""
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
