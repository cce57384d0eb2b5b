"""A clip's bytes, and its header as FFmpeg reads it without decoding the video."""

import errno
import io
import os
from dataclasses import dataclass
from typing import Any

import av

from pipeline.core import storage
from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits
from pipeline.core.text import visible

# Containers that a clip may come in. FFmpeg also opens playlists and scripts (hls, concat, ...) that make it read
# other files or URLs; a stranger's upload must not be able to.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,gif,asf,ogg,h264,hevc,ivf,obu,dv,m4v"
# Ratios nearer to square than this come of rounding (640/639 of a clip scaled to 640 px); beyond the last, of damage.
_SQUARE, _LONGEST = 1.02, 8.0
_ATTACHED_PICTURE = 0x0400  # AV_DISPOSITION_ATTACHED_PIC: a cover, not a video

av.logging.set_level(None)  # damaged clips would fill the terminal; what matters is in the clip's ending


@dataclass(frozen=True)
class Source:
    """A clip's bytes: the path of a local file, or the content of a remote one."""

    path: str | None  # absolute, so that FFmpeg never reads a scheme into it
    data: bytes | None
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """Statements of the container; see pipeline.decode.clips.Probe. Width and height as stored, before rotation."""

    container: str
    codec: str
    width: int
    height: int
    pixel_aspect: float  # width of a stored pixel by its height; 1 where it does not say
    fps: float
    duration_s: float  # of the video stream, else of a container that holds nothing else; 0 unknown
    frames: int
    cut_off: bool  # the index names bytes beyond the file's end
    has_index: bool  # the index names the bytes of every frame

    def square(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a stored picture with square pixels."""
        return max(1, round(width * self.pixel_aspect)), height


def fetch(uri: str) -> Source:
    """Find a local clip, or read a remote one whole.

    Raises:
        ClipError: missing, io or empty.
    """
    try:
        if storage.is_local(uri):
            path = os.path.abspath(storage.local_path(uri))
            with open(path, "rb") as file:
                source = Source(path, None, os.fstat(file.fileno()).st_size)
        else:
            data = storage.read_bytes(uri)
            source = Source(None, data, len(data))
    except FileNotFoundError as error:
        raise ClipError("missing", f"no file at {visible(uri)}") from error
    except MemoryError as error:
        raise ClipError("memory", f"{visible(uri)} does not fit into the worker's memory limit") from error
    except Exception as error:  # a remote filesystem raises its own library's errors
        raise ClipError("io", f"cannot read {visible(uri)}: {type(error).__name__}: {error}") from error
    if source.size_bytes == 0:
        raise ClipError("empty", f"{visible(uri)} holds 0 bytes")
    return source


def open_clip(source: Source, limits: DecodeLimits) -> tuple[Any, Any, Header]:
    """Open a clip with PyAV: (container, video stream, header). Decodes no more than FFmpeg's own probing does.

    Raises:
        ClipError: not_a_video, no_video_stream, too_large or memory.
    """
    try:
        # A fetched clip is read through Python, which opens nothing else; a local one may open local files only.
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        container = av.open(source.path or io.BytesIO(source.data or b""), options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise ClipError("memory", "opening the file went over the memory limit") from error
        raise ClipError("not_a_video", f"FFmpeg cannot open it: {error.strerror}") from error
    streams = [stream for stream in container.streams.video if not int(stream.disposition) & _ATTACHED_PICTURE]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams}))
        raise ClipError("no_video_stream", f"the file holds only: {kinds or 'nothing'}")
    stream = streams[0]
    header = _header(container, stream, source.size_bytes)
    check_pixels(header.width, header.height, limits)
    return container, stream, header


def check_pixels(width: int, height: int, limits: DecodeLimits) -> None:
    """Raises: ClipError too_large, where a picture of this size is over the limit."""
    if width * height > limits.max_pixels:
        raise ClipError("too_large", f"{width} x {height} px is over the limit of {limits.max_pixels} px a frame")


def _header(container: Any, stream: Any, size_bytes: int) -> Header:
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate
    # Of containers without a table of all frames (webm) FFmpeg gives a partial or empty index.
    entries = [entry.pos + entry.size for entry in stream.index_entries]
    has_index = stream.frames > 0 and len(entries) >= stream.frames
    return Header(
        container=container.format.name,
        codec=context.codec.canonical_name if context else "unknown",
        width=context.width if context else 0,
        height=context.height if context else 0,
        pixel_aspect=_pixel_aspect(stream),
        fps=float(rate) if rate else 0.0,
        duration_s=_duration_s(container, stream),
        frames=stream.frames,
        cut_off=has_index and max(entries) > size_bytes,
        has_index=has_index,
    )


def _pixel_aspect(stream: Any) -> float:
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if _SQUARE < max(aspect, 1 / aspect) < _LONGEST else 1.0


def _duration_s(container: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    tag = stream.metadata.get("DURATION", "")  # Matroska: 00:00:04.000000000
    parts = tag.split(":")
    if len(parts) == 3 and all(part.replace(".", "", 1).isdigit() for part in parts):
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])
    alone = len(container.streams) == 1  # sound may run on after the picture
    return max(0.0, container.duration / av.time_base) if alone and container.duration else 0.0
