"""Speeds of a dancer's limbs and their kinematic beats, from joint positions.

A kinematic beat is a local minimum of a limb's speed, a pose reached or a turn of direction, as in AIST++ (Li et al.,
"AI Choreographer", ICCV 2021). Poses are sampled 10 times a second and beats come twice: moments between samples are
interpolated.
"""

from dataclasses import dataclass

import numpy as np

from models.virality.skeleton import COCO17

RATE_HZ = 100  # of speed curves: that of the onset curve
# Joints of each limb and the joint that carries it, without which an arm would move with every step; -1: none.
_LIMBS = (
    ("left_arm", ("left_elbow", "left_wrist"), "left_shoulder"),
    ("right_arm", ("right_elbow", "right_wrist"), "right_shoulder"),
    ("left_leg", ("left_knee", "left_ankle"), "left_hip"),
    ("right_leg", ("right_knee", "right_ankle"), "right_hip"),
    ("trunk", ("left_shoulder", "right_shoulder", "left_hip", "right_hip"), ""),
)
LIMBS = tuple(name for name, _, _ in _LIMBS)
MAX_GAP_S = 0.35  # between two frames that a speed is taken from
_PROMINENCE = 0.25  # of the limb's mean speed, by which the speed rises on both sides of a kinematic beat


@dataclass(frozen=True)
class LimbSteps:
    """Speeds of V limbs between N pairs of neighbouring frames."""

    seconds: np.ndarray  # float64 [N] the middle between the two frames
    duration_s: np.ndarray  # float64 [N]
    speed: np.ndarray  # float64 [V, N] trunk lengths a second, root mean square of the limb's joints; NaN: not seen


def limb_steps(seconds: np.ndarray, position: np.ndarray, seen: np.ndarray) -> LimbSteps:
    """Speeds of the limbs of a COCO-17 skeleton.

    Speeds are those of whole steps from frame to frame, without any smoothing: a step is unbiased in time, whereas a
    derivative of a curve through the positions rings.

    Args:
        seconds: [T] ascending.
        position: [T, 17, C].
        seen: bool [T, 17]; a step with an end that is not seen has no speed.
    """
    step_s = np.diff(seconds)
    usable = (step_s > 1e-3) & (step_s <= MAX_GAP_S)
    speeds = []
    for _, names, carrier in _LIMBS:
        joints = [COCO17.joints.index(name) for name in names]
        vectors, shown = position[:, joints].astype(np.float64), seen[:, joints]
        if carrier:
            anchor = COCO17.joints.index(carrier)
            vectors, shown = vectors - position[:, [anchor]], shown & seen[:, [anchor]]
        both = shown[1:] & shown[:-1] & usable[:, None]
        squares = (np.diff(vectors, axis=0) ** 2).sum(2) / np.where(usable, step_s, np.inf)[:, None] ** 2
        count = both.sum(1)
        total = np.where(both, squares, 0.0).sum(1)
        # All joints of the limb, or none: a speed of the elbow alone is another curve than the wrist's.
        speeds.append(np.where(count == len(joints), np.sqrt(total / len(joints)), np.nan))
    return LimbSteps((seconds[1:] + seconds[:-1]) / 2, step_s, np.stack(speeds))


def speed_curves(steps: LimbSteps, end_s: float) -> np.ndarray:
    """Speeds float32 [V, S] at RATE_HZ from 0 s to `end_s`, by cubic splines; NaN where a limb is not seen."""
    from scipy.interpolate import CubicSpline  # here, for planning imports this module and needs none of it

    at = np.arange(int(np.floor(end_s * RATE_HZ)) + 1) / RATE_HZ
    curves = np.full((len(steps.speed), len(at)), np.nan, np.float32)
    for limb, speed in enumerate(steps.speed):
        for run in _runs(steps, np.isfinite(speed)):
            if len(run) < 4:
                continue
            times = steps.seconds[run]
            inside = (at >= times[0]) & (at <= times[-1])
            curves[limb, inside] = np.maximum(CubicSpline(times, speed[run])(at[inside]), 0.0)
    return curves


def _runs(steps: LimbSteps, known: np.ndarray) -> list[np.ndarray]:
    """Positions of steps that follow one another, all known."""
    at = np.flatnonzero(known)
    apart = (np.diff(at) > 1) | (np.diff(steps.seconds[at]) > MAX_GAP_S)
    return [run for run in np.split(at, np.flatnonzero(apart) + 1) if len(run)]


def find_kinematic_beats(curve: np.ndarray) -> np.ndarray:
    """Kinematic beats float32 [K] s of one limb's speed curve at RATE_HZ."""
    from scipy.signal import find_peaks

    known = np.isfinite(curve)
    if not known.any():
        return np.zeros(0, np.float32)
    level = float(curve[known].mean())
    # Unseen times are no minima: they are as high as nothing else.
    filled = np.where(known, curve, curve[known].max() + level)
    found, _ = find_peaks(-filled, prominence=_PROMINENCE * level)
    return (found[known[found]] / RATE_HZ).astype(np.float32)
