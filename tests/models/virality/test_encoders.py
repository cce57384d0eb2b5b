"""PSGCN and RTCN: any length, any mask; what is masked has no influence, and gradients are finite."""

import pytest
import torch

from models.virality.psgcn import Psgcn
from models.virality.rtcn import Rtcn
from tests.support.small_networks import psgcn, rtcn


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 32])
def test_psgcn_takes_any_length(frames: int) -> None:
    encoded = psgcn()(torch.randn(2, 9, frames, 17), torch.ones(2, frames, 17, dtype=torch.bool))
    assert encoded.score.shape == (2,)
    assert encoded.levels.shape == (2, 3)
    assert encoded.embedding.shape == (2, 96)  # of three levels mean and largest
    torch.testing.assert_close(encoded.attention.sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_rtcn_takes_any_length(frames: int) -> None:
    encoded = rtcn()(torch.randn(2, frames, 10), torch.ones(2, frames, dtype=torch.bool))
    assert encoded.score.shape == (2,)
    assert encoded.embedding.shape == (2, 16)
    torch.testing.assert_close(encoded.attention.sum(1), torch.ones(2))


@pytest.mark.parametrize("frames", [1, 5, 8, 13])
def test_a_padded_clip_scores_as_the_unpadded_one_in_psgcn(frames: int) -> None:
    streams, seen = torch.randn(1, 9, frames, 17), torch.rand(1, frames, 17) > 0.3
    seen[0, 0, 0] = True
    padded = torch.cat([streams, torch.randn(1, 9, 11, 17)], 2)
    hidden = torch.cat([seen, torch.zeros(1, 11, 17, dtype=torch.bool)], 1)
    net = psgcn()
    short, long = net(streams, seen), net(padded, hidden)
    torch.testing.assert_close(short.levels, long.levels, atol=1e-5, rtol=0)
    torch.testing.assert_close(short.embedding, long.embedding, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 6, 40])
def test_a_padded_clip_scores_as_the_unpadded_one_in_rtcn(frames: int) -> None:
    features, mask = torch.randn(1, frames, 10), torch.ones(1, frames, dtype=torch.bool)
    padded = torch.cat([features, torch.full((1, 9, 10), float("nan"))], 1)
    net = rtcn()
    short = net(features, mask)
    hidden = torch.cat([mask, torch.zeros(1, 9, dtype=torch.bool)], 1)
    long = net(padded, hidden)
    torch.testing.assert_close(short.score, long.score, atol=1e-5, rtol=0)
    torch.testing.assert_close(short.embedding, long.embedding, atol=1e-5, rtol=0)


def test_what_lies_in_a_gap_has_no_influence() -> None:
    features, mask = torch.randn(1, 20, 10), torch.ones(1, 20, dtype=torch.bool)
    mask[0, 5:9] = False
    other = features.clone()
    other[0, 5:9] = 1e3
    net = rtcn()
    torch.testing.assert_close(net(features, mask).score, net(other, mask).score)
    streams, seen = torch.randn(1, 9, 20, 17), torch.ones(1, 20, 17, dtype=torch.bool)
    seen[0, 5:9] = False
    changed = streams.clone()
    changed[0, :, 5:9] = float("nan")
    torch.testing.assert_close(psgcn()(streams, seen).score, psgcn()(changed, seen).score)


@pytest.mark.parametrize("training", [False, True])
def test_what_an_unseen_joint_holds_has_no_influence(training: bool) -> None:
    streams, seen = torch.randn(2, 9, 20, 17), torch.rand(2, 20, 17) > 0.3
    hidden = torch.where(seen[:, None], streams, float("nan"))
    nets = [psgcn().train(training) for _ in range(2)]
    scores = [net(values, seen).levels for net, values in zip(nets, (streams, hidden), strict=True)]
    torch.testing.assert_close(scores[0], scores[1])
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_an_absent_clip_is_zero_and_leaves_the_others_alone() -> None:
    streams, seen = torch.randn(3, 9, 8, 17), torch.ones(3, 8, 17, dtype=torch.bool)
    seen[1] = False
    net = psgcn()
    together, alone = net(streams, seen), net(streams[[0, 2]], seen[[0, 2]])
    torch.testing.assert_close(together.score[[0, 2]], alone.score)
    assert together.present.tolist() == [True, False, True]
    assert together.score[1] == 0
    assert not together.embedding[1].any()
    everybody_gone = net(streams, torch.zeros_like(seen))
    assert not everybody_gone.present.any()
    assert everybody_gone.levels.shape == (3, 3)


def test_absent_and_padded_frames_do_not_enter_the_norms_statistics() -> None:
    torch.manual_seed(0)
    streams, seen = torch.randn(2, 9, 8, 17), torch.ones(2, 8, 17, dtype=torch.bool)
    padded = torch.cat([streams, torch.zeros(2, 9, 8, 17)], 2)
    hidden = torch.cat([seen, torch.zeros_like(seen)], 1)
    with_absent = torch.cat([padded, torch.zeros(1, 9, 16, 17)]), torch.cat([hidden, torch.zeros(1, 16, 17) > 0])
    nets = [psgcn(trained=False).train() for _ in range(2)]
    scores = nets[0](streams, seen).score, nets[1](*with_absent).score[:2]
    torch.testing.assert_close(*scores, atol=1e-5, rtol=0)
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_gradients_are_finite_with_gaps_absent_clips_and_single_frames() -> None:
    net = psgcn(trained=False).train()
    seen = torch.rand(4, 8, 17) > 0.5
    seen[1], seen[2] = False, False
    seen[2, 3, 4] = True
    encoded = net(torch.randn(4, 9, 8, 17), seen)
    (encoded.score.sum() + encoded.embedding.square().sum()).backward()
    sequence = rtcn().train()
    mask = torch.rand(4, 8) > 0.5
    mask[1] = False
    mask[2] = torch.arange(8) == 3
    of_sequence = sequence(torch.randn(4, 8, 10), mask)
    (of_sequence.score.sum() + of_sequence.embedding.square().sum()).backward()
    gradients = [p.grad for p in [*net.parameters(), *sequence.parameters()] if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > len(gradients) / 2


@pytest.mark.parametrize("net", ["psgcn", "rtcn"])
def test_a_batch_of_one_clip_trains(net: str) -> None:
    if net == "psgcn":
        encoded = psgcn(trained=False).train()(torch.randn(1, 9, 8, 17), torch.ones(1, 8, 17, dtype=torch.bool))
    else:
        encoded = rtcn().train()(torch.randn(1, 4, 10), torch.ones(1, 4, dtype=torch.bool))
    assert encoded.score.isfinite().all()
    encoded.score.sum().backward()


def test_networks_for_a_few_hundred_clips_are_small() -> None:
    assert 0.02e6 < sum(parameter.numel() for parameter in Psgcn().parameters()) < 0.05e6
    assert 0.2e6 < sum(parameter.numel() for parameter in Rtcn(2048).parameters()) < 0.4e6


def test_a_pose_held_for_one_frame_reaches_every_level_whatever_the_clips_length() -> None:
    net = psgcn()
    moved = []
    for frames in (16, 160):
        streams, seen = torch.zeros(1, 9, frames, 17), torch.ones(1, frames, 17, dtype=torch.bool)
        held = streams.clone()
        held[:, :, frames // 2] = 3.0
        moved.append((net(held, seen).embedding - net(streams, seen).embedding)[0].view(3, 2, 16).abs().sum(2))
    (short_mean, short_largest), (long_mean, long_largest) = (change.T for change in moved)
    assert (long_mean < 0.3 * short_mean).all()
    assert (long_largest > 0.9 * short_largest).all()
    assert (long_largest > 0).all()
