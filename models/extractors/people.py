"""The people and faces in a frame. Imports no torch, so that processes that make tracks of them start soon."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class People:
    """The people in one frame, most confident first."""

    keypoints: np.ndarray  # float32 [P, 17, 3] x, y in pixels of the frame given; score 0..1
    boxes: np.ndarray  # float32 [P, 4] x1, y1, x2, y2, same pixels
    scores: np.ndarray  # float32 [P] 0..1

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class FaceDetection:
    """A detected face."""

    box: np.ndarray  # float32 [4] x1, y1, x2, y2 in pixels of the frame; may reach outside it
    landmarks: np.ndarray  # float32 [5, 2] x, y of left eye, right eye, nose, left and right mouth corner, as seen
    probability: float  # of O-Net, above the last threshold


@dataclass(frozen=True)
class Face(FaceDetection):
    """A face with its picture and embedding."""

    crop: bytes  # JPEG of 160 x 160 px
    embedding: np.ndarray  # float16 [512], of length 1: the dot product of two is the similarity of the faces
