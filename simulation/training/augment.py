"""Random changes of a picture like those by cameras, light and compression, so that a network ignores them."""

import cv2
import numpy as np


def jitter_colours(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, 3] RGB in other light, contrast, tint and saturation; at times grey, blurred or noisy."""
    values = picture.astype(np.float32)
    values *= rng.uniform(0.7, 1.3, 3) if rng.random() < 0.3 else rng.uniform(0.7, 1.3)
    mean = values.mean()
    values = (values - mean) * rng.uniform(0.7, 1.3) + mean + rng.uniform(-25, 25)
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.4, 1.5)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * saturation
    return degrade(values.clip(0, 255).astype(np.uint8), rng)


def degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, 3] a little lighter or darker, at times blurred or noisy, in the same colours."""
    values = picture.astype(np.float32) * rng.uniform(0.92, 1.08)
    if rng.random() < 0.2:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.2)))
    if rng.random() < 0.3:
        values = values + rng.normal(0, rng.uniform(2, 10), (*picture.shape[:2], 1)).astype(np.float32)
    return values.clip(0, 255).astype(np.uint8)


def shift_hues(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, 3] RGB, at times with all hues shifted, or grey."""
    chance = rng.random()
    if chance < 0.3:
        hues = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV))
        hues[..., 0] = (hues[..., 0].astype(int) + int(rng.integers(180))) % 180
        return np.asarray(cv2.cvtColor(hues, cv2.COLOR_HSV2RGB))
    if chance < 0.4:
        return np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    return picture


def random_affine(picture: np.ndarray, rng: np.random.Generator, size: float, shift: float, turn: float) -> np.ndarray:
    """uint8 [H, W, 3] mirrored half the time, then resized, moved and turned about the middle.

    `size` is the largest change of the size, as a share, `shift` the largest move along each axis, as a share of the
    side, and `turn` the largest angle, rad.
    """
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    height, width = picture.shape[:2]
    scale, angle = np.exp(rng.uniform(-size, size)), rng.uniform(-turn, turn)
    x, y = rng.uniform(-shift, shift, 2) * (width, height)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), np.degrees(angle), scale)
    matrix += [[0, 0, x], [0, 0, y]]
    return cv2.warpAffine(np.ascontiguousarray(picture), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
