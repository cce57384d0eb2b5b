"""Camera positions: shots from one place each, held by hand, with a cut now and then."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simulation.geometry import Camera
from simulation.script import Shot

FIELD_OF_VIEW = np.radians(60.0)  # of the picture's longer side: a phone's main lens, 26 mm on full frame
REACH_M = 2.3  # the raised hands of a tall dancer, which the tilt keeps in the picture
FORWARD_M = 0.2  # feet may stand this far in front of the origin
CLOSE_UP_LOWEST_M = 0.8  # a little below the hips
CUT_SHARE = 0.12  # of clips have a cut
SHORTEST_SHOT_S = 2.0

# Movement of a hand at shake 1: scales of the sum of sinusoids below, metres and radians.
_SHAKE_M = np.array([0.035, 0.025, 0.03])
_SHAKE_RAD = np.radians([1.6, 1.3, 1.0])  # pan, tilt, roll
_SHAKE_HZ = (0.17, 0.43, 0.9, 1.7)  # slow drift, breath, body sway, steps
_SHAKE_SHARES = np.array([0.8, 0.5, 0.3, 0.12])


def focal_length_px(width: int, height: int) -> float:
    """Focal length of a phone whose upright picture has this size."""
    return max(width, height) / 2 / float(np.tan(FIELD_OF_VIEW / 2))


def cameras(shots: Sequence[Shot], seconds: np.ndarray, width: int, height: int) -> list[Camera]:
    """One camera a moment, of the shot that began last: aimed so that feet and raised hands fit, moved by the hand.

    Args:
        shots: by start_s, the first at or before the first moment.
        seconds: [T] moments of the clip.
        width: of the upright picture, px.
        height: of the upright picture, px.

    Raises:
        ValueError: a moment before the first shot.
    """
    moments = np.asarray(seconds, np.float64)
    starts = np.array([shot.start_s for shot in shots])
    current = np.searchsorted(starts, moments, side="right") - 1
    if len(moments) and current.min() < 0:
        raise ValueError(f"{moments.min()} s: before the first shot, which starts at {starts.min(initial=np.inf)} s")
    swayed = [_sway(shot, moments) for shot in shots]
    return [
        _camera(shots[shot], swayed[shot][index], focal_length_px(width, height), width, height)
        for index, shot in enumerate(current)
    ]


def draw_shots(rng: np.random.Generator, duration_s: float, width: int, height: int) -> tuple[Shot, ...]:
    """Random shots of a clip with a picture of this size: one, seldom two."""
    starts = [0.0]
    if rng.random() < CUT_SHARE and duration_s >= 2 * SHORTEST_SHOT_S:
        starts.append(round(float(rng.uniform(SHORTEST_SHOT_S, duration_s - SHORTEST_SHOT_S)), 3))
    return tuple(_draw_shot(rng, start_s, width, height) for start_s in starts)


def close_up(shot: Shot, width: int, height: int) -> Shot:
    """The shot from so near that the picture ends above the knees."""
    near = 0.58 if height >= width else 0.5
    return replace(shot, distance_m=near * shot.distance_m, lowest_m=CLOSE_UP_LOWEST_M)


def _draw_shot(rng: np.random.Generator, start_s: float, width: int, height: int) -> Shot:
    # From the nearest place where raised arms fit to where 1.7 m still are 45 % of an upright picture's height (in
    # landscape nearly all of the height is needed anyway).
    near, far = (2.6, 3.2) if height >= width else (4.0, 4.5)
    shake = rng.choice([0.0, rng.uniform(0.08, 0.4), rng.uniform(0.4, 1.0)], p=[0.35, 0.5, 0.15])
    return Shot(
        start_s=start_s,
        distance_m=float(rng.uniform(near, far)),
        height_m=float(rng.uniform(0.85, 1.5)),
        offset_m=float(rng.uniform(-0.4, 0.4)),
        shake=float(shake),
        seed=int(rng.integers(1 << 31)),
    )


def _sway(shot: Shot, moments: np.ndarray) -> np.ndarray:
    """Displacement of the hand float64 [T, 6]: x, y, z in metres, pan, tilt, roll in radians."""
    rng = np.random.default_rng((shot.seed, 1))
    frequency = np.array(_SHAKE_HZ) * rng.uniform(0.8, 1.25, (6, len(_SHAKE_HZ)))
    phase = rng.uniform(0, 2 * np.pi, frequency.shape)
    waves = np.sin(2 * np.pi * frequency * moments[:, None, None] + phase) @ _SHAKE_SHARES
    return shot.shake * waves * np.concatenate([_SHAKE_M, _SHAKE_RAD])


def _camera(shot: Shot, sway: np.ndarray, focal_px: float, width: int, height: int) -> Camera:
    ahead = float(np.sqrt(max(0.0, shot.distance_m**2 - shot.offset_m**2)))
    lowest = np.arctan2(shot.lowest_m - shot.height_m, shot.distance_m - FORWARD_M)
    hands = np.arctan2(REACH_M - shot.height_m, shot.distance_m)
    return Camera(
        position=np.array([shot.offset_m, shot.height_m, ahead]) + sway[:3],
        focal_px=focal_px,
        width=width,
        height=height,
        pan=float(np.arctan2(-shot.offset_m, ahead) + sway[3]),
        tilt=float((lowest + hands) / 2 + sway[4]),
        roll=float(sway[5]),
    )
