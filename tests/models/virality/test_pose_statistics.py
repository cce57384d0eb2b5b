"""Hand-made statistics say how a skeleton stands and moves, whatever the frame rate."""

import numpy as np
import pytest

from models.virality.pose_statistics import pose_statistics
from models.virality.skeleton import KINECT22, Posture


def posture(position: np.ndarray, seconds: np.ndarray) -> Posture:
    """position: [T, V, C]; all of it seen."""
    seen = np.ones(position.shape[:2], bool)
    return Posture(position.astype(np.float32), seen, seen.astype(np.float32), seconds)


def swinging(frames: int = 61) -> Posture:
    """Two seconds; the left wrist goes to and fro once, everything else stands."""
    seconds = np.linspace(0, 2, frames)
    position = np.tile(np.arange(34.0).reshape(17, 2), (frames, 1, 1)) / 10
    position[:, 9, 0] = np.sin(np.pi * seconds)
    return posture(position, seconds)


def tables(statistics: np.ndarray, joints: int = 17, axes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """[4, V, 2 C] mean, deviation, least, largest of joint and bone; [2, V, 2] mean and deviation of their speeds."""
    places, speeds = np.split(statistics, [8 * joints * axes])
    return places.reshape(4, joints, 2 * axes), speeds.reshape(2, joints, 2)


def test_they_say_where_how_far_and_how_fast() -> None:
    (mean, spread, least, largest), (fast, _) = tables(pose_statistics(swinging()))
    wrist, elbow = 9, 7
    assert mean[wrist, 0] == pytest.approx(0, abs=1e-3)
    assert spread[wrist, 0] == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert (least[wrist, 0], largest[wrist, 0]) == pytest.approx((-1, 1), abs=0.01)
    assert least[wrist, 2] == pytest.approx(-1 - mean[elbow, 0], abs=0.01), "of the bone from the elbow"
    assert fast[wrist, 0] == pytest.approx(4 / 20, abs=0.01), "four ways of 1 in 2 s, a tenth of a second each"
    others = np.delete(np.arange(17), wrist)
    assert np.abs(spread[others]).max() < 1e-6
    assert np.abs(fast[others]).max() < 1e-6


def test_the_frame_rate_does_not_matter() -> None:
    np.testing.assert_allclose(pose_statistics(swinging(121)), pose_statistics(swinging(41)), atol=0.01)


def test_frames_far_apart_in_time_count_by_time() -> None:
    """Half the frames are crowded into the first tenth of the clip; the mean is that over time."""
    seconds = np.concatenate([np.linspace(0, 0.2, 50), np.linspace(0.24, 2, 50)])
    position = np.zeros((100, 17, 2))
    position[:, 3, 1] = seconds
    (mean, *_), _ = tables(pose_statistics(posture(position, seconds)))
    assert mean[3, 1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_clips_work(frames: int) -> None:
    values = pose_statistics(posture(np.ones((frames, 17, 2)), np.arange(frames) / 30))
    assert np.isfinite(values).all()
    assert values[0] == 1


def test_frames_at_one_time_have_no_speed() -> None:
    position = np.random.default_rng(0).normal(size=(5, 17, 2))
    values = pose_statistics(posture(position, np.zeros(5)))
    assert np.isfinite(values).all()
    assert not tables(values)[1].any()


def test_a_joint_never_seen_gives_zeros_and_so_do_its_bones() -> None:
    known = swinging()
    seen = known.seen.copy()
    seen[:, 7] = False
    position = np.where(seen[..., None], known.position, 0)
    places, speeds = tables(pose_statistics(Posture(position, seen, seen.astype(np.float32), known.seconds)))
    assert not places[:, 7].any()
    assert not places[:, 9, 2:].any(), "the bone from the elbow to the wrist"
    assert not speeds[:, 9, 1].any()
    assert places[1, 9, 0] > 0.5, "the wrist itself is seen"


def test_three_coordinates_and_another_layout() -> None:
    rng = np.random.default_rng(0)
    values = pose_statistics(posture(rng.normal(size=(40, 22, 3)), np.arange(40) / 30), KINECT22)
    assert values.shape == ((8 * 3 + 4) * 22,)
    assert values.dtype == np.float32
