"""RankNet gives what its paper says, pair by pair; order is what it teaches."""

import math

import pytest
import torch
from torch import Tensor, nn

from models.virality.losses import percentile_huber, ranknet

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def batch(seed: int, clips: int = 17) -> Batch:
    """Scores, percentiles, three challenges of unequal size, some clips not counted; ties among all."""
    draw = torch.Generator().manual_seed(seed)
    score = (3 * torch.randn(clips, generator=draw)).round() / 2
    target = torch.randint(0, 11, (clips,), generator=draw) / 10
    challenge = torch.randint(0, 3, (clips,), generator=draw) ** 2
    return score, target, challenge, torch.rand(clips, generator=draw) < 0.8


def lists(values: Batch) -> list[list[tuple[float, float]]]:
    """Score and target of the counted clips of each challenge."""
    score, target, challenge, counted = (part.tolist() for part in values)
    rows = [[row for row, name in enumerate(challenge) if name == one and counted[row]] for one in set(challenge)]
    return [[(score[row], target[row]) for row in some] for some in rows]


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def slow_ranknet(values: Batch, tau: float) -> float:
    losses = [
        softplus(below - above)
        for clips in lists(values)
        for above, more in clips
        for below, less in clips
        if more > less + tau
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("tau", [0.0, 0.25])
def test_a_batch_gives_what_its_pairs_give_one_by_one(tau: float) -> None:
    for seed in range(5):
        values = batch(seed)
        score, target, challenge, counted = values
        loss = ranknet(score.double(), target.double(), challenge, counted, tau)
        assert loss.item() == pytest.approx(slow_ranknet(values, tau), rel=1e-6)


def test_scores_that_follow_the_gradient_take_the_targets_order() -> None:
    score, _, challenge, counted = batch(3, 24)
    target = torch.linspace(0, 1, 24)[torch.randperm(24, generator=torch.Generator().manual_seed(0))]
    score = nn.Parameter(score.clone())
    optimiser = torch.optim.Adam([score], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        ranknet(score, target, challenge, counted).backward()
        optimiser.step()
    for name in challenge.unique():
        rows = (challenge == name) & counted
        order, best = (values[rows].argsort(descending=True) for values in (score, target))
        assert len(best) > 4
        assert torch.equal(order, best)


def test_what_is_common_to_a_challenge_and_clips_not_counted_change_nothing() -> None:
    score, target, challenge, counted = batch(1)
    plain = ranknet(score, target, challenge, counted, 0.05)
    moved = score + 2 * challenge
    moved[~counted] += 100 * torch.randn(int((~counted).sum()))
    elsewhere = torch.where(counted, target, 1 - target)
    assert ranknet(moved, elsewhere, challenge, counted, 0.05).item() == pytest.approx(plain.item(), abs=1e-5)
    moved.requires_grad_()
    ranknet(moved, target, challenge, counted, 0.05).backward()
    assert moved.grad is not None
    assert (moved.grad[~counted] == 0).all()
    assert (moved.grad[counted] != 0).any()


def test_gradients_are_finite_whatever_there_is() -> None:
    tied, apart = torch.zeros(4), torch.tensor([0.0, 0.3, 0.7, 1.0])
    one, all_of_them = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)
    only = torch.tensor([False, True, False, False])
    cases = [
        (tied, apart, one, all_of_them),  # scores tied
        (1e4 * apart, apart.flip(0), one, all_of_them),  # as wrong as can be
        (tied, tied, one, all_of_them),  # targets tied
        (apart, apart, one, only),  # one clip
        (apart, apart, torch.arange(4), all_of_them),  # one a challenge
        (apart, apart, one, ~all_of_them),  # none
        (tied[:0], tied[:0], one[:0], all_of_them[:0]),  # no batch
    ]
    for place, (score, target, challenge, counted) in enumerate(cases):
        score = score.clone().requires_grad_()
        value = ranknet(score, target, challenge, counted, 0.05)
        value.backward()
        assert score.grad is not None
        assert value.isfinite()
        assert score.grad.isfinite().all()
        assert bool((score.grad != 0).any()) == (place < 2), "tied scores learn; without an order there is no gradient"
        assert (value.item() > 0) == (place < 2)


def test_all_places_matter_the_same() -> None:
    target = torch.linspace(1, 0, 10)
    challenge, counted = torch.zeros(10, dtype=torch.int64), torch.ones(10, dtype=torch.bool)
    wrong = 20 * torch.linspace(3, -3, 10)[[1, 0, 2, 3, 4, 5, 6, 7, 9, 8]]  # so far apart that what is right is done

    score = wrong.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ranknet(score, target, challenge, counted), score)
    assert float(gradient[0]) == pytest.approx(float(gradient[8]), rel=1e-4)
    assert gradient[0] < 0


def test_clips_without_labels_enter_no_loss() -> None:
    score, target, counted = torch.randn(4), torch.rand(4), torch.tensor([True, True, False, False])
    other = torch.where(counted, score, 99.0)
    same = torch.zeros(4, dtype=torch.int64)
    assert ranknet(score, target, same, counted) == ranknet(other, target, same, counted)
    assert percentile_huber(score, target, counted) == percentile_huber(other, target, counted)
