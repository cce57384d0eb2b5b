"""What is said of joints and moments adds up to the score, and speaks of those that the score depends on."""

import numpy as np
import pytest
import torch

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, ModalityInput, pad
from models.virality.pose_sampling import LeadPose, sample_poses
from models.virality.skeleton import normalise
from models.virality.vdv import Vdv, clip_statistics, encode
from pipeline.feedback.attribution import integrated_gradients, mean_pose, segment_seconds
from tests.support.learnable_world import UPRIGHT

CONFIG = VdvConfig(
    modalities=("pose",),
    frames=16,
    samplings=2,
    joint_channels=16,
    part_channels=16,
    body_channels=16,
    refined_channels=16,
)
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


def model(statistics: bool, network: bool = True) -> Vdv:
    """Of which these have a say."""
    torch.manual_seed(0)
    found = Vdv(CONFIG, {"pose": InputSpec(9, is_skeleton=True)})
    given = modality_of(8)
    found.encoders.train()
    for _ in range(3):  # norms that have seen some clips
        encode(found.encoders["pose"], given)
    found.eval()
    part = found.part("pose")
    with torch.inference_mode():
        read, _ = clip_statistics(found.inputs["pose"], given)
    part.set(mean=read.nanmean(0), scale=(read - read.nanmean(0)).square().nanmean(0).sqrt() + 0.1)
    part.set(usual=0.9, network_coefficients=torch.full_like(part.network_coefficients, float(network)))
    if statistics:
        part.set(coefficients=0.05 * torch.randn(len(part.coefficients)))
    return found


@pytest.mark.parametrize(("statistics", "network"), [(False, True), (True, False), (True, True)])
def test_attributions_add_up_to_what_the_clip_scores_above_standing_still(statistics: bool, network: bool) -> None:
    found, given = model(statistics, network), modality_of(4)
    parts = integrated_gradients(found, given, steps=64)
    assert parts.shape == (4, CONFIG.frames, 17)
    still = mean_pose(torch.where(given.mask[:, :, None], given.values, 0.0), given.mask)
    with torch.inference_mode():
        clip, nothing = (
            found.part_at_usual_quality("pose", values, given.mask, still=True) for values in (given.values, still)
        )
    more = clip - nothing
    assert more.abs().max() > 0.01, "there is something to explain"
    torch.testing.assert_close(parts.sum((1, 2)), more, atol=0.03 * more.abs().max().item(), rtol=0.05)
    with torch.inference_mode():
        torch.testing.assert_close(clip, found({"pose": given}).parts[:, 0])


def test_what_moves_explains_the_score_and_not_what_stands_still() -> None:
    parts = integrated_gradients(model(statistics=False), modality_of(4), steps=32).abs().sum(1)
    wrists = parts[:, [LEFT_WRIST, RIGHT_WRIST]].mean(1)
    others = parts[:, :LEFT_WRIST].mean(1)
    assert (wrists > 2 * others).all()


def test_a_joint_gets_nothing_where_it_is_not_seen_whatever_is_there() -> None:
    found, given = model(statistics=True), modality_of(4)
    hidden = given._replace(values=torch.where(given.mask[:, :, None], given.values, torch.nan))
    parts = integrated_gradients(found, given, steps=8)
    torch.testing.assert_close(integrated_gradients(found, hidden, steps=8), parts)
    never = ~given.mask.any(1)
    assert never.any()
    assert not parts[never].any()


def test_a_clip_in_which_nobody_is_seen_gets_nothing_and_changes_nothing_for_the_others() -> None:
    found, given = model(statistics=True), modality_of(2)
    alone = integrated_gradients(found, given, steps=8)
    nobody = given._replace(
        values=torch.cat([given.values, torch.full_like(given.values[:1], torch.nan)]),
        mask=torch.cat([given.mask, torch.zeros_like(given.mask[:1])]),
    )
    parts = integrated_gradients(found, nobody, steps=8)
    assert not parts[2].any()
    torch.testing.assert_close(parts[:2], alone, atol=1e-5, rtol=1e-3)


def test_segments_are_of_ascending_moments_within_the_clip() -> None:
    posture = dancer(0).posture
    assert posture is not None
    seconds = segment_seconds(posture, CONFIG)
    assert seconds.shape == (CONFIG.frames,)
    assert (np.diff(seconds) > 0).all()
    assert 0 <= seconds[0] < seconds[-1] <= posture.seconds[-1]
