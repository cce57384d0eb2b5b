"""An extractor that finds the bright square of rendered clips. Imports little: processes of tests are to start soon."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.extractors.extractor import Extractor, Prepared
from models.extractors.people import Face, People
from tests.support.pictures import jpeg


class SquareFinder(Extractor):
    """Finds the bright square of benchmarks.tiny_clips, exactly: a face, or a person six times its size around its
    middle.

    (A person as small as the square would not be the same one in the next frame: it moves by half its size.) Where
    there is no square there is nobody. So a test knows what a frame must give, and which frame a row is of.
    """

    def __init__(self, modality: str, batch_size: int = 4):
        self.modality = modality
        self.batch_size = batch_size
        self.frames_seen = 0

    def prepare(self, frames: Tensor) -> Prepared:
        self.frames_seen += len(frames)
        boxes = [_square(frame) for frame in frames.numpy()]
        if self.modality == "pose":  # one result a frame, an empty one too
            return Prepared(torch.zeros(len(boxes), 1), list(range(len(boxes))), boxes)
        found = [(index, box) for index, box in enumerate(boxes) if box is not None]
        return Prepared(torch.zeros(len(found), 1), [index for index, _ in found], [box for _, box in found])

    def launch(self, inputs: Tensor, extras: list[Any]) -> Tensor:
        assert len(inputs) == len(extras) <= self.batch_size
        return inputs

    def collect(self, outputs: Tensor, extras: list[Any]) -> list[Any]:
        return [(_person if self.modality == "pose" else _face)(box) for box in extras]


def _square(frame: np.ndarray) -> np.ndarray | None:
    """float32 [4] x1, y1, x2, y2 of the bright pixels of a frame uint8 [H, W, 3]."""
    rows, columns = np.nonzero(frame.min(axis=2) > 130)
    if not len(rows):
        return None
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)


def _person(box: np.ndarray | None) -> People:
    if box is None:
        return People(np.zeros((0, 17, 3), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    body = person_box(box)
    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 0.9]
    return People(np.full((1, 17, 3), middle, np.float32), body[None], np.array([0.8], np.float32))


def person_box(square: np.ndarray) -> np.ndarray:
    """[..., 4] of the person that the finder makes of a square."""
    margin = 2.5 * (square[..., 2:] - square[..., :2])
    return np.concatenate([square[..., :2] - margin, square[..., 2:] + margin], axis=-1)


def _face(box: np.ndarray) -> Face:
    landmarks = np.full((5, 2), [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], np.float32)
    return Face(box, landmarks, 0.7, jpeg(90), np.full(512, 1 / 512**0.5, np.float16))
