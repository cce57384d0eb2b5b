"""Motion as limb vectors: nothing is lost on the way there and back, and what was not seen stays unknown."""

from dataclasses import replace

import numpy as np
import pytest

from models.virality.skeleton import COCO17, KINECT22, Layout, Posture
from pipeline.feedback.motion import LIMBS, RATE_HZ, limb_joints, mirror, to_motion, to_positions, to_vectors
from tests.pipeline.feedback.simulated_dancers import mirrored_posture, motion_of, posture


@pytest.mark.parametrize("layout", [COCO17, KINECT22])
def test_vectors_lead_back_to_the_positions(layout: Layout) -> None:
    position = np.random.default_rng(0).normal(size=(5, len(layout.joints), 2))
    again = to_positions(to_vectors(position, layout), layout)
    np.testing.assert_allclose(again, position, atol=1e-9)


@pytest.mark.parametrize("layout", [COCO17, KINECT22])
def test_every_joint_is_one_limbs(layout: Layout) -> None:
    joints = limb_joints(layout)
    assert tuple(joints) == LIMBS
    assert sorted(joint for members in joints.values() for joint in members) == [*range(len(layout.joints) + 1)]


def test_moving_a_limbs_vectors_moves_that_limb_only() -> None:
    vectors = to_vectors(posture().position)
    moved = vectors.copy()
    moved[:, list(limb_joints()["left_arm"])] += 0.1
    changed = np.abs(to_positions(moved) - to_positions(vectors)).max((0, 2)) > 0.01
    assert np.flatnonzero(changed).tolist() == [COCO17.joints.index("left_elbow"), COCO17.joints.index("left_wrist")]


def test_a_dance_keeps_its_motion_at_an_even_rate() -> None:
    clip = posture()
    motion = motion_of(clip)
    np.testing.assert_allclose(np.diff(motion.seconds), 1 / RATE_HZ)
    at = np.searchsorted(motion.seconds, clip.seconds[10:-10] - 1e-6)
    np.testing.assert_allclose(to_positions(motion.vectors)[at], clip.position[10:-10], atol=1e-5)


def test_a_mirrored_dance_is_that_of_a_mirrored_picture() -> None:
    clip = posture()
    np.testing.assert_allclose(mirror(motion_of(clip)).vectors, motion_of(mirrored_posture(clip)).vectors, atol=1e-6)


def test_what_hangs_on_a_joint_out_of_sight_is_not_seen_there() -> None:
    clip = posture()
    seen = np.ones_like(clip.seen)
    seen[20:40, COCO17.joints.index("left_elbow")] = False
    seen[50, COCO17.joints.index("right_wrist")] = False  # so short a gap is bridged
    motion = motion_of(replace(clip, seen=seen))
    gone = (motion.seconds > 2.0) & (motion.seconds < 3.9)
    assert not motion.seen[gone][:, [COCO17.joints.index("left_elbow"), COCO17.joints.index("left_wrist")]].any()
    assert motion.seen[:, COCO17.joints.index("right_wrist")].all()
    assert motion.seen[~gone & (motion.seconds > 4)].all()


def test_less_than_a_second_is_no_dance() -> None:
    clip = posture()
    seen = np.zeros_like(clip.seen)
    seen[10:19] = True
    assert to_motion(replace(clip, seen=seen)) is None
    assert to_motion(replace(clip, seen=np.zeros_like(seen))) is None
    seen[10:22] = True
    motion = to_motion(replace(clip, seen=seen))
    assert motion is not None
    assert motion.seconds[[0, -1]] == pytest.approx([1.0, 2.1])


def test_two_frames_at_one_time_are_one() -> None:
    clip = posture()
    times = clip.seconds.copy()
    times[11] = times[10]
    twice = Posture(clip.position, clip.seen, clip.confidence, times)
    assert np.isfinite(motion_of(twice).vectors).all()
