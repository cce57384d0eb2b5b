"""A clip's sound on the clock of its pictures: one channel of SOUND_HZ, decoded by PyAV.

The sound is decoded after the pictures, when it is known which moment of the stream is their zero, where their
timestamps start anew, and where they end: nothing behind that is decoded. Containers keep both on one clock, and FFmpeg
applies edit lists, delays of the encoder (AAC's priming, Opus' pre-skip) and skipped samples to the timestamps of the
sound; what is left to do here is in `_Clock` and `_Mix`.
"""

import errno
import math
from dataclasses import dataclass
from statistics import median
from typing import Any

import av
import numpy as np
from av.filter import Graph

from pipeline.core.clip_source import Source
from pipeline.core.errors import ClipError
from pipeline.core.options import SOUND_HZ
from pipeline.decode.container import open_sound
from pipeline.decode.sampling import packets_of
from pipeline.decode.timeline import Timeline

__all__ = ["NO_SOUND", "SOUND_HZ", "ClipSound", "decode_sound"]

# Timestamps are rounded (to 1 ms in Matroska and FLV) and tremble in recordings of browsers, while the sound itself has
# no gap; a packet that is lost leaves one of 20 ms at least, in all usual codecs.
_JITTER_S = 0.0199
_BREAK_S = 0.5  # a longer step of the timestamps may be one at which they start anew
_BEHIND_S = 1.0  # of sound behind the last picture after which no more is looked at: one timestamp may be wrong
_PART_S = 2.0  # how far the sound of a part of the stream may lie outside of its pictures
_WARM_UP_S = 1.0  # of sound before the first picture that is decoded for what follows
_MOST_AHEAD_S = 60.0  # of sound before the first picture, where timestamps start anew and so do not tell
# Eight channels of 192 kHz are 1.5 million samples a second, 64 of 48 kHz are 3; silence in 255 takes a file of 3 kB.
_MOST_SAMPLES = 8_000_000
_PLACED = 8  # channels; of more FFmpeg need not know where in the room they are
_SILENCE = 10  # peak of int16, -70 dB: what lossy codecs make of digital silence is less
_CANCELLED = 0.01  # -20 dB: power of the channels' mean by their mean power; that of stereo music is .3 and more


@dataclass(frozen=True)
class ClipSound:
    """Sound as pipeline.decode.pool.Sound has it."""

    samples: np.ndarray  # int16 [N]
    heard: tuple[float, float] = (0.0, 0.0)
    code: str = ""
    reason: str = ""


NO_SOUND = ClipSound(np.zeros(0, np.int16), code="no_sound", reason="the file has no audio stream")


class _Unusable(Exception):
    """Raised where a sound can be used no further."""


def decode_sound(source: Source, timeline: Timeline, max_seconds: float) -> ClipSound:
    """The sound of a clip whose pictures lie on `timeline`, to the end of the last one.

    Damage, and whatever else is wrong, ends it there; where nothing comes before that, its code says so.
    """
    mix = _Mix(min(timeline.end_s, max_seconds))
    problem = ""
    try:
        container, stream = open_sound(source)
        with container:
            if stream is None:
                return NO_SOUND
            _fill(mix, container, stream, _Clock(timeline))
    except (_Unusable, ClipError) as error:
        problem = str(error)
    except MemoryError:
        problem = "the sound went over the worker's memory limit"
    mix.flush()
    return _outcome(mix, problem)


def _outcome(mix: "_Mix", problem: str) -> ClipSound:
    if mix.at_s is None and not mix.behind_s:
        return _none("undecodable", problem or "the audio stream is empty")
    if mix.heard is None:
        return _none("silent", "no sound lies in the time of the pictures")
    samples = mix.mono()
    if max(int(samples.max()), -int(samples.min())) <= _SILENCE:
        return _none("silent", "the sound is silence")
    return ClipSound(samples, (round(mix.heard[0], 6), round(mix.heard[1], 6)), "", problem)


def _none(code: str, reason: str) -> ClipSound:
    return ClipSound(np.zeros(0, np.int16), code=code, reason=reason)


def _fill(mix: "_Mix", container: Any, stream: Any, clock: "_Clock") -> None:
    """Decode a stream into `mix` as far as that needs it.

    Damage before the first sound is passed over: what was cut out of a longer recording begins anywhere.

    Raises:
        _Unusable: at damage behind that.
        MemoryError.
    """
    context = stream.codec_context
    if context is None:
        raise _Unusable("FFmpeg has no decoder for its codec")
    context.thread_count = 1
    _check_rate(context.sample_rate, context.channels)
    damage = ""
    packets = packets_of(container, stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = [] if clock.is_early(packet) else packet.decode()
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from error
            if mix.complete:
                break  # damage behind the pictures is none of the clip's
            damage = f"damaged {max(0.0, mix.at_s or 0.0):.2f} s into the clip: {error.strerror}"
            if mix.at_s is not None:
                raise _Unusable(damage) from error
            continue
        for frame in frames:
            _check_rate(frame.sample_rate, frame.layout.nb_channels)
            stamp_s = None if frame.pts is None else float(frame.pts * frame.time_base)
            if not mix.add(frame, clock.place(stamp_s, mix.at_s)):
                return
    if mix.at_s is None and damage:
        raise _Unusable(damage)


def _check_rate(rate: int, channels: int) -> None:
    """Raises: _Unusable, where so many samples a second are beyond what is decoded."""
    if rate * channels > _MOST_SAMPLES:
        raise _Unusable(f"{channels} channels of {rate} Hz are more than {_MOST_SAMPLES} samples a second")


class _Clock:
    """Times of sound on the pictures' clock.

    Where timestamps start anew, they do so for sound and pictures, a little earlier or later in the file: sound whose
    timestamps break off goes on with the next part of the film whose time they are in. Where there is none, it goes on
    after what was heard last, or after a gap. A single timestamp that breaks off is wrong: the next goes on as before.
    """

    def __init__(self, timeline: Timeline):
        self._parts = timeline.parts or [(0.0, 0.0)]
        self._ends_s = [*(at_s for _, at_s in self._parts[1:]), timeline.end_s]
        self._wrap_s = timeline.wrap_s
        self._part = 0
        self._last_s = -math.inf  # timestamp of the piece before
        self._offset_s = self._parts[0][1] - self._parts[0][0]
        # Part, offset and end of what came before the last piece, where that one broke off or was the first.
        self._before: tuple[int, float, float] | None = 0, self._offset_s, 0.0

    def is_early(self, packet: Any) -> bool:
        """Whether nothing of a packet's sound is needed, for it lies long before the first picture."""
        if packet.pts is None or len(self._parts) > 1:
            return False
        end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        return self._time(end_s, 0.0) < -_WARM_UP_S

    def place(self, stamp_s: float | None, follows_s: float | None) -> float:
        """Time of a piece of sound in seconds from the first picture.

        stamp_s: its timestamp; None: it has none. follows_s: where the piece before it ended; None: it is the first.
        """
        if stamp_s is None:
            return follows_s or 0.0
        time_s = self._time(stamp_s, follows_s or 0.0)
        unwrapped_s = time_s - self._offset_s
        back_s, self._last_s = self._last_s - unwrapped_s, unwrapped_s
        if follows_s is None:
            return time_s
        before, self._before = self._before, None
        if abs(time_s - follows_s) <= _BREAK_S:
            return follows_s if 0 <= back_s <= _BREAK_S else time_s
        if before is not None and abs(self._time(stamp_s, before[2], before[1]) - before[2]) <= _BREAK_S:
            self._part, self._offset_s, follows_s = before
            return self._time(stamp_s, follows_s)
        self._before = self._part, self._offset_s, follows_s
        if time_s > follows_s and time_s < self._ends_s[self._part]:
            return time_s  # a gap
        for part in range(self._part + 1, len(self._parts)):
            part_stamp_s, at_s = self._parts[part]
            in_part_s = stamp_s - part_stamp_s + at_s
            if at_s - _PART_S < in_part_s < self._ends_s[part] + _PART_S:
                self._part, self._offset_s = part, at_s - part_stamp_s
                return in_part_s
        if time_s < follows_s:
            self._offset_s += follows_s - time_s
        return max(time_s, follows_s)

    def _time(self, stamp_s: float, near_s: float, offset_s: float | None = None) -> float:
        """Time of a timestamp in the part at hand; of those that wrap around the one that is near."""
        time_s = stamp_s + (self._offset_s if offset_s is None else offset_s)
        return time_s - self._wrap_s * round((time_s - near_s) / self._wrap_s) if self._wrap_s else time_s


class _Mix:
    """Collects sound of any kind as two channels of SOUND_HZ, from the first picture to the end of the last.

    Attributes:
        at_s: where the sound so far ends, in seconds from the first picture; None: none came.
        heard: from where to where there is sound among the pictures; None: nowhere.
        behind_s: length of the sound that came last, for times behind all pictures.
    """

    def __init__(self, end_s: float):
        self.at_s: float | None = None
        self.heard: tuple[float, float] | None = None
        self.behind_s = 0.0
        self._end_s = end_s
        self._samples = np.zeros((2, max(1, round(end_s * SOUND_HZ))), np.int16)
        self._decoded_s = 0.0
        # A run of pieces without a gap
        self._start_s, self._length_s = 0.0, 0.0
        self._late_s: list[float] = []  # of each piece, by its timestamp
        self._blocks: list[np.ndarray] = []  # int16 [1 or 2, n]
        self._convert: _Converter | None = None

    def add(self, frame: Any, time_s: float) -> bool:
        """Add a piece at its time; False: it lies behind all pictures, as does what follows.

        Raises:
            _Unusable: more sound than there is time for.
        """
        if time_s >= self._end_s:
            self.behind_s += frame.samples / frame.sample_rate
            return self.behind_s < _BEHIND_S
        self.behind_s = 0.0
        if self.at_s is None or abs(time_s - self.at_s) > _JITTER_S:
            self.flush()
            self._start_s, self._length_s, self.at_s = time_s, 0.0, time_s
        self._decoded_s += frame.samples / frame.sample_rate
        if self._decoded_s > 2 * self._end_s + _MOST_AHEAD_S:
            raise _Unusable("its timestamps contradict each other")
        self._late_s.append(time_s - self.at_s)
        if self._convert is None or not self._convert.takes(frame):
            self._drain()
            self._convert = _Converter(frame)
        self._blocks += self._convert.convert(frame)
        self._length_s += frame.samples / frame.sample_rate
        self.at_s = self._start_s + self._length_s
        return True

    @property
    def complete(self) -> bool:
        """Whether the sound that came last reaches the end of the pictures."""
        return self.behind_s > 0 or (self.at_s or 0.0) >= self._end_s

    def flush(self) -> None:
        """End the run: it lies where most of its pieces are by their timestamps."""
        self._drain()
        if not self._blocks:
            return
        start_s = self._start_s + median(self._late_s)
        heard = max(0.0, start_s), min(self._end_s, start_s + self._length_s)
        if heard[0] < heard[1]:
            before = self.heard or heard
            self.heard = min(before[0], heard[0]), max(before[1], heard[1])
            at = round(start_s * SOUND_HZ)
            for block in self._blocks:
                first, last = max(at, 0), min(at + block.shape[1], self._samples.shape[1])
                if first < last:
                    self._samples[:, first:last] = block[:, first - at : last - at]
                at += block.shape[1]
        self._blocks, self._late_s = [], []

    def _drain(self) -> None:
        if self._convert is not None:
            self._blocks += self._convert.convert(None)
        self._convert = None

    def mono(self) -> np.ndarray:
        """int16 [N]: the mean of both channels. Where one is the other upside down, which would be silence, it is
        turned over.
        """
        left, right = self._samples.astype(np.int32)
        mean = (left + right) >> 1
        power = (np.square(left, dtype=np.int64).mean() + np.square(right, dtype=np.int64).mean()) / 2
        if np.square(mean, dtype=np.int64).mean() < _CANCELLED * power:
            mean = (left - right) >> 1
        return mean.astype(np.int16)


class _Converter:
    """Turns sound of one format, layout and rate into one or two channels of SOUND_HZ."""

    def __init__(self, frame: Any):
        self._kind = _kind(frame)
        channels = frame.layout.nb_channels
        odd = channels > _PLACED or frame.layout.name.startswith("ambisonic")
        self._together = _together(frame) if odd else None
        self._resampler = av.AudioResampler("s16p", "mono" if odd or channels == 1 else "stereo", SOUND_HZ)

    def takes(self, frame: Any) -> bool:
        return _kind(frame) == self._kind

    def convert(self, frame: Any) -> list[np.ndarray]:
        """int16 [1 or 2, n] each. frame: None: there is no more.

        Raises: _Unusable.
        """
        try:
            if frame is not None:
                frame = _finite(frame)
                frame.pts = None  # pieces follow each other, whatever their timestamps say
            given = [frame] if self._together is None else _pulled(self._together, frame)
            converted = [out for piece in given for out in self._resampler.resample(piece) if out is not None]
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from error
            raise _Unusable(f"FFmpeg does not convert {' '.join(map(str, self._kind))}: {error.strerror}") from error
        return [out.to_ndarray() for out in converted]


def _finite(frame: Any) -> Any:
    """The piece of sound with silence for what is no number or infinite, which FFmpeg makes clicks of full scale."""
    if frame.format.name.rstrip("p") not in ("flt", "dbl"):
        return frame
    samples = frame.to_ndarray()
    if np.isfinite(samples).all():
        return frame
    finite = np.where(np.isfinite(samples), samples, 0).astype(samples.dtype)
    mended = av.AudioFrame.from_ndarray(finite, format=frame.format.name, layout=frame.layout.name)
    mended.sample_rate = frame.sample_rate
    return mended


def _kind(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _together(frame: Any) -> Graph:
    """A filter that makes one channel of many whose places in the room FFmpeg does not know: their mean; of a sound
    field (ambisonics) its first, which is what comes from everywhere.
    """
    name, layout, rate = _kind(frame)
    channels = 1 if layout.startswith("ambisonic") else frame.layout.nb_channels
    graph = Graph()
    nodes = [
        graph.add("abuffer", sample_rate=str(rate), sample_fmt=name, channel_layout=layout, time_base=f"1/{rate}"),
        graph.add("pan", "mono|c0=" + "+".join(f"{1 / channels}*c{number}" for number in range(channels))),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def _pulled(graph: Graph, frame: Any) -> list[Any]:
    """What comes out of a filter when a frame, or None for the end, goes in; with None for the end, too."""
    graph.push(frame)
    pieces: list[Any] = []
    while True:
        try:
            pieces.append(graph.pull())
        except (BlockingIOError, EOFError):
            return pieces if frame is not None else [*pieces, None]
