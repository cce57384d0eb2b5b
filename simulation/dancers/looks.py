"""Random looks: faces that tell creators apart, and clothes that show the `look` term of the likes."""

import colorsys

import numpy as np

from simulation.script import Face, Outfit, Rgb

# The whole range of the world's skin, from light to dark (after the Monk scale's steps), and of its hair and eyes.
SKINS = (
    (238, 210, 192), (233, 202, 178), (226, 188, 158), (219, 174, 140), (202, 152, 114), (178, 126, 88),
    (150, 102, 70), (122, 82, 58), (98, 65, 47), (78, 52, 40),
)  # fmt: skip
HAIRS = (
    (24, 20, 20), (40, 30, 26), (62, 42, 30), (94, 62, 40), (134, 92, 54), (186, 144, 88), (220, 188, 132),
    (148, 66, 36), (150, 148, 148),
)  # fmt: skip
EYES = ((58, 38, 26), (84, 56, 34), (104, 88, 50), (74, 106, 72), (72, 104, 140), (104, 120, 132))
HAIR_STYLES = 5


def draw_face(rng: np.random.Generator) -> Face:
    """Random head; skin, hair and style are equally likely and independent of each other."""

    def near(spread: float) -> float:
        return float(1 + spread * np.clip(rng.normal(), -1.8, 1.8))

    return Face(
        skin=_varied(SKINS[rng.integers(len(SKINS))], 5, rng),
        hair=_varied(HAIRS[rng.integers(len(HAIRS))], 6, rng),
        eyes=_varied(EYES[rng.integers(len(EYES))], 6, rng),
        hair_style=int(rng.integers(HAIR_STYLES)),
        width=near(0.05),
        jaw=near(0.09),
        brow=near(0.28),
        nose=near(0.2),
        lips=near(0.22),
    )


def draw_outfit(look: float, rng: np.random.Generator) -> Outfit:
    """Random clothes, the more vivid and contrasting the higher `look` (0..1): washed out and all alike at 0.

    Hues, pattern and cut come from `rng` and do not depend on `look`.
    """
    hue = float(rng.random())
    apart = float(rng.uniform(0.3, 0.6))  # of the hues of top and bottom
    accent = float(rng.uniform(0.35, 0.65))
    top_is_light = bool(rng.random() < 0.5)
    wander = rng.uniform(-0.03, 0.03, 3)
    contrast = 0.36 * look
    light, dark = 0.70 + 0.5 * contrast, 0.64 - contrast
    top, bottom = (light, dark) if top_is_light else (dark, light)
    return Outfit(
        look=look,
        top=_colour(hue, look, top + wander[0]),
        bottom=_colour(hue + apart, 0.85 * look, bottom + wander[1]),
        shoes=_colour(hue + accent, look, 0.62 + 0.3 * look + wander[2]),
        accent=_colour(hue + accent, 0.9 * look, (dark if top_is_light else light) + 0.02),
        pattern=int(rng.integers(3)),
        sleeves=float(rng.uniform(0.15, 0.95)),
        legs=float(rng.uniform(0.3, 1.0)),
    )


def _colour(hue: float, vividness: float, value: float) -> Rgb:
    """RGB; at vividness 0 a greyish beige whatever the hue."""
    value = float(np.clip(value, 0, 1))
    vivid = np.array(colorsys.hsv_to_rgb(hue % 1, 0.92, max(value, 0.45)))
    beige = np.array([1.0, 0.965, 0.91]) * value
    red, green, blue = (255 * (vividness * vivid + (1 - vividness) * beige)).clip(0, 255).astype(int).tolist()
    return red, green, blue


def _varied(colour: Rgb, spread: float, rng: np.random.Generator) -> Rgb:
    """The colour, each channel moved by up to `spread`."""
    red, green, blue = np.clip(np.array(colour) + spread * rng.uniform(-1, 1, 3), 0, 255).astype(int).tolist()
    return red, green, blue
