"""All eight orientations, wherever a film states them, against FFmpeg's own filters and Pillow's reading of Exif."""

import io
import itertools
import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.filter import Graph
from PIL import Image, ImageOps

from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.container import fetch, open_clip
from pipeline.decode.orientation import UPRIGHT, Orientation, first_orientation, orientation_of_matrix
from pipeline.decode.pool import probe_clips
from tests.support.films import decode_film, picture, write_film

# a, b, c, d of the display matrix: the stored point (x, y) is shown at (a x + c y, b x + d y).
EIGHT = [
    (a, b, c, d)
    for a, b, c, d in itertools.product((-1, 0, 1), repeat=4)
    if abs(a * d - b * c) == 1 and abs(a) + abs(b) == 1 and abs(c) + abs(d) == 1
]
WIDTH, HEIGHT = 96, 64


def fixed(a: float, b: float, c: float, d: float) -> list[int]:
    return [*(round(65536 * part) for part in (a, b)), 0, *(round(65536 * part) for part in (c, d)), 0, 0, 0, 1 << 30]


def rgb_frame(rgb: np.ndarray, layout: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=layout)


def autorotated(rgb: np.ndarray, matrix: list[int]) -> np.ndarray:
    """The picture as the ffmpeg program turns it: `get_rotation` of fftools/cmdutils.c and the filters that
    fftools/ffmpeg_filter.c chooses by it, run by FFmpeg.
    """
    a, b, _, c, d = matrix[:5]
    angle = math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))
    theta = round(angle) - 360 * math.floor(round(angle) / 360 + 0.9 / 360)
    filters: list[tuple[str, str | None]] = []
    if abs(theta - 90) < 1:
        filters = [("transpose", "cclock_flip" if c > 0 else "clock")]
    elif abs(theta - 180) < 1:
        filters = [*([("hflip", None)] if a < 0 else []), *([("vflip", None)] if d < 0 else [])]
    elif abs(theta - 270) < 1:
        filters = [("transpose", "clock_flip" if c < 0 else "cclock")]
    elif d < 0:
        filters = [("vflip", None)]
    graph = Graph()
    last = graph.add_buffer(
        width=rgb.shape[1], height=rgb.shape[0], format=av.VideoFormat("rgb24"), time_base=Fraction(1, 10)
    )
    for name, argument in [*filters, ("buffersink", None)]:
        added = graph.add(name, argument)
        last.link_to(added)
        last = added
    graph.configure()
    graph.vpush(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    return graph.vpull().to_ndarray()


def stored_picture(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("parts", EIGHT)
@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_every_matrix_of_a_track_is_applied_as_ffmpeg_does(
    tmp_path: Path, container: str, parts: tuple[int, int, int, int], decoder: str
) -> None:
    film = tmp_path / f"film.{container}"
    write_film(film, [rgb_frame(picture(WIDTH, HEIGHT))] * 3, matrix=fixed(*parts))
    wanted = autorotated(stored_picture(film), fixed(*parts))
    decoding, frames = decode_film(film, (decoder,))
    assert (decoding.status, decoding.decoder, len(frames)) == ("ok", decoder, 3)
    for frame in frames:
        np.testing.assert_array_equal(frame.rgb, wanted)
        assert (frame.height, frame.width) == wanted.shape[:2]


def test_a_probe_says_how_a_film_lies(tmp_path: Path) -> None:
    films = {
        str(parts): write_film(
            tmp_path / f"{place}.mp4",
            [rgb_frame(picture(72, 64))],
            matrix=fixed(*parts),
            aspect=Fraction(4, 3),  # shown as 96 x 64
        )
        for place, parts in enumerate(EIGHT)
    }
    probes = {found.clip_id: found for found in probe_clips([(k, str(v)) for k, v in films.items()], DecodeLimits(), 1)}
    for parts in EIGHT:
        found, stored = probes[str(parts)], stored_picture(films[str(parts)])
        turned = np.rot90(stored, -found.rotation // 90)
        np.testing.assert_array_equal(turned[:, ::-1] if found.mirrored else turned, autorotated(stored, fixed(*parts)))
        assert (found.width, found.height) == ((64, 96) if parts[0] == 0 else (96, 64))


@pytest.mark.parametrize("flip", ["", ":flip=horizontal", ":flip=vertical"])
@pytest.mark.parametrize("turn", [0.4, 90, 180, 270])  # without a turn the filter inserts no message
def test_a_message_in_h264_turns_its_pictures(tmp_path: Path, turn: float, flip: str) -> None:
    """It comes with the first picture and holds for all; decord does not know of such messages."""
    plain = write_film(tmp_path / "plain.mp4", [rgb_frame(picture(WIDTH, HEIGHT))] * 3, options={"bf": "0"})
    film = tmp_path / "film.ts"  # has no matrix of its own
    with av.open(str(plain)) as source, av.open(str(film), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        with_message = BitStreamFilterContext(
            f"h264_metadata=display_orientation=insert:rotate={turn}{flip}", source.streams.video[0], stream
        )
        for packet in source.demux(video=0):
            for changed in with_message.filter(packet if packet.dts is not None else None):
                changed.stream = stream
                container.mux(changed)
    with av.open(str(film)) as container:
        decoded: list[Any] = list(container.decode(video=0))
    stated = [data for picture in decoded for data in picture.side_data if data.type.name == "DISPLAYMATRIX"]
    assert len(stated) == 1
    matrix = np.frombuffer(stated[0], np.int32).tolist()
    assert (orientation_of_matrix(matrix) == UPRIGHT) == (turn < 1 and not flip)
    for order in (("pyav",), ("decord", "pyav")):
        decoding, frames = decode_film(film, order)
        assert (decoding.status, len(frames)) == ("ok", 3)
        for frame, picture_ in zip(frames, decoded, strict=True):
            np.testing.assert_array_equal(frame.rgb, autorotated(picture_.to_ndarray(format="rgb24"), matrix))


@pytest.mark.parametrize("container", ["avi", "mov", "mkv"])
@pytest.mark.parametrize("exif", range(1, 9))
def test_exif_in_jpeg_pictures_turns_them(tmp_path: Path, exif: int, container: str) -> None:
    jpeg = io.BytesIO()
    with_exif = Image.Exif()
    with_exif[0x0112] = exif
    Image.fromarray(picture(WIDTH, HEIGHT)).save(jpeg, "JPEG", quality=95, exif=with_exif)
    assert struct.pack(">H", 0x0112) in jpeg.getvalue()
    film = tmp_path / f"film.{container}"
    with av.open(str(film), "w") as target:
        stream = target.add_stream("mjpeg", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for place in range(3):
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 10), True
            packet.pts = packet.dts = place
            target.mux(packet)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(jpeg)))
    for order in (("pyav",), ("decord", "pyav")):
        decoding, frames = decode_film(film, order)
        assert (decoding.status, len(frames)) == ("ok", 3)
        for frame in frames:
            assert frame.rgb.shape == wanted.shape
            # Pillow's and FFmpeg's JPEG decoders differ at the edges of colour.
            assert np.abs(frame.rgb.astype(int) - wanted).mean() < 3


def test_the_upload_with_a_mirror_is_its_plain_film_mirrored(upload_clips: Path) -> None:
    _, plain = decode_film(upload_clips / "base.mp4", ("pyav",))
    for decoder in ("pyav", "decord"):
        decoding, mirrored = decode_film(upload_clips / "mirrored_vflip.mp4", (decoder,))
        assert (decoding.status, len(mirrored)) == ("ok", len(plain))
        for ours, wanted in zip(mirrored, plain, strict=True):
            np.testing.assert_array_equal(ours.rgb, wanted.rgb[::-1])


@pytest.mark.parametrize(
    "parts",
    [(math.cos(t), math.sin(t), -math.sin(t), math.cos(t)) for t in (math.radians(5), math.radians(45))]
    + [(1, 0.5, 0, 1), (1, 0, 0.4, -1), (1, 1, 1, 1)],
)
def test_what_is_sheared_or_turned_by_an_odd_angle_is_refused(
    parts: tuple[float, float, float, float],
) -> None:
    with pytest.raises(ClipError, match="only quarter turns and mirrors") as caught:
        orientation_of_matrix(fixed(*parts))
    assert caught.value.code == "unsupported"


def test_a_sheared_film_fails_with_its_code_in_probe_and_decoding(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [rgb_frame(picture(WIDTH, HEIGHT))] * 3, matrix=fixed(1, 0.5, 0, 1))
    for order in (("pyav", "decord"), ("decord", "pyav")):
        with pytest.raises(ClipError) as caught:
            decode_film(film, order)
        assert caught.value.code == "unsupported"
    container, stream, _ = open_clip(fetch(str(film)), DecodeLimits())
    with pytest.raises(ClipError):
        first_orientation(container, stream)


def test_a_matrix_that_says_nothing_or_is_a_degree_off_counts_as_the_nearest() -> None:
    assert orientation_of_matrix([0] * 9) == orientation_of_matrix(fixed(0, 1, 0, 1)) == UPRIGHT
    tilt = math.radians(1)
    assert orientation_of_matrix(fixed(math.cos(tilt), math.sin(tilt), -math.sin(tilt), math.cos(tilt))) == UPRIGHT
    assert orientation_of_matrix(fixed(0, 3, -0.5, 0)) == Orientation(turns=1)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("parts", [(1, 0, 0, 1), (0, 1, -1, 0), (0, 1, 1, 0)])
def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, parts: tuple[int, int, int, int], decoder: str) -> None:
    film = write_film(
        tmp_path / "film.mp4", [rgb_frame(picture(72, 96))] * 3, matrix=fixed(*parts), aspect=Fraction(4, 3)
    )
    for max_side in (8192, 48):
        _, frames = decode_film(film, (decoder,), SamplingOptions(sample_fps=1000.0, max_side=max_side))
        assert (frames[0].width, frames[0].height) == (96, 96)
        assert frames[0].rgb.shape == (min(96, max_side), min(96, max_side), 3)
