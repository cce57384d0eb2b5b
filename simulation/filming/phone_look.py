"""Look of a phone's pictures: drifting exposure and white balance, a darker rim, sensor noise, a caption on top."""

from functools import lru_cache

import cv2
import numpy as np

from simulation.script import Phone

SIZES = ((540, 960), (480, 854), (720, 720), (960, 540), (720, 1280))  # width, height of the upright picture
_SIZE_SHARES = (0.70, 0.12, 0.07, 0.07, 0.04)
CAPTION_TOP = 1 / 8  # captions lie above this share of the picture's height,
CAPTION_BOTTOM = 4 / 5  # or below this one: seldom over a face

_UNITY = 200  # texel of a gain mask that leaves a pixel as it is, so that gains up to 1.27 fit into a byte
_ROLL = 64  # texels by which the noise moves from frame to frame, at most
_NOISE_LEVELS = (1.2, 2.2, 3.5)  # standard deviations, of 255: daylight, a room, a dark room

_CAPTION_COLOURS = ((255, 255, 255), (255, 221, 64), (255, 120, 170), (120, 235, 255), (160, 255, 150))
_STARTS = ("day {n}", "take {n}", "POV:", "wait for it", "me trying", "tutorial", "who's next?", "part {n}", "ok but")
_MIDDLES = ("the trend", "this dance", "after work", "with my sister", "first try", "no practice", "again",
            "on holiday")  # fmt: skip
_TAGS = ("#challenge", "#dance", "#fyp", "#viral", "#moves", "#trend", "#groove")


def draw_phone(rng: np.random.Generator) -> Phone:
    """Random recording, without damage."""
    width, height = SIZES[rng.choice(len(SIZES), p=_SIZE_SHARES)]
    return Phone(
        width=width,
        height=height,
        fps=float(rng.choice([24.0, 25.0, 30.0], p=[0.4, 0.4, 0.2])),
        variable_rate=bool(rng.random() < 0.15),
        rotation=int(rng.choice([90, 180, 270])) if rng.random() < 0.2 else 0,
        codec="hevc" if rng.random() < 0.12 else "h264",
        crf=int(rng.integers(20, 33)),
        caption=_draw_caption(rng) if rng.random() < 0.35 else "",
    )


def apply_look(picture: np.ndarray, phone: Phone, frame: int, seed: int) -> np.ndarray:
    """Make a rendered picture look filmed, in place, and return it.

    Args:
        picture: uint8 [phone.height, phone.width, 3] RGB, contiguous.
        phone: that films; its fps is the pace of the drifts.
        frame: number of the frame, from 0.
        seed: of the clip; determines the phone's rim, balance and noise.

    Raises:
        ValueError: the picture is not of the phone's size.
    """
    height, width = picture.shape[:2]
    if (width, height) != (phone.width, phone.height):
        raise ValueError(f"a picture of {width}x{height} from a phone of {phone.width}x{phone.height}")
    rng = np.random.default_rng((seed, 5))
    pace, phase, start = rng.uniform(0.05, 0.25, 2), rng.uniform(0, 2 * np.pi, 2), rng.integers(_ROLL, size=2)
    level = _NOISE_LEVELS[rng.choice(len(_NOISE_LEVELS), p=[0.4, 0.4, 0.2])]
    exposure, balance = np.sin(2 * np.pi * pace * frame / phone.fps + phase)

    cool, warm = _gain_masks(width, height, seed)
    mask = cv2.addWeighted(cool, 0.5 - 0.5 * balance, warm, 0.5 + 0.5 * balance, 0)
    cv2.multiply(picture, mask, dst=picture, scale=(1 + 0.03 * exposure) / _UNITY)
    above, below = _noise(width, height, level)
    x, y = (start + frame * np.array([23, 37])) % _ROLL
    cv2.add(picture, above[y : y + height, x : x + width], dst=picture)
    cv2.subtract(picture, below[y : y + height, x : x + width], dst=picture)
    if phone.caption:
        _lay_caption(picture, phone.caption, seed)
    return picture


@lru_cache(maxsize=2)
def _gain_masks(width: int, height: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains of rim and white balance at the cool and the warm end of the drift, uint8 [h, w, 3] each."""
    rng = np.random.default_rng((seed, 6))
    rim, exposure = rng.uniform(0.05, 0.2), rng.uniform(0.94, 1.06)
    red, blue = rng.uniform(-0.04, 0.04, 2)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    fall = _UNITY * exposure * (1 - rim * (x[None] ** 2 + y[:, None] ** 2) / 2)
    tints = (np.array([1 + red + drift, 1, 1 + blue - drift], np.float32) for drift in (-0.015, 0.015))
    cool, warm = (np.clip(fall[..., None] * tint, 0, 255).astype(np.uint8) for tint in tints)
    return cool, warm


@lru_cache(maxsize=6)
def _noise(width: int, height: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative part of the sensor noise, uint8 [h + _ROLL, w + _ROLL, 3] each."""
    rng = np.random.default_rng((width, height))
    shape = (height + _ROLL, width + _ROLL)
    field = 0.85 * rng.standard_normal((*shape, 1), np.float32) + 0.5 * rng.standard_normal((*shape, 3), np.float32)
    field = np.rint(field * level)
    return np.maximum(field, 0).astype(np.uint8), np.maximum(-field, 0).astype(np.uint8)


def _draw_caption(rng: np.random.Generator) -> str:
    """Random caption."""
    start = str(rng.choice(_STARTS)).format(n=rng.integers(1, 40))
    parts = [start, str(rng.choice(_MIDDLES)) if rng.random() < 0.5 else "", str(rng.choice(_TAGS))]
    return " ".join(part for part in parts if part)


def _lay_caption(picture: np.ndarray, caption: str, seed: int) -> None:
    """Draw a caption in place."""
    strip, uncovered, top = _caption_strip(caption, picture.shape[1], picture.shape[0], seed)
    band = picture[top : top + strip.shape[0]]
    cv2.multiply(band, uncovered, dst=band, scale=1 / 255)
    cv2.add(band, strip, dst=band)


@lru_cache(maxsize=2)
def _caption_strip(caption: str, width: int, height: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A caption's strip over the whole width, and the row of the picture where the strip begins.

    uint8 [s, w, 3] colours times cover, and uint8 [s, w, 3] share of the picture that shows through (255: all).
    """
    rng = np.random.default_rng((seed, 8))
    font = cv2.FONT_HERSHEY_DUPLEX
    scale = max(height, 800) / 960 * rng.uniform(0.95, 1.35)
    long = cv2.getTextSize(caption, font, scale, max(1, round(2 * scale)))[0][0]
    scale = min(scale, scale * 0.84 * width / long)  # whole, and with room for the plate
    stroke = max(1, round(2 * scale))
    (text_width, text_height), below = cv2.getTextSize(caption, font, scale, stroke)
    rows = text_height + below + 6 * stroke
    share = rng.uniform(0.25, 0.75)
    if rng.random() < 0.5:
        top = round(share * (height * CAPTION_TOP - rows))
    else:
        top = round(height * CAPTION_BOTTOM + share * (height * (1 - CAPTION_BOTTOM) - rows))
    bright = int(rng.integers(len(_CAPTION_COLOURS))) if rng.random() < 0.3 else 0
    origin = ((width - text_width) // 2, rows - below - 3 * stroke)
    letters = np.zeros((rows, width, 3), np.uint8)
    cv2.putText(letters, caption, origin, font, scale, (255, 255, 255), stroke, cv2.LINE_AA)
    if rng.random() < 0.25:  # the other habit: dark letters on a light plate
        cover = np.zeros(letters.shape, np.uint8)
        corner = (max(0, origin[0] - 5 * stroke), 0), (min(width, origin[0] + text_width + 5 * stroke) - 1, rows - 1)
        cv2.rectangle(cover, *corner, (255, 255, 255), -1)
        shown = cover - letters
    else:  # light letters with a dark outline
        rim = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * stroke + 1, 2 * stroke + 1))
        cover = np.asarray(cv2.dilate(letters, rim), np.uint8)
        shown = letters
    colours = np.array(_CAPTION_COLOURS[bright], np.float32) / 255
    return (shown * colours).astype(np.uint8), cv2.bitwise_not(cover), top
