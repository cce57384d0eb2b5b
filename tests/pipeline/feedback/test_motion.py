"""A dance as vectors of limbs: nothing is lost on the way there and back, and what was not seen stays unknown."""

from dataclasses import replace

import numpy as np
import pytest

from models.virality.skeleton import COCO17, KINECT22, Posture
from pipeline.feedback.motion import LIMBS, RATE_HZ, limb_joints, mirror, to_motion, to_positions, to_vectors
from tests.pipeline.feedback.simulated_dancers import mirrored_posture, motion_of, posture


@pytest.mark.parametrize("layout", [COCO17, KINECT22])
def test_vectors_lead_back_to_the_positions(layout):
    position = np.random.default_rng(0).normal(size=(5, len(layout.joints), 2))
    again = to_positions(to_vectors(position, layout), layout)
    np.testing.assert_allclose(again, position, atol=1e-9)


@pytest.mark.parametrize("layout", [COCO17, KINECT22])
def test_every_joint_is_one_limbs(layout):
    joints = limb_joints(layout)
    assert tuple(joints) == LIMBS
    assert sorted(joint for members in joints.values() for joint in members) == [*range(len(layout.joints) + 1)]


def test_moving_a_limbs_vectors_moves_that_limb_only():
    vectors = to_vectors(posture().position)
    moved = vectors.copy()
    moved[:, list(limb_joints()["left_arm"])] += 0.1
    changed = np.abs(to_positions(moved) - to_positions(vectors)).max((0, 2)) > 0.01
    assert np.flatnonzero(changed).tolist() == [COCO17.joints.index("left_elbow"), COCO17.joints.index("left_wrist")]


def test_a_dance_keeps_its_motion_at_an_even_rate():
    one = posture()
    dance = motion_of(one)
    np.testing.assert_allclose(np.diff(dance.seconds), 1 / RATE_HZ)
    at = np.searchsorted(dance.seconds, one.seconds[10:-10] - 1e-6)
    np.testing.assert_allclose(to_positions(dance.vectors)[at], one.position[10:-10], atol=1e-5)


def test_a_mirrored_dance_is_that_of_a_mirrored_picture():
    one = posture()
    np.testing.assert_allclose(mirror(motion_of(one)).vectors, motion_of(mirrored_posture(one)).vectors, atol=1e-6)


def test_what_hangs_on_a_joint_out_of_sight_is_not_seen_there():
    one = posture()
    seen = np.ones_like(one.seen)
    seen[20:40, COCO17.joints.index("left_elbow")] = False
    seen[50, COCO17.joints.index("right_wrist")] = False  # so short a gap is bridged
    dance = motion_of(replace(one, seen=seen))
    gone = (dance.seconds > 2.0) & (dance.seconds < 3.9)
    assert not dance.seen[gone][:, [COCO17.joints.index("left_elbow"), COCO17.joints.index("left_wrist")]].any()
    assert dance.seen[:, COCO17.joints.index("right_wrist")].all()
    assert dance.seen[~gone & (dance.seconds > 4)].all()


def test_less_than_a_second_is_no_dance():
    one = posture()
    seen = np.zeros_like(one.seen)
    seen[10:19] = True
    assert to_motion(replace(one, seen=seen)) is None
    assert to_motion(replace(one, seen=np.zeros_like(seen))) is None
    seen[10:22] = True
    dance = to_motion(replace(one, seen=seen))
    assert dance is not None
    assert dance.seconds[[0, -1]] == pytest.approx([1.0, 2.1])


def test_two_frames_at_one_time_are_one():
    one = posture()
    times = one.seconds.copy()
    times[11] = times[10]
    twice = Posture(one.position, one.seen, one.confidence, times)
    assert np.isfinite(motion_of(twice).vectors).all()
