"""HDR of every coding, and SDR of wider primaries, as the SDR picture that they were made of."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc

from pipeline.core.options import SamplingOptions
from pipeline.decode.picture import HDR_PEAK, REFERENCE_WHITE, PictureConverter, sdr_of
from tests.support.films import UNTAGGED, centres, decode_film, patches, picture, write_film, yuv_frame

HLG, PQ = ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084
BT2020, P3 = ColorPrimaries.BT2020, ColorPrimaries.SMPTE432
# Without bframes=0, x265 now and then gives a film of two pictures times that no container takes.
X265 = {"x265-params": "log-level=none:crf=4:bframes=0"}

# The way there is written down here once more, from the recommendations: SDR signal -> light -> HDR signal.

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
