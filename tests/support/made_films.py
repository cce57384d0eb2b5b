"""Small films of every kind of stream, timestamps, length and damage, made here: bytes that writers do not write are
patched. Green is the film; red is what no player shows.
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

FPS = 24
SIZE = (64, 48)
FILM, OTHER = (40, 200, 60), (200, 40, 60)  # RGB
_SOUND_RATE = 8000


@dataclass(frozen=True)
class Track:
    """A video stream to write. times: of its pictures, in units of 1 / rate; codec: an encoder of FFmpeg."""

    times: Sequence[int] = range(2 * FPS)
    colour: tuple[int, int, int] = FILM
    size: tuple[int, int] = SIZE
    rate: int = FPS
    codec: str = "libx264"
    marks: Disposition | None = None
    options: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@contextmanager
def _usual_priority() -> Iterator[None]:
    """Gives this thread its scheduling back: as root, SVT-AV1 makes it real-time, and all else waits for it."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def write(path: Path, *tracks: Track, sound_s: float = 0.0, format: str | None = None, **muxer: str) -> Path:
    """A film of these video streams, and of so much silence."""
    with _usual_priority(), av.open(str(path), "w", format=format, options=muxer) as container:
        streams = []
        for track in tracks:
            options = {"g": "12", "preset": "ultrafast", "bf": "0"} if track.codec == "libx264" else {}
            stream: Any = container.add_stream(track.codec, rate=track.rate, options=options | track.options)
            stream.width, stream.height = track.size
            stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
            stream.metadata.update(track.tags)
            if track.marks is not None:
                stream.disposition = track.marks
            streams.append(stream)
        sound: Any = container.add_stream("aac", rate=_SOUND_RATE, layout="mono") if sound_s else None
        for place in range(max(len(track.times) for track in tracks)):
            for stream, track in zip(streams, tracks, strict=True):
                if place < len(track.times):
                    container.mux(stream.encode(_picture(track, place)))
        for stream in streams:
            container.mux(stream.encode())
        for start in range(0, round(sound_s * _SOUND_RATE), 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = _SOUND_RATE, start
            container.mux(sound.encode(silence))
        if sound is not None:
            container.mux(sound.encode())
    return path


def _picture(track: Track, place: int) -> av.VideoFrame:
    """A ground of the track's colour, and a bright column that wanders."""
    width, height = track.size
    rgb = np.full((height, width, 3), track.colour, np.uint8)
    rgb[:, place * 2 % width :][:, :8] = 250
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    frame = frame.reformat(format="yuvj420p" if track.codec == "mjpeg" else "yuv420p")
    frame.pts = track.times[place]
    return frame


def repack(
    source: Path, path: Path, keep: Callable[[int], bool] = lambda _: True, dts: bool = False, **muxer: str
) -> Path:
    """The same packets in another container: those whose number `keep` keeps; dts: as if shown when decoded."""
    with av.open(str(source)) as given, av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.dts is None or not keep(number):
                continue
            if dts:
                packet.pts = packet.dts
            packet.stream = stream
            container.mux(packet)
    return path


def joined(path: Path, parts: Iterable[Path]) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def patched(path: Path, box: bytes, offset: int, value: int, kind: str = ">I") -> Path:
    """The file with another 32-bit number, so many bytes behind the name of an MP4 box or an AVI chunk."""
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, data.index(box) + 4 + offset, value)
    path.write_bytes(data)
    return path


def stating(path: Path, seconds: float) -> Path:
    """A Matroska file whose header states another duration, and whose tags state none."""
    data = bytearray(path.read_bytes().replace(b"DURATION", b"X_RATION"))
    struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, 1000 * seconds)
    path.write_bytes(data)
    return path


def with_late_sound(path: Path) -> Path:
    """An FLV file of pictures alone, with some sound of MP3 as its last tag, of which its head says nothing."""
    sound = b"\x2e\xff\xfb\x50\xc4" + bytes(100)
    tag = b"\x08" + len(sound).to_bytes(3) + (1000).to_bytes(3) + bytes(4) + sound
    path.write_bytes(path.read_bytes() + tag + len(tag).to_bytes(4))
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def without_durations(path: Path) -> Path:
    """A Matroska file whose DefaultDuration is blanked (EBML Void), as a browser's recording has none."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\x23\xe3\x83")
    length = 4 + (data[at + 3] & 0x7F)
    data[at : at + 2] = bytes([0xEC, 0x80 | length - 2])
    path.write_bytes(data)
    return path


def lose_packet(path: Path, share: float) -> Path:
    """The broadcast without one packet of 188 bytes, about that far into the file, in which no picture begins."""
    data = path.read_bytes()
    video = range(188 * round(share * len(data) / 188), len(data), 188)
    lost = next(at for at in video if data[at + 1 : at + 3] == b"\x01\x00")  # no start of a unit, PID 256
    path.write_bytes(data[:lost] + data[lost + 188 :])
    return path


def without_fragments(path: Path, lost: range) -> Path:
    """A fragmented MP4 without some of its fragments: each is a moof and an mdat."""
    data, kept, at, number = path.read_bytes(), b"", 0, 0
    while at < len(data):
        size, name = struct.unpack_from(">I", data, at)[0], data[at + 4 : at + 8]
        number += name == b"moof"
        if name not in (b"moof", b"mdat") or number not in lost:
            kept += data[at : at + size]
        at += size
    path.write_bytes(kept)
    return path


def blanked(path: Path, start: float, end: float) -> Path:
    """The file with zeros from one share of its `mdat` box to another."""
    data = bytearray(path.read_bytes())
    box = data.index(b"mdat") - 4
    size = struct.unpack_from(">I", data, box)[0]
    begin, stop = box + round(size * start), box + round(size * end)
    data[begin:stop] = bytes(stop - begin)
    path.write_bytes(data)
    return path


# Times in units of 1 / FPS s.
_HOLD = [*range(12), *range(84, 108)]  # 3.04 s from the 12th picture to the next
_SLIDES = [0, 5 * FPS, 8 * FPS, 15 * FPS]
_B = {"bf": "3", "preset": "veryfast", "x264-params": "b-adapt=0:b-pyramid=none"}
_OPEN = {"x265-params": "open-gop=1:keyint=12:bframes=3:log-level=none"}
_COVER = Track(range(1), OTHER, (160, 128), codec="mjpeg")
_PREVIEW = Track(colour=OTHER, size=(32, 16))
_SHOWN, _HIDDEN = Disposition.default, Disposition(0)


def _ts(path: Path, name: str, start: int, frames: int = 2 * FPS) -> Path:
    return write(path.with_name(name), Track(range(start, start + frames), options=_B))


def _long(path: Path, suffix: str = ".mp4") -> Path:
    return write(path.with_name(f"long{suffix}"), Track(range(6 * FPS)))


def _joined(path: Path, *starts: int, frames: int = 2 * FPS) -> Path:
    return joined(path, [_ts(path, f"part{i}.ts", start, frames) for i, start in enumerate(starts)])


# How to make each kind of film. docs/clip-endings.md says of each by its name how it ends.
# Filled up to a constant bit rate: else a picture of these fits into one packet.
_FILLED = {"x264-params": "nal-hrd=cbr:filler=1:bitrate=400:vbv-maxrate=400:vbv-bufsize=40"}

FILMS: dict[str, Callable[[Path], Path]] = {
    "attached_cover.mp4": lambda path: write(
        path, Track(), Track(**vars(_COVER) | {"marks": Disposition.attached_pic})
    ),
    "sound_with_cover.mp4": lambda path: write(
        path, Track(**vars(_COVER) | {"marks": Disposition.attached_pic}), sound_s=1.0
    ),
    "cover_first.mp4": lambda path: write(path, _COVER, Track()),
    "cover_first.mkv": lambda path: write(path, Track(**vars(_COVER) | {"marks": _SHOWN}), Track()),
    "still_first.mov": lambda path: write(path, Track(range(1), OTHER), Track()),
    "preview_first.mp4": lambda path: write(path, _PREVIEW, Track()),
    "preview_first.mkv": lambda path: write(path, _PREVIEW, Track()),
    "preview_first.ts": lambda path: write(path, _PREVIEW, Track()),
    "disabled_first.mp4": lambda path: write(
        path, Track(colour=OTHER, size=(96, 64), marks=_HIDDEN), Track(marks=_SHOWN)
    ),
    "second_angle_default.mkv": lambda path: write(path, Track(colour=OTHER, marks=_HIDDEN), Track(marks=_SHOWN)),
    "second_angle_forced.mkv": lambda path: write(path, Track(), Track(colour=OTHER, marks=Disposition.forced)),
    "two_angles.mp4": lambda path: write(path, Track(marks=_SHOWN), Track(colour=OTHER, marks=_SHOWN)),
    "joined.ts": lambda path: _joined(path, 0, 0),
    "joined_earlier.ts": lambda path: _joined(path, 3600 * FPS, 0, frames=49),  # the grid lies otherwise in each part
    "jumping.ts": lambda path: _joined(path, 0, 3600 * FPS),
    "scraps.ts": lambda path: _joined(path, *[0] * 12, frames=4),
    "wrapping.ts": lambda path: write(
        path, Track(range(2**33 * FPS // 90000 - FPS, 2**33 * FPS // 90000 + FPS)), mpegts_copyts="1"
    ),
    "late_start.mp4": lambda path: write(path, Track(range(48, 96), options=_B)),
    "late_start.mkv": lambda path: write(path, Track(range(48, 96)), sound_s=4.0),
    "late_start.webm": lambda path: write(path, Track(range(48, 96), codec="libvpx")),
    "late_start.wmv": lambda path: write(path, Track(range(48, 96), codec="wmv2")),
    "negative_start.mp4": lambda path: write(path, Track(range(-10, 38), options=_B)),
    "edited_end.mp4": lambda path: patched(write(path, Track(options=_B)), b"elst", 8, 1000),
    "reordered.avi": lambda path: write(path, Track(options=_B)),
    "reordered_mpeg4.avi": lambda path: write(path, Track(codec="mpeg4", options={"bf": "2"})),
    "times_of_decoding.mp4": lambda path: repack(write(path.with_name("b.mp4"), Track(options=_B)), path, dts=True),
    "reordered.ts": lambda path: write(path, Track(options=_B)),
    "reordered.flv": lambda path: write(path, Track(options=_B)),
    "open_groups.mp4": lambda path: write(path, Track(codec="libx265", options=_OPEN)),
    "no_times.h264": lambda path: write(path, Track(options=_B), format="h264"),
    "held.mp4": lambda path: write(path, Track(_HOLD, options=_B)),
    "held.avi": lambda path: write(path, Track(_HOLD)),
    "held_in_browser.webm": lambda path: without_durations(write(path, Track(_HOLD, codec="libvpx"))),
    "gap.mkv": lambda path: repack(_long(path), path, lambda number: not 24 <= number < 84),
    "gap.ts": lambda path: repack(_long(path), path, lambda number: not 24 <= number < 84),
    "gap.flv": lambda path: repack(_long(path), path, lambda number: not 24 <= number < 84),
    "gap_of_half_a_second.mkv": lambda path: repack(_long(path), path, lambda number: not 24 <= number < 36),
    "lost_fragments.mp4": lambda path: without_fragments(
        repack(_long(path), path, movflags="frag_keyframe+empty_moov+default_base_moof"), range(4, 8)
    ),
    "lost_packet.ts": lambda path: lose_packet(write(path, Track(range(72), options=_FILLED)), 0.5),
    "slides.mp4": lambda path: write(path, Track(_SLIDES), sound_s=20.0),
    "slides.mkv": lambda path: write(path, Track(_SLIDES), sound_s=20.0),
    "slides.ts": lambda path: write(path, Track(_SLIDES), sound_s=20.0),
    "one_picture.mp4": lambda path: write(path, Track(range(1)), sound_s=15.0),
    "one_picture.mkv": lambda path: write(path, Track(range(1)), sound_s=15.0),
    "two_pictures.mp4": lambda path: write(path, Track([0, 120]), sound_s=10.0),
    "three_pictures.mov": lambda path: write(path, Track(range(3))),
    "fps_240.mp4": lambda path: write(path, Track(range(120), rate=240)),
    "fps_1.mp4": lambda path: write(path, Track(range(5), rate=1)),
    "fps_1.mkv": lambda path: write(path, Track(range(5), rate=1)),
    "fps_1.ts": lambda path: write(path, Track(range(5), rate=1)),
    "sound_for_half.mp4": lambda path: write(path, Track(), sound_s=1.0),
    "sound_for_half.mkv": lambda path: write(path, Track(), sound_s=1.0),
    "sound_longer.mp4": lambda path: write(path, Track(), sound_s=6.0),
    "sound_longer.mkv": lambda path: write(path, Track(), sound_s=6.0),
    "sound_longer.flv": lambda path: write(path, Track(), sound_s=6.0),
    "sound_later.flv": lambda path: with_late_sound(write(path, Track(range(8 * FPS)))),
    "cut.mp4": lambda path: cut(repack(_long(path), path, movflags="+faststart"), 0.6),
    "cut.mkv": lambda path: cut(write(path, Track(range(6 * FPS))), 0.6),
    "cut_slides.mkv": lambda path: cut(write(path, Track(_SLIDES)), 0.965),
    "cut.flv": lambda path: cut(write(path, Track(range(6 * FPS)), sound_s=6.0), 0.6),
    "cut.avi": lambda path: cut(write(path, Track(range(6 * FPS))), 0.6),
    "shorter_than_stated.mkv": lambda path: stating(write(path, Track()), 6.0),
    "shorter_than_stated.avi": lambda path: patched(write(path, Track()), b"strh", 36, 144, "<I"),
    "fewer_than_stated.mkv": lambda path: write(path, Track(tags={"NUMBER_OF_FRAMES": "96"})),
    "unseen_packets.webm": lambda path: write(path, Track(codec="libvpx", tags={"NUMBER_OF_FRAMES": "96"})),
    "blanked.mp4": lambda path: blanked(write(path, Track(range(6 * FPS))), 0.5, 0.7),
}
