"""Video files as phones write them: codec, quality, rotation metadata, uneven times, sound, damage."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from pipeline.core import storage
from simulation.filming.film import TICKS_PER_S
from simulation.music.clip_sound import ClipSound
from simulation.script import Phone

_SOUND_HZ = 22_050
_CUT_OFF = 0.55  # remaining share of a truncated file

# One thread an encoder: clips are rendered side by side, and the bytes must not depend on the number of cores.
_ENCODERS = {
    "h264": ("libx264", {"preset": "superfast", "threads": "1"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"}),
}


# Name, format, samples a frame, options. AAC's fast coder takes a quarter of the time of the default one, which was a
# twentieth of a clip's rendering.
_AUDIO_ENCODERS: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "aac": ("aac", "fltp", 1024, {"aac_coder": "fast"}),
    "opus": ("libopus", "flt", 960, {}),
}
_WIDTH_S = 0.011  # delay of the side channel that makes stereo of mono


def record(
    path: Path, frames: Iterable[np.ndarray], seconds: np.ndarray, phone: Phone, sound: ClipSound | None = None
) -> None:
    """Write frames to an MP4 file, which appears whole or not at all.

    Args:
        path: of the file.
        frames: T pictures uint8 [H, W, 3] RGB, upright; not read where `phone.damage` leaves no picture.
        seconds: float64 [T] of each frame, whole ticks, the first 0.
        phone: that records.
        sound: of the clip; None: the file has no audio stream.
    """
    with storage.staged(str(path)) as temporary:
        if phone.damage == "no_video":
            _write_tone(temporary, float(seconds[-1]))
        elif phone.damage == "empty":
            temporary.write_bytes(b"")
        else:
            _write_video(temporary, frames, seconds, phone, sound)
        if phone.damage == "truncated":
            os.truncate(temporary, int(temporary.stat().st_size * _CUT_OFF))


def _write_video(
    path: Path, frames: Iterable[np.ndarray], seconds: np.ndarray, phone: Phone, sound: ClipSound | None
) -> None:
    encoder, options = _ENCODERS[phone.codec]
    turns = phone.rotation // 90
    turn = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)[turns]
    width, height = (phone.height, phone.width) if turns % 2 else (phone.width, phone.height)
    with av.open(path, "w", format="mp4") as file:
        rate = Fraction(phone.fps).limit_denominator(1001)
        stream = cast(VideoStream, file.add_stream(encoder, rate=rate, options={**options, "crf": str(phone.crf)}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        if turns:
            stream.set_display_rotation(-phone.rotation)  # degrees counter-clockwise, to be applied
        audio = _Sound(file, sound) if sound else None
        for picture, second in zip(frames, seconds, strict=True):
            stored = picture if turn is None else cv2.rotate(picture, turn)
            # OpenCV's conversion takes an eighth of the time of PyAV's, which is a tenth of a world's rendering.
            planes = np.asarray(cv2.cvtColor(stored, cv2.COLOR_RGB2YUV_I420), np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = round(second * TICKS_PER_S), Fraction(1, TICKS_PER_S)
            file.mux(stream.encode(frame))
            if audio:
                audio.write_until(float(second))
        file.mux(stream.encode())
        if audio:
            audio.finish()


class _Sound:
    """An audio stream of a file that is being written."""

    def __init__(self, file: OutputContainer, sound: ClipSound):
        self._file, self._sound = file, sound
        encoder, self._format, self._size, options = _AUDIO_ENCODERS[sound.codec]
        layout = "stereo" if sound.channels == 2 else "mono"
        self._stream = cast(AudioStream, file.add_stream(encoder, rate=sound.rate, layout=layout, options=options))
        self._stream.bit_rate = sound.bitrate
        self._frames = self._cut(_stereo(sound) if sound.channels == 2 else sound.samples[None])
        self._next = next(self._frames, None)

    def write_until(self, second: float) -> None:
        """Encode the frames that begin before this time on the clip's clock, so that both streams lie side by side."""
        while self._next is not None and float(self._next.time or 0.0) < second:
            self._file.mux(self._stream.encode(self._next))
            self._next = next(self._frames, None)

    def finish(self) -> None:
        """Encode what remains."""
        self.write_until(float("inf"))
        self._file.mux(self._stream.encode())

    def _cut(self, samples: np.ndarray) -> Iterator[av.AudioFrame]:
        """Frames of samples [channels, N]."""
        layout, rate = "stereo" if len(samples) == 2 else "mono", self._sound.rate
        start = round(self._sound.start_s * rate)
        for at in range(0, samples.shape[1], self._size):
            part = samples[:, at : at + self._size]
            data = part if self._format.endswith("p") else part.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=self._format, layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start + at
            yield frame


def _stereo(sound: ClipSound) -> np.ndarray:
    """Left and right, float32 [2, N], of a sound; their mean is the sound itself."""
    delay = int(_WIDTH_S * sound.rate)
    side = np.zeros_like(sound.samples)
    side[delay:] = 0.25 * sound.samples[:-delay]
    return np.clip(np.stack([sound.samples + side, sound.samples - side]), -1, 1)


def _write_tone(path: Path, duration_s: float) -> None:
    """Write a file with a tone and no picture."""
    with av.open(path, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=_SOUND_HZ, layout="mono")
        samples = np.sin(2 * np.pi * 220 * np.arange(max(1024, int(duration_s * _SOUND_HZ))) / _SOUND_HZ)
        frame = av.AudioFrame.from_ndarray((0.2 * samples).astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = _SOUND_HZ
        frame.pts = 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        for part in fifo.read_many(1024, partial=True):
            file.mux(stream.encode(part))
        file.mux(stream.encode())
