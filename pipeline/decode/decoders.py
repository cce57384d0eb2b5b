"""Upright RGB frames of a clip: decoded by PyAV and, where PyAV gives up or a profile asks for it, by decord.

PyAV brings FFmpeg 8 in its wheel, decord 0.6.0 FFmpeg 4. The reasons for this order, though decord alone would do for
most clips (benchmarks/decode.py has the numbers):

* decord does not pass on FFmpeg's flag of a damaged picture: of 40 clips with six flipped bits each it ended 19 as if
  they were whole, and handed out visibly wrong pictures of 17; PyAV stopped at the damage in all 40. Nor can it be told
  which of several video streams to show, or that timestamps start anew. So PyAV has to look at its films as well;
* decord converts a 1080p frame to RGB in 3.6 ms, PyAV in 0.6; it cannot leave out pictures that nobody needs
  (pipeline.decode.sampling.needed_pictures) nor scale cheaply: the same clips take it twice PyAV's time;
* decord cannot open AV1, GIF or anything newer than 2019.

Only `ORDERS` knows the orders; either gives the same frames of a clip at the same times. torchcodec is not used: it
imports torch (551 MB and 2.5 s a worker) and needs FFmpeg's shared libraries on the system.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import av
import numpy as np

from pipeline.core.clip_source import Source
from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.container import Header, check_pixels, ends_at_s, open_clip, too_large
from pipeline.decode.ending import Found, Promise, ending_of
from pipeline.decode.orientation import UPRIGHT, Orientation, orientation_of
from pipeline.decode.picture import PictureConverter, is_plain, scale_rgb
from pipeline.decode.sampling import SampledFrame, expected_frames, needed_pictures, sample, scaled_size
from pipeline.decode.timeline import Timeline

ORDERS = {"auto": ("pyav", "decord"), "pyav": ("pyav", "decord"), "decord": ("decord", "pyav")}

_DECORD_CONTAINERS = ("mov", "matroska")  # of TS and FLV with B pictures it shows others than those asked for
_SAME_TIME_S = 1e-3  # decord gives times as float32


_MARKED_AHEAD = 2  # packets from the one that FFmpeg marks to the one behind the damage


class DecodeStopped(Exception):
    """Raised by a decoder at a point that it cannot pass; `damaged`: nor can another, for the data there is broken."""

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
    timeline: Timeline | None = None  # of the decoder at work; None: nothing was decoded

    def is_ahead(self, position: int, timestamp: float) -> bool:
        """Whether a sampled frame was not reached before."""
        return position >= self.frames and timestamp > self.last_s

    def reach(self, position: int, timestamp: float) -> bool:
        """Move on to a sampled frame; False when it was reached before or is not wanted."""
        if not self.is_ahead(position, timestamp):
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
    to_rgb, orientation = PictureConverter(), UPRIGHT
    for taken in sampled_pictures(container, stream, header, sampling, limits, cursor):
        if cursor.reach(taken.position, taken.timestamp):
            picture = taken.item
            width, height = header.square(picture.width, picture.height)
            orientation = orientation_of(picture, orientation)
            rgb = orientation.apply(to_rgb(picture, scaled_size(width, height, sampling.max_side)))
            yield Frame(taken.position, taken.frame_index, taken.timestamp, rgb, *orientation.size(width, height))


def sampled_pictures(
    container: Any, stream: Any, header: Header, sampling: SamplingOptions, limits: DecodeLimits, cursor: Cursor
) -> Iterator[SampledFrame[Any]]:
    """The pictures on the grid as PyAV decodes them, each with its place in the film's time.

    Raises:
        DecodeStopped: at damaged data, or where the codec has no decoder.
        ClipError: too_large, of any picture of the film; memory.
    """
    context = stream.codec_context
    if context is None:
        raise DecodeStopped("FFmpeg has no decoder for this codec", damaged=False)
    stream.thread_type = "NONE"  # one core a worker
    context.thread_count = 1
    # FFmpeg makes no room for a picture above this, which would be gigabytes. It rounds sizes up before it compares.
    context.options = {"max_pixels": str(limits.max_pixels + limits.max_pixels // 8)}
    nominal_s = 1.0 / (header.fps or sampling.sample_fps)
    timeline = cursor.timeline = Timeline(nominal_s, header.breaks, header.wrap_s)

    losses = _Losses()

    def see(packet: Any) -> None:
        losses.see(packet)
        timeline.see_duration(0.0 if header.holds_pictures else float((packet.duration or 0) * packet.time_base))

    def stamped() -> Iterator[tuple[float | None, float, tuple[float, Any]]]:
        try:
            for stamp, picture in needed_pictures(container, stream, sampling, see):
                length_s = 0.0
                if picture is not None:
                    check_pixels(picture.width, picture.height, limits)
                    if picture.is_corrupt or losses.reach(picture.pts):
                        raise DecodeStopped(f"damaged picture {timeline.end_s:.2f} s into the stream", damaged=True)
                    length_s = float(picture.duration * picture.time_base) if picture.time_base else 0.0
                yield stamp, length_s, (length_s or nominal_s, picture)
        except av.FFmpegError as error:
            check_pixels(context.width, context.height, limits)
            # What decoders leave, or say, of a size that they refuse; libdav1d says it of nothing else.
            if (header.width and not context.width) or error.errno == errno.ERANGE:
                raise too_large(f"a picture {timeline.end_s:.2f} s into the clip", limits) from error
            if error.errno == errno.ENOMEM:
                raise ClipError("memory", "decoding went over the worker's memory limit") from error
            damaged = isinstance(error, av.error.InvalidDataError)
            raise DecodeStopped(
                f"PyAV stopped {timeline.end_s:.2f} s into the clip: {error.strerror}", damaged
            ) from error

    # A picture that was left out ends before the grid's next time, even where the picture behind it does not come.
    for taken in sample(timeline.place(stamped()), sampling, lambda item: item[0] if item[1] is not None else 0.0):
        picture = taken.item[1]
        if picture is None:  # by the packets' times nothing needed it: they are not those of the pictures that came
            raise DecodeStopped(
                f"the timestamps contradict each other {taken.timestamp:.2f} s into the clip", damaged=True
            )
        yield replace(taken, item=picture)


class _Losses:
    """Places in a broadcast where a packet is missing: what refers to it is decoded into a wrong picture.

    FFmpeg marks the picture's packet, or the one before it. At a join of two recordings it does so, too, but there one
    of the next two is a key picture, which refers to none before it, and the time does not go on.
    """

    def __init__(self) -> None:
        self._from: int | None = None  # time from which pictures are damaged, in units of the time base
        self._marked: int | None = None  # time of the last packet that was marked, until it is known why
        self._behind = 0  # packets since then
        self._last: Any = None

    def see(self, packet: Any) -> None:
        """Look at the next packet of the stream."""
        if not packet.size:
            return
        if self._marked is not None:
            self._behind += 1
            if packet.is_keyframe and self._breaks_off(packet):
                self._marked = None
            elif self._behind == _MARKED_AHEAD:
                self._from = self._marked if self._from is None else self._from
        if packet.is_corrupt and self._marked is None:
            self._marked, self._behind = packet.pts, 0
        self._last = packet

    def _breaks_off(self, packet: Any) -> bool:
        """Whether a packet does not follow the last one in time."""
        if packet.dts is None or self._last.dts is None:
            return True
        return not 0 < packet.dts - self._last.dts <= 2 * (self._last.duration or 0)

    def reach(self, pts: int | None) -> bool:
        """Whether a picture of this time comes from damaged data."""
        return self._from is not None and pts is not None and pts >= self._from


def decord_frames(
    source: Source, container: Any, stream: Any, header: Header, sampling: SamplingOptions, limits: DecodeLimits,
    cursor: Cursor,
) -> Iterator[Frame]:  # fmt: skip
    """Decode with decord as `pyav_frames` does.

    decord never reports a damaged picture. So PyAV decodes the film beside it, without making pictures: that tells
    which frames are on the grid, when, and where damage begins; decord gives their pixels, while its times are the
    same.

    Raises:
        DecodeStopped: at damaged data, or where decord cannot open the film or show it as it is meant.
        ClipError: as `pyav_frames`.
    """
    if header.video_streams > 1:
        raise DecodeStopped(f"decord cannot be told which of {header.video_streams} videos to show", damaged=False)
    if header.edited or not header.container.startswith(_DECORD_CONTAINERS):
        raise DecodeStopped("decord counts the pictures of such a file otherwise", damaged=False)
    orientation = _orientation_for_decord(source, header, limits)
    left_to_do = orientation.after_decord()
    reader, times = _decord_reader(source)
    container, stream, _ = open_clip(source, limits)  # anew: another decoder may have read the one at hand
    at = 0
    for taken in sampled_pictures(container, stream, header, sampling, limits, cursor):
        index, time_s = taken.frame_index, taken.timestamp
        if not cursor.is_ahead(taken.position, time_s):
            continue
        if index >= len(times) or abs(times[index] - times[0] - time_s) > _SAME_TIME_S:
            raise DecodeStopped(f"decord gives other times from {time_s:.2f} s on", damaged=False)
        if cursor.wanted(taken.position):
            rgb = _decord_picture(reader, at, index, header.codec)
            at = index + 1
        if not cursor.reach(taken.position, time_s):
            continue
        height, width = rgb.shape[:2]
        # Where FFmpeg pads the lines of a narrow picture, decord calls the padding further channels.
        rgb = rgb.reshape(height, -1)[:, : width * 3].reshape(height, width, 3)
        width, height = orientation.size(*header.square(*orientation.size(width, height)))
        rgb = left_to_do.apply(scale_rgb(rgb, scaled_size(width, height, sampling.max_side)))
        yield Frame(taken.position, index, time_s, rgb, width, height)


def _decord_picture(reader: Any, at: int, index: int, codec: str) -> np.ndarray:
    """Picture number `index` of a reader that stands before number `at`.

    Raises:
        DecodeStopped, ClipError.
    """
    import decord

    try:
        if codec == "hevc":  # skipping would seek, and miscount the pictures that lead an open GOP
            for _ in range(index - at):
                reader.next()
        elif index > at:
            reader.skip_frames(index - at)
        return reader.next().asnumpy()
    except StopIteration as error:
        raise DecodeStopped(f"decord ran out of frames at {at}", damaged=False) from error
    except (decord.DECORDError, RuntimeError) as error:
        if "bad_alloc" in str(error):
            raise ClipError("memory", "decoding went over the worker's memory limit") from error
        raise DecodeStopped(f"decord stopped after frame {at}: {_first_line(error)}", damaged=False) from error


def _decord_reader(source: Source) -> tuple[Any, np.ndarray]:
    """decord's reader of a clip, and the times [pictures] in seconds that it gives.

    Raises:
        DecodeStopped: it is not there, or cannot open the clip.
    """
    try:
        import decord
    except ImportError as error:  # no wheel for this machine; setup.cfg asks for it on x86_64 only
        raise DecodeStopped("decord is not installed", damaged=False) from error
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(source.path, num_threads=1)
        return reader, reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(float)
    except IndexError as error:  # its length is what the header states, its times are of what is there
        raise DecodeStopped("decord finds no pictures in it", damaged=False) from error
    except (decord.DECORDError, RuntimeError, AssertionError) as error:
        raise DecodeStopped(f"decord cannot open it: {_first_line(error)}", damaged=False) from error


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


BACKENDS: dict[str, Callable[[Source, Any, Any, Header, SamplingOptions, DecodeLimits, Cursor], Iterator[Frame]]] = {
    "pyav": pyav_frames,
    "decord": decord_frames,
}


class ClipDecoding:
    """Decoding of one clip by the decoders in turn. Iterate `frames()`, then read the outcome.

    Attributes, once `frames()` is exhausted:
        status, code, reason: as in pipeline.decode.clips.Ending.
        decoder: the names of the decoders that gave frames, joined by "+".
        expected: as in pipeline.decode.clips.Ending.
    """

    def __init__(
        self, source: Source, sampling: SamplingOptions, limits: DecodeLimits, wanted: Callable[[int], bool],
        order: Sequence[str] = (),
    ):  # fmt: skip
        """order: names of BACKENDS; empty: as `sampling.decoder` has it.

        Raises: ClipError, when the clip cannot be opened.
        """
        self.source, self.sampling, self.limits = source, sampling, limits
        self.order = tuple(order) or ORDERS[sampling.decoder]
        self.container, self.stream, self.header = open_clip(source, limits)
        self.cursor = Cursor(wanted)
        self.status, self.code, self.reason, self.decoder, self.expected = "ok", "", "", "", 0

    def frames(self) -> Iterator[Frame]:
        """Raises: ClipError, when the clip ends `failed`."""
        stopped: DecodeStopped | None = None
        reasons = []
        for name in self.order:
            before = self.cursor.frames
            try:
                yield from BACKENDS[name](
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
            if stopped.damaged if stopped is not None else self.cursor.frames:
                break  # done; or damaged: what another decoder makes of what is behind is no picture of the film
        timeline = self.cursor.timeline
        if not self.cursor.frames or timeline is None:
            raise ClipError("no_frames", "; ".join(reasons) or "the video stream holds no frame")
        found = Found(
            timeline.pictures, timeline.end_s, timeline.step_s, timeline.missing(), timeline.jumps, timeline.restarts,
            timeline.strays, "; ".join(dict.fromkeys(reasons)) if stopped is not None else "",
        )  # fmt: skip
        promise = self._promise(found)
        self.status, self.code, self.reason = ending_of(found, promise)
        stated_s = promise.duration_s or found.end_s + promise.missing_end_s
        stated = 0 if found.jumps or found.restarts else expected_frames(stated_s, self.header.fps, self.sampling)
        # A clip that came to its end has all its frames, whatever its average rate made one expect.
        self.expected = self.cursor.frames if self.status == "ok" else max(self.cursor.frames, stated)

    def _promise(self, found: Found) -> Promise:
        header, missing_end_s = self.header, 0.0
        if not header.duration_s and found.end_s < min(header.file_duration_s, self.sampling.max_seconds):
            # The film's own duration is not stated, and sound may run on after it: see whether it does.
            missing_end_s = header.file_duration_s - max(found.end_s, ends_at_s(self.source))
        return Promise(header.duration_s, header.indexed, missing_end_s, header.cut_off, self.sampling.max_seconds)
