"""Pictures of every kind as upright SDR RGB: colour tags, HDR, transparency, fields, odd and changing sizes."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.picture import HDR_PEAK, REFERENCE_WHITE, PictureConverter, fit_rgb, sdr_of
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool
from tests.support.films import EVERY_FRAME, decode_film, picture, write_film

HLG, PQ = ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084
BT709, BT2020, P3 = ColorPrimaries.BT709, ColorPrimaries.BT2020, ColorPrimaries.SMPTE432

# Weights of red and blue in luma, by the matrix's number in ITU-T H.273.
LUMA = {
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593),
}  # fmt: skip
UNTAGGED = 2


def yuv_frame(rgb: np.ndarray, layout: str, matrix: int, full: bool) -> Any:
    """R'G'B' [H, W, 3] of 0..1 as planes of 8 to 16 bits with tags, by ITU-T H.273's formulas; colour is averaged."""
    red, blue = LUMA.get(matrix, LUMA[6])
    luma = rgb @ [red, 1 - red - blue, blue]
    planes = [luma, (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)]
    frame: Any = av.VideoFrame(rgb.shape[1], rgb.shape[0], layout)
    frame.colorspace, frame.color_range = matrix, ColorRange.JPEG if full else ColorRange.MPEG
    bits = frame.format.components[0].bits
    for place, (values, plane) in enumerate(zip(planes, frame.planes, strict=False)):
        across, down = rgb.shape[1] // plane.width, rgb.shape[0] // plane.height
        coarse = values.reshape(plane.height, down, plane.width, across).mean((1, 3))
        swing = (2**bits - 1) if full else (224 if place else 219) * 2 ** (bits - 8)
        zero = 2 ** (bits - 1) if place else 0 if full else 16 * 2 ** (bits - 8)
        depth = np.uint8 if bits == 8 else np.dtype("<u2")
        codes = np.clip(np.rint(coarse * swing + zero), 0, 2**bits - 1).astype(depth)
        lines = np.frombuffer(plane, depth).reshape(plane.height, -1)
        lines[:, : plane.width] = codes
    return frame


def patches() -> np.ndarray:
    """R'G'B' of 0..1 [16, 96, 3]: 24 flat patches, every corner of the cube and its greys among them."""
    corners = np.array(np.meshgrid(*[[0.1, 0.9]] * 3)).reshape(3, 8).T
    greys = np.linspace(0, 1, 8)[:, None].repeat(3, 1)
    colours = np.concatenate([corners, greys, 0.5 + 0.5 * (corners - 0.5)])
    return colours[None].repeat(16, 0).repeat(4, 1)


def centres(rgb: np.ndarray) -> np.ndarray:
    """The inner columns of the patches, which no neighbour's colour reaches."""
    return rgb[4:12].reshape(8, -1, 4, 3)[:, :, 1:3]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [*LUMA, UNTAGGED])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"])
def test_colours_are_those_that_matrix_and_range_say(layout: str, matrix: int, full: bool) -> None:
    """BT.2020 here with the primaries of BT.709 (Rec. 2020 in SDR has its own test)."""
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
    """YCgCo, constant luminance, ICtCp, IPT (Dolby Vision profile 5): shown by another matrix they would be green."""
    frame = yuv_frame(patches(), "yuv420p", matrix, full=False)
    with pytest.raises(ClipError, match=f"matrix {matrix} ") as caught:
        PictureConverter()(frame, (96, 16))
    assert caught.value.code == "unsupported"


def test_a_reserved_number_is_no_matrix() -> None:
    untagged, reserved = (yuv_frame(patches(), "yuv420p", matrix, full=False) for matrix in (UNTAGGED, 3))
    np.testing.assert_array_equal(PictureConverter()(reserved, (96, 16)), PictureConverter()(untagged, (96, 16)))


X265 = {"x265-params": "log-level=none:crf=4"}

# HDR. The way there is written down here once more, from the recommendations: SDR signal -> light -> HDR signal.

# ITU-R BT.2087, table 2: linear BT.709 to BT.2020.
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
# Linear BT.709 to P3 with the white D65.
TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])


def as_hdr(sdr: np.ndarray, transfer: int) -> np.ndarray:
    """R'G'B' of BT.2100 of an SDR picture, its white at 203 cd/m2 (BT.2408, 5.1: display light)."""
    light = REFERENCE_WHITE * sdr**2.4 @ TO_2020.T
    if transfer == PQ:
        part = (light / 10000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * part) / (1 + 18.6875 * part)) ** 78.84375
    luminance = np.maximum(light @ [0.2627, 0.6780, 0.0593], 1e-9)[..., None] / 1000
    scene = light / 1000 * luminance ** (1 / 1.2 - 1)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def hdr_frame(sdr: np.ndarray, transfer: int, layout: str, full: bool = False, matrix: int = 9) -> av.VideoFrame:
    frame = yuv_frame(as_hdr(sdr, transfer), layout, 9, full)
    frame.colorspace, frame.color_trc, frame.color_primaries = matrix, transfer, BT2020
    return frame


@pytest.mark.parametrize("transfer", [HLG, PQ])
@pytest.mark.parametrize(
    ("layout", "full"),
    [("yuv420p10le", False), ("yuv420p10le", True), ("yuv422p10le", False), ("yuv444p10le", False),
     ("yuv420p12le", False), ("yuv444p12le", True), ("yuv444p16le", False)],
)  # fmt: skip
def test_an_hdr_picture_becomes_the_sdr_picture_that_it_was_made_of(transfer: int, layout: str, full: bool) -> None:
    """Up to 0.7 of SDR's white, where the curve for highlights begins."""
    sdr = 0.7 * patches()
    rgb = PictureConverter()(hdr_frame(sdr, transfer, layout, full), (96, 16))
    error = np.abs(centres(rgb) - 255 * centres(sdr))
    assert error.mean() < 1.5
    assert error.max() < 9


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_an_hdr_film_becomes_its_sdr_film_however_it_is_coded_and_scaled(tmp_path: Path, transfer: int) -> None:
    sdr = 0.7 * picture(96, 64) / 255.0
    kinds = [("yuv420p10le", "libx265", "mov"), ("yuv422p10le", "prores_ks", "mov"), ("yuv444p12le", "ffv1", "mkv")]
    for layout, codec, kind in kinds:
        options = X265 if codec == "libx265" else {}
        film = write_film(tmp_path / f"film.{kind}", [hdr_frame(sdr, transfer, layout)] * 3, codec, options)
        for side, step in ((96, 1), (48, 2)):
            wanted = 255 * sdr.reshape(64 // step, step, 96 // step, step, 3).mean((1, 3))
            for order in (("pyav", "decord"), ("decord", "pyav")):
                decoding, frames = decode_film(film, order, SamplingOptions(sample_fps=1000.0, max_side=side))
                assert (decoding.status, decoding.decoder, len(frames)) == ("ok", "pyav", 3)
                assert np.abs(frames[0].rgb - wanted).mean() < 4, (codec, side)


def with_dolby_vision(film: bytes) -> bytes:
    """A QuickTime film of HEVC whose track says that it is Dolby Vision of profile 8.4, as phones write it."""
    record = bytes([1, 0]) + struct.pack(">H", 8 << 9 | 1 << 3 | 0b101) + bytes([4 << 4]) + bytes(19)
    box = struct.pack(">I", 8 + len(record)) + b"dvvC" + record
    boxes = bytearray(film)
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hev1"):
        at = boxes.index(parent) - 4
        struct.pack_into(">I", boxes, at, struct.unpack_from(">I", boxes, at)[0] + len(box))
    at = boxes.index(b"hvcC") - 4
    boxes[at:at] = box
    return bytes(boxes)


def test_dolby_vision_of_profile_8_4_is_hlg(tmp_path: Path) -> None:
    hlg = write_film(tmp_path / "hlg.mov", [hdr_frame(patches(), HLG, "yuv420p10le")] * 2, "libx265", X265)
    dolby = tmp_path / "dolby.mov"
    dolby.write_bytes(with_dolby_vision(hlg.read_bytes()))
    (_, plain), (decoding, frames) = (decode_film(film) for film in (hlg, dolby))
    assert (decoding.status, len(frames)) == ("ok", 2)
    np.testing.assert_array_equal(frames[0].rgb, plain[0].rgb)


def test_untagged_parts_of_an_hdr_film_are_those_of_bt2100() -> None:
    tagged = hdr_frame(patches(), HLG, "yuv444p10le")
    bare = hdr_frame(patches(), HLG, "yuv444p10le", matrix=UNTAGGED)
    bare.color_primaries = ColorPrimaries.UNSPECIFIED
    np.testing.assert_array_equal(PictureConverter()(bare, (96, 16)), PictureConverter()(tagged, (96, 16)))


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_the_curve_keeps_order_and_hue_and_ends_at_white(transfer: int) -> None:
    top = 1.0 if transfer == HLG else 0.751827  # PQ's signal of 1000 cd/m2
    greys = sdr_of(np.linspace(0, top, 500)[:, None].repeat(3, 1), transfer, BT2020)
    assert np.abs(greys - greys[:, :1]).max() < 1e-6
    assert (np.diff(greys[:, 0]) > 0).all()
    assert greys[0, 0] == 0
    assert greys[-1, 0] == pytest.approx(1, abs=1e-3)
    # BT.2408: diffuse white is 75 % of HLG, 58 % of PQ. SDR keeps a tenth of its signal for what is brighter.
    white = sdr_of(np.full((1, 3), 0.7498 if transfer == HLG else 0.5807), transfer, BT2020)
    assert white[0, 0] == pytest.approx(0.90, abs=0.01)


@pytest.mark.parametrize("transfer", [HLG, PQ, ColorTrc.BT709])
def test_the_table_between_its_points_is_near_the_formula(transfer: int) -> None:
    signal = np.random.default_rng(0).random((64, 64, 3))
    signal[32:] = signal[32:, :, :1]  # greys
    frame = av.VideoFrame.from_ndarray(np.rint(signal * 65535).astype(np.uint16), format="rgb48le")
    frame.color_trc, frame.color_primaries = transfer, BT2020
    wanted = 255 * sdr_of(signal.reshape(-1, 3), transfer, BT2020).reshape(signal.shape)
    error = np.abs(PictureConverter()(frame, (64, 64)) - wanted)
    assert error.mean() < 0.7
    assert error[32:].max() < 2


def test_light_above_the_nominal_peak_is_white() -> None:
    assert HDR_PEAK == 1000
    assert sdr_of(np.full((1, 3), 0.9), PQ, BT2020) == pytest.approx(1)


@pytest.mark.parametrize(("primaries", "matrix", "mixed"), [(BT2020, 9, TO_2020), (P3, 1, TO_P3), (P3, 6, TO_P3)])
def test_sdr_of_wider_primaries_becomes_that_of_bt709(primaries: int, matrix: int, mixed: np.ndarray) -> None:
    frame = yuv_frame((patches() ** 2.4 @ mixed.T) ** (1 / 2.4), "yuv444p10le", matrix, full=False)
    frame.color_primaries = primaries
    error = np.abs(centres(PictureConverter()(frame, (96, 16))) - 255 * centres(patches()))
    assert error.mean() < 1.5
    assert error.max() < 12


def test_the_features_of_an_hdr_upload_are_those_of_its_sdr_film(upload_clips: Path) -> None:
    """0.973 without tone mapping; the bundled appearance network looks at colours most."""
    import torch

    from pipeline.modalities.registry import build_extractor, load_profile

    profile = load_profile("demo")
    sampling = SamplingOptions(sample_fps=5.0, max_side=480)
    plain, hdr = (decode_film(upload_clips / name, sampling=sampling)[1] for name in ("base.mp4", "hdr_hlg.mov"))
    for modality in ("appearance", "scene"):
        extractor = build_extractor(modality, profile, torch.device("cpu"))

        def features(frames: list, extractor: object = extractor) -> np.ndarray:
            batch = torch.from_numpy(np.stack([frame.rgb for frame in frames]))
            prepared = extractor.prepare(batch)  # type: ignore[attr-defined]
            rows = extractor.infer(prepared.inputs, prepared.extras)  # type: ignore[attr-defined]
            rows = np.stack([getattr(row, "feature", row) for row in rows]).astype(np.float64)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

        assert (features(plain) * features(hdr)).sum(1).mean() > 0.99


# Transparency, fields, sizes.


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


def joined(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """A transport stream that changes its size with every second picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = sizes[0]
        for part, (width, height) in enumerate(sizes):
            context = av.CodecContext.create("libx264", "w")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height, context.pix_fmt = width, height, "yuv420p"
            context.time_base, context.framerate = Fraction(1, 10), Fraction(10)
            context.options = {"bf": "0", "crf": "4"}
            packets = []
            for at in range(2):
                frame = flat(width, height)
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
    film = joined(tmp_path / "film.ts", [(64, 96), (128, 192)])
    with pytest.raises(ClipError, match="128 x 192 px") as caught:
        decode_film(film, limits=DecodeLimits(max_pixels=64 * 96))
    assert caught.value.code == "too_large"
