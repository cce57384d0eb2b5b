"""Which frames of a clip are looked at: chosen by time on one grid, so that variable frame rates come out right.

A source frame is on the screen from its own time until the next frame's. It is taken when a grid time k / sample_fps
falls into that span, and once at most: of 24 frames a second the grid of 10 takes floor(2.4 k), of 8 it takes every
frame once. Times count from the clip's first frame. The i-th taken frame has `position` i.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.core.options import SamplingOptions

T = TypeVar("T")

# Decoders give times as float32 and containers as multiples of a time base; 0.1 ms is far above the rounding of
# either within max_seconds and far below any frame's duration.
TOLERANCE_S = 1e-4


@dataclass(frozen=True)
class Taken(Generic[T]):
    """A frame of the grid."""

    position: int  # 0.. in the sequence of taken frames; a modality of stride s looks at position % s == 0
    frame_index: int  # in the source stream, counted from 0
    timestamp: float  # seconds from the clip's first frame
    item: T


def sample(
    frames: Iterable[tuple[float, T]], options: SamplingOptions, last_duration_s: Callable[[T], float]
) -> Iterator[Taken[T]]:
    """Takes the grid's frames from a stream, looking one frame ahead; stops reading at `max_seconds`.

    Args:
        frames: (time in seconds, anything) in order of presentation. A frame whose time is not above the one before
            it is never on the screen, so it is counted and never taken.
        last_duration_s: how long a frame stays when no other comes after it; asked only then.

    Raises: what `frames` raises, after the last good frame has been given its turn.
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
            yield Taken(position, held[0], held[1], held[2])
            position += 1
        if elapsed >= options.max_seconds - TOLERANCE_S:
            return
        held = (index, elapsed, item)
    if held is not None and due(held[1] + max(last_duration_s(held[2]), 2 * TOLERANCE_S)):
        yield Taken(position, held[0], held[1], held[2])
    if failure is not None:
        raise failure


def on_grid(start: float, end: float, sample_fps: float) -> bool:
    """Whether a grid time lies in [start, end)."""
    first = max(0, math.ceil((start - TOLERANCE_S) * sample_fps))
    return first / sample_fps < end - TOLERANCE_S


def expected_frames(duration_s: float, fps: float, options: SamplingOptions) -> int:
    """How many frames a clip of this stated duration and average rate would give; 0 where either is unknown."""
    if duration_s <= 0 or fps <= 0:
        return 0
    seconds = min(duration_s, options.max_seconds)
    return max(1, math.ceil((seconds - TOLERANCE_S) * min(fps, options.sample_fps)))


def scaled_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height in px after scaling down so that the longer side is at most `max_side`; never up."""
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
