"""A batch drawn at once is its clips drawn one by one, and a frame drawn is what the whole clip shows there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from models.virality.config import VdvConfig
from models.virality.pose_sampling import SAMPLED_TOGETHER, LeadPose, sample_pose, sample_poses
from models.virality.skeleton import COCO17, Change, Posture, draw_change, normalise, sample_frames, streams_at
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ClipDataset
from tests.support.learnable_world import Clip, make_batch

SMALL = VdvConfig(frames=16, samplings=2)
OPTIONS = {"rotation": 0.1, "scale": 0.1, "jitter": 0.01}


def posture(frames: int, seed: int = 0) -> Posture:
    """Somebody who moves at random; one joint in five is not seen, one of them never, nor is one frame in ten."""
    rng = np.random.default_rng([frames, seed])
    place = 300 + rng.uniform(-80, 80, (17, 2)) + np.cumsum(rng.normal(0, 4, (frames, 17, 2)), 0)
    score = np.where(rng.random((frames, 17, 1)) > 0.2, 0.9, 0.1)
    score[:, rng.integers(17)] = 0
    valid = rng.random(frames) > 0.1
    valid[-1] = True
    return normalise(np.concatenate([place, score], 2), valid, np.arange(frames) / 10, 0.3)


LENGTHS = (1, 2, 15, 90, 400)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_frames_drawn_are_those_of_the_whole_clip_augmented(mirror: float) -> None:
    clips = [posture(length) for length in LENGTHS]
    frames = [np.sort(np.random.default_rng(7).integers(0, length, 16)) for length in LENGTHS]
    changes = [draw_change(clip, np.random.default_rng(3), **OPTIONS, mirror=mirror) for clip in clips]
    drawn, seen = streams_at(clips, frames, changes)
    for place, (clip, at) in enumerate(zip(clips, frames, strict=True)):
        (whole,), (whole_seen,) = streams_at([clip], [np.arange(len(clip.seen))], [changes[place]])
        np.testing.assert_allclose(drawn[place], whole[:, at], atol=1e-6)
        np.testing.assert_array_equal(seen[place], whole_seen[at])
        assert np.array_equal(whole_seen, clip.seen) != bool(mirror)


def test_a_clip_is_drawn_turned_jittered_and_mirrored_as_told() -> None:
    clip, at = posture(20), np.arange(20)
    still = Change(np.eye(2), np.zeros((20, 17, 2)), mirror=False)
    (plain,), _ = streams_at([clip], [at])
    for change, expected in (
        (still, plain[:2]),
        (Change(np.array([[0.0, -2.0], [2.0, 0.0]]), still.noise, False), 2 * np.stack([-plain[1], plain[0]])),
        (Change(np.eye(2), still.noise, True), plain[:2, :, list(COCO17.mirror)] * [[[-1]], [[1]]]),
    ):
        np.testing.assert_allclose(streams_at([clip], [at], [change])[0][0, :2], expected, atol=1e-5)
    noise = np.ones((20, 17, 2))
    jittered, _ = streams_at([clip], [at], [Change(np.eye(2), noise, False)])
    np.testing.assert_allclose(jittered[0, :2] - plain[:2], np.broadcast_to(clip.seen.any(0), (2, 20, 17)), atol=1e-5)


def test_motion_reaches_back_to_the_clips_frame_before_however_few_are_drawn() -> None:
    seconds = np.arange(40) / 20  # two frames in the 0.1 s that motion is told in
    position = np.zeros((40, 17, 2), np.float32)
    position[..., 0] = 0.01 * np.arange(40)[:, None] ** 2
    seen = np.ones((40, 17), bool)
    (drawn,), _ = streams_at([Posture(position, seen, seen.astype(np.float32), seconds)], [np.array([0, 11, 12, 39])])
    moved = 2 * 0.01 * (2 * np.array([0.5, 11, 12, 39]) - 1)  # t squared less (t - 1) squared is 2 t - 1
    np.testing.assert_allclose(drawn[4], np.tile(moved[:, None], 17), atol=1e-5)


def dancers() -> list[LeadPose]:
    """More than are drawn together; in some clips nobody is seen."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 120, 2 * SAMPLED_TOGETHER + 3)
    return [
        LeadPose(None if place % 5 == 1 else posture(int(length), place), torch.tensor(0.5))
        for place, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("training", [True, False])
def test_a_clip_drawn_in_a_batch_is_the_clip_drawn_alone(training: bool) -> None:
    def generators() -> list[np.random.Generator]:
        return [np.random.default_rng(seed) for seed in range(len(clips))]

    clips = dancers()
    together = sample_poses(clips, SMALL, generators() if training else None)
    for clip, rng, drawn in zip(clips, generators(), together, strict=True):
        alone = sample_pose(clip, SMALL, rng if training else None)
        torch.testing.assert_close(drawn.values, alone.values, rtol=0, atol=0)
        assert torch.equal(drawn.mask, alone.mask)
        assert bool(drawn.mask.any()) == (clip.posture is not None)
        assert drawn.values.shape == (1 if training else 2, 9, 16, 17)


def test_what_the_loader_asks_for_by_the_batch_is_what_each_clip_gives(tmp_path: Path) -> None:
    clips = [Clip(f"clip{place}", creator=str(place), likes=place, nobody=place == 2) for place in range(5)]
    assemble(DatasetFolder(str(tmp_path / "ws"), "datasets/one"), [make_batch(tmp_path / "ws", clips)])
    dataset = ClipDataset(DatasetFolder(str(tmp_path / "ws"), "datasets/one"), SMALL, training=True)
    keys = [(3, row) for row in (4, 0, 2)]
    (batch,) = DataLoader(dataset, batch_sampler=[keys], collate_fn=dataset.collate)
    one_by_one = dataset.collate([dataset[key] for key in keys])
    assert batch.row.tolist() == [4, 0, 2]
    for modality, drawn in batch.inputs.items():
        for value, expected in zip(drawn, one_by_one.inputs[modality], strict=True):
            torch.testing.assert_close(value, expected, rtol=0, atol=0)
    other_epoch = dataset.collate([dataset[4, row] for _, row in keys])
    assert not torch.equal(batch.inputs["pose"].values, other_epoch.inputs["pose"].values)


def by_a_loop(shown: np.ndarray, frames: int, pick: Sequence[float]) -> list[int]:
    """sample_frames as its docstring says it, segment by segment."""
    chosen = []
    for segment in range(frames):
        first = segment * len(shown) // frames
        last = max(first + 1, (segment + 1) * len(shown) // frames)
        showing = [frame for frame in range(first, last) if shown[frame]] or list(range(first, last))
        chosen.append(showing[int(pick[segment] * len(showing))])
    return chosen


@pytest.mark.parametrize("length", [1, 7, 16, 17, 200])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_each_segment_gives_one_of_its_frames_that_show_something(length: int, share: float) -> None:
    rng = np.random.default_rng(length)
    for _ in range(20):
        shown, pick = rng.random(length) < share, rng.random(16)
        assert sample_frames(shown, 16, pick).tolist() == by_a_loop(shown, 16, pick.tolist())
