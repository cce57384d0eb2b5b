"""Painted map and relief of a face, in the head's own axes, seen straight from the front."""

from functools import lru_cache

import cv2
import numpy as np

from simulation.dancers.solids import fill_polygon, to_fixed_point
from simulation.geometry import HEAD_POINTS
from simulation.script import Face

HALF_WIDTH, HALF_HEIGHT = 0.10, 0.14  # metres of the head that the map covers, either way
MAP_PX_PER_M = 1200
RELIEF_PX_PER_M = 400
EXPRESSION_STEPS = 32  # a face is painted anew only when its expression moves by one of so many
EYE_STEPS = 8
_EYE = np.array(HEAD_POINTS["left_eye"][:2])
_MOUTH_Y = HEAD_POINTS["left_mouth"][1]
_RAISED = 16.0  # RGB levels that forehead, nose, cheeks and chin are lighter by, on the lightest skin
_WHITE, _TEETH, _DARK, _INSIDE = (240.0, 238.0, 236.0), (246.0, 244.0, 238.0), (26.0, 20.0, 20.0), (74.0, 20.0, 24.0)


def shine(face: Face) -> float:
    """Strength of the skin's shine, 1 to 2.4: the darker the skin, the more its forms are seen by their shine."""
    return 1 + 1.8 * (1 - float(np.mean(face.skin)) / 255)


def mouth_corners(face: Face, expression: float) -> np.ndarray:
    """Left and right corner of the mouth, float64 [2, 3] metres in the head's axes; a smile widens and lifts them."""
    x, y = _mouth_corner(face, expression)
    z = HEAD_POINTS["left_mouth"][2] - 0.35 * (x - HEAD_POINTS["left_mouth"][0])
    return np.array([[x, y, z], [-x, y, z]])


def _mouth_corner(face: Face, expression: float) -> tuple[float, float]:
    wide = 0.8 + 0.2 * face.lips
    return wide * (0.0245 + 0.0095 * expression), _MOUTH_Y - 0.002 + 0.008 * expression


def face_map(face: Face, expression: float, eyes_open: float, px_per_m: float) -> np.ndarray:
    """Colours of the skin and all that is painted on it, uint8 [h, w, 3] RGB; cached, do not write to it.

    x to the viewer's right (the head's left), y down, the head's middle in the middle; at least `px_per_m`, at most
    MAP_PX_PER_M.
    """
    halved = 0
    while halved < 3 and MAP_PX_PER_M / 2 ** (halved + 1) >= px_per_m:
        halved += 1
    return _halved_map(face, round(expression * EXPRESSION_STEPS), round(eyes_open * EYE_STEPS), halved)


@lru_cache(maxsize=128)
def _halved_map(face: Face, expression_step: int, eye_step: int, halved: int) -> np.ndarray:
    whole = _paint(face, expression_step / EXPRESSION_STEPS, eye_step / EYE_STEPS)
    size = whole.shape[1] >> halved, whole.shape[0] >> halved
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA) if halved else whole


def _px(points: np.ndarray) -> np.ndarray:
    """Pixels of the map from metres (x left, y up)."""
    return (np.asarray(points) * [1, -1] + [HALF_WIDTH, HALF_HEIGHT]) * MAP_PX_PER_M - 0.5


def _ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0.0, count: int = 28) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    across, up = rx * np.cos(turn), ry * np.sin(turn)
    return np.stack([x + across * np.cos(tilt) - up * np.sin(tilt), y + across * np.sin(tilt) + up * np.cos(tilt)], 1)


def _paint(face: Face, expression: float, eyes_open: float) -> np.ndarray:
    shape = round(2 * HALF_HEIGHT * MAP_PX_PER_M), round(2 * HALF_WIDTH * MAP_PX_PER_M)
    skin = np.array(face.skin, float)
    picture = np.empty((*shape, 3), np.uint8)
    picture[:] = skin.astype(np.uint8)
    picture = _soft_shading(picture, face, expression)
    for sign in (1.0, -1.0):
        _paint_eye(picture, face, expression, eyes_open, sign)
        _paint_brow(picture, face, expression, sign)
    _paint_nose(picture, face)
    _paint_mouth(picture, face, expression)
    return cv2.GaussianBlur(picture, (0, 0), 1.0)


def _draw(picture: np.ndarray, outline: np.ndarray, colour: tuple | np.ndarray, convex: bool = False) -> None:
    fill_polygon(picture, to_fixed_point(_px(outline)), tuple(float(channel) for channel in colour), convex)


def _soft_shading(picture: np.ndarray, face: Face, expression: float) -> np.ndarray:
    """The picture with hollows, folds and blush blurred into the skin. The light shades the relief later."""
    shade = np.full(picture.shape[:2], 255, np.uint8)
    blush = np.zeros(picture.shape[:2], np.uint8)
    raised = np.zeros(picture.shape[:2], np.uint8)

    def dark(outline: np.ndarray, share: float) -> None:
        _draw(shade, outline, (255 * (1 - share),))

    for sign in (1.0, -1.0):
        dark(_ellipse(sign * 0.035, 0.027, 0.026, 0.017, -0.1 * sign), 0.24)  # eye socket
        dark(_ellipse(sign * 0.011 * face.nose, 0.005, 0.005, 0.028, 0.08 * sign), 0.16)  # beside the nose
        dark(_ellipse(sign * 0.058, -0.052, 0.010, 0.032, -0.3 * sign), 0.10)  # under the cheekbone
        fold = np.array([[0.017, -0.022], [0.031, -0.040], [0.040 + 0.002 * expression, -0.058], [0.036, -0.058]])
        dark(np.concatenate([fold, [[0.027, -0.040]]]) * [sign, 1], 0.06 + 0.24 * expression)  # laughter line
        _draw(blush, _ellipse(sign * 0.048, -0.022 + 0.006 * expression, 0.021, 0.016), (255,), convex=True)
    dark(_ellipse(0, -0.0375, 0.018 * face.nose, 0.0055), 0.26)  # under the nose
    dark(_ellipse(0, -0.083, 0.019, 0.005), 0.2)  # under the lower lip
    dark(_ellipse(0, -0.134, 0.06, 0.014), 0.3)  # under the chin
    for x, y, rx, ry in ((0, 0.062, 0.034, 0.011), (0, -0.104, 0.014, 0.010), (0, 0.006, 0.0042, 0.026)):
        _draw(raised, _ellipse(x, y, rx, ry), (255,), convex=True)
    for sign in (1.0, -1.0):
        _draw(raised, _ellipse(sign * 0.050, -0.010, 0.017, 0.009, 0.3 * sign), (255,), convex=True)
    soft_shade, soft_blush, soft_raised = (
        cv2.GaussianBlur(mask, (0, 0), sigma)[..., None] / 255.0
        for mask, sigma in ((shade, 5.0), (blush, 11.0), (raised, 6.0))
    )
    tint = np.array([0.16, -0.10, -0.06]) * (0.4 + 0.8 * expression)
    coloured = picture * (1 + soft_blush * tint) * soft_shade + _RAISED * shine(face) * soft_raised
    return np.clip(coloured, 0, 255).astype(np.uint8)


def _paint_eye(picture: np.ndarray, face: Face, expression: float, eyes_open: float, sign: float) -> None:
    skin, (cx, cy) = np.array(face.skin, float), _EYE * [sign, 1]
    half = 0.0170
    upper, lower = (0.0072 + 0.0048 * expression) * eyes_open, (0.0050 + 0.0008 * expression) * eyes_open
    across = np.linspace(-1, 1, 13)
    # The outer corner lies a little higher than the inner one.
    slant = 0.0013 * across * sign
    arch = np.sqrt(1 - across**2) * 0.6 + (1 - across**2) * 0.4
    if eyes_open < 0.2:  # shut: the lid's lashes hang in an arc
        upper, lower = -0.0022, 0.0042
    top = np.stack([cx + half * across, cy + slant + upper * arch], 1)
    bottom = np.stack([cx + half * across, cy + slant - lower * arch], 1)
    lid = np.stack([cx + 1.14 * half * across, cy + slant + 0.0005 + (max(upper, 0.004) + 0.0055) * arch], 1)
    _draw(picture, np.concatenate([lid, bottom[::-1]]), skin * 0.84)
    if eyes_open >= 0.2:
        eye = picture.copy()
        _draw(eye, _ellipse(cx, cy, half * 1.1, 0.016), _WHITE)
        iris = np.array(face.eyes, float)
        for radius, colour in ((0.0094, iris * 0.6), (0.0082, iris), (0.0043, _DARK)):
            _draw(eye, _ellipse(cx, cy + 0.0008, radius, radius), colour, convex=True)
        _draw(eye, _ellipse(cx + 0.0028, cy + 0.0042, 0.0019, 0.0019), (255, 255, 255), convex=True)
        shadow = np.concatenate([top, (top - [0, 0.0022])[::-1]])
        _draw(eye, shadow, (150, 146, 146))  # the lid's shadow on the eye
        opening = np.zeros(picture.shape[:2], np.uint8)
        _draw(opening, np.concatenate([top, bottom[::-1]]), (255,))
        share = opening[..., None].astype(np.float32) / 255
        picture[:] = (picture * (1 - share) + eye * share).astype(np.uint8)
    lashes = np.stack([cx + 1.06 * half * across, cy + slant + upper * arch], 1)
    thick = np.stack([0 * across, 0.0011 + 0.0016 * arch], 1)
    _draw(picture, np.concatenate([lashes + thick, (lashes - thick * 0.35)[::-1]]), _DARK)
    _draw(picture, np.concatenate([bottom, (bottom - [0, 0.0011])[::-1]]), skin * 0.55)


def _paint_brow(picture: np.ndarray, face: Face, expression: float, sign: float) -> None:
    across = np.linspace(-1, 1, 9)
    middle = 0.0445 + 0.0085 * expression
    arch = (0.0045 + 0.002 * expression) * (1 - (across - 0.3) ** 2) - 0.0012 * across
    thick = 0.0036 * face.brow * np.clip(1.15 - 0.75 * np.clip(across, 0, 1), 0.3, 1)
    thick = thick * np.clip(3.2 * (across + 1.1), 0.3, 1)
    line = np.stack([sign * (0.0355 + 0.0205 * across), middle + arch], 1)
    offset = np.stack([0 * thick, thick], 1)
    colour = 0.72 * np.array(face.hair, float)
    skin = np.array(face.skin, float)
    brightest = 0.62 * skin.mean()  # fair and grey brows still are darker than the skin
    colour *= min(1.0, brightest / max(colour.mean(), 1))
    _draw(picture, np.concatenate([line + offset, (line - offset)[::-1]]), colour)


def _paint_nose(picture: np.ndarray, face: Face) -> None:
    skin = np.array(face.skin, float)
    for sign in (1.0, -1.0):
        x = sign * 0.0098 * face.nose
        _draw(picture, _ellipse(x, -0.0318, 0.0046 * face.nose, 0.0026, 0.25 * sign), skin * 0.32, convex=True)
        wing = np.array([[0.0150, -0.019], [0.0182, -0.027], [0.0160, -0.0335], [0.0148, -0.0325], [0.0166, -0.027]])
        _draw(picture, wing * [sign * face.nose, 1], skin * 0.66)
    _draw(picture, _ellipse(0, -0.0165, 0.0055 * face.nose, 0.006), np.minimum(skin * 1.09 + 4, 255), convex=True)
    _draw(picture, _ellipse(0, 0.008, 0.0032, 0.018), np.minimum(skin * 1.06 + 3, 255), convex=True)


def _paint_mouth(picture: np.ndarray, face: Face, expression: float) -> None:
    skin = np.array(face.skin, float)
    red = np.array([176, 78, 78]) if skin.mean() > 110 else np.array([132, 66, 66])
    lip = 0.42 * skin + 0.58 * red
    lower_lip = lip if skin.mean() > 110 else lip * 1.22
    half, corner = _mouth_corner(face, expression)
    opened = 0.0225 * np.clip((expression - 0.15) / 0.85, 0, 1)
    thick = 0.0062 * face.lips * (1 - 0.18 * expression)
    across = np.linspace(-1, 1, 17)
    bow = 1 - across**2
    # The line where the lips meet: level at rest, hanging between lifted corners in a smile.
    meet = corner - (0.0095 * expression - 0.001) * bow
    above, below = meet + 0.12 * opened * bow, meet - 0.88 * opened * bow
    cupid = bow**0.8 - 0.28 * np.exp(-((across / 0.16) ** 2))
    top, bottom = above + thick * cupid, below - 1.25 * thick * bow**0.7
    x = half * across

    def between(first: np.ndarray, second: np.ndarray, colour: tuple | np.ndarray, share: float = 1.0) -> None:
        upper, lower = np.stack([share * x, first], 1), np.stack([share * x, second], 1)
        _draw(picture, np.concatenate([upper, lower[::-1]]), colour)

    between(top, above, lip * 0.88)
    between(below, bottom, lower_lip)
    between(below - 0.5 * thick * bow, below - 0.85 * thick * bow, np.minimum(lip * 1.18 + 8, 255), 0.5)
    if opened > 0.001:
        between(above, below, _INSIDE)
        teeth = min(0.0115, 0.62 * opened)
        between(above, np.maximum(above - teeth * bow**0.35, below), _TEETH, 0.93)
    else:
        between(above + 0.0009, below - 0.0009, lip * 0.42)
    for sign in (1.0, -1.0):
        _draw(picture, _ellipse(sign * half, corner, 0.0024, 0.0020), lip * 0.45, convex=True)


@lru_cache(maxsize=64)
def relief(face: Face) -> np.ndarray:
    """Relief of a face, float32 [h, w, 3], placed like face_map, with RELIEF_PX_PER_M.

    Metres in front of the skull's ellipsoid, and the slopes of these to the head's left and upwards.
    """
    height, width = round(2 * HALF_HEIGHT * RELIEF_PX_PER_M), round(2 * HALF_WIDTH * RELIEF_PX_PER_M)
    x = (np.arange(width) + 0.5) / RELIEF_PX_PER_M - HALF_WIDTH
    y = HALF_HEIGHT - (np.arange(height) + 0.5) / RELIEF_PX_PER_M
    x, y = np.meshgrid(x, y)

    def bump(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
        return np.exp(-(((np.abs(x) - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)

    down = np.clip((0.034 - y) / 0.054, 0, 1)  # along the nose, 1 at its tip
    under = np.clip((y + 0.0365) / 0.0125, 0, 1)
    ridge = (0.0035 + 0.0155 * down**1.2) * np.clip((0.05 - y) / 0.016, 0, 1) * under**0.7
    wide = (0.0075 + 0.0055 * down) * face.nose
    stands_out = ridge * np.exp(-((x / wide) ** 2)) * (0.7 + 0.3 * face.nose)
    stands_out += 0.006 * bump(0.0135 * face.nose, -0.0265, 0.006 * face.nose, 0.008)  # the nose's wings
    stands_out += 0.0035 * face.brow**0.5 * bump(0.032, 0.043, 0.026, 0.011)  # brow ridge
    stands_out -= 0.0065 * bump(0.034, 0.020, 0.017, 0.012)  # eye sockets
    stands_out += 0.0035 * bump(0.050, -0.022, 0.020, 0.018)  # cheekbones
    stands_out += 0.0045 * bump(0, -0.061, 0.022, 0.011) * face.lips  # lips
    stands_out -= 0.0025 * bump(0, -0.081, 0.020, 0.006)
    stands_out += 0.0070 * bump(0, -0.108, 0.022, 0.018) * face.jaw  # chin
    stands_out *= np.clip((HALF_WIDTH - np.abs(x)) / 0.02, 0, 1)
    slope_x = np.gradient(stands_out, axis=1) * RELIEF_PX_PER_M
    slope_y = -np.gradient(stands_out, axis=0) * RELIEF_PX_PER_M
    return np.ascontiguousarray(np.stack([stands_out, slope_x, slope_y], -1), np.float32)
