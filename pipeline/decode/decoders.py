"""Upright RGB frames of a clip: decoded by PyAV and, where PyAV gives up, by decord.

PyAV brings FFmpeg 8 in its wheel, decord 0.6.0 FFmpeg 4. The reasons for this order, though decord alone would do for
most clips (benchmarks/decode.py has the numbers):

* decord does not pass on FFmpeg's flag of a damaged picture: of 40 clips with six flipped bits each it ended 19 as if
  they were whole, and handed out visibly wrong pictures of 17; PyAV stopped at the damage in all 40;
* decord converts a 1080p frame to RGB in 3.6 ms, PyAV in 0.6; it cannot leave out pictures that nobody needs
  (pipeline.decode.sampling.needed_pictures) nor scale cheaply: the same clips take it twice PyAV's time;
* decord cannot open AV1, GIF or anything newer than 2019.

Only `ORDER` knows the order; either one gives the same frames of an undamaged clip. torchcodec is not used: it imports
torch (551 MB and 2.5 s a worker) and needs FFmpeg's shared libraries on the system.
"""

import errno
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.container import Header, Source, check_pixels, open_clip
from pipeline.decode.orientation import UPRIGHT, Orientation, orientation_of
from pipeline.decode.picture import PictureConverter, is_plain, scale_rgb
from pipeline.decode.sampling import needed_pictures, sample, scaled_size

ORDER = ("pyav", "decord")


class DecodeStopped(Exception):
    """Raised by a decoder at a point that it cannot pass; `damaged`: because the data there is broken."""

    def __init__(self, reason: str, damaged: bool):
        super().__init__(reason)
        self.damaged = damaged


@dataclass(frozen=True)
class Frame:
    """A sampled frame with its picture."""

    position: int  # in the sequence of sampled frames
    frame_index: int  # in the source stream
    timestamp: float  # seconds from the clip's first frame
    rgb: np.ndarray  # uint8 [H, W, 3] upright, longer side at most max_side
    width: int  # px of the upright source frame
    height: int


@dataclass
class Cursor:
    """Progress of a clip's decoding, shared by both decoders."""

    wanted: Callable[[int], bool]  # whether the picture at a position is wanted
    frames: int = 0  # sampled frames reached, wanted or not
    last_s: float = -1.0  # time of the last sampled frame
    end_s: float = 0.0  # how far into the clip anything decoded

    def reach(self, position: int, timestamp: float) -> bool:
        """Move on to a sampled frame; False when it was reached before or is not wanted."""
        if position < self.frames or timestamp <= self.last_s:
            return False
        self.frames, self.last_s = position + 1, timestamp
        return self.wanted(position)


def pyav_frames(
    source: Source, container: Any, stream: Any, header: Header, sampling: SamplingOptions, limits: DecodeLimits,
    cursor: Cursor,
) -> Iterator[Frame]:  # fmt: skip
    """Decode with PyAV from the start; yield the wanted frames that `cursor` has not reached yet.

    Raises:
        DecodeStopped: at damaged data, or where the codec has no decoder.
        ClipError: too_large, unsupported or memory, of a single picture.
    """
    if stream.codec_context is None:
        raise DecodeStopped("FFmpeg has no decoder for this codec", damaged=False)
    stream.thread_type = "NONE"  # one core a worker
    stream.codec_context.thread_count = 1
    to_rgb, orientation = PictureConverter(), UPRIGHT
    nominal_s = 1.0 / (header.fps or sampling.sample_fps)
    origin: float | None = None

    def timed() -> Iterator[tuple[float, Any]]:
        nonlocal origin
        time_s = -nominal_s
        try:
            for stamp, frame in needed_pictures(container, stream, sampling):
                if frame is not None and frame.is_corrupt:
                    raise DecodeStopped(f"damaged picture {time_s + nominal_s:.2f} s into the stream", damaged=True)
                time_s = stamp if stamp is not None else time_s + nominal_s
                origin = time_s if origin is None else origin
                cursor.end_s = max(cursor.end_s, time_s - origin + length_s(frame))
                yield time_s, frame
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise ClipError("memory", "decoding went over the worker's memory limit") from error
            damaged = isinstance(error, av.error.InvalidDataError)
            raise DecodeStopped(
                f"PyAV stopped {cursor.end_s:.2f} s into the clip: {error.strerror}", damaged
            ) from error

    def length_s(frame: Any) -> float:
        if frame is None or not frame.duration or not frame.time_base:
            return nominal_s
        return float(frame.duration * frame.time_base)

    for taken in sample(timed(), sampling, length_s):
        if cursor.reach(taken.position, taken.timestamp):
            picture = taken.item
            check_pixels(picture.width, picture.height, limits)
            width, height = header.square(picture.width, picture.height)
            orientation = orientation_of(picture, orientation)
            rgb = orientation.apply(to_rgb(picture, scaled_size(width, height, sampling.max_side)))
            yield Frame(taken.position, taken.frame_index, taken.timestamp, rgb, *orientation.size(width, height))


def decord_frames(
    source: Source, container: Any, stream: Any, header: Header, sampling: SamplingOptions, limits: DecodeLimits,
    cursor: Cursor,
) -> Iterator[Frame]:  # fmt: skip
    """Decode with decord as `pyav_frames` does; decord never reports a damaged picture.

    Raises: as `pyav_frames`; DecodeStopped also where decord cannot open the clip or show it as it is meant.
    """
    try:
        import decord
    except ImportError as error:  # no wheel for this machine; setup.cfg asks for it on x86_64 only
        raise DecodeStopped("decord is not installed", damaged=False) from error
    decord.logging.set_level(decord.logging.QUIET)
    orientation = _orientation_for_decord(source, header, limits)
    left_to_do = orientation.after_decord()
    try:
        reader = decord.VideoReader(source.path or io.BytesIO(source.data or b""), num_threads=1)
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(float)
    except (decord.DECORDError, RuntimeError, AssertionError) as error:
        raise DecodeStopped(f"decord cannot open it: {_first_line(error)}", damaged=False) from error
    spacing_s = 1.0 / (header.fps or sampling.sample_fps)
    taken = list(sample(((time, None) for time in times), sampling, lambda _: spacing_s))
    # Behind the last sampled frame come others that belong to the clip: whether they decode is part of its ending,
    # and must not hang on which frames are wanted.
    last = int(np.searchsorted(times - times[0], sampling.max_seconds)) - 1
    at = 0
    try:
        for frame in taken:
            if not cursor.reach(frame.position, frame.timestamp):
                continue
            if frame.frame_index > at:
                reader.skip_frames(frame.frame_index - at)
            rgb = reader.next().asnumpy()
            at = frame.frame_index + 1
            cursor.end_s = max(cursor.end_s, frame.timestamp + spacing_s)
            height, width = rgb.shape[:2]
            check_pixels(width, height, limits)
            # Where FFmpeg pads the lines of a narrow picture, decord calls the padding further channels.
            rgb = rgb.reshape(height, -1)[:, : width * 3].reshape(height, width, 3)
            width, height = orientation.size(*header.square(*orientation.size(width, height)))
            rgb = left_to_do.apply(scale_rgb(rgb, scaled_size(width, height, sampling.max_side)))
            yield Frame(frame.position, frame.frame_index, frame.timestamp, rgb, width, height)
        if last >= at:
            if last > at:
                reader.skip_frames(last - at)
            reader.next()
        cursor.end_s = max(cursor.end_s, float(times[last] - times[0]) + spacing_s)
    except StopIteration as error:
        raise DecodeStopped(f"decord ran out of frames at {at} of {len(times)}", damaged=True) from error
    except (decord.DECORDError, RuntimeError) as error:
        if "bad_alloc" in str(error):
            raise ClipError("memory", "decoding went over the worker's memory limit") from error
        raise DecodeStopped(f"decord stopped after frame {at}: {_first_line(error)}", damaged=True) from error


def _orientation_for_decord(source: Source, header: Header, limits: DecodeLimits) -> Orientation:
    """Orientation of a clip's first picture. decord looks at a QuickTime track's matrix alone.

    Raises:
        DecodeStopped: decord would not show the pictures as they are meant.
        ClipError: unsupported.
    """
    try:
        container, stream, _ = open_clip(source, limits)  # anew: the one at hand is read from its start only once
        with container:
            first = next(iter(container.decode(stream)))
    except (av.FFmpegError, StopIteration):
        return UPRIGHT  # nothing to go by; decord may still know better
    orientation = orientation_of(first)
    of_track = header.container.startswith("mov") and header.codec != "mjpeg"  # not of Exif or an H.264 message
    if not is_plain(first) or not (of_track or orientation == UPRIGHT):
        raise DecodeStopped("decord does not show such pictures (HDR, alpha, interlaced, Exif) as meant", damaged=False)
    return orientation


def _first_line(error: Exception) -> str:
    """The last part of a message's first line; decord adds a time, a C++ path and a stack trace."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].rsplit(": ", 1)[-1].strip() if lines else type(error).__name__


@dataclass(frozen=True)
class Backend:
    """A decoder that `ClipDecoding` may use."""

    name: str
    frames: Callable[[Source, Any, Any, Header, SamplingOptions, DecodeLimits, Cursor], Iterator[Frame]]
    reports_damage: bool  # raises at damaged pictures rather than handing out concealed ones


BACKENDS = {"pyav": Backend("pyav", pyav_frames, True), "decord": Backend("decord", decord_frames, False)}


class ClipDecoding:
    """Decoding of one clip by the decoders in turn. Iterate `frames()`, then read the outcome.

    Attributes, once `frames()` is exhausted:
        status, code, reason: as in pipeline.decode.clips.Ending.
        decoder: the names of the decoders that gave frames, joined by "+".
    """

    def __init__(
        self, source: Source, sampling: SamplingOptions, limits: DecodeLimits, wanted: Callable[[int], bool],
        order: Sequence[str] = ORDER,
    ):  # fmt: skip
        """Raises: ClipError, when the clip cannot be opened."""
        self.source, self.sampling, self.limits, self.order = source, sampling, limits, tuple(order)
        self.container, self.stream, self.header = open_clip(source, limits)
        self.cursor = Cursor(wanted)
        self.status, self.code, self.reason, self.decoder = "ok", "", "", ""

    def frames(self) -> Iterator[Frame]:
        """Raises: ClipError, when the clip ends `failed`."""
        stopped: DecodeStopped | None = None
        reasons = []
        for name in self.order:
            backend = BACKENDS[name]
            if stopped is not None and stopped.damaged and not backend.reports_damage:
                continue  # behind damage it would hand out garbage for good frames
            before = self.cursor.frames
            try:
                yield from backend.frames(
                    self.source, self.container, self.stream, self.header, self.sampling, self.limits, self.cursor
                )
                stopped = None
            except DecodeStopped as error:
                stopped = error
                reasons.append(str(error))
            except MemoryError as error:
                raise ClipError("memory", "decoding went over the worker's memory limit") from error
            if self.cursor.frames > before:
                self.decoder += ("+" if self.decoder else "") + name
            if stopped is None and self.cursor.frames:
                break
        if not self.cursor.frames:
            raise ClipError("no_frames", "; ".join(reasons) or "the video stream holds no frame")
        if stopped is not None:
            self._partial("truncated" if self.header.cut_off else "corrupt", "; ".join(reasons))
        elif self._ends_early():
            self._partial(
                "truncated", f"{self.cursor.end_s:.2f} s decoded of {self.header.duration_s:.2f} s that the file states"
            )

    def _partial(self, code: str, reason: str) -> None:
        self.status, self.code, self.reason = "partial", code, reason

    def _ends_early(self) -> bool:
        """Whether the clip ended before its stated duration, though not because an edit list trims it on purpose."""
        if self.header.has_index and not self.header.cut_off:
            return False
        stated = min(self.header.duration_s, self.sampling.max_seconds)
        # Stated durations are rounded, and a last frame's length is often guessed: half a second is no cut.
        return stated - self.cursor.end_s > 0.5
