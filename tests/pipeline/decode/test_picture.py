"""Pictures of every kind as RGB: colour tags, transparency, fields, odd and changing sizes."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries

from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.container import fetch, open_clip
from pipeline.decode.picture import PictureConverter, fit_rgb
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool
from tests.support.films import (
    EVERY_FRAME,
    LUMA,
    UNTAGGED,
    centres,
    decode_film,
    patches,
    picture,
    write_film,
    yuv_frame,
)  # fmt: skip

BT709 = ColorPrimaries.BT709


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [*LUMA, UNTAGGED])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"])
def test_colours_are_those_that_matrix_and_range_say(layout: str, matrix: int, full: bool) -> None:
    """BT.2020 here with the primaries of BT.709 (its own are in test_hdr.py)."""
    frame = yuv_frame(patches(), layout, matrix, full)
    frame.color_primaries = BT709
    rgb = PictureConverter()(frame, (96, 16))
    assert np.abs(centres(rgb) - 255 * centres(patches())).max() < 4


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_a_films_tags_reach_both_decoders(tmp_path: Path, matrix: int, full: bool, decoder: str) -> None:
    frame = yuv_frame(patches(), "yuv420p", matrix, full)
    frame.color_primaries = BT709
    film = write_film(tmp_path / "film.mp4", [frame] * 2, options={"crf": "2"})
    _, frames = decode_film(film, (decoder,))
    assert np.abs(centres(frames[0].rgb) - 255 * centres(patches())).mean() < 3


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("layout", ["gray", "gray10le"])
def test_grey_is_stretched_where_its_range_is_limited(layout: str, full: bool) -> None:
    rgb = PictureConverter()(yuv_frame(patches(), layout, UNTAGGED, full), (96, 16))
    luma = 255 * centres(patches()) @ [0.299, 0.587, 0.114]
    assert np.abs(centres(rgb) - luma[..., None]).max() < 2


@pytest.mark.parametrize("matrix", [8, 10, 14, 15])
def test_matrices_without_a_conversion_end_the_clip(matrix: int) -> None:
    """YCgCo, constant luminance, ICtCp, IPT: shown by another matrix they would be green."""
    frame = yuv_frame(patches(), "yuv420p", matrix, full=False)
    with pytest.raises(ClipError, match=f"matrix {matrix} ") as caught:
        PictureConverter()(frame, (96, 16))
    assert caught.value.code == "unsupported"


def test_a_reserved_number_is_no_matrix() -> None:
    untagged, reserved = (yuv_frame(patches(), "yuv420p", matrix, full=False) for matrix in (UNTAGGED, 3))
    np.testing.assert_array_equal(PictureConverter()(reserved, (96, 16)), PictureConverter()(untagged, (96, 16)))


def with_alpha(layout: str) -> av.VideoFrame:
    rgb = picture(96, 64)
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, 48:] = 0
    alpha[32:, 48:] = 128
    return av.VideoFrame.from_ndarray(np.concatenate([rgb, alpha], 2), format="rgba").reformat(format=layout)


@pytest.mark.parametrize(
    ("layout", "codec", "kind", "tolerance"),
    [("argb", "qtrle", "mov", 0), ("rgba", "png", "mov", 0), ("rgba64be", "png", "mov", 1), ("bgra", "ffv1", "mkv", 0),
     ("yuva444p10le", "prores_ks", "mov", 2), ("yuva420p", "ffv1", "mkv", 12)],
)  # fmt: skip
def test_what_is_transparent_shows_black(tmp_path: Path, layout: str, codec: str, kind: str, tolerance: int) -> None:
    film = write_film(tmp_path / f"film.{kind}", [with_alpha(layout)] * 2, codec)
    wanted = picture(96, 64).astype(int)
    wanted[:32, 48:] = 0
    wanted[32:, 48:] = (wanted[32:, 48:] * 128 + 127) // 255
    for order in (("pyav",), ("decord", "pyav")):
        decoding, frames = decode_film(film, order)
        assert (decoding.status, len(frames)) == ("ok", 2)
        assert np.abs(frames[0].rgb - wanted).mean() <= tolerance


def test_a_palette_may_be_transparent() -> None:
    frame: Any = av.VideoFrame(32, 16, "pal8")
    np.frombuffer(frame.planes[0], np.uint8)[:] = 1
    np.frombuffer(frame.planes[1], np.uint32)[:2] = (0xFFFFFFFF, 0x80FF0000)
    np.testing.assert_array_equal(PictureConverter()(frame, (32, 16)), np.full((16, 32, 3), (128, 0, 0), np.uint8))


@pytest.mark.parametrize(("codec", "kind", "options"), [
    ("libx264", "mp4", {"flags": "+ildct", "x264-params": "tff=1"}),
    ("mpeg2video", "ts", {"flags": "+ilme+ildct", "b": "8000000"}),
])  # fmt: skip
def test_two_moments_in_one_interlaced_picture_are_not_both_shown(
    tmp_path: Path, codec: str, kind: str, options: dict[str, str]
) -> None:
    """A bright column stands further right in the lower field: shown as they are, the lines make a comb."""
    upper, lower = (np.full((96, 128, 3), 40, np.uint8) for _ in range(2))
    upper[:, 20:40] = lower[:, 70:90] = 220
    woven = upper.copy()
    woven[1::2] = lower[1::2]
    pictures = [av.VideoFrame.from_ndarray(woven, format="rgb24").reformat(format="yuv420p") for _ in range(4)]
    for one in pictures:
        # Without averaging colour over lines of two moments; the patches are grey.
        one.planes[1].update(bytes([128]) * one.planes[1].buffer_size)
        one.planes[2].update(bytes([128]) * one.planes[2].buffer_size)
    film = write_film(tmp_path / f"film.{kind}", pictures, codec, options)
    with av.open(str(film)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    for order in (("pyav",), ("decord", "pyav")):
        decoding, frames = decode_film(film, order)
        assert (decoding.status, len(frames)) == ("ok", 4)
        for frame in frames:
            assert frame.rgb.shape == (96, 128, 3)
            assert np.abs(frame.rgb.astype(int) - upper).mean() < 8


def flat(width: int, height: int, layout: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture(width, height), format="rgb24").reformat(format=layout)


def gif(path: Path) -> Path:
    from PIL import Image

    first, second = (Image.fromarray(picture(64, 48)).quantize(16) for _ in range(2))
    second.putpixel((0, 0), 3)
    first.save(path, save_all=True, append_images=[second], duration=100)
    return path


KINDS: dict[str, tuple[str, Callable[[Path], Path], tuple[int, int]]] = {
    "16 x 16": ("mp4", lambda path: write_film(path, [flat(16, 16)] * 2), (16, 16)),
    "64 x 4000": ("mp4", lambda path: write_film(path, [flat(64, 4000)] * 2), (64, 4000)),
    "4000 x 64": ("mp4", lambda path: write_film(path, [flat(4000, 64)] * 2), (4000, 64)),
    "8K": ("avi", lambda path: write_film(path, [flat(7680, 4320, "yuvj420p")] * 2, "mjpeg"), (7680, 4320)),
    "4:0:0": ("mkv", lambda path: write_film(path, [flat(64, 48, "gray")] * 2, "ffv1"), (64, 48)),
    "4:1:1": ("mkv", lambda path: write_film(path, [flat(64, 48, "yuv411p")] * 2, "ffv1"), (64, 48)),
    "4:2:2 of 10 bit": ("mov", lambda path: write_film(path, [flat(64, 48, "yuv422p10le")] * 2, "prores_ks"), (64, 48)),
    "4:4:4": ("mp4", lambda path: write_film(path, [flat(64, 48, "yuv444p")] * 2), (64, 48)),
    "R, G, B planes": ("mp4", lambda path: write_film(path, [flat(64, 48, "rgb24")] * 2, "libx264rgb"), (64, 48)),
    "palette": ("gif", gif, (64, 48)),
    "odd sides": ("mkv", lambda path: write_film(path, [flat(63, 47, "yuv420p")] * 2, "ffv1"), (63, 47)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_ends_ok_with_what_is_in_it(tmp_path: Path, kind: str) -> None:
    ending, write, (width, height) = KINDS[kind]
    film = write(tmp_path / f"film.{ending}")
    for max_side in (8192, 1280) if width * height < 2**20 else (1280,):
        decoding, frames = decode_film(film, sampling=SamplingOptions(sample_fps=1000.0, max_side=max_side))
        assert (decoding.status, len(frames)) == ("ok", 2)
        shown = frames[0].rgb
        assert (frames[0].width, frames[0].height) == (width, height)
        assert max(shown.shape) == min(max_side, max(width, height))
        wanted = fit_rgb(picture(width, height), (shown.shape[1], shown.shape[0]))[::3, ::3]
        if kind == "4:0:0":
            wanted = (wanted @ [0.299, 0.587, 0.114])[..., None]
        assert np.abs(shown[::3, ::3] - wanted.astype(np.float32)).mean() < 8


def joined(path: Path, sizes: list[tuple[int, int]], codec: str = "libx264", layout: str = "yuv420p") -> Path:
    """A film that changes its size with every second picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        (stream.width, stream.height), stream.pix_fmt = sizes[0], layout
        for part, (width, height) in enumerate(sizes):
            context = av.CodecContext.create(codec, "w")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height, context.pix_fmt = width, height, layout
            context.time_base, context.framerate = Fraction(1, 10), Fraction(10)
            if codec == "libx264":
                context.options = {"bf": "0", "crf": "4"}
            packets = []
            for at in range(2):
                frame = flat(width, height, layout)
                frame.pts = 2 * part + at
                packets += context.encode(frame)
            for packet in [*packets, *context.encode()]:
                packet.stream = stream
                container.mux(packet)
    return path


def chunks_of(path: Path, limits: DecodeLimits) -> tuple[list[np.ndarray], object]:
    pictures: list[np.ndarray] = []
    ending: object = None
    with DecodePool(EVERY_FRAME, limits, 1) as pool:
        for event in pool.run([DecodeJob("film", str(path), (1,))]):
            if isinstance(event, Chunk):
                pictures += list(event.frames.copy())
                event.release()
            else:
                ending = event
    return pictures, ending


def test_a_film_that_changes_size_keeps_that_of_its_start_and_the_shape_of_what_it_shows(tmp_path: Path) -> None:
    film = joined(tmp_path / "film.ts", [(64, 96), (128, 192), (96, 64), (64, 96)])
    pictures, ending = chunks_of(film, DecodeLimits())
    assert (ending.status, ending.frames, ending.width, ending.height) == ("ok", 8, 64, 96)  # type: ignore[attr-defined]
    for shown in (*pictures[:4], *pictures[6:]):
        assert np.abs(shown.astype(int) - picture(64, 96)).mean() < 12
    for shown in pictures[4:6]:  # lies across: between black bars
        assert not shown[:24].any()
        assert not shown[-24:].any()
        inner = fit_rgb(picture(96, 64), (64, 43))
        assert np.abs(shown[26:69].astype(int) - inner).mean() < 12


def test_a_picture_over_the_limit_midway_is_refused(tmp_path: Path) -> None:
    """Not by its header, which speaks of the first."""
    film = joined(tmp_path / "film.avi", [(64, 96), (128, 192)], "mjpeg", "yuvj420p")
    limits = DecodeLimits(max_pixels=64 * 96)
    container, _, header = open_clip(fetch(str(film)), limits)
    container.close()
    assert (header.width, header.height) == (64, 96)
    with pytest.raises(ClipError, match="over the limit of 6144 px") as caught:
        decode_film(film, limits=limits)
    assert caught.value.code == "too_large"
