"""What is said of joints and moments adds up to the score, and speaks of those that the score depends on."""

import numpy as np
import pytest
import torch

from models.virality.config import VdvConfig
from models.virality.inputs import ModalityInput, pad
from models.virality.pose_sampling import LeadPose, sample_poses
from models.virality.psgcn import Psgcn
from models.virality.skeleton import normalise
from models.virality.vdv import encode
from pipeline.feedback.attribution import integrated_gradients, mean_pose, segment_seconds
from tests.support.learnable_world import UPRIGHT

CONFIG = VdvConfig(frames=16, samplings=2)
LEFT_WRIST, RIGHT_WRIST = 9, 10


def dancer(seed: int, frames: int = 40) -> LeadPose:
    """Both wrists swing, everything else hardly moves; now and then a joint is lost."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames) / 10
    places = np.repeat(UPRIGHT[None], frames, 0) * rng.uniform(0.8, 1.2) + 300 + rng.normal(0, 0.5, (frames, 17, 2))
    swing = 50 * np.sin(2 * np.pi * rng.uniform(0.6, 1.0) * seconds + rng.uniform(0, 6))
    places[:, [LEFT_WRIST, RIGHT_WRIST], 1] += swing[:, None]
    score = np.where(rng.random((frames, 17, 1)) > 0.03, 0.9, 0.1)
    keypoints = np.concatenate([places, score], 2)
    return LeadPose(normalise(keypoints, np.ones(frames, bool), seconds, 0.3), torch.tensor(0.9))


def modality_of(count: int) -> ModalityInput:
    return pad(sample_poses([dancer(seed) for seed in range(count)], CONFIG, None))


def encoder(ridge: bool) -> Psgcn:
    torch.manual_seed(0)
    found = Psgcn((16, 16, 16), 16, 1, ridge=ridge)
    modality = modality_of(8)
    found.train()
    for _ in range(3):  # norms that have seen some clips
        encode(found, modality)
    if found.ridge is not None:
        size = len(found.ridge.coefficients)
        found.ridge.set(torch.zeros(size), torch.ones(size), 0.05 * torch.randn(size))
    return found.eval()


@pytest.mark.parametrize("ridge", [False, True])
def test_attributions_add_up_to_what_the_clip_scores_above_standing_still(ridge: bool) -> None:
    net, modality = encoder(ridge), modality_of(4)
    parts = integrated_gradients(net, modality, steps=64)
    assert parts.shape == (4, CONFIG.frames, 17)
    still = modality._replace(values=mean_pose(modality.values, modality.mask))
    with torch.inference_mode():
        more = encode(net, modality).score - encode(net, still).score
    assert more.abs().max() > 0.01, "there is something to explain"
    torch.testing.assert_close(parts.sum((1, 2)), more, atol=0.03 * more.abs().max().item(), rtol=0.05)


def test_what_moves_explains_the_score_and_not_what_stands_still() -> None:
    parts = integrated_gradients(encoder(ridge=False), modality_of(4), steps=32).abs().sum(1)
    wrists = parts[:, [LEFT_WRIST, RIGHT_WRIST]].mean(1)
    others = parts[:, :LEFT_WRIST].mean(1)
    assert (wrists > 2 * others).all()


def test_a_clip_in_which_nobody_is_seen_gets_nothing_and_changes_nothing_for_the_others() -> None:
    net, modality = encoder(ridge=True), modality_of(2)
    alone = integrated_gradients(net, modality, steps=8)
    nobody = modality._replace(
        values=torch.cat([modality.values, torch.full_like(modality.values[:1], torch.nan)]),
        mask=torch.cat([modality.mask, torch.zeros_like(modality.mask[:1])]),
    )
    found = integrated_gradients(net, nobody, steps=8)
    assert not found[2].any()
    torch.testing.assert_close(found[:2], alone, atol=1e-5, rtol=1e-3)


def test_segments_are_of_ascending_moments_within_the_clip() -> None:
    posture = dancer(0).posture
    assert posture is not None
    seconds = segment_seconds(posture, CONFIG)
    assert seconds.shape == (CONFIG.frames,)
    assert (np.diff(seconds) > 0).all()
    assert 0 <= seconds[0] < seconds[-1] <= posture.seconds[-1]
