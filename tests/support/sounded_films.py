"""Small films with sound, made here: clicks at known times, on the clock of the first picture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

FPS = 24
SIZE = (64, 48)
CLICK_S = 0.004
B_PICTURES = {"bf": "3", "preset": "veryfast", "x264-params": "b-adapt=0:b-pyramid=none"}


@dataclass(frozen=True)
class SoundTrack:
    """An audio stream to write, its times in seconds of the file."""

    samples: np.ndarray  # float32 [channels, n]
    rate: int = 44_100
    codec: str = "aac"
    layout: str = "stereo"
    from_s: float = 0.0
    marks: Disposition | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # of the encoder
    gaps: Sequence[tuple[float, float]] = ()  # (s of the sound before it, s that its timestamps leap there)


def clicks(at_s: Iterable[float], seconds: float, rate: int = 44_100, channels: int = 2) -> np.ndarray:
    """float32 [channels, n] of silence with clicks at these times: bursts of 2 kHz that set in at once."""
    sound = np.zeros((channels, round(seconds * rate)), np.float32)
    burst = 0.7 * np.sin(2 * np.pi * 2000 * np.arange(round(CLICK_S * rate)) / rate)
    for second in at_s:
        start = round(second * rate)
        sound[:, start : start + len(burst)] = burst[: sound.shape[1] - start]
    return sound


def film(
    path: Path,
    *tracks: SoundTrack,
    pictures_from_s: float = 0.0,
    seconds: float = 3.0,
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    format: str | None = None,
    options: Mapping[str, str] = B_PICTURES,
    **muxer: str,
) -> Path:
    """A film of so many seconds of pictures, and of these sounds, interleaved."""
    with av.open(str(path), "w", format=format, options=muxer) as container:
        picture: Any = container.add_stream(codec, rate=FPS, options=dict(options) if codec == "libx264" else {})
        picture.width, picture.height = size
        picture.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        sounds = [_stream(container, track) for track in tracks]
        packets = [*_pictures(picture, round(seconds * FPS), round(pictures_from_s * FPS))]
        for stream, track in zip(sounds, tracks, strict=True):
            packets += _sound(stream, track)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def dubbed(path: Path, track: SoundTrack) -> Path:
    """A film of one video stream, with this sound from now on."""
    given = path.rename(path.with_suffix(".given" + path.suffix))
    with av.open(str(given)) as pictures, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(pictures.streams.video[0])
        sound = _stream(container, track)
        packets = [packet for packet in pictures.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = stream
        for packet in sorted([*packets, *_sound(sound, track)], key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    given.unlink()
    return path


def _stream(container: Any, track: SoundTrack) -> Any:
    stream = container.add_stream(track.codec, rate=track.rate, layout=track.layout, options=dict(track.options))
    if track.marks is not None:
        stream.disposition = track.marks
    return stream


def _pictures(stream: Any, count: int, first: int) -> Iterable[Any]:
    for number in range(first, first + count):
        rgb = np.full((stream.height, stream.width, 3), (40, 200, 60), np.uint8)
        rgb[:, number * 2 % stream.width :][:, :8] = 250
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        yield from stream.encode(frame)
    yield from stream.encode()


def _sound(stream: Any, track: SoundTrack) -> Iterable[Any]:
    context = stream.codec_context
    kind = context.format.name
    size = context.frame_size or 1024
    leaps = [(round(at_s * track.rate), round(leap_s * track.rate)) for at_s, leap_s in track.gaps]
    for start in range(0, track.samples.shape[1], size):
        part = track.samples[:, start : start + size]
        frame = av.AudioFrame.from_ndarray(_as(part, kind), format=kind, layout=track.layout)
        frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
        frame.pts = round(track.from_s * track.rate) + start + sum(leap for at, leap in leaps if start >= at)
        yield from stream.encode(frame)
    yield from stream.encode()


def _as(samples: np.ndarray, kind: str) -> np.ndarray:
    """float32 [channels, n] as an encoder takes it."""
    if kind.startswith("s16"):
        samples = (samples * 32767).astype(np.int16)
    elif kind.startswith("s32"):
        samples = (samples * (2**31 - 256)).astype(np.int32)
    return np.ascontiguousarray(samples if kind.endswith("p") else samples.T.reshape(1, -1))


def onsets_s(samples: np.ndarray, rate: int = 16_000) -> list[float]:
    """Times in seconds at which clicks begin in a sound [n]: a tenth of the loudest, after 0.1 s without."""
    loud = np.flatnonzero(np.abs(samples.astype(float)) > 0.25 * np.abs(samples.astype(float)).max())
    return [float(first) / rate for first in loud[np.diff(loud, prepend=-rate) > 0.1 * rate]]
