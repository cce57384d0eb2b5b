"""Hostile films: small ones made here, and damaged or made to lie by chance, the same for the same seed."""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, RATE, SECONDS = 96, 64, 24, 2
_HUGE = 16384
_BOXES = (b"stsz", b"stts", b"ctts", b"stsc", b"stco", b"stss", b"elst", b"trun", b"dref")


@dataclass(frozen=True)
class Film:
    """A film's bytes, with the ending of its file's name."""

    suffix: str
    data: bytes


@dataclass(frozen=True)
class _Recipe:
    suffix: str
    codec: str
    sound: str = ""  # codec
    pixels: str = "yuv420p"
    encoder: Mapping[str, str] | None = None
    muxer: Mapping[str, str] | None = None


_B = {"bf": "3", "g": "12", "preset": "veryfast"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_RECIPES = (
    _Recipe("mp4", "libx264", "aac", encoder=_B),
    _Recipe("mp4", "libx264", encoder={"g": "12", "bf": "0"}, muxer={"movflags": "+faststart"}),
    _Recipe("mp4", "libx264", "aac", encoder=_B, muxer=_FRAGMENTS),
    _Recipe("mp4", "libx265", encoder={"x265-params": "log-level=none:keyint=12"}),
    _Recipe("mov", "mjpeg", pixels="yuvj420p"),
    _Recipe("mkv", "libx264", "aac", encoder=_B),
    _Recipe("webm", "libvpx", "libopus", encoder={"g": "12"}),
    _Recipe("webm", "libvpx-vp9", encoder={"g": "12", "cpu-used": "8", "deadline": "realtime"}),
    _Recipe("avi", "mpeg4", encoder={"g": "12"}),
    _Recipe("ts", "libx264", "aac", encoder=_B),
    _Recipe("flv", "libx264", "aac", encoder={"g": "12", "bf": "0"}),
    _Recipe("mpg", "mpeg2video", encoder={"g": "12"}),
    _Recipe("wmv", "wmv2", encoder={"g": "12"}),
    _Recipe("gif", "gif", pixels="rgb8"),
)


def base_films(folder: Path, seed: int) -> list[Film]:
    """A film of two seconds of each kind that is uploaded: noise behind a square that moves."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 160, (HEIGHT // 4, WIDTH // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    films = []
    for number, recipe in enumerate(_RECIPES):
        path = folder / f"base-{number:02d}.{recipe.suffix}"
        _write(path, recipe, ground)
        films.append(Film(recipe.suffix, path.read_bytes()))
    return films


def _write(path: Path, recipe: _Recipe, ground: np.ndarray) -> None:
    with av.open(str(path), "w", options=dict(recipe.muxer or {})) as container:
        stream: Any = container.add_stream(recipe.codec, rate=RATE, options=dict(recipe.encoder or {}))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, recipe.pixels
        sound: Any = container.add_stream(recipe.sound, rate=48000, layout="mono") if recipe.sound else None
        for place in range(RATE * SECONDS):
            picture = ground.copy()
            picture[16:40, place : place + 24] = (230, 200, 90)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=recipe.pixels)
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            for start in range(0, 48000 * SECONDS, 960):
                tone = np.sin(np.arange(start, start + 960, dtype=np.float32) / 20)[None]
                heard = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                heard.sample_rate, heard.pts = 48000, start
                container.mux(sound.encode(heard))
            container.mux(sound.encode())


def hostile_films(bases: Sequence[Film], count: int, seed: int) -> Iterator[tuple[str, Film]]:
    """`count` hostile films, each with the name of its kind; the kinds take turns."""
    kinds = list(KINDS.items())
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        rng = np.random.default_rng([seed, number])
        yield kind, make(rng, bases)


def _any(rng: np.random.Generator, bases: Sequence[Film], *suffixes: str) -> Film:
    fit = [film for film in bases if not suffixes or film.suffix in suffixes]
    return fit[rng.integers(len(fit))]


def _flipped_bits(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    film = _any(rng, bases)
    return Film(film.suffix, _flip(film.data, rng.integers(len(film.data), size=rng.integers(1, 65)), rng))


def _flipped_header(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """At the start, where most containers say what they hold, or at the end, where MP4 and AVI have their index."""
    film = _any(rng, bases)
    length = min(2048, len(film.data))
    start = rng.choice([0, len(film.data) - length])
    return Film(film.suffix, _flip(film.data, start + rng.integers(length, size=rng.integers(1, 33)), rng))


def _flip(data: bytes, places: np.ndarray, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut_end(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    film = _any(rng, bases)
    return Film(film.suffix, film.data[: rng.integers(1, len(film.data))])


def _cut_start(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    film = _any(rng, bases)
    return Film(film.suffix, film.data[rng.integers(1, len(film.data)) :])


def _swapped_blocks(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    film = _any(rng, bases)
    size = int(rng.integers(16, len(film.data) // 3))
    first = int(rng.integers(len(film.data) - 2 * size))
    second = int(rng.integers(first + size, len(film.data) - size))
    data = film.data
    one, two = data[first : first + size], data[second : second + size]
    return Film(film.suffix, data[:first] + two + data[first + size : second] + one + data[second + size :])


def _foreign_block(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """A stretch of noise, of zeros or of another film, in place of what was there or between it."""
    film, other = _any(rng, bases), _any(rng, bases)
    size = int(rng.integers(1, 4096))
    put = [rng.bytes(size), bytes(size), other.data[:size]][rng.integers(3)]
    at = int(rng.integers(len(film.data)))
    return Film(film.suffix, film.data[:at] + put + film.data[at + size * int(rng.integers(2)) :])


def _spliced(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """The start of one film and the end of another."""
    film, other = _any(rng, bases), _any(rng, bases)
    start, end = rng.integers(len(film.data)), rng.integers(len(other.data))
    return Film(film.suffix, film.data[:start] + other.data[end:])


def _lying_size(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """16384 x 16384 wherever the header, or a key picture, states the size."""
    film = _any(rng, bases)
    data = film.data
    forms = [">HH", "<HH", ">II", "<II"]
    for form in forms:
        for sides in ((WIDTH, HEIGHT), (HEIGHT, WIDTH)):  # JPEG has the height first
            data = data.replace(struct.pack(form, *sides), struct.pack(form, _HUGE - 1, _HUGE - 1))
    # Matroska's PixelWidth and PixelHeight, a byte each; MPEG's sequence header has 12 bits each.
    data = data.replace(b"\xb0\x81" + bytes([WIDTH]), b"\xb0\x82\x40\x00", 1)
    data = data.replace(bytes([0, 0, 1, 0xB3, WIDTH >> 4, WIDTH << 4 & 0xF0, HEIGHT]), b"\x00\x00\x01\xb3\xff\xff\xff")
    return Film(film.suffix, data)


def _lying_count(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """2^31 entries, or nearly, in one to three of the tables of an MP4 or MOV; in AVI, pictures in the header."""
    film = _any(rng, bases, "mp4", "mov", "avi")
    data = bytearray(film.data)
    names = [name for name in (*_BOXES, b"avih", b"strh") if name in film.data]
    for name in rng.choice(np.array(names, object), min(len(names), int(rng.integers(1, 4))), replace=False):
        at = film.data.index(name) + 4 + int(rng.choice([4, 8, 16, 20, 32]))
        if at + 4 <= len(data):
            struct.pack_into(
                ">I" if film.suffix != "avi" else "<I", data, at, int(rng.choice([2**31, 2**31 - 1, 2**32 - 1]))
            )
    return Film(film.suffix, bytes(data))


def _lying_length(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """Boxes and elements that claim to be longer than the file, or empty."""
    film = _any(rng, bases, "mp4", "mov", "mkv", "webm", "avi")
    data = bytearray(film.data)
    for _ in range(rng.integers(1, 4)):
        names = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"moof", b"traf", b"LIST", b"movi", b"idx1"]
        names = [name for name in names if name in film.data]
        at = film.data.index(names[rng.integers(len(names))]) - 4 if names else int(rng.integers(4, 64))
        struct.pack_into(">I", data, max(0, at), int(rng.choice([0, 1, 7, 8, 2**31, 2**32 - 1])))
    return Film(film.suffix, bytes(data))


def _lying_times(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """Time scales and durations of nothing, or of all that fits."""
    film = _any(rng, bases, "mp4", "mov")
    data = bytearray(film.data)
    for name in (b"mvhd", b"mdhd", b"tkhd", b"stts"):
        at = film.data.find(name)
        if at >= 0 and rng.integers(2):
            struct.pack_into(">I", data, at + int(rng.choice([16, 20, 24])), int(rng.choice([0, 1, 2**31, 2**32 - 1])))
    return Film(film.suffix, bytes(data))


def _deep_nesting(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """Thousands of boxes or elements within one another, ahead of the film or alone."""
    film = _any(rng, bases, "mp4", "mov", "mkv", "webm")
    depth, inner = int(rng.integers(1000, 20000)), b""
    if film.suffix in ("mp4", "mov"):
        name = [b"moov", b"trak", b"udta", b"meta", b"edts", b"dinf"][rng.integers(6)]
        inner = b"".join(struct.pack(">I", 8 * left) + name for left in range(depth, 0, -1))
        return Film(film.suffix, film.data[:32] + inner + film.data[32:] if rng.integers(2) else inner)
    element = [b"\x67\xc8", b"\xae", b"\x1f\x43\xb6\x75", b"\xa0"][rng.integers(4)]  # SimpleTag, TrackEntry, ...
    head = element + b"\x08"
    inner = b"".join(head + struct.pack(">I", (len(head) + 4) * left)[1:] + b"\0" for left in range(depth, 0, -1))
    at = film.data.find(b"\x16\x54\xae\x6b")  # Tracks
    return Film(film.suffix, film.data[:at] + inner + film.data[at:])


def _many_tracks(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    film = _any(rng, [film for film in bases if b"moof" not in film.data], "mp4", "mov")
    data = film.data
    moov, track = data.index(b"moov") - 4, data.index(b"trak") - 4
    (length,), (all_length,) = struct.unpack_from(">I", data, track), struct.unpack_from(">I", data, moov)
    more = data[track : track + length] * int(rng.choice([10, 100, 200, 500, 2000]))
    return Film(
        film.suffix,
        data[:moov] + struct.pack(">I", all_length + len(more)) + data[moov + 4 : track] + more + data[track:],
    )


def _huge_pictures(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """A small file whose pictures are enormous from the start, midway, or just under the limit, over and over."""
    kind = rng.integers(3)
    if kind == 0:
        width, height = [(_HUGE, _HUGE), (8192, 4320), (16, 2_000_000), (65520, 528)][rng.integers(4)]
        return Film("h264", _h264(width, height, int(rng.integers(1, 200)), rng))
    if kind == 1:
        vp8 = next(film for film in bases if b"V_VP8" in film.data)
        starts = [at for at in range(len(vp8.data)) if vp8.data[at : at + 3] == b"\x9d\x01\x2a"]
        data = bytearray(vp8.data)
        struct.pack_into("<HH", data, starts[rng.integers(len(starts))] + 3, 16000, 16000)
        return Film(vp8.suffix, bytes(data))
    gif = bytearray(_any(rng, bases, "gif").data)
    struct.pack_into("<HH", gif, 6, 65535, int(rng.choice([500, 65535])))
    return Film("gif", bytes(gif))


def _h264(width: int, height: int, pictures: int, rng: np.random.Generator) -> bytes:
    """A bare H.264 stream of key pictures of this size, a few bytes of each (ITU-T H.264, 7.3)."""

    def unit(kind: int, *fields: str) -> bytes:
        text = "".join(fields) + "1"
        text += "0" * (-len(text) % 8)
        return b"\0\0\0\1" + bytes([kind]) + int(text, 2).to_bytes(len(text) // 8)

    def ue(value: int) -> str:
        return "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"

    baseline = f"{66:08b}{0xC0:08b}{62:08b}"
    size = ue(width // 16 - 1) + ue(height // 16 - 1)
    stream = unit(0x67, baseline, ue(0), ue(0), ue(2), ue(1), "0", size, "1", "1", "0", "0")
    stream += unit(0x68, ue(0), ue(0), "0", "0", ue(0), ue(0), ue(0), "0", "00", ue(0), ue(0), ue(0), "1", "0", "0")
    for number in range(pictures):
        rest = "".join(f"{byte:08b}" for byte in rng.bytes(8).replace(b"\0", b"\1"))
        stream += unit(0x65, ue(0), ue(7), ue(0), "0000", ue(number % 2), "0", "0", ue(0), ue(1), rest)
    return stream


def _playlist(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """What makes FFmpeg open other files, under a film's name."""
    texts = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>file:///etc/passwd</BaseURL></MPD>',
        '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "RIFF\0\0\0\0WEBP",
    )
    return Film("mp4", texts[rng.integers(len(texts))].encode())


def _noise(rng: np.random.Generator, bases: Sequence[Film]) -> Film:
    """Random bytes behind a start that promises a film."""
    film = _any(rng, bases)
    return Film(film.suffix, film.data[: rng.integers(4, 64)] + rng.bytes(int(rng.integers(1, 50_000))))


# The name of each kind, as the results have it.
KINDS: dict[str, Callable[[np.random.Generator, Sequence[Film]], Film]] = {
    "bits flipped": _flipped_bits,
    "bits flipped in the header": _flipped_header,
    "cut off": _cut_end,
    "start missing": _cut_start,
    "blocks swapped": _swapped_blocks,
    "foreign block": _foreign_block,
    "two films spliced": _spliced,
    "stating 16384 x 16384": _lying_size,
    "stating 2^31 entries": _lying_count,
    "lengths that lie": _lying_length,
    "times that lie": _lying_times,
    "deep nesting": _deep_nesting,
    "many tracks": _many_tracks,
    "enormous pictures": _huge_pictures,
    "playlists": _playlist,
    "noise": _noise,
}
