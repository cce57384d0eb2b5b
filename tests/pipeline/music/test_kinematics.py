"""Speeds of limbs and their kinematic beats: between samples, and nothing of what is not seen."""

import numpy as np
import pytest

from pipeline.music.kinematics import LIMBS, RATE_HZ, find_kinematic_beats, limb_steps, speed_curves

SECONDS = np.arange(0, 6, 0.1)
WRIST, ELBOW, SHOULDER = 9, 7, 5  # left


def swinging(period_s: float, first_s: float) -> np.ndarray:
    """Positions [T, 17, 2] of somebody whose left wrist and elbow turn at first_s and every half period after."""
    position = np.zeros((len(SECONDS), 17, 2))
    swing = np.cos(2 * np.pi * (SECONDS - first_s) / period_s)
    position[:, WRIST, 0], position[:, ELBOW, 0] = swing, 0.5 * swing
    return position


def test_kinematic_beats_lie_where_a_limb_turns_also_between_samples() -> None:
    turns = 0.333 + 0.6 * np.arange(10)
    steps = limb_steps(SECONDS, swinging(1.2, 0.333), np.ones((60, 17), bool))
    curves = speed_curves(steps, 5.9)
    found = find_kinematic_beats(curves[LIMBS.index("left_arm")])
    np.testing.assert_allclose(found, turns, atol=0.03)
    for limb in ("right_arm", "left_leg", "trunk"):
        assert not len(find_kinematic_beats(curves[LIMBS.index(limb)]))


def test_a_limb_moves_against_the_joint_that_carries_it() -> None:
    carried = np.zeros((60, 17, 2))
    carried[:] = np.sin(SECONDS)[:, None, None]  # somebody who walks to and fro and holds still
    steps = limb_steps(SECONDS, carried, np.ones((60, 17), bool))
    still = np.array([name != "trunk" for name in LIMBS], bool)
    np.testing.assert_allclose(steps.speed[still], 0, atol=1e-12)
    np.testing.assert_allclose(steps.speed[~still][0], np.sqrt(2) * np.abs(np.diff(np.sin(SECONDS))) / 0.1)


def test_speeds_are_those_of_uneven_frames_and_none_over_a_gap() -> None:
    seconds = np.array([0.0, 0.1, 0.15, 0.35, 0.35, 1.0, 1.1])
    position = np.zeros((7, 17, 2))
    position[:, [WRIST, ELBOW], 1] = 3 * seconds[:, None]
    arm = limb_steps(seconds, position, np.ones((7, 17), bool)).speed[LIMBS.index("left_arm")]
    np.testing.assert_allclose(arm[[0, 1, 2, 5]], 3)
    assert np.isnan(arm[[3, 4]]).all()  # two frames at one time, and 0.65 s without any


@pytest.mark.parametrize("joint", [WRIST, ELBOW, SHOULDER])
def test_what_is_not_seen_has_no_speed_and_no_beats(joint: int) -> None:
    seen = np.ones((60, 17), bool)
    seen[20:35, joint] = False
    steps = limb_steps(SECONDS, swinging(1.2, 0.333), seen)
    arm = LIMBS.index("left_arm")
    assert np.flatnonzero(np.isnan(steps.speed[arm])).tolist() == list(range(19, 35))
    curve = speed_curves(steps, 5.9)[arm]
    times = np.arange(len(curve)) / RATE_HZ
    hidden = (times > 1.9) & (times < 3.5)
    assert np.isnan(curve[hidden]).all()
    found = find_kinematic_beats(curve)
    assert len(found) == 7
    assert not ((found > 1.85) & (found < 3.55)).any()
