"""The sound of small films as a decode worker hears it."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.core.clip_source import Source
from pipeline.core.options import SOUND_HZ, DecodeLimits, SamplingOptions
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding
from pipeline.decode.sound import ClipSound, decode_sound
from tests.support.sounded_films import SoundTrack, clicks

SAMPLING = SamplingOptions()
CLICKS = (0.25, 1.0, 2.25)  # s from the first picture
SECONDS = 3.0  # of the pictures

# Kinds of films and of tracks
OPUS: dict[str, Any] = {"rate": 48_000, "codec": "libopus"}
NO_B = {"bf": "0", "preset": "ultrafast"}
PCM: dict[str, Any] = {"codec": "pcm_s16le"}
EARLY: dict[str, Any] = {"lead_s": 0.5, "seconds": SECONDS + 0.5}
LATE: dict[str, Any] = {"lead_s": -0.5, "seconds": SECONDS - 0.5, "from_s": 0.5}


class CountedSource(Source):
    """A source that counts the bytes that are read for its sound."""

    def __init__(self, path: Path):
        super().__init__(os.open(path, os.O_RDONLY), str(path), str(path))
        self.read = 0

    def open(self) -> io.BufferedReader:
        return io.BufferedReader(_CountingReader(self, super().open()), 1 << 16)


class _CountingReader(io.RawIOBase):
    def __init__(self, source: CountedSource, file: io.BufferedReader):
        self._source, self._file, self.name = source, file.raw, source.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self._source.read += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)


def heard(path: Path, sampling: SamplingOptions = SAMPLING, source: Source | None = None) -> ClipSound:
    source = source or fetch(str(path))
    decoding = ClipDecoding(source, sampling, DecodeLimits(), lambda _: False)
    assert not list(decoding.frames())
    timeline = decoding.cursor.timeline
    assert timeline is not None
    if isinstance(source, CountedSource):
        source.read = 0
    sound = decode_sound(source, timeline, sampling.max_seconds)
    if not sound.code:
        assert sound.samples.dtype == np.int16
        assert len(sound.samples) == round(min(timeline.end_s, sampling.max_seconds) * SOUND_HZ)
        assert 0 <= sound.heard[0] < sound.heard[1] <= timeline.end_s + 1e-6
    return sound


def track(lead_s: float = 0.0, seconds: float = SECONDS, **kind: Any) -> SoundTrack:
    """Clicks at CLICKS of the pictures, which start `lead_s` after the sound."""
    of = SoundTrack(np.zeros((1, 0), np.float32), **kind)
    channels = av.AudioLayout(of.layout).nb_channels
    at_s = [click_s + lead_s for click_s in CLICKS if click_s + lead_s >= 0]
    return replace(of, samples=clicks(at_s, seconds, of.rate, channels))


def restamped(path: Path, change: Callable[[int], int]) -> Path:
    """A Flash film with other timestamps, ms, of its pieces of sound but for the first, which is the codec's header."""
    data = bytearray(path.read_bytes())
    at = 13  # header, and the size of no tag
    while at < len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        stamp = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        if kind == 8 and data[at + 12]:  # AAC; 0: its header
            stamp = change(stamp)
            data[at + 4 : at + 8] = [*(stamp & 0xFFFFFF).to_bytes(3, "big"), stamp >> 24]
        at += 11 + size + 4
    path.write_bytes(data)
    return path
