"""The tables say what they should of a body, and a track becomes input that no camera, gap or wild number can upset."""

import numpy as np
import pytest

from models.virality.skeleton import (
    COCO17,
    KINECT22,
    LIMIT,
    Change,
    Layout,
    Posture,
    coarser,
    draw_change,
    linked,
    membership,
    normalise,
    pyramid,
    sample_frames,
    streams_at,
    streams_count,
    subsets,
)

SECONDS = np.arange(12) / 10


def dancer(frames: int = 12, seed: int = 0) -> np.ndarray:
    """[T, 17, 3] somebody upright who moves a little."""
    rng = np.random.default_rng(seed)
    stood = rng.uniform(-40, 40, (17, 2))
    stood[list(COCO17.shoulders), 1], stood[list(COCO17.hips), 1] = -100, 0
    position = 300 + stood + np.cumsum(rng.normal(0, 3, (frames, 17, 2)), 0)
    return np.concatenate([position, np.full((frames, 17, 1), 0.9)], 2)


def streams(posture: Posture, layout: Layout = COCO17, change: Change | None = None) -> np.ndarray:
    """[S, T, V] of the whole clip."""
    (whole,), _ = streams_at([posture], [np.arange(len(posture.position))], [change] if change else None, layout)
    return whole


def mirror(posture: Posture) -> Change:
    axes = posture.position.shape[2]
    return Change(np.eye(axes), np.zeros(posture.position.shape), mirror=True)


def prepared(keypoints: np.ndarray, seconds: np.ndarray = SECONDS, valid: np.ndarray | None = None) -> np.ndarray:
    valid = np.ones(len(keypoints), bool) if valid is None else valid
    return streams(normalise(keypoints, valid, seconds, 0.3))


LAYOUTS = pytest.mark.parametrize("layout", [COCO17, KINECT22], ids=["coco17", "kinect22"])


@LAYOUTS
def test_mirroring_swaps_left_and_right_names_and_nothing_else(layout: Layout) -> None:
    for joint, name in enumerate(layout.joints):
        other = name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")
        assert layout.joints[layout.mirror[joint]] == other
    for groups in (layout.parts, layout.bodies):
        assert {name.replace("left", "right") for name, _ in groups} == {
            name for name, _ in groups if "left" not in name
        }


@LAYOUTS
def test_the_mirrored_skeleton_has_the_same_bones_and_parts(layout: Layout) -> None:
    swap = layout.mirror
    bones = {frozenset((swap[one], swap[other])) for one, other in layout.edges}
    assert bones == {frozenset(edge) for edge in layout.edges}
    parts = {frozenset(swap[joint] for joint in members) for _, members in layout.parts}
    assert parts == {frozenset(members) for _, members in layout.parts}


@LAYOUTS
def test_every_joint_is_in_a_part_and_every_part_in_one_body(layout: Layout) -> None:
    assert (membership(layout.parts, len(layout.joints)).sum(0) >= 1).all()
    assert (membership(layout.bodies, len(layout.parts)).sum(0) == 1).all()


@LAYOUTS
def test_all_joints_hang_together_and_every_limb_on_the_trunk(layout: Layout) -> None:
    reached = np.linalg.matrix_power(linked(layout.edges, len(layout.joints)) + np.eye(len(layout.joints)), 22)
    assert (reached > 0).all()
    parts = coarser(linked(layout.edges, len(layout.joints)), membership(layout.parts, len(layout.joints)))
    bodies = coarser(parts, membership(layout.bodies, len(layout.parts)))
    assert bodies[0, 1:].all()
    assert not bodies[1:, 1:].any(), "no limb touches another"


def test_coarse_neighbours_share_a_joint_or_a_bone() -> None:
    joints = linked(COCO17.edges, 17)
    parts = coarser(joints, membership(COCO17.parts, 17))
    names = [name for name, _ in COCO17.parts]
    for one, other, expected in [
        ("torso", "left_upper_arm", True),
        ("left_upper_arm", "left_forearm", True),
        ("head", "torso", True),
        ("head", "left_shank", False),
        ("left_forearm", "right_forearm", False),
    ]:
        assert parts[names.index(one), names.index(other)] == expected
    bodies = coarser(parts, membership(COCO17.bodies, 10))
    assert bodies[0, 1:].all(), "every limb hangs on the trunk"
    assert not bodies[1, 3], "a left arm does not touch a left leg"


def test_adjacency_points_inward_and_outward_along_a_chain() -> None:
    own, inward, outward = subsets(linked([(0, 1), (1, 2)], 3), centre=0)
    np.testing.assert_array_equal(own, np.eye(3))
    assert (inward[2, 1], inward[1, 2], outward[1, 2]) == (1, 0, 1)
    for level in pyramid(COCO17).adjacency:
        sums = level.sum(2)
        assert np.all(np.isclose(sums, 1) | (sums == 0))


def test_position_and_size_in_the_picture_do_not_matter() -> None:
    keypoints = dancer()
    moved = keypoints.copy()
    moved[..., :2] = moved[..., :2] * 2.5 + 77
    np.testing.assert_allclose(prepared(keypoints), prepared(moved), atol=1e-5)


def test_travelling_survives_normalising() -> None:
    keypoints = dancer()
    keypoints[:, :, 0] += np.arange(12)[:, None] * 50
    hips = prepared(keypoints)[0][:, list(COCO17.hips)].mean(1)
    assert hips[0] == pytest.approx(0, abs=1e-5)
    assert hips[-1] > 3


def test_motion_is_the_same_at_any_frame_rate() -> None:
    still = dancer(1)
    fast, slow = np.repeat(still, 12, 0), np.repeat(still, 6, 0)
    fast[..., 0] += np.arange(12)[:, None] * 5
    slow[..., 0] += np.arange(6)[:, None] * 10
    of_fast, of_slow = prepared(fast, np.arange(12) / 20), prepared(slow, np.arange(6) / 10)
    np.testing.assert_allclose(of_fast[4, 1:].mean(), of_slow[4, 1:].mean(), rtol=1e-4)


def test_a_gap_is_bridged_and_stays_marked() -> None:
    keypoints = dancer()
    keypoints[4:7, 9] = 0
    posture = normalise(keypoints, np.ones(12, bool), SECONDS, 0.3)
    assert not posture.seen[4:7, 9].any()
    assert (posture.confidence[4:7, 9] == 0).all()
    before, after = posture.position[4, 9], posture.position[6, 9]  # themselves on the way
    np.testing.assert_allclose(posture.position[5, 9], (before + after) / 2, atol=1e-5)
    assert not np.allclose(before, after)


def test_a_key_point_that_flickers_for_one_frame_leaves_no_trace() -> None:
    keypoints = dancer(1).repeat(12, 0)
    calm = normalise(keypoints, np.ones(12, bool), SECONDS, 0.3)
    keypoints[5, 9, :2] += 200
    flickered = normalise(keypoints, np.ones(12, bool), SECONDS, 0.3)
    np.testing.assert_allclose(flickered.position, calm.position, atol=1e-5)


def test_a_joint_never_seen_gives_no_bone_and_no_motion() -> None:
    keypoints = dancer()
    keypoints[:, 13, 2] = 0.1
    whole = prepared(keypoints)
    assert (whole[:, :, 13] == 0).all()
    assert (whole[2:4, :, 15] == 0).all(), "the bone from ankle to knee"


@pytest.mark.parametrize("wild", [np.nan, np.inf, 1e9])
def test_wild_key_points_stay_finite_and_bounded(wild: float) -> None:
    keypoints = dancer()
    keypoints[3, 5, 0] = wild
    keypoints[:, 12, 1] = wild
    whole = prepared(keypoints)
    assert np.isfinite(whole).all()
    assert np.abs(whole[:2]).max() <= LIMIT


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_clips_work(frames: int) -> None:
    whole = prepared(dancer(frames), SECONDS[:frames])
    assert whole.shape == (9, frames, 17)
    assert (whole[4:8, 0] == 0).all()


def test_frames_at_one_time_have_no_speed() -> None:
    assert (prepared(dancer(), np.zeros(12))[4:8] == 0).all()


def test_a_track_of_nothing_is_nothing() -> None:
    posture = normalise(dancer(), np.zeros(12, bool), SECONDS, 0.3)
    assert not posture.seen.any()
    assert (streams(posture) == 0).all()


def test_mirroring_twice_changes_nothing() -> None:
    posture = normalise(dancer(), np.ones(12, bool), SECONDS, 0.3)
    seen = streams(posture, change=mirror(posture))
    assert seen[0, 0, 5] == -posture.position[0, 6, 0]
    other = Posture(np.moveaxis(seen[:2], 0, 2), posture.seen, posture.confidence, posture.seconds)
    np.testing.assert_allclose(streams(other, change=mirror(other)), streams(posture), atol=1e-6)


def test_augmentation_is_decided_by_its_generator_alone() -> None:
    posture = normalise(dancer(), np.ones(12, bool), SECONDS, 0.3)
    options = {"rotation": 0.1, "scale": 0.1, "jitter": 0.01, "mirror": 0.5}
    first, again, other = (
        streams(posture, change=draw_change(posture, np.random.default_rng(seed), **options)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("length", [1, 3, 63, 64, 65, 600])
def test_samples_are_in_order_and_reach_over_the_whole_clip(length: int) -> None:
    chosen = sample_frames(np.ones(length, bool), 64, np.full(64, 0.5))
    assert (np.diff(chosen) >= 0).all()
    assert chosen[0] <= length / 64
    assert chosen[-1] >= length - 1 - length / 64


def test_a_clip_that_shows_anything_never_gives_an_empty_sample() -> None:
    shown = np.zeros(600, bool)
    shown[313] = True
    for pick in (0.0, 0.3, 0.999):
        assert 313 in sample_frames(shown, 64, np.full(64, pick))


def deep_dancer(frames: int = 12, seed: int = 0) -> np.ndarray:
    """[T, 22, 4] somebody upright in centimetres, y down, who moves a little and moves away."""
    rng = np.random.default_rng(seed)
    stood = rng.uniform(-40, 40, (22, 3))
    stood[list(KINECT22.shoulders), 1], stood[list(KINECT22.hips), 1] = -100, 0
    position = 300 + stood + np.cumsum(rng.normal(0, 3, (frames, 22, 3)), 0)
    return np.concatenate([position, np.ones((frames, 22, 1))], 2)


def prepared_deep(keypoints: np.ndarray) -> np.ndarray:
    return streams(normalise(keypoints, np.ones(len(keypoints), bool), SECONDS, 0.3, KINECT22), KINECT22)


def test_three_coordinates_give_a_stream_for_each() -> None:
    whole = prepared_deep(deep_dancer())
    assert whole.shape == (streams_count(3), 12, 22)
    joint, bone, motion = whole[:3], whole[3:6], whole[6:9]
    elbow, wrist = KINECT22.joints.index("left_elbow"), KINECT22.joints.index("left_wrist")
    np.testing.assert_allclose(bone[:, :, wrist], joint[:, :, wrist] - joint[:, :, elbow], atol=1e-6)
    np.testing.assert_allclose(motion[2, 1:], np.diff(joint[2], axis=0), rtol=1e-3, atol=1e-5)
    assert (whole[-1] == 1).all()


def test_place_and_size_in_the_room_do_not_matter() -> None:
    keypoints = deep_dancer()
    moved = keypoints.copy()
    moved[..., :3] = moved[..., :3] * 1.3 + np.array([50, -20, 400])
    np.testing.assert_allclose(prepared_deep(keypoints), prepared_deep(moved), atol=1e-5)


def test_a_gap_is_bridged_in_depth_too() -> None:
    keypoints = deep_dancer()
    keypoints[4:7, 9] = 0
    posture = normalise(keypoints, np.ones(12, bool), SECONDS, 0.3, KINECT22)
    before, after = posture.position[4, 9], posture.position[6, 9]
    np.testing.assert_allclose(posture.position[5, 9], (before + after) / 2, atol=1e-5)


def test_a_room_is_turned_about_the_vertical_and_a_picture_in_its_plane() -> None:
    options = {"scale": 0.0, "jitter": 0.0, "mirror": 0.0}
    deep = normalise(deep_dancer(), np.ones(12, bool), SECONDS, 0.3, KINECT22)
    change = draw_change(deep, np.random.default_rng(0), rotation=1.0, **options)
    plain, turned = (streams(deep, KINECT22, given)[:3] for given in (None, change))
    np.testing.assert_allclose(turned[1], plain[1], atol=1e-6)
    np.testing.assert_allclose(np.hypot(turned[0], turned[2]), np.hypot(plain[0], plain[2]), rtol=1e-4, atol=1e-6)
    assert np.abs(turned[2] - plain[2]).max() > 0.1
    flat = normalise(dancer(), np.ones(12, bool), SECONDS, 0.3)
    tilted = streams(flat, change=draw_change(flat, np.random.default_rng(0), rotation=1.0, **options))
    assert np.abs(tilted[1] - streams(flat)[1]).max() > 0.1


def test_a_mirrored_room_keeps_height_and_depth() -> None:
    deep = normalise(deep_dancer(), np.ones(12, bool), SECONDS, 0.3, KINECT22)
    seen = streams(deep, KINECT22, mirror(deep))
    left, right = KINECT22.joints.index("left_knee"), KINECT22.joints.index("right_knee")
    np.testing.assert_allclose(seen[:3, :, left].T, deep.position[:, right] * [-1, 1, 1], atol=1e-6)
