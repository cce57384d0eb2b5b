"""Coordinates of the world and its camera.

Metres, right-handed: x to the viewer's right, y up, z towards the viewer. The floor is y = 0, the lead dances about the
origin facing +z, so a dancer's left side is at +x while she faces the camera.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# The points of a body, as performed and as drawn.
JOINTS = (
    "pelvis", "chest", "neck", "head",  # head: the middle of the skull
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand",
    "right_hand", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_toe",
    "right_toe",
)  # fmt: skip
JOINT = {name: index for index, name in enumerate(JOINTS)}

# Points on the skull: metres in the head's own axes (x to its left, y up, z where it looks), for a
# head of HEAD_RADIUS; a body's `head_size` scales them.
HEAD_RADIUS = 0.105  # half the width of the skull
HEAD_POINTS = {
    "nose": (0.0, -0.02, 0.118),
    "left_eye": (0.036, 0.022, 0.092),
    "right_eye": (-0.036, 0.022, 0.092),
    "left_ear": (0.102, 0.0, -0.005),
    "right_ear": (-0.102, 0.0, -0.005),
    "left_mouth": (0.027, -0.062, 0.094),
    "right_mouth": (-0.027, -0.062, 0.094),
}


@dataclass(frozen=True)
class Camera:
    """Pinhole camera at one moment; looks along -z before it is turned."""

    position: np.ndarray  # float64 [3] metres
    focal_px: float
    width: int  # px of the upright picture
    height: int
    pan: float = 0.0  # rad, to the viewer's right
    tilt: float = 0.0  # rad, upwards
    roll: float = 0.0  # rad, clockwise as the viewer sees the camera turn

    def rotation(self) -> np.ndarray:
        """Rotation matrix float64 [3, 3], read only: rows are the camera's right, up and back in world axes."""
        return self._rotation

    @cached_property
    def _rotation(self) -> np.ndarray:
        cp, sp, ct, st, cr, sr = (f(a) for a in (self.pan, self.tilt, self.roll) for f in (np.cos, np.sin))
        pan = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        tilt = np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        turned = roll @ tilt.T @ pan
        turned.flags.writeable = False
        return turned

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [..., 2] and depth [...] in metres of world points [..., 3].

        Pixels: x right, y down, centres at .0. Points behind the camera have a depth <= 0 and meaningless pixels.
        """
        local = (np.asarray(points, np.float64) - self.position) @ self.rotation().T
        depth = -local[..., 2]
        safe = np.maximum(depth, 1e-6)[..., None]
        middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        return middle + self.focal_px * local[..., :2] * np.array([1.0, -1.0]) / safe, depth
