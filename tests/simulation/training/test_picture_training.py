"""Scene and appearance: what is asked of the networks, and what may change in the pictures that they learn from."""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from models.extractors import places365
from models.extractors.appearance import OUTFIT_ATTRIBUTES
from models.extractors.resnet import Preprocessing
from simulation.dancers.looks import draw_outfit
from simulation.script import SCENES
from simulation.training.augment import degrade, jitter_colours, random_affine, shift_hues
from simulation.training.picture_training import appearance_pictures, outfit_targets
from simulation.training.training_frames import outfit_values
from tests.support.few_frames import few_frames


def test_the_demos_categories_are_the_worlds_scenes_in_its_order() -> None:
    assert places365.CATEGORY_SETS["demo8"] == SCENES
    names, indoor = places365.category_set("demo8")
    assert names[2] == "gymnasium, indoor"
    assert indoor == (True, True, True, True, True, False, False, False)


def test_the_look_itself_is_taught_to_nobody() -> None:
    outfit = draw_outfit(0.7, np.random.default_rng(0))
    other = dataclasses.replace(outfit, look=0.1)
    np.testing.assert_array_equal(outfit_values(outfit), outfit_values(other))


def test_attributes_say_what_can_be_seen_of_clothes() -> None:
    plain = draw_outfit(0.5, np.random.default_rng(0))
    outfit = dataclasses.replace(
        plain, top=(255, 0, 0), bottom=(0, 0, 0), accent=(0, 0, 255), pattern=2, sleeves=0.25, legs=0.75
    )
    values = outfit_targets(outfit_values(outfit)[None])[0]
    said = dict(zip(OUTFIT_ATTRIBUTES, values.tolist(), strict=False))
    assert said["top chroma"] == said["top red-green"] == 1
    assert said["bottom chroma"] == said["bottom lightness"] == 0
    assert abs(said["top-bottom lightness difference"] - 0.299) < 1e-6
    assert said["top-bottom colour difference"] == 1
    assert abs(said["pattern contrast"] - 2**0.5) < 1e-6
    assert (said["sleeves"], said["legs"], values[-1]) == (0.25, 0.75, 2)


def test_clothes_change_their_colours_with_their_picture() -> None:
    """A picture all in the colours of the top says after any change what the changed outfit says."""
    outfit = outfit_values(draw_outfit(0.6, np.random.default_rng(1)))
    frames = dataclasses.replace(few_frames().thinned(1), outfit=outfit[None])
    pictures = appearance_pictures(frames, Preprocessing(64, 64), seed=0)
    pictures.pictures[:] = outfit[:3].astype(np.uint8)
    chroma, lightness = (OUTFIT_ATTRIBUTES.index(name) for name in ("top chroma", "top lightness"))
    reds = set()
    for index in range(30):
        picture, targets = pictures[index]
        colour = np.median(picture.reshape(3, -1), axis=1) / 255
        assert abs(colour.max() - colour.min() - targets[chroma]) < 0.06
        assert abs(colour @ [0.299, 0.587, 0.114] - targets[lightness]) < 0.08  # a little lighter or darker
        reds.add(round(float(colour[0]), 1))
    assert len(reds) >= 3


def _picture() -> np.ndarray:
    picture = np.zeros((60, 40, 3), np.uint8)
    picture[:, :20] = (200, 40, 60)
    picture[20:40, 25:35] = (40, 180, 90)
    return picture


def test_every_change_keeps_shape_and_type_and_follows_its_seed() -> None:
    for change in (
        jitter_colours,
        degrade,
        shift_hues,
        lambda picture, rng: random_affine(picture, rng, 0.2, 0.1, 0.1),
    ):
        made = [change(_picture(), np.random.default_rng(seed)) for seed in (1, 1, *range(2, 12))]
        assert all((picture.shape, picture.dtype) == ((60, 40, 3), np.uint8) for picture in made)
        np.testing.assert_array_equal(made[0], made[1])
        assert any((picture != made[0]).any() for picture in made)


def test_roughening_leaves_colours_what_they_are_and_turning_hues_does_not() -> None:
    def hue(picture: np.ndarray) -> float:
        return float(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[5:15, 5:15, 0].astype(int).mean())

    def apart(change: Callable[[np.ndarray, np.random.Generator], np.ndarray], seed: int) -> float:
        difference = abs(hue(change(_picture(), np.random.default_rng(seed))) - hue(_picture()))
        return min(difference, 180 - difference)

    assert max(apart(degrade, seed) for seed in range(10)) < 6
    assert max(apart(shift_hues, seed) for seed in range(10)) > 20
