"""Both decoders on whole, hard and damaged clips: frames, times, and how each clip ends."""

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.core.errors import CLIP_CODES, ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode import decoders
from pipeline.decode import sampling as decode_sampling
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding, Frame
from pipeline.decode.sampling import needed_pictures

DECODERS = ("pyav", "decord")
FILM_SUFFIXES = (".mp4", ".mov", ".webm", ".gif")
EVERY_FRAME = SamplingOptions(sample_fps=1000.0, max_side=4096)


def decode(
    path: str | Path,
    order: Sequence[str] = (),
    sampling: SamplingOptions = EVERY_FRAME,
    wanted: Callable[[int], bool] = lambda _: True,
) -> tuple[ClipDecoding, list[Frame]]:
    decoding = ClipDecoding(fetch(str(path)), sampling, DecodeLimits(), wanted, order)
    return decoding, list(decoding.frames())


def write_clip(
    path: Path,
    frames: int = 48,
    size: tuple[int, int] = (128, 96),
    rate: int = 24,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    **options: str,
) -> Path:
    """A clip whose picture says its index: a bright column that wanders."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "12", **options})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(frames):
            picture = np.full((size[1], size[0], 3), 40, np.uint8)
            picture[:, i * 2 % size[0] :][:, :16] = (200, 120, 60)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i if pts is None else pts[i]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "name",
    ["decord_video_90.mov", "decord_video_180.mov", "decord_video_270.mov", "syn_3frames.mp4",
     "syn_vfr_animatex_dance_1.mp4", "syn_odd_407x601_vp9.webm", "syn_hevc_animatex_dance_1.mp4"],
)  # fmt: skip
@pytest.mark.parametrize("max_side", [4096, 300])
def test_both_decoders_give_the_same_frames_upright_and_at_the_same_times(
    hard_clips: Path, name: str, max_side: int
) -> None:
    sampling = SamplingOptions(max_seconds=2.0, max_side=max_side)
    (_, by_pyav), (_, by_decord) = (decode(hard_clips / name, (decoder,), sampling) for decoder in DECODERS)
    assert [(f.position, f.frame_index) for f in by_pyav] == [(f.position, f.frame_index) for f in by_decord]
    assert [f.timestamp for f in by_pyav] == pytest.approx([f.timestamp for f in by_decord], abs=1e-4)
    for a, b in zip(by_pyav, by_decord, strict=True):
        assert a.rgb.shape == b.rgb.shape
        assert (a.width, a.height) == (b.width, b.height)
        assert np.abs(a.rgb.astype(int) - b.rgb).mean() < 2.0


@pytest.mark.parametrize("folder", ["dance", "hard", "uploads"])
def test_whichever_decoder_comes_first_a_real_clip_has_the_same_frames_and_ending(
    hard_clips: Path, folder: str
) -> None:
    clips = [path for path in sorted((hard_clips.parent / folder).iterdir()) if path.suffix in FILM_SUFFIXES]
    assert clips
    for path in clips:
        outcomes: list[Any] = []
        for decoder in ("auto", "decord"):
            sampling = SamplingOptions(max_seconds=2.0 if folder == "dance" else 60.0, max_side=160, decoder=decoder)
            try:
                decoding, frames = decode(path, (), sampling)
            except ClipError as error:
                outcomes.append(error.code)
                continue
            places = [(f.position, f.frame_index, f.timestamp, f.width, f.height) for f in frames]
            outcomes.append((decoding.status, decoding.code, decoding.expected, places))
        assert outcomes[0] == outcomes[1], path.name


@pytest.mark.parametrize("bframes", ["0", "3", "16"])
def test_pictures_left_out_change_no_pixel_time_or_index_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bframes: str
) -> None:
    times = [i + i // 7 * 3 for i in range(150)]  # gaps, as phones make them
    options: dict[str, Any] = {"bf": bframes, "x264-params": "b-pyramid=normal:b-adapt=0:open-gop=1"}
    clip = write_clip(tmp_path / "clip.mp4", frames=150, rate=30, pts=times, **options)
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        skipped = sum(picture is None for _, picture in needed_pictures(container, stream, SamplingOptions()))
    assert (skipped > 10) == (bframes != "0")
    ours = decode(clip, ("pyav",), SamplingOptions())[1]
    monkeypatch.setattr(decode_sampling, "_PROGRESSIVE", -1)
    plain = decode(clip, ("pyav",), SamplingOptions())[1]
    assert [(f.position, f.frame_index, f.timestamp) for f in ours] == [
        (f.position, f.frame_index, f.timestamp) for f in plain
    ]
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_array_equal(a.rgb, b.rgb)


def test_pictures_left_out_change_nothing_of_real_clips(dance_clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = SamplingOptions(max_seconds=4.0, max_side=320)
    for path in sorted(dance_clips.iterdir()):
        ours = decode(path, ("pyav",), sampling)[1]
        with monkeypatch.context() as patch:
            patch.setattr(decode_sampling, "_PROGRESSIVE", -1)
            plain = decode(path, ("pyav",), sampling)[1]
        assert [(f.frame_index, f.timestamp, f.rgb.sum()) for f in ours] == [
            (f.frame_index, f.timestamp, f.rgb.sum()) for f in plain
        ]


def test_a_preview_before_the_film_is_not_taken_for_it(upload_clips: Path) -> None:
    (_, film), (_, base) = (decode(upload_clips / name) for name in ("preview_stream_first.mp4", "base.mp4"))
    assert [(f.frame_index, f.timestamp, f.width, f.height) for f in film] == [
        (f.frame_index, f.timestamp, f.width, f.height) for f in base
    ]
    assert max(np.abs(a.rgb.astype(int) - b.rgb).mean() for a, b in zip(film, base, strict=True)) < 3.0


def test_rotated_pictures_are_the_stored_ones_turned_clockwise(hard_clips: Path) -> None:
    with av.open(str(hard_clips / "decord_video_90.mov")) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    _, frames = decode(hard_clips / "decord_video_90.mov")
    np.testing.assert_array_equal(frames[0].rgb, np.rot90(stored, -1))


def test_variable_frame_rate_keeps_its_times(hard_clips: Path) -> None:
    decoding, frames = decode(hard_clips / "syn_vfr_animatex_dance_1.mp4")
    with av.open(str(hard_clips / "syn_vfr_animatex_dance_1.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(frames) == 113
    assert decoding.status == "ok"
    assert [frame.timestamp for frame in frames] == pytest.approx(times, abs=1e-4)
    assert len({round(b - a, 3) for a, b in itertools.pairwise(times)}) > 1


@pytest.mark.parametrize(
    ("name", "frames", "code"),
    [("decord_corrupted.mp4", 28, "corrupt"), ("syn_truncated_faststart_animatex_dance_1.mp4", 82, "truncated")],
)
@pytest.mark.parametrize("order", [("pyav", "decord"), ("decord", "pyav"), ("decord",), ("pyav",)])
def test_damage_ends_the_clip_at_the_same_frame_in_whichever_order(
    hard_clips: Path, name: str, frames: int, code: str, order: tuple
) -> None:
    decoding, got = decode(hard_clips / name, order)
    assert (decoding.status, decoding.code) == ("partial", code)
    if order[0] == "decord":  # its threads race at damage: some pictures more or less from run to run
        assert frames // 2 <= len(got) <= frames
        positions = [frame.position for frame in got]
        assert positions == sorted(set(positions))
        return
    assert [frame.position for frame in got] == list(range(frames))


def test_where_the_first_decoder_cannot_the_second_decodes_everything(hard_clips: Path) -> None:
    decoding, frames = decode(hard_clips / "torchcodec_testsrc2_av1_10bit.mp4", ("decord", "pyav"))
    assert (decoding.status, decoding.decoder, len(frames)) == ("ok", "pyav", 25)


def test_the_second_decoder_goes_on_where_the_first_gave_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    whole = decode(clip)[1]

    def gives_up(*arguments: Any) -> Iterator[Any]:
        for frame in decoders.pyav_frames(*arguments):
            if frame.position == 20:
                arguments[-1].frames, arguments[-1].last_s = 20, whole[19].timestamp
                raise decoders.DecodeStopped("unsupported feature", damaged=False)
            yield frame

    monkeypatch.setitem(decoders.BACKENDS, "pyav", gives_up)
    decoding, frames = decode(clip, ("pyav", "decord"))
    assert (decoding.status, decoding.decoder) == ("ok", "pyav+decord")
    assert [frame.frame_index for frame in frames] == list(range(48))
    for ours, expected in zip(frames, whole, strict=True):
        assert np.abs(ours.rgb.astype(int) - expected.rgb).mean() < 2.0


@pytest.mark.parametrize("order", [("pyav", "decord"), ("decord", "pyav"), ("decord",)])
def test_no_garbage_counts_as_good_when_bits_are_flipped(tmp_path: Path, order: Sequence[str]) -> None:
    """Every frame of a clip that ends ok, and every one before the damage, looks like that of the intact clip."""
    clip = write_clip(tmp_path / "clip.mp4", frames=60, size=(160, 128))
    intact = decode(clip, order)[1]
    data = clip.read_bytes()
    start = data.index(b"mdat") + 1200  # behind the encoder's own note
    end = data.index(b"moov")
    random = np.random.default_rng(5)
    statuses = set()
    for trial in range(12):
        damaged = bytearray(data)
        for at in random.integers(start, end, 6):
            damaged[at] ^= 1 << int(random.integers(8))
        path = tmp_path / f"damaged{trial}.mp4"
        path.write_bytes(damaged)
        try:
            decoding, frames = decode(path, order)
        except ClipError as error:
            statuses.add(error.code)
            continue
        statuses.add(decoding.status)
        errors = [np.abs(frame.rgb.astype(int) - intact[frame.frame_index].rgb).mean() for frame in frames]
        # A flip that leaves the stream legal cannot be told from a picture; more than a smudge of it would be told.
        assert max(errors) < (1 if decoding.status == "ok" else 12), (trial, decoding.status)
    assert "partial" in statuses


def test_a_file_cut_between_two_frames_is_truncated_not_ok(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=96)
    with av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "+faststart"}) as out, av.open(str(clip)) as src:
        stream = out.add_stream_from_template(src.streams.video[0])
        for packet in src.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    with av.open(str(tmp_path / "fast.mp4")) as container:
        sizes = [(entry.pos + entry.size) for entry in container.streams.video[0].index_entries]
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "fast.mp4").read_bytes()[: sizes[40]])
    for order in (("pyav",), ("decord",), ()):
        decoding, frames = decode(tmp_path / "cut.mp4", order)
        assert (decoding.status, decoding.code) == ("partial", "truncated"), order
        assert 36 <= len(frames) <= 41


def test_a_cut_webm_is_truncated(tmp_path: Path, hard_clips: Path) -> None:
    data = (hard_clips / "syn_odd_407x601_vp9.webm").read_bytes()
    (tmp_path / "cut.webm").write_bytes(data[: len(data) // 2])
    decoding, frames = decode(tmp_path / "cut.webm")
    assert (decoding.status, decoding.code) == ("partial", "truncated")
    assert 30 < len(frames) < 60


def test_frames_that_nobody_wants_are_counted_and_not_converted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    for decoder in DECODERS:
        decoding, frames = decode(clip, (decoder,), wanted=lambda position: position % 10 == 0)
        assert [frame.position for frame in frames] == [0, 10, 20, 30, 40]
        assert decoding.cursor.frames == 48


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty"), (b"hello", "not_a_video"), (b"#EXTM3U\n#EXTINF:1,\nclip.mp4\n", "not_a_video"),
     (b"ffconcat version 1.0\nfile clip.mp4\n", "not_a_video")],
)  # fmt: skip
def test_text_playlists_and_scripts_are_not_videos(tmp_path: Path, content: bytes, code: str) -> None:
    """A playlist would make FFmpeg open other files, here one that exists."""
    write_clip(tmp_path / "clip.mp4", frames=5)
    (tmp_path / "upload.mp4").write_bytes(content)
    with pytest.raises(ClipError) as caught:
        decode(tmp_path / "upload.mp4")
    assert caught.value.code == code


def test_what_is_not_there_and_what_cannot_be_read_are_told_apart(tmp_path: Path) -> None:
    for path, code in [
        (tmp_path / "none.mp4", "missing"),
        (tmp_path, "io"),
        ("nowhere://host/clip.mp4", "not_allowed"),
    ]:
        with pytest.raises(ClipError) as caught:
            fetch(str(path))
        assert caught.value.code == code


def test_a_name_of_another_composition_is_not_there_and_its_reason_shows_why(tmp_path: Path) -> None:
    write_clip(tmp_path / "caf\u00e9.mp4", frames=5)
    with pytest.raises(ClipError, match=r"no file at .*cafe\\u0301\.mp4") as caught:
        fetch(str(tmp_path / "cafe\u0301.mp4"))
    assert caught.value.code == "missing"


def test_a_frame_over_the_limit_is_refused_before_decoding(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(ClipError) as caught:
        ClipDecoding(fetch(str(clip)), EVERY_FRAME, DecodeLimits(max_pixels=128 * 96 - 1), lambda _: True)
    assert caught.value.code == "too_large"


def test_a_path_that_looks_like_a_scheme_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=5)
    clip.rename(tmp_path / "concat:clip.mp4")
    monkeypatch.chdir(tmp_path)
    for decoder in DECODERS:
        assert len(decode("concat:clip.mp4", (decoder,))[1]) == 5


def test_the_page_on_endings_has_every_code_with_its_meaning() -> None:
    page = (Path(__file__).parents[3] / "docs" / "clip-endings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (yes|no) \| [^|]+ \|$", page, re.MULTILINE)
    assert {name: (meaning.strip(), again == "yes") for name, meaning, again in rows} == {
        name: (code.meaning, code.retryable) for name, code in CLIP_CODES.items()
    }


def test_decoding_needs_no_torch() -> None:
    code = "import sys, pipeline.decode.pool, pipeline.decode.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
