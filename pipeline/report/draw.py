"""What was found, drawn over pictures, and pictures as small files."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from models.virality.skeleton import COCO17

# Orange and blue differ for every kind of colour vision; the dancer's left and right.
LEFT, RIGHT, MIDDLE, OTHERS, FACE = (255, 159, 64), (64, 196, 255), (245, 245, 245), (170, 170, 170), (120, 255, 150)
_MIN_SCORE = 0.3  # the threshold that mmpose draws with
_HEAD = 5  # joints below it are the head's
_FINE = 16  # cv2's coordinates are in sixteenths of a px
_QUALITIES = (60, 40, 25, 10)
_EFFORT = 2  # of WebP: 4, the default, takes more than twice the time for files a twentieth smaller


def draw_person(picture: np.ndarray, keypoints: np.ndarray, lead: bool, thickness: int) -> None:
    """Draws into the picture, uint8 [H, W, 3] RGB. keypoints: float [17, 3] x, y in its pixels, score 0..1."""
    places = _fine(keypoints[:, :2])
    seen = keypoints[:, 2] >= _MIN_SCORE
    for joint, parent in COCO17.edges:
        if seen[joint] and seen[parent]:
            name = COCO17.joints[joint]
            sided = MIDDLE if joint < _HEAD else LEFT if name.startswith("left") else RIGHT
            thin = 1 if joint < _HEAD or not lead else thickness
            cv2.line(picture, places[joint], places[parent], sided if lead else OTHERS, thin, cv2.LINE_AA, 4)


def draw_box(picture: np.ndarray, box: np.ndarray) -> None:
    """box: float [4] x1, y1, x2, y2 in the picture's pixels."""
    low, high = _fine(box.reshape(2, 2))
    cv2.rectangle(picture, low, high, FACE, 1, cv2.LINE_AA, 4)


def _fine(places: np.ndarray) -> list[list[int]]:
    """[N, 2] in px as cv2 takes them."""
    return (np.nan_to_num(places).clip(-1e4, 1e4) * _FINE).round().astype(int).tolist()


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture with its longer side at most `side` px."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return picture if scale == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def strip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one size, side by side."""
    return np.concatenate(pictures, axis=1)


def webp(picture: np.ndarray, most_bytes: int) -> bytes:
    """The picture as WebP, as good as fits into so many bytes; at the lowest quality it may be more."""
    for quality in _QUALITIES:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "WEBP", quality=quality, method=_EFFORT)
        if file.tell() <= most_bytes:
            break
    return file.getvalue()


def read_jpeg(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3] RGB.

    Raises:
        ValueError: it is no picture.
    """
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a face's crop is no picture that OpenCV can read")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
