"""A clip's file, and its header as FFmpeg reads it without decoding the video."""

import errno
import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import av
from av.stream import Discard, Disposition

from pipeline.access.rules import check_file, check_uri
from pipeline.core import storage
from pipeline.core.clip_source import Source
from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits
from pipeline.core.text import visible

# Containers that a clip may come in. FFmpeg also opens playlists and scripts (hls, concat, ...) that make it read
# other files or URLs; a stranger's upload must not be able to.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,gif,asf,ogg,h264,hevc,ivf,obu,dv,m4v"
_PROTOCOLS = "none"  # that may open what else a container names; the clip itself is read through Python
# Ratios nearer to square than this come of rounding (640/639 of a clip scaled to 640 px); beyond the last, of damage.
_SQUARE, _LONGEST = 1.02, 8.0
_BREAKS = 0x0200  # AVFMT_TS_DISCONT: timestamps may start anew, as in recordings of a broadcast
_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE, and 0 for unknown; else a packet may be half a picture
_A_PICTURE_A_PACKET = ("h264", "hevc", "libdav1d", "av1", "mjpeg", "prores")  # VP8 and MPEG-4 have packets without one
_NO_TIMES = 0x0080  # AVFMT_NOTIMESTAMPS: a bare stream, whose rate only its codec knows
_WRAP_S = 2**33 / 90000  # timestamps of MPEG streams begin again at 0 after 26.5 hours
_MOST_TRACKS = 256  # a megabyte each; broadcasts with many programmes have some dozens
_FEW_PACKETS = 500  # of all video streams together: by then each has shown whether it holds more than one picture
# Tags are any text. Of more digits than these, nothing is a film's; Python turns no more than 4300 into a number.
_TAGGED_DURATION = re.compile(r"(\d{1,6}):(\d{1,6}):(\d{1,6}(?:\.\d{1,20})?)", re.ASCII)
_TAGGED_COUNT = re.compile(r"\d{1,12}", re.ASCII)

av.logging.set_level(None)  # damaged clips would fill the terminal; what matters is in the clip's ending


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
    file_duration_s: float  # of the whole file, sound included; 0 unknown
    frames: int
    indexed: int  # pictures that the index or a tag promises; 0 where that is unknown
    cut_off: bool  # the index, or the container's own size, names bytes beyond the file's end
    edited: bool  # an edit list leaves pictures out that are in the index
    video_streams: int
    holds_pictures: bool  # a gap in time is meant: the container marks every picture that repeats the last
    breaks: bool  # timestamps may start anew midway
    wrap_s: float  # timestamps begin again at 0 after so many seconds; 0: never

    def square(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a stored picture with square pixels."""
        return max(1, round(width * self.pixel_aspect)), height


def fetch(uri: str, allow_uri: Sequence[str] = ()) -> Source:
    """Open a local clip.

    allow_uri: patterns of what may be read beyond the rules; see pipeline.access.rules.

    Raises:
        ClipError: missing, not_allowed, io or empty.
    """
    check_uri(uri, allow_uri)
    try:
        path = os.path.abspath(storage.local_path(uri))
        check_file(uri, os.stat(path), allow_uri)  # first, for opening alone may block, or do something
        # Without waiting: the file may have been replaced since.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            check_file(uri, os.fstat(file.fileno()), allow_uri)
            return Source(os.dup(file.fileno()), uri, path)
    except FileNotFoundError as error:
        raise ClipError("missing", f"no file at {visible(uri)}") from error
    except OSError as error:
        raise ClipError("io", f"cannot read {visible(uri)}: {type(error).__name__}: {error}") from error


def fetched(uri: str, path: str) -> Source:
    """A clip that was fetched from `uri` into a file of ours.

    Raises:
        ClipError: empty, or io where it cannot be opened.
    """
    try:
        return Source(os.open(path, os.O_RDONLY), uri)
    except OSError as error:
        raise ClipError("io", f"cannot read what was fetched from {visible(uri)}: {error.strerror}") from error


def open_clip(source: Source, limits: DecodeLimits) -> tuple[Any, Any, Header]:
    """Open a clip with PyAV: (container, the video stream that is the film, header). Decodes no more than FFmpeg's own
    probing does.

    Raises:
        ClipError: not_a_video, no_video_stream, too_large or memory.
    """
    container = _open(source)
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        kinds = ", ".join(sorted({"cover" if stream.type == "video" else stream.type for stream in container.streams}))
        raise ClipError("no_video_stream", f"the file holds only: {kinds or 'nothing'}")
    if len(streams) > 1:
        chosen = _film(container, streams)
        container = _open(source)  # from its start again
        streams = [container.streams[chosen]]
    stream = streams[0]
    header = _header(container, stream, source)
    check_pixels(header.width, header.height, limits)
    return container, stream, header


def open_sound(source: Source) -> tuple[Any, Any]:
    """Open a clip with PyAV for its sound: (container, the audio stream that a player plays; None: there is none).

    Raises: ClipError, as `open_clip`.
    """
    container = _open(source)
    streams = container.streams.audio
    if not streams:
        return container, None
    best = container.streams.best("audio", related=container.streams.best("video"))  # of the same programme
    special = (
        Disposition.visual_impaired | Disposition.hearing_impaired | Disposition.comment | Disposition.clean_effects
    )

    def rank(stream: Any) -> tuple[bool, bool, bool, bool, int]:
        """Those that nothing here decodes come last, then those for the impaired, commentary and karaoke."""
        return (
            stream.codec_context is not None,
            not stream.disposition & (special | Disposition.karaoke),
            bool(stream.disposition & Disposition.default),
            stream is best,
            -stream.index,
        )

    chosen = max(streams, key=rank)
    for stream in container.streams:
        if stream is not chosen:
            stream.discard = Discard.all  # MP4 is then read at the sound's places only
    return container, chosen


def check_pixels(width: int, height: int, limits: DecodeLimits) -> None:
    """Raises: ClipError too_large, where a picture of this size is over the limit."""
    if width * height > limits.max_pixels:
        raise too_large(f"{width} x {height} px", limits)


def too_large(what: str, limits: DecodeLimits) -> ClipError:
    return ClipError("too_large", f"{what} is over the limit of {limits.max_pixels} px a frame")


def _open(source: Source) -> Any:
    try:
        return _opened(source)
    except av.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            if _has_too_many_tracks(source):
                raise ClipError("too_many_tracks", f"the file holds more than {_MOST_TRACKS} tracks") from error
            raise ClipError("memory", "opening the file went over the memory limit") from error
        reason = f"FFmpeg cannot open it: {error.strerror}"
        if error.errno == errno.EINVAL:  # also FFmpeg's word for a format outside `format_whitelist`
            reason += ", or a container that is not opened here (docs/clip-endings.md)"
        raise ClipError("not_a_video", reason) from error


def _opened(source: Source) -> Any:
    options = {
        "format_whitelist": _CONTAINERS, "protocol_whitelist": _PROTOCOLS, "max_streams": str(_MOST_TRACKS),
    }  # fmt: skip
    return av.open(source.open(), options=options, metadata_errors="replace")


def _has_too_many_tracks(source: Source) -> bool:
    """Whether FFmpeg refuses a file for its tracks: it says so in its log alone, and is out of memory otherwise."""
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as messages, suppress(av.FFmpegError):
            _opened(source).close()
    finally:
        av.logging.set_level(None)
    return any("max_streams" in text for _, _, text in messages)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _film(container: Any, streams: Sequence[Any]) -> int:
    """Index of the one of several video streams that a player shows.

    Covers of one picture come last, though many a file marks its first track, and nothing else, as the one to show. So
    do previews of less than a quarter of another's pixels, and versions made for those who see or hear badly. Then the
    track decides that is marked as default (in MP4: as enabled), then the size of the picture, then the order.
    FFmpeg's own choice (`best("video")`) is not taken: it goes by the mark first, so shows covers and previews.
    """
    packets: Counter[int] = Counter()
    with suppress(av.FFmpegError):  # damage is for the decoding to report
        packets.update(packet.stream_index for packet in islice(container.demux(*streams), _FEW_PACKETS) if packet.size)
    moving = [stream for stream in streams if packets[stream.index] > 1] or streams

    def pixels(stream: Any) -> int:
        context = stream.codec_context
        return context.width * context.height if context else 0

    largest = max(pixels(stream) for stream in moving)

    def rank(stream: Any) -> tuple[bool, bool, bool, bool, int, int]:
        impaired = Disposition.visual_impaired | Disposition.hearing_impaired
        return (
            stream in moving,
            4 * pixels(stream) >= largest,
            not stream.disposition & impaired,
            bool(stream.disposition & Disposition.default),
            pixels(stream),
            -stream.index,
        )

    return max(streams, key=rank).index


def _header(container: Any, stream: Any, source: Source) -> Header:
    context = stream.codec_context
    flags = int(container.format.flags)
    rates = (stream.average_rate, stream.guessed_rate)
    rate = (rates[1] or rates[0]) if flags & _NO_TIMES else (rates[0] or rates[1])
    ends = [entry.pos + entry.size for entry in stream.index_entries]
    shown = sum(not entry.is_discard for entry in stream.index_entries)
    name = container.format.name
    # Of containers without a table of all frames (webm) FFmpeg gives a partial or empty index.
    has_index = stream.frames > 0 and len(ends) >= stream.frames
    return Header(
        container=name,
        codec=context.codec.canonical_name if context else "unknown",
        width=context.width if context else 0,
        height=context.height if context else 0,
        pixel_aspect=_pixel_aspect(stream),
        fps=float(rate) if rate else 0.0,
        duration_s=_duration_s(container, stream),
        file_duration_s=_file_duration_s(container),
        frames=stream.frames,
        indexed=_promised_pictures(container, stream, shown),
        cut_off=(has_index and max(ends) > source.size_bytes) or _segment_end(source) > source.size_bytes,
        edited=shown < len(ends),
        video_streams=len(container.streams.video),
        holds_pictures=name == "avi",
        breaks=bool(flags & _BREAKS),
        wrap_s=_WRAP_S if name.startswith("mpeg") and not flags & _NO_TIMES else 0.0,
    )


def _pixel_aspect(stream: Any) -> float:
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if _SQUARE < max(aspect, 1 / aspect) < _LONGEST else 1.0


def _promised_pictures(container: Any, stream: Any, shown: int) -> int:
    """Number of pictures that a stream must give; 0 where that is not stated, or packets are not pictures one by one.

    shown: entries of the index that no edit list excludes.
    """
    context = stream.codec_context
    if context is None or context.codec.name not in _A_PICTURE_A_PACKET or int(context.field_order) > _PROGRESSIVE:
        return 0
    if stream.frames and shown and container.format.name.startswith(("mov", "avi")):
        return shown  # edit lists leave out, and AVI repeats, what `frames` counts
    if stream.frames:
        return int(stream.frames)
    for key, value in stream.metadata.items():  # a Matroska file's statistics, as mkvmerge writes them
        if key.upper().startswith("NUMBER_OF_FRAMES") and _TAGGED_COUNT.fullmatch(value):
            return int(value)
    return 0


def _segment_end(source: Source) -> int:
    """Where a Matroska file says that it ends, in bytes from its start; 0 where it does not say, or is none.

    An element is an id and a size, the size a number that begins with as many zero bits as it has further bytes; all
    ones: unknown, as of a recording that was never closed (RFC 8794).
    """
    with source.open() as file:
        head = file.read(4096)

    def sized(at: int) -> tuple[int, int]:
        length = 9 - head[at].bit_length() if at < len(head) and head[at] else 9
        size = int.from_bytes(head[at : at + length]) & ((1 << 7 * length) - 1)
        return at + length, size if length < 9 and size != (1 << 7 * length) - 1 else -1

    if not head.startswith(b"\x1a\x45\xdf\xa3"):  # EBML
        return 0
    start, size = sized(4)
    if size < 0 or head[start + size :][:4] != b"\x18\x53\x80\x67":  # Segment
        return 0
    start, size = sized(start + size + 4)
    return start + size if size >= 0 else 0


def ends_at_s(source: Source) -> float:
    """When the last packet of any stream ends, in seconds from the start of the file; reads all, decodes nothing."""
    with _open(source) as container:
        start_s = (container.start_time or 0) / av.time_base
        ends = [0.0]
        with suppress(av.FFmpegError, IndexError):  # what cannot be read does not count; sampling.packets_of
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base) - start_s)
        return max(ends)


def _duration_s(container: Any, stream: Any) -> float:
    tag = _TAGGED_DURATION.fullmatch(stream.metadata.get("DURATION", ""))  # Matroska: 00:00:04.000000000
    if tag:
        hours, minutes, seconds = map(float, tag.groups())
        start_s = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
        return max(0.0, hours * 3600 + minutes * 60 + seconds - max(0.0, start_s))
    # Matroska has no other duration of a stream; what FFmpeg gives for that of one with few pictures is the file's.
    if stream.duration and stream.time_base and not container.format.name.startswith("matroska"):
        start = stream.start_time or 0 if container.format.name == "asf" else 0
        return max(0.0, float((stream.duration - max(0, start)) * stream.time_base))
    alone = len(container.streams) == 1  # sound may run on after the picture
    return _file_duration_s(container) if alone else 0.0


def _file_duration_s(container: Any) -> float:
    """Stated duration of the file from its first packet; 0 unknown. Matroska and ASF state the time of the end."""
    start = container.start_time or 0 if container.format.name.startswith(("matroska", "asf")) else 0
    return max(0.0, ((container.duration or 0) - max(0, start)) / av.time_base)
