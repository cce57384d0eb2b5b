"""The pose network learns what mmpose's codec and loss would teach it, on pictures laid as the extractor lays them."""

from typing import Any, cast

import numpy as np
import pytest
import torch

from models.extractors.extractor import Prepared
from models.extractors.mmpose_compat import import_mmpose, load_config
from models.extractors.people import People
from models.extractors.pose import PoseExtractor
from pipeline.modalities.registry import load_profile
from simulation.training import pose_training
from simulation.training.pose_training import MIRRORED, PoseSamples, PoseTarget, evaluate_pose, torso
from simulation.training.training_frames import FrameSet
from tests.support.few_frames import few_frames

CONFIG = load_profile("demo").entry("pose").architecture


@pytest.fixture(scope="module")
def target() -> PoseTarget:
    return PoseTarget(CONFIG)


@pytest.fixture(scope="module")
def keypoints() -> np.ndarray:
    """Two pictures: two people of whom joints are missing, and one person. [2, 4, 17, 3] in pixels of the input."""
    rng = np.random.default_rng(3)
    points = np.zeros((2, 4, 17, 3), np.float32)
    for picture, people in enumerate((2, 1)):
        points[picture, :people, :, :2] = rng.uniform((0, 0), (191, 287), (people, 17, 2))
        points[picture, :people, :, 2] = rng.random((people, 17)) < 0.8
    return points


def test_heatmaps_are_those_of_mmposes_codec(keypoints: np.ndarray) -> None:
    """At a deviation of 2: mmpose's windows lie a pixel off where three deviations are no whole number."""
    import_mmpose()
    from mmpose.registry import KEYPOINT_CODECS

    target = PoseTarget(CONFIG)
    target.sigma = 2.0
    codec = KEYPOINT_CODECS.build(dict(load_config(CONFIG).model.head.decoder, sigma=2.0))
    ours = target.heatmaps(torch.from_numpy(keypoints))
    assert ours.shape == (2, 17, 72, 48)
    for picture, people in enumerate((2, 1)):
        points = keypoints[picture, :people]
        theirs = codec.encode(points[..., :2].copy(), points[..., 2].copy())["heatmaps"]
        near = theirs > 0  # mmpose cuts each Gaussian off at three sigmas
        np.testing.assert_allclose(ours[picture].numpy()[near], theirs[near], atol=1e-5)
        assert ours[picture].numpy()[~near].max() < 0.012


def test_the_loss_of_tags_is_that_of_mmpose(target: PoseTarget, keypoints: np.ndarray) -> None:
    import_mmpose()
    from mmpose.models.losses import AssociativeEmbeddingLoss
    from mmpose.registry import KEYPOINT_CODECS

    codec = KEYPOINT_CODECS.build(dict(load_config(CONFIG).model.head.decoder))
    tags = torch.randn(2, 17, 72, 48, generator=torch.Generator().manual_seed(0))
    indices = []
    for picture, people in enumerate((2, 1)):
        points = keypoints[picture, :people]
        indices.append(
            torch.from_numpy(codec.encode(points[..., :2].copy(), points[..., 2].copy())["keypoint_indices"])
        )
    pull, push = AssociativeEmbeddingLoss()(tags, indices)
    # mmpose counts each person's push against herself, a constant 1
    constant = 0.5 * 2 / 2
    torch.testing.assert_close(target.tag_loss(tags, torch.from_numpy(keypoints)), pull + push, atol=1e-4, rtol=1e-4)
    assert push > constant


def test_a_sample_that_nothing_moved_is_what_the_extractor_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes other than the input's shape too, so that the letterbox is in it."""
    frames = few_frames()
    monkeypatch.setattr(pose_training, "jitter_colours", lambda picture, _: picture)
    monkeypatch.setattr(pose_training.np.random, "default_rng", lambda _: _Still(0))
    entry = load_profile("demo").entry("pose")
    extractor = PoseExtractor(CONFIG, None, torch.device("cpu"), 1, entry.input_size, 6, 0.0, 0.65)
    picture, points = PoseSamples(frames, entry.input_size, seed=0)[0]
    prepared = extractor.prepare(torch.from_numpy(frames.picture(0))[None])
    np.testing.assert_array_equal(picture[::-1], prepared.inputs[0].numpy())  # RGB and BGR
    box = prepared.extras[0]
    back = points[0, :, :2] / box.input_size * box.scale + box.center - 0.5 * box.scale  # as mmpose goes back
    labelled = points[0, :, 2] > 0
    assert labelled.sum() > 8
    np.testing.assert_allclose(back[labelled], frames.keypoints[0, labelled, :2], atol=0.01)


class _Still:
    """A generator that moves nothing: the middle of every range, never below a threshold."""

    def __init__(self, _: object):
        pass

    def integers(self, high: int) -> int:
        return 0

    def random(self) -> float:
        return 0.9

    def uniform(self, low: float, high: float) -> float:
        return 0.0

    def normal(self, mean: float, deviation: float, size: tuple[int, ...] | None = None) -> np.ndarray | float:
        return np.zeros(size) if size else 0.0


def test_a_mirrored_dancer_has_her_left_hand_on_the_other_side() -> None:
    assert [MIRRORED[joint] for joint in MIRRORED] == list(range(17))
    frames = few_frames()
    samples = PoseSamples(frames, (192, 288), seed=0)
    width: dict[bool, list[bool]] = {True: [], False: []}
    for index in range(24):
        _, points = samples[index]
        shoulders = points[0, 5:7]
        if shoulders[:, 2].all():
            frame = int(np.random.default_rng((0, index)).integers(len(frames)))
            lead = frames.keypoints[frames.first[frame]]
            faces_camera = lead[5, 0] > lead[6, 0]
            mirror = np.random.default_rng((0, index))
            mirror.integers(len(frames))
            width[mirror.random() < 0.5].append((shoulders[0, 0] > shoulders[1, 0]) == faces_camera)
    # whichever way she is shown, she still faces the camera: a mirror that forgot the names would turn her round
    assert min(len(values) for values in width.values()) > 3
    assert all(all(values) for values in width.values())


class _Known:
    """An extractor that finds what it is told, moved by `offset` pixels."""

    batch_size = 2
    device = torch.device("cpu")

    def __init__(self, frames: FrameSet, offset: float):
        self.frames, self.offset, self.next = frames, offset, 0

    def prepare(self, frames: torch.Tensor) -> Prepared:
        from models.extractors.extractor import Prepared

        return Prepared(torch.zeros(1, 1), [0], [None])

    def infer(self, inputs: torch.Tensor, extras: list) -> list[People]:
        found = []
        for _ in extras:
            points = self.frames.keypoints[self.frames.people(self.next)].copy()
            points[..., 0] += self.offset
            count = len(points)
            found.append(People(points[::-1], np.zeros((count, 4), np.float32), np.ones(count, np.float32)))
            self.next += 1
        return found


def test_pck_counts_what_lies_within_a_fifth_of_the_torso() -> None:
    frames = few_frames()
    shortest = min(torso(frames.keypoints[lead]) for lead in frames.first[:-1])
    longest = max(torso(frames.keypoints[lead]) for lead in frames.first[:-1])
    good, bad = (evaluate_pose(cast(Any, _Known(frames, by)), frames) for by in (0.19 * shortest, 0.21 * longest))
    assert (good.pck, good.recall, bad.pck, bad.recall) == (1.0, 1.0, 0.0, 0.0)
    assert good.error_px == pytest.approx(0.19 * shortest, rel=1e-3)
    assert good.people == 1.0
