"""The lead dancer of each clip as a small looping skeleton: a few frames a second, a byte a number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.modalities.record import Grid
from pipeline.modalities.tracks import Track
from pipeline.report.values import packed

FPS = 5.0  # at most
LEAST_FPS = 2.0  # slower, and the motion is no longer one: rather a shorter piece of the clip
FRAMES = 130_000  # in the whole page: 51 bytes each, a third more as base64, are 9 MB
_MARGIN = 0.03  # of the box, around what is seen
_STRAYS = 0.5  # per cent at each end that do not stretch the box: a wild key point would shrink the dancer


@dataclass(frozen=True)
class Pace:
    """How much of a clip's skeleton is shown."""

    fps: float
    seconds: float  # from the clip's start


def pace(durations: Sequence[float], frames: int) -> Pace:
    """As fast and as long as fits into so many frames for all clips together. durations: seconds a clip."""
    total = sum(duration + 1 / FPS for duration in durations)
    fps = min(FPS, frames / total) if total else FPS
    if fps >= LEAST_FPS:
        return Pace(fps, max(durations, default=0.0) + 1.0)
    return Pace(LEAST_FPS, frames / LEAST_FPS / len(durations))


@dataclass(frozen=True)
class Preview:
    """T frames, evenly spaced from the clip's start."""

    fps: float
    joints: np.ndarray  # uint8 [T, 17, 3] x, y in the box, 255 where the joint is seen
    aspect: float  # width of the box over its height
    seconds: np.ndarray  # float64 [T]

    def entry(self) -> dict:
        return {"fps": self.fps, "joints": packed(self.joints), "aspect": self.aspect}


def preview(track: Track | None, grid: Grid, pace: Pace, min_score: float) -> Preview | None:
    """None: the clip has no lead dancer, or none of the joints is ever seen.

    min_score: a joint below it counts as not seen.
    """
    if track is None or not track.valid.any():
        return None
    seen = track.valid[:, None] & (track.keypoints[..., 2] >= min_score) & np.isfinite(track.keypoints).all(-1)
    if not seen.any():
        return None
    times = grid.timestamp.astype(np.float64)
    count = int(min(times[-1], pace.seconds) * pace.fps) + 1
    seconds = np.arange(count) / pace.fps
    nearest = np.abs(times[None, :] - seconds[:, None]).argmin(1)
    # A frame far from its moment, in a gap of the grid, is not shown in its place.
    shown = seen[nearest] & (np.abs(times[nearest] - seconds) <= 1 / pace.fps)[:, None]
    places = track.keypoints[..., :2]
    low, high = np.percentile(places[seen], [_STRAYS, 100 - _STRAYS], axis=0)
    around = _MARGIN * (high - low).max() + 1.0
    low, high = low - around, high + around
    inside = ((places[nearest] - low) / (high - low)).clip(0, 1)
    joints = np.zeros((count, places.shape[1], 3), np.uint8)
    joints[..., :2] = np.where(shown[..., None], np.round(np.nan_to_num(inside) * 255), 0)
    joints[..., 2] = np.where(shown, 255, 0)
    width, height = high - low
    return Preview(pace.fps, joints, float(width / height), seconds)
