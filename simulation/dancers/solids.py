"""Rounded, shaded solids drawn with polygons: tubes with round ends, and strips between two outlines.

A solid is a row of stations along its axis, each with the two ends of its silhouette. Across, a solid is shaded as a
cylinder: n.l has one maximum, so all that is brighter than a level is one band of the silhouette. A few nested bands,
dark to bright, make the shading.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from simulation.geometry import Camera
from simulation.script import Light

STATIONS = 11  # of every solid: 4 for each round end, 3 between
TONES = 8
_SHIFT = 4  # binary places of a coordinate, for OpenCV: a sixteenth of a pixel
_CAP = np.radians([90.0, 58.0, 28.0, 0.0])
_BETWEEN = np.array([0.25, 0.5, 0.75])
_FILL = 0.32  # light that comes from the viewer's side, so that forms read under any main light
_WRAP = 0.35  # of n.l by which light reaches round a solid beyond where it grazes
_GAIN = 1.16  # of surfaces that face the light, against their own colour


@dataclass
class Solids:
    """Solids of one person, unordered. Lists of equal length, one entry a solid."""

    ends: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # float64 [3] metres each
    radii: list[tuple[float, float, float]] = field(default_factory=list)  # metres: first end, middle, last end
    caps: list[tuple[float, float]] = field(default_factory=list)  # 1 round end, 0 cut straight
    colours: list[tuple[float, float, float]] = field(default_factory=list)  # RGB 0..255
    depth_bias: list[float] = field(default_factory=list)  # metres taken off the depth when solids are sorted
    covers: list[int] = field(default_factory=list)  # index of the solid that it is painted right after; or its own

    def add(
        self,
        start: np.ndarray,
        end: np.ndarray,
        radii: tuple[float, float, float],
        colour: tuple[float, float, float],
        depth_bias: float = 0.0,
        caps: tuple[float, float] = (1.0, 1.0),
        covers: int | None = None,
    ) -> int:
        """Add one tube and return its index."""
        index = len(self.ends)
        self.ends.append((start, end))
        self.radii.append(radii)
        self.caps.append(caps)
        self.colours.append(colour)
        self.depth_bias.append(depth_bias)
        self.covers.append(index if covers is None else covers)
        return index


@dataclass(frozen=True)
class Strips:
    """Solids projected into the picture, ready to be painted."""

    left: np.ndarray  # float64 [N, STATIONS, 2] px
    right: np.ndarray  # float64 [N, STATIONS, 2] px
    bands: np.ndarray  # float64 [N, TONES, 2] begin and end of each tone across, -1 left .. 1 right
    brightness: np.ndarray  # float64 [N, TONES]
    depth: np.ndarray  # float64 [N] metres ahead of the camera, of the middle


def unit(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors along the last axis; zero vectors stay zero."""
    return vectors / np.maximum(np.sqrt((vectors * vectors).sum(-1, keepdims=True)), 1e-9)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of vectors in the last axis, without the overhead of np.cross."""
    return a[..., [1, 2, 0]] * b[..., [2, 0, 1]] - a[..., [2, 0, 1]] * b[..., [1, 2, 0]]


def tube_strips(solids: Solids, camera: Camera, light: Light) -> Strips:
    """Tubes projected and shaded."""
    ends = np.array(solids.ends)  # [N, 2, 3]
    radii, caps = np.array(solids.radii), np.array(solids.caps)
    axis = ends[:, 1] - ends[:, 0]
    view = unit(camera.position - ends.mean(1))
    side = cross(axis, view)
    pointed = (side * side).sum(-1) < 1e-4 * (axis * axis).sum(-1)  # at the camera, within half a degree
    side[pointed] = camera.rotation()[0]
    side = unit(side)
    along = cross(view, side)  # the axis as it lies in the picture
    front = unit(cross(side, axis + 1e-6 * along))
    share = np.concatenate([[0] * 4, _BETWEEN, [1] * 4])
    centres = ends[:, :1] + axis[:, None] * share[:, None]
    sine = np.sin(_CAP)
    before, after = -sine * (radii[:, :1] * caps[:, :1]), (sine * (radii[:, 2:] * caps[:, 1:]))[:, ::-1]
    out = np.concatenate([before, np.zeros((len(ends), 3)), after], 1)
    centres += out[..., None] * along[:, None]
    first, last = (radii[:, [at]] * np.where(caps[:, [cap]] > 0, np.cos(_CAP), 1.0) for at, cap in ((0, 0), (2, 1)))
    halves = np.concatenate([first, _taper(radii), last[:, ::-1]], 1)
    return project_strips(centres, side[:, None] * halves[..., None], side, front, camera, light)


def _taper(radii: np.ndarray) -> np.ndarray:
    """Radii [N, 3] at a quarter, a half and three quarters, on the parabola through start, middle and end [N, 3]."""
    start, middle, end = radii.T
    return np.stack(
        [0.375 * start + 0.75 * middle - 0.125 * end, middle, 0.375 * end + 0.75 * middle - 0.125 * start], 1
    )


def project_strips(
    centres: np.ndarray, halves: np.ndarray, side: np.ndarray, front: np.ndarray, camera: Camera, light: Light
) -> Strips:
    """Solids projected and shaded, from their stations.

    `centres` [N, STATIONS, 3] metres, `halves` [N, STATIONS, 3] from there to the right end of the silhouette; `side`
    and `front` [N, 3]: unit vectors across the axis, to the right end and towards the camera.
    """
    placed, depth = camera.project(np.stack([centres - halves, centres + halves]))
    # Light from above counts less here: or a limb's two bones, which lean differently, would differ in shade.
    key = light.direction * (1 - _FILL) * [1.0, 0.5, 1.0]
    across, ahead = side @ key, front @ key + _FILL
    strength, towards = np.hypot(across, ahead), np.arctan2(across, ahead)
    # n.l = strength * cos(angle - towards) over the visible half, angles -90 to 90 degrees.
    brightest = strength * np.cos(np.clip(towards, -np.pi / 2, np.pi / 2) - towards)
    darkest = np.minimum(strength * np.cos(np.pi / 2 - towards), strength * np.cos(np.pi / 2 + towards))
    steps = np.arange(TONES) / TONES
    level = darkest[:, None] + (brightest - darkest)[:, None] * steps
    reach = np.arccos(np.clip(level / np.maximum(strength, 1e-6)[:, None], -1, 1))
    bands = np.sin(np.clip(np.stack([towards[:, None] - reach, towards[:, None] + reach], -1), -np.pi / 2, np.pi / 2))
    bands[:, 0] = (-1.0, 1.0)
    shown = level + (brightest - darkest)[:, None] * (0.5 / TONES)
    return Strips(placed[0], placed[1], bands, brightness(shown, light.ambient), depth.mean((0, 2)))


def brightness(lit: np.ndarray, ambient: float) -> np.ndarray:
    """Brightness 0.4 to 1.16 of n.l (-1..1) with ambient light; exposed so that people are seen, as phones do."""
    ambient = 0.36 + 0.4 * ambient
    return _GAIN * (ambient + (1 - ambient) * np.maximum((lit + _WRAP) / (1 + _WRAP), 0))


def join_strips(parts: list[Strips]) -> Strips:
    """All strips in one object."""
    names = ("left", "right", "bands", "brightness", "depth")
    return Strips(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def tone_polygons(left: np.ndarray, right: np.ndarray, bands: np.ndarray) -> np.ndarray:
    """Polygons int32 [N, tones, 2 * S, 2], in OpenCV's fixed point, of bands across strips.

    `bands` [N, tones, 2] lie across the strips between `left` and `right` [N, S, 2] px.
    """
    low, high = (0.5 + 0.5 * bands[..., at, None, None] for at in (0, 1))
    left, span = left[:, None], (right - left)[:, None]
    return to_fixed_point(np.concatenate([left + span * low, (left + span * high)[:, :, ::-1]], 2))


def scaled(values: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    """A colour or three radii times a factor."""
    return values[0] * factor, values[1] * factor, values[2] * factor


def to_fixed_point(points: np.ndarray) -> np.ndarray:
    """Pixels in OpenCV's fixed point, int32."""
    return np.rint(np.clip(points, -4000, 4000) * (1 << _SHIFT)).astype(np.int32)


def fill_polygon(picture: np.ndarray, polygon: np.ndarray, colour: Sequence[float], convex: bool = True) -> None:
    """Draw an anti-aliased polygon, int32 [n, 2] in fixed point."""
    if convex:
        cv2.fillConvexPoly(picture, polygon, colour, cv2.LINE_AA, _SHIFT)
    else:
        cv2.fillPoly(picture, [polygon], colour, cv2.LINE_AA, _SHIFT)


def tone_colours(colour: np.ndarray, brightness: np.ndarray, light: Light) -> list:
    """RGB of every tone of every solid, N lists of TONES lists of 3; colour [N, 3], brightness [N, TONES]."""
    shown = colour[:, None] * np.array(light.colour) * brightness[..., None]
    return np.minimum(shown, 255).tolist()
