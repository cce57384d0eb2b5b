"""Edits that people make before they post a clip and that hide a modality, applied to drawn pictures.

A close-up, which hides the legs, is a shot of the camera (shots.close_up).
"""

import cv2
import numpy as np

_PLACE_SIGMA = 0.02  # of the picture's longer side: a phone's portrait mode at its strongest
_SMALLER = 8  # a strong blur is computed on a picture smaller by this
_FACE_SIGMA = 0.09  # of the face's width: still seen as a face, its expression hardly
_FACE_MARGIN = 0.25  # of the face's size, covered around it
_SEPIA = np.array([1.08, 1.0, 0.86])  # RGB


def blur_place(picture: np.ndarray) -> np.ndarray:
    """A new picture of a drawn place, uint8 [H, W, 3], out of focus."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (max(1, width // _SMALLER), max(1, height // _SMALLER)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), _PLACE_SIGMA * max(height, width) / _SMALLER)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def cover_face(picture: np.ndarray, face_box: np.ndarray) -> None:
    """Blur the face in place, as people do who want to stay unknown.

    Args:
        picture: uint8 [H, W, 3].
        face_box: [4] x1, y1, x2, y2 px; zeros: no visible face.
    """
    size = face_box[2:] - face_box[:2]
    if size.min() < 1:
        return
    low = np.maximum(np.floor(face_box[:2] - _FACE_MARGIN * size), 0).astype(int)
    high = np.ceil(face_box[2:] + _FACE_MARGIN * size).astype(int)
    part = picture[low[1] : high[1], low[0] : high[0]]
    blurred = cv2.GaussianBlur(part, (0, 0), _FACE_SIGMA * float(size[0]))
    inside = np.zeros(part.shape[:2], np.uint8)
    middle = ((face_box[:2] + face_box[2:]) / 2 - low).round().astype(int)
    axes = ((0.5 + _FACE_MARGIN) * size).round().astype(int)
    cv2.ellipse(inside, tuple(middle.tolist()), tuple(axes.tolist()), 0, 0, 360, 255, -1)
    part[inside > 0] = blurred[inside > 0]


def remove_colours(picture: np.ndarray, seed: int) -> None:
    """Make a picture black and white, or sepia, in place."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    tint = _SEPIA if np.random.default_rng((seed, 9)).random() < 0.5 else np.ones(3)
    np.clip(grey[..., None] * tint, 0, 255, out=picture, casting="unsafe")
