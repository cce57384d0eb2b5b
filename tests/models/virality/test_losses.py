"""Losses give what their papers say, clip by clip; order is what they teach; GradNorm evens out how losses pull."""

import math
from collections.abc import Callable
from statistics import NormalDist

import pytest
import torch
from torch import Tensor, nn

from models.virality.config import RANKINGS, VdvConfig
from models.virality.losses import RANKING_LOSSES, GradNorm, RankingLoss, lambdarank, listnet, ranknet

every_loss = pytest.mark.parametrize("loss", RANKING_LOSSES.values(), ids=RANKING_LOSSES)
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


def slow_listnet(values: Batch, tau: float) -> float:
    losses = []
    for clips in lists(values):
        if len(clips) < 2:
            continue
        wanted = [math.exp(NormalDist().inv_cdf(min(max(target, 0.01), 0.99))) for _, target in clips]
        said = [math.exp(score) for score, _ in clips]
        shares = [(one / sum(wanted), other / sum(said)) for one, other in zip(wanted, said, strict=True)]
        losses.append(sum(one * math.log(one / other) for one, other in shares))
    return sum(losses) / len(losses)


def ndcg(order: list[int], gains: list[float]) -> float:
    def discounted(values: list[float]) -> float:
        return sum(gain / math.log2(2 + place) for place, gain in enumerate(values))

    return discounted([gains[row] for row in order]) / discounted(sorted(gains, reverse=True))


def slow_lambdarank(values: Batch, tau: float) -> float:
    """NDCG is computed anew with the two clips exchanged."""
    total = weights = 0.0
    for clips in lists(values):
        gains = [target for _, target in clips]
        order = sorted(range(len(clips)), key=lambda row: -clips[row][0])
        for one, (above, more) in enumerate(clips):
            for other, (below, less) in enumerate(clips):
                if more > less + tau:
                    exchanged = [{one: other, other: one}.get(row, row) for row in order]
                    weight = abs(ndcg(order, gains) - ndcg(exchanged, gains))
                    total += weight * softplus(below - above)
                    weights += weight
    return total / weights


@pytest.mark.parametrize(
    ("loss", "slow"), [(ranknet, slow_ranknet), (listnet, slow_listnet), (lambdarank, slow_lambdarank)]
)
@pytest.mark.parametrize("tau", [0.0, 0.25])
def test_a_batch_gives_what_its_pairs_and_lists_give_one_by_one(
    loss: RankingLoss, slow: Callable[[Batch, float], float], tau: float
):
    for seed in range(5):
        values = batch(seed)
        score, *rest = values
        assert loss(score.double(), rest[0].double(), rest[1], rest[2], tau).item() == pytest.approx(
            slow(values, tau), rel=1e-6
        )


@every_loss
def test_scores_that_follow_the_gradient_take_the_targets_order(loss: RankingLoss):
    score, _, challenge, counted = batch(3, 24)
    target = torch.linspace(0, 1, 24)[torch.randperm(24, generator=torch.Generator().manual_seed(0))]
    score = nn.Parameter(score.clone())
    optimiser = torch.optim.Adam([score], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        loss(score, target, challenge, counted, 0.0).backward()
        optimiser.step()
    for name in challenge.unique():
        rows = (challenge == name) & counted
        found, best = (values[rows].argsort(descending=True) for values in (score, target))
        assert len(best) > 4
        # LambdaRank cares for the last places so little that two of them may stay as one.
        last = 4 if loss is lambdarank else len(best)
        assert torch.equal(found[:last], best[:last])


@every_loss
def test_what_is_common_to_a_challenge_and_clips_not_counted_change_nothing(loss: RankingLoss):
    score, target, challenge, counted = batch(1)
    plain = loss(score, target, challenge, counted, 0.05)
    moved = score + 2 * challenge
    moved[~counted] += 100 * torch.randn(int((~counted).sum()))
    elsewhere = torch.where(counted, target, 1 - target)
    assert loss(moved, elsewhere, challenge, counted, 0.05).item() == pytest.approx(plain.item(), abs=1e-5)
    moved.requires_grad_()
    loss(moved, target, challenge, counted, 0.05).backward()
    assert moved.grad is not None
    assert (moved.grad[~counted] == 0).all()
    assert (moved.grad[counted] != 0).any()


@every_loss
def test_gradients_are_finite_whatever_there_is(loss: RankingLoss):
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
        value = loss(score, target, challenge, counted, 0.05)
        value.backward()
        assert score.grad is not None
        assert value.isfinite()
        assert score.grad.isfinite().all()
        assert bool((score.grad != 0).any()) == (place < 2), "tied scores learn; without an order there is no gradient"
        assert (value.item() > 0) == (place < 2)


def test_listnet_is_least_where_scores_are_the_targets_normal_scores():
    _, target, challenge, counted = batch(2)
    score = (torch.special.ndtri(target.clamp(0.01, 0.99)) + challenge).requires_grad_()
    value = listnet(score, target, challenge, counted)
    value.backward()
    assert score.grad is not None
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert score.grad.abs().max() < 1e-6


def test_to_lambdarank_the_first_places_matter_most_and_to_ranknet_all_the_same():
    target = torch.linspace(1, 0, 10)
    challenge, counted = torch.zeros(10, dtype=torch.int64), torch.ones(10, dtype=torch.bool)
    wrong = 20 * torch.linspace(3, -3, 10)[[1, 0, 2, 3, 4, 5, 6, 7, 9, 8]]  # so far apart that what is right is done

    def pull(loss: RankingLoss, clip: int) -> float:
        score = wrong.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(score, target, challenge, counted, 0.0), score)
        return -float(gradient[clip])

    assert pull(lambdarank, 0) > 20 * pull(lambdarank, 8) > 0
    assert pull(ranknet, 0) == pytest.approx(pull(ranknet, 8), rel=1e-4)
    assert pull(ranknet, 0) > 0


def test_every_loss_can_be_chosen_and_no_other():
    assert tuple(RANKING_LOSSES) == RANKINGS
    with pytest.raises(ValueError, match="ranking 'softmax' is none of ranknet, listnet, lambdarank"):
        VdvConfig(ranking="softmax")
    with pytest.raises(ValueError, match="gradnorm"):
        VdvConfig(gradnorm=-1.0)


# --- GradNorm


def trunk() -> nn.Parameter:
    return nn.Parameter(torch.tensor([0.6, -0.8]))


def squares(shared: nn.Parameter, *scales: float) -> list[Tensor]:
    """Losses whose gradients on the shared parameters are 2 x scale long at the start."""
    return [scale * (shared.square().sum() + 0.1) for scale in scales]


def test_weights_first_move_along_the_gradient_of_the_papers_loss():
    """Which here is differentiated twice, by autograd."""
    shared = trunk()
    balance = GradNorm(3, [shared], alpha=1.5)
    balance.mean(squares(shared, 1.0, 4.0, 0.5))
    balance.first = torch.tensor([2.0, 5.0, 0.7])
    start = balance.weight.clone()
    losses = squares(shared, 1.0, 4.0, 0.5)
    weight = start.clone().requires_grad_()
    lengths = torch.stack(
        [
            torch.autograd.grad(each * loss, shared, create_graph=True)[0].norm()
            for each, loss in zip(weight, losses, strict=True)
        ]
    )
    left = torch.stack(losses).detach() / balance.first
    wanted = lengths.mean().detach() * (left / left.mean()) ** 1.5
    (expected,) = torch.autograd.grad((lengths - wanted).abs().sum(), weight)
    balance.mean(losses)
    assert balance.weight.grad is not None
    torch.testing.assert_close(balance.weight.grad, expected)
    assert not torch.equal(balance.weight, start)


def test_losses_of_unequal_slope_end_up_pulling_the_trunk_alike():
    shared = trunk()
    balance = GradNorm(2, [shared], alpha=1.0)
    for _ in range(300):
        balance.mean(squares(shared, 1.0, 3.0))
    assert balance.weight.sum().item() == pytest.approx(2)
    assert balance.weight[0].item() == pytest.approx(3 * balance.weight[1].item(), rel=0.1)
    assert shared.grad is None, "the trunk learns from the mean, not from balancing it"


def test_a_loss_that_lags_behind_is_given_weight():
    shared = trunk()
    balance = GradNorm(2, [shared], alpha=1.5)
    direction = torch.tensor([0.6, -0.8])
    for step in range(20):
        slope = (shared - shared.detach()) @ direction  # 0, with a gradient of length 1
        balance.mean([slope + 1.0, slope + 0.9**step])
    assert balance.weight[0] > 1.2
    assert balance.weight.sum().item() == pytest.approx(2)


def test_the_mean_is_weighed_by_the_weights_before_they_learn():
    shared = trunk()
    balance = GradNorm(2, [shared], alpha=1.5)
    losses = squares(shared, 1.0, 3.0)
    first = balance.mean(losses)
    assert first.item() == pytest.approx(torch.stack(losses).mean().item())
    weight = balance.weight.clone()
    assert not torch.equal(weight, torch.ones(2))
    second = balance.mean(losses)
    assert second.item() == pytest.approx((torch.stack(losses) * weight).mean().item())
    second.backward()  # the weights have changed in place since
    assert shared.grad is not None
    torch.testing.assert_close(shared.grad, float((weight * torch.tensor([1.0, 3.0])).mean()) * 2 * shared.detach())


def test_a_step_without_pairs_teaches_the_weights_nothing():
    shared = trunk()
    balance = GradNorm(2, [shared], alpha=1.5)
    for nothing in (0.0, math.nan):
        balance.mean([shared.sum() ** 2, nothing * shared.sum()])
        assert torch.equal(balance.weight, torch.ones(2))
        assert balance.first is None


def test_no_weight_is_ever_below_nearly_nothing():
    shared = trunk()
    balance = GradNorm(2, [shared], alpha=1.0)
    for _ in range(200):
        balance.mean(squares(shared, 1e-4, 1.0))
    assert (balance.weight > 0.02).all()
    assert balance.weight.sum().item() == pytest.approx(2)


def test_weights_that_are_kept_go_on_as_if_nothing_had_been(tmp_path):
    shared = trunk()
    whole, killed, again = (GradNorm(3, [shared], alpha=1.5) for _ in range(3))
    for step in range(20):
        losses = squares(shared, 1.0, 2.0 + step, 0.3)
        whole.mean(losses)
        (killed if step < 7 else again).mean(losses)
        if step == 6:
            torch.save(killed.state_dict(), tmp_path / "kept")
            again.load_state_dict(torch.load(tmp_path / "kept", weights_only=True))
    assert torch.equal(whole.weight, again.weight)
    assert not torch.equal(whole.weight, killed.weight)
