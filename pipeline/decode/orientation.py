"""Orientation of a clip's pictures: the display matrix of a stream, of a single picture, or of its Exif.

FFmpeg hands all three out as one matrix on each decoded picture; a stream's own comes with the first.
"""

import math
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

from pipeline.core.errors import ClipError

_TOLERANCE = math.sin(math.radians(1.5))  # FFmpeg's autorotate takes the nearest quarter turn up to this angle, too


def _unknown_side_data(cls: type, value: int) -> Any:
    """A nameless member of PyAV's enumeration of side data.

    PyAV 18.1 lacks what FFmpeg 8 added (31: Exif), and its list of a picture's side data cannot be read at all where
    one kind has no name (mended in PyAV's pull request 2392).
    """
    member: Any = object.__new__(cls)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return member


Type._missing_ = classmethod(_unknown_side_data)  # type: ignore[assignment, method-assign]


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a stored picture may lie: turn it, then mirror it, and it is upright."""

    turns: int = 0  # quarter turns clockwise, 0..3
    mirrored: bool = False  # left and right to be swapped, after the turns

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The upright picture [H, W, 3], a view of the stored one."""
        turned = np.rot90(picture, -self.turns)
        return turned[:, ::-1] if self.mirrored else turned

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (height, width) if self.turns % 2 else (width, height)

    def after_decord(self) -> "Orientation":
        """What is left to do to a picture of decord, which turns by the angle of the matrix and mirrors nothing.

        A mirrored picture's angle is that of its upper row, so one that is only flipped from left to right is turned
        upside down.
        """
        done = self.turns + 2 if self.mirrored and self.turns % 2 == 0 else self.turns
        return Orientation((self.turns - done) % 4, self.mirrored)


UPRIGHT = Orientation()


def orientation_of(picture: Any, before: Orientation = UPRIGHT) -> Orientation:
    """Orientation of a decoded PyAV picture.

    before: of the picture before, which holds on where this one says nothing: a message in H.264 or HEVC comes with
        some pictures only.

    Raises:
        ClipError: unsupported, where the matrix shears the picture or turns it by other than quarter turns.
    """
    # The first counts where there are several, as in FFmpeg.
    matrix = next((data for data in picture.side_data if data.type is Type.DISPLAYMATRIX), None)
    return before if matrix is None else orientation_of_matrix(np.frombuffer(matrix, np.int32).tolist())


def orientation_of_matrix(matrix: list[int]) -> Orientation:
    """Orientation by a display matrix, nine fixed-point numbers (a, b, u, c, d, v, x, y, w) as in libavutil/display.h.

    The stored point (x, y) is shown at (a x + c y, b x + d y). A matrix of zeros, as broken writers leave it, says
    nothing. Lengths are not looked at: FFmpeg's demuxer makes them the shape of a pixel.

    Raises: as `orientation_of`.
    """
    a, b, _, c, d = matrix[:5]
    across, down = math.hypot(a, c), math.hypot(b, d)
    if across == 0 or down == 0:
        return UPRIGHT
    parts = (a / across, b / down, c / across, d / down)
    if any(_TOLERANCE < abs(part) < 1 - _TOLERANCE for part in parts) or abs(round(parts[0])) == abs(round(parts[1])):
        raise ClipError(
            "unsupported",
            f"the pictures are to be shown sheared or turned by an odd angle (display matrix {a / 65536:g} "
            f"{b / 65536:g} {c / 65536:g} {d / 65536:g}); only quarter turns and mirrors are",
        )
    a, b, c, d = (round(part) for part in parts)
    mirrored = a * d - b * c < 0
    # A mirror behind the turn has swapped the sign of what goes to the left or right.
    turns = {(1, 0): 0, (0, 1): 1, (-1, 0): 2, (0, -1): 3}[(-a if mirrored else a, b)]
    return Orientation(turns, mirrored)


def first_orientation(container: Any, stream: Any) -> Orientation:
    """Orientation of a stream's first picture, UPRIGHT where none decodes. Raises: as `orientation_of`."""
    try:
        for picture in container.decode(stream):
            return orientation_of(picture)
    except (av.FFmpegError, ValueError):
        pass  # a probe only describes; that nothing decodes is for the decoding to report
    return UPRIGHT
