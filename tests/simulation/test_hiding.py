"""Clips that hide a modality: which, how often, and that nothing but the picture changes."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from pipeline.core.errors import DataError
from simulation.filming.film import film, label_frames
from simulation.filming.hiding import blur_place, cover_face, remove_colours
from simulation.filming.visibility import OUTSIDE, PersonLabels
from simulation.script import HIDING_EFFECTS
from simulation.truth import clips_table
from simulation.world import Upload, WorldOptions, make_world

PLAIN = WorldOptions(seed=9, clips=256, creators=96)
world = cache(make_world)
KNEES_AND_ANKLES = slice(13, 17)


def sharpness(picture: np.ndarray) -> float:
    return float(cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F).std())


def frame(upload: Upload, second: float = 1.0) -> tuple[np.ndarray, list[PersonLabels]]:
    (shown,) = film(upload.script, np.array([second]))
    return shown


def labels(upload: Upload, second: float = 1.0) -> list[PersonLabels]:
    (shown,) = label_frames(upload.script, np.array([second]))
    return shown


def only(upload: Upload, *hidden: str) -> Upload:
    return replace(upload, script=replace(upload.script, hidden=hidden))


@pytest.fixture(scope="module")
def upright() -> Upload:
    """A clip in portrait of one dancer, who faces the camera."""
    return next(
        upload
        for upload in world(PLAIN)
        if upload.script.phone.height > upload.script.phone.width
        and len(upload.script.people) == 1
        and labels(upload)[0].yaw_deg < 20
    )


def test_each_modality_is_hidden_in_its_share_of_the_clips_by_itself() -> None:
    table = clips_table(world(replace(PLAIN, hidden=0.4)))
    hides = np.stack(
        [
            table["hidden"].str.split().map(lambda names, modality=modality: modality in names)
            for modality in HIDING_EFFECTS
        ],
        1,
    )
    assert (np.abs(hides.mean(0) - 0.4) < 0.1).all()
    assert np.abs(np.corrcoef(hides.T) - np.eye(4)).max() < 0.2
    assert not clips_table(world(PLAIN))["hidden"].any()


def test_nothing_else_of_the_world_changes() -> None:
    plain, hidden = world(PLAIN), world(replace(PLAIN, hidden=0.4))
    for before, after in zip(plain, hidden, strict=True):
        assert replace(after, script=replace(after.script, hidden=(), shots=before.script.shots)) == before
        assert ("close_up" in after.script.hidden) == (after.script.shots != before.script.shots)


def test_a_larger_share_hides_what_a_smaller_one_did() -> None:
    few, many = (world(replace(PLAIN, hidden=share)) for share in (0.2, 0.5))
    assert all(set(one.script.hidden) <= set(other.script.hidden) for one, other in zip(few, many, strict=True))


def test_a_share_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="a modality hidden in 150%, cannot be"):
        WorldOptions(hidden=1.5)


def test_in_a_close_up_no_foot_is_seen_and_the_face_is_large() -> None:
    pairs = [
        (before, after)
        for before, after in zip(world(PLAIN), world(replace(PLAIN, hidden=0.4)), strict=True)
        if "close_up" in after.script.hidden
    ][:12]
    for before, after in pairs:
        (far, *_), (near, *_) = labels(before), labels(only(after))
        assert (near.keypoints[15:17, 2] == OUTSIDE).all()
        assert (far.keypoints[KNEES_AND_ANKLES, 2] != OUTSIDE).all()
        if far.face_box.any() and near.face_box.any():
            assert near.face_box[3] - near.face_box[1] > 1.4 * (far.face_box[3] - far.face_box[1])


def test_a_covered_face_is_blurred_and_the_rest_is_as_it_was(upright: Upload) -> None:
    (plain, (seen,)), (covered, (same,)) = frame(upright), frame(only(upright, "covered_face"))
    np.testing.assert_array_equal(seen.keypoints, same.keypoints)
    x1, y1, x2, y2 = seen.face_box.round().astype(int)
    assert sharpness(covered[y1:y2, x1:x2]) < 0.6 * sharpness(plain[y1:y2, x1:x2])
    away = np.ones(plain.shape[:2], bool)
    away[max(0, 2 * y1 - y2) : 2 * y2 - y1, max(0, 2 * x1 - x2) : 2 * x2 - x1] = False
    np.testing.assert_array_equal(plain[away], covered[away])


def test_a_face_at_the_rim_or_of_no_size_is_covered_as_far_as_it_goes() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8)
    before = picture.copy()
    cover_face(picture, np.zeros(4))
    np.testing.assert_array_equal(picture, before)
    cover_face(picture, np.array([-0.5, -0.5, 20.0, 25.0]))
    assert sharpness(picture[:20, :20]) < 0.7 * sharpness(before[:20, :20])
    np.testing.assert_array_equal(picture[40:, 40:], before[40:, 40:])


def test_a_blurred_place_leaves_the_dancer_sharp(upright: Upload) -> None:
    (plain, (seen,)), (blurred, _) = frame(upright), frame(only(upright, "blurred_place"))
    hips, shoulders = seen.keypoints[11:13, :2], seen.keypoints[5:7, :2]
    low, high = np.minimum(hips.min(0), shoulders.min(0)).astype(int), np.maximum(hips.max(0), shoulders.max(0))
    body = np.s_[low[1] : int(high[1]), low[0] : int(high[0])]
    assert np.abs(plain[body].astype(int) - blurred[body]).mean() < 3
    away = np.ones(plain.shape[:2], bool)
    x1, y1, x2, y2 = seen.box.astype(int)
    away[y1:y2, x1:x2] = False
    assert np.abs(plain.astype(int) - blurred)[away].mean() > 3
    place = blur_place(plain)
    assert place.shape == plain.shape
    assert sharpness(place) < 0.3 * sharpness(plain)


def test_a_colourless_clip_has_one_hue() -> None:
    rng = np.random.default_rng(0)
    for seed in range(8):
        picture = rng.integers(0, 200, (20, 20, 3)).astype(np.uint8)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        remove_colours(picture, seed)
        ratios = picture.astype(float).sum((0, 1)) / grey.sum()
        assert np.abs(picture - grey[..., None] * ratios).max() < 2


def test_what_is_filmed_without_colours_has_none(upright: Upload) -> None:
    def colours(picture: np.ndarray) -> float:
        """How much the hue varies over the picture, its noise smoothed away."""
        red, green, blue = np.moveaxis(cv2.GaussianBlur(picture, (0, 0), 5).astype(float) + 1, 2, 0)
        return float(np.std(np.log(red / green)) + np.std(np.log(blue / green)))

    plain, colourless = (frame(clip)[0] for clip in (upright, only(upright, "colourless")))
    assert colours(colourless) < 0.3 * colours(plain)


def test_grey_and_sepia_both_occur() -> None:
    grey = set()
    for seed in range(12):
        picture = np.full((4, 4, 3), 100, np.uint8)
        remove_colours(picture, seed)
        grey.add(bool(picture[0, 0, 0] == picture[0, 0, 2]))
    assert grey == {True, False}
