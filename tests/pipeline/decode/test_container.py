"""What strange files reach beside themselves, what they cost, and what their tags can do: nothing."""

import re
import struct
from pathlib import Path

import pytest

from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode import container
from pipeline.decode.clips import Ending
from pipeline.decode.container import fetch, open_clip
from pipeline.decode.decoders import ClipDecoding
from pipeline.decode.pool import DecodeJob, DecodePool
from tests.pipeline.decode.test_pool import decode, workers_of
from tests.support.made_films import Track, joined, patched, write
from tests.support.web_server import web_server

ORDERS = (("pyav",), ("decord",), ("pyav", "decord"))


def decoding(film: Path, order: tuple[str, ...], limits: DecodeLimits | None = None) -> ClipDecoding:
    """Decoding of a film, done."""
    found = ClipDecoding(fetch(str(film)), SamplingOptions(), limits or DecodeLimits(), lambda _: True, order)
    for _ in found.frames():
        pass
    return found


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{uri}\n#EXT-X-ENDLIST\n"
SCRIPT = "ffconcat version 1.0\nfile {uri}\n"


@pytest.mark.parametrize("barred", ["by their kind", "by protocol"])
@pytest.mark.parametrize("text", [PLAYLIST, SCRIPT])
def test_a_playlist_opens_neither_a_file_nor_a_url(
    tmp_path: Path, text: str, barred: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two bars, of which each has to hold alone.
    if barred == "by protocol":
        monkeypatch.setattr(container, "_CONTAINERS", f"{container._CONTAINERS},hls,concat")
    else:
        monkeypatch.setattr(container, "_PROTOCOLS", "file,http,tcp")
    write(tmp_path / "film.ts", Track())
    with web_server(tmp_path) as server:
        for uri in ("film.ts", f"{server.url}/film.ts"):
            playlist = tmp_path / "playlist.mp4"
            playlist.write_text(text.format(uri=uri))
            with pytest.raises(ClipError) as caught:
                open_clip(fetch(str(playlist)), DecodeLimits())
            assert caught.value.code in ("not_a_video", "no_video_stream")
        assert not server.asked


# Of DURATION the first 19 bytes. A superscript two is a digit to Python, and no number.
TAGS = (
    "0.5:..",
    "\u00b2",
    "\u00b2:00:02",
    "00:00:\u00b2",
    "-1:00:02",
    "00:00:1e5",
    "1:2",
    ":::",
    "9" * 5000,
    "\x01",
    "nan",
)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tag", TAGS)
def test_tags_that_say_nothing_of_sense_are_passed_over(tmp_path: Path, tag: str, order: tuple[str, ...]) -> None:
    film = write(tmp_path / "film.mkv", Track(tags={"NUMBER_OF_FRAMES": tag, "NUMBER_OF_FRAMES-eng": tag}))
    data = bytearray(film.read_bytes())
    at = data.index(b"00:00:02.000000000", data.index(b"DURATION"))
    data[at : at + 19] = tag.encode()[:19].ljust(19, b"\0")
    film.write_bytes(data)
    found = decoding(film, order)
    assert (found.status, found.cursor.frames, found.header.duration_s, found.header.indexed) == ("ok", 20, 2.0, 0)


@pytest.mark.parametrize("order", [("pyav",), ("decord", "pyav")])
def test_times_by_which_a_needed_picture_was_left_out_end_the_clip_there(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    b_pictures = Track(options={"bf": "3", "preset": "veryfast"})
    film = patched(write(tmp_path / "film.mp4", b_pictures), b"stts", 12, 1)  # all but no time from one to the next
    found = decoding(film, order)
    assert (found.status, found.code) == ("partial", "corrupt")
    assert "the timestamps contradict each other" in found.reason


@pytest.mark.parametrize("order", ORDERS)
def test_a_film_that_states_pictures_and_holds_none_has_no_frames(tmp_path: Path, order: tuple[str, ...]) -> None:
    film = write(tmp_path / "film.webm", Track(codec="libvpx"))
    data = film.read_bytes()
    film.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75") + 12])  # a cluster begins, and the file ends
    with pytest.raises(ClipError) as caught:
        decoding(film, order)
    assert caught.value.code == "no_frames"


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_huge_picture_midway_ends_the_clip_before_it_costs_memory(tmp_path: Path, decoder: str) -> None:
    film = write(tmp_path / "film.webm", Track(codec="libvpx", options={"g": "12"}))
    data = bytearray(film.read_bytes())
    first = data.index(b"\x9d\x01\x2a")  # the start code of a key picture, and its size
    struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a", first + 1) + 3, 16000, 16000)
    film.write_bytes(data)
    with DecodePool(SamplingOptions(decoder=decoder), DecodeLimits(), 1) as pool:
        *_, ending = pool.run([DecodeJob("film", str(film), (1,))])
        (worker,) = workers_of()
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.pid}/status").read_text())
    assert isinstance(ending, Ending)
    assert ending.code == "too_large"
    assert peak is not None
    assert int(peak[1]) < 250_000  # a worker takes 100 MB, and one such picture 380


@pytest.mark.parametrize("limit", [640 * 480 - 1, 64 * 64])  # FFmpeg itself refuses what is far above the limit
@pytest.mark.parametrize(
    ("codec", "name"),
    [("libx264", "film.ts"), ("libx265", "film.hevc"), ("mpeg2video", "film.mpg"), ("libsvtav1", "film.obu")],
)
def test_a_picture_over_the_limit_midway_is_told_of_every_codec(
    tmp_path: Path, codec: str, name: str, limit: int
) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    tracks = [Track(range(8), size=size, codec=codec, options=quiet) for size in ((64, 64), (640, 480))]
    film = joined(tmp_path / name, [write(tmp_path / f"{n}-{name}", track) for n, track in enumerate(tracks)])
    assert decoding(film, ("pyav",)).cursor.frames > 4
    with pytest.raises(ClipError) as caught:
        decoding(film, ("pyav",), DecodeLimits(max_pixels=limit))
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(("tracks", "code"), [(256, ""), (257, "too_many_tracks"), (2000, "too_many_tracks")])
def test_a_file_of_very_many_tracks_ends_for_their_number(tmp_path: Path, tracks: int, code: str) -> None:
    film = write(tmp_path / "film.mp4", Track(range(3)), sound_s=0.1)
    data = film.read_bytes()
    moov, track = data.index(b"moov") - 4, data.rindex(b"trak") - 4
    (size,), (all_size,) = struct.unpack_from(">I", data, track), struct.unpack_from(">I", data, moov)
    more = data[track : track + size] * (tracks - 2)
    data = data[:moov] + struct.pack(">I", all_size + len(more)) + data[moov + 4 : track] + more + data[track:]
    film.write_bytes(data)
    _, endings = decode([DecodeJob("film", str(film), (1,))], DecodeLimits(slot_mb=1))
    assert (endings["film"].code, endings["film"].attempts) == (code, 1)
