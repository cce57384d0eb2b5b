"""A picture's sketch stays nearly the same under what happens to uploads, and differs between pictures."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.core.options import SamplingOptions
from pipeline.decode.picture_sketch import MIRROR, SKETCH, picture_sketch, sketch_stride


def scene(seed: int, size: tuple[int, int] = (540, 960)) -> np.ndarray:
    """uint8 [H, W, 3]: soft blobs of colour, as a room seen from afar. size: width, height."""
    blobs = np.random.default_rng(seed).integers(0, 256, (9, 6, 3), np.uint8)
    return cv2.resize(blobs, size, interpolation=cv2.INTER_CUBIC)


def sketched(rgb: np.ndarray) -> np.ndarray:
    sketch = picture_sketch(rgb)
    assert sketch is not None
    return sketch


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    sketches = [sketched(rgb).astype(float) for rgb in (one, other)]
    return float(sketches[0] @ sketches[1] / np.linalg.norm(sketches[0]) / np.linalg.norm(sketches[1]))


def as_jpeg(rgb: np.ndarray) -> np.ndarray:
    picture = cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (as_jpeg, 0.97),
        (lambda rgb: cv2.resize(rgb, (270, 480), interpolation=cv2.INTER_AREA), 0.99),
        (lambda rgb: cv2.resize(rgb, (540, 540), interpolation=cv2.INTER_AREA), 0.99),
        (lambda rgb: np.clip(rgb * 0.7 + 40, 0, 255).astype(np.uint8), 0.99),
        (lambda rgb: rgb[24:-24, 13:-13], 0.7),
        (lambda rgb: cv2.rectangle(rgb.copy(), (50, 700), (490, 760), (20, 20, 20), -1), 0.6),
    ],
    ids=["badly compressed", "half the size", "squeezed", "paler", "cropped", "written upon"],
)
def test_a_changed_picture_keeps_its_sketch(change: Callable[..., Any], least: float) -> None:
    assert min(cosine(scene(seed), change(scene(seed))) for seed in range(20)) >= least


def test_sketches_of_different_pictures_have_little_in_common() -> None:
    cosines = [cosine(scene(one), scene(other)) for one in range(12) for other in range(one)]
    assert np.mean(cosines) == pytest.approx(0, abs=0.1)
    assert max(cosines) < 0.5


def test_a_mirrored_pictures_sketch_is_known_without_it() -> None:
    mirrored = sketched(scene(1)[:, ::-1])
    np.testing.assert_allclose(mirrored, sketched(scene(1)) * MIRROR, atol=4)
    assert cosine(scene(1), scene(1)[:, ::-1]) < 0.5


@pytest.mark.parametrize("size", [(2, 2), (31, 500), (1280, 720)])
def test_pictures_of_any_size_have_a_sketch(size: tuple[int, int]) -> None:
    sketch = sketched(scene(0, size))
    assert (sketch.dtype, sketch.shape) == (np.int8, (SKETCH,))
    assert np.linalg.norm(sketch.astype(float)) == pytest.approx(127, abs=4)


def test_a_picture_that_shows_nothing_has_no_sketch() -> None:
    noise = np.random.default_rng(0).integers(0, 4, (960, 540, 3), np.uint8)
    assert picture_sketch(np.zeros((96, 64, 3), np.uint8)) is None
    assert picture_sketch(noise) is None


@pytest.mark.parametrize(("sample_fps", "stride"), [(10.0, 2), (30.0, 6), (5.0, 1), (2.0, 1)])
def test_about_five_pictures_a_second_are_sketched(sample_fps: float, stride: int) -> None:
    assert sketch_stride(SamplingOptions(sample_fps=sample_fps)) == stride
