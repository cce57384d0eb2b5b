"""Video files as phones write them: codec, quality, rotation metadata, uneven times, damage."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from pipeline.core import storage
from simulation.filming.film import TICKS_PER_S
from simulation.script import Phone

_SOUND_HZ = 22_050
_CUT_OFF = 0.55  # remaining share of a truncated file

# One thread an encoder: clips are rendered side by side, and the bytes must not depend on the number of cores.
_ENCODERS = {
    "h264": ("libx264", {"preset": "superfast", "threads": "1"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"}),
}


def record(path: Path, frames: Iterable[np.ndarray], seconds: np.ndarray, phone: Phone) -> None:
    """Write frames to an MP4 file, which appears whole or not at all.

    Args:
        path: of the file.
        frames: T pictures uint8 [H, W, 3] RGB, upright; not read where `phone.damage` leaves no picture.
        seconds: float64 [T] of each frame, whole ticks, the first 0.
        phone: that records.
    """
    with storage.staged(str(path)) as temporary:
        if phone.damage == "no_video":
            _write_sound(temporary, float(seconds[-1]))
        elif phone.damage == "empty":
            temporary.write_bytes(b"")
        else:
            _write_video(temporary, frames, seconds, phone)
        if phone.damage == "truncated":
            os.truncate(temporary, int(temporary.stat().st_size * _CUT_OFF))


def _write_video(path: Path, frames: Iterable[np.ndarray], seconds: np.ndarray, phone: Phone) -> None:
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
        for picture, second in zip(frames, seconds, strict=True):
            stored = picture if turn is None else cv2.rotate(picture, turn)
            # OpenCV's conversion takes an eighth of the time of PyAV's, which is a tenth of a world's rendering.
            planes = np.asarray(cv2.cvtColor(stored, cv2.COLOR_RGB2YUV_I420), np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = round(second * TICKS_PER_S), Fraction(1, TICKS_PER_S)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _write_sound(path: Path, duration_s: float) -> None:
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
