"""The people in a frame. Imports no torch: processes that make tracks of them start in a fraction of the time."""

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
