"""Options that more than one part of the pipeline needs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Raise it when the pictures of some clips come out otherwise (which of them, which way up, in which colours): features
# and endings of all clips are made again.
PICTURES_VERSION = 2
# The same of sound: raise it when some clips' samples, or their times, come out otherwise.
SOUND_VERSION = 1

SOUND_HZ = 16_000  # sampling rate of a clip's sound as it is decoded


@dataclass(frozen=True)
class SamplingOptions:
    """Options that decide *which* pixels the extractors see; part of every feature's fingerprint."""

    sample_fps: float = 10.0  # frames a second of the grid
    max_seconds: float = 60.0  # later parts of a clip are ignored
    max_side: int = 1280  # px; larger frames are scaled down by the decoder, smaller ones are left alone
    decoder: str = "auto"  # pyav, decord: that one first; auto: pyav, see pipeline.decode.decoders

    def identity(self) -> Mapping[str, Any]:
        """The options that decide pixels, by name: of the decoders decord alone, whose colours differ by a rounding."""
        options = asdict(self)
        if self.decoder != "decord":
            del options["decoder"]
        return options


@dataclass(frozen=True)
class DecodeLimits:
    """Limits on what a clip may cost, and on whence it comes. They change no pixel, so they are in no fingerprint."""

    deadline_s: float = 120.0  # to fetch it, and of the worker's own working time; waiting for a slot does not count
    memory_limit_mb: int = 4096  # address space of a worker beyond what its libraries map at start
    max_pixels: int = 8192 * 4320  # of one source frame
    attempts: int = 2  # tries of a clip whose failure is retryable
    slot_mb: int = 64  # shared memory of one chunk of frames
    slots: int = 3  # chunks a worker may fill before the first is consumed
    fetch_limit_mb: int = 4096  # size of a file that is fetched; of local files the size does not matter
    fetch_cache_mb: int = 4096  # of fetched clips that wait for their decoding, on this machine's disk
    fetch_cache: str = ""  # folder for them; empty: none wait, and each is fetched to be probed and to be decoded
    allow_uri: tuple[str, ...] = ()  # patterns of what may be read beyond the rules; pipeline.access.rules
