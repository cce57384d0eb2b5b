"""What the scores are trained for: the order of the clips within a challenge, and their percentile."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RankingLoss = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
_ENDS = 0.01  # percentiles are held this far from 0 and 1, whose normal scores are infinite


def ranknet(score: Tensor, target: Tensor, challenge: Tensor, counted: Tensor, tau: float = 0.0) -> Tensor:
    """RankNet (Burges et al. 2005): the mean of softplus(-(s_i - s_j)) over pairs with target_i > target_j + tau.

    score: [B]; target: [B]; challenge: int [B], pairs are within one; counted: bool [B], others are in no pair.
    Without a pair: 0, with zero gradients.
    """
    pairs = _pairs(target, challenge, counted, tau)
    losses = F.softplus(score[None, :] - score[:, None])
    return torch.where(pairs, losses, 0.0).sum() / pairs.sum().clamp(min=1)


def lambdarank(score: Tensor, target: Tensor, challenge: Tensor, counted: Tensor, tau: float = 0.0) -> Tensor:
    """LambdaRank (Burges 2010): RankNet's mean, each pair weighted by what exchanging the two would change of NDCG.

    NDCG is of all counted clips of the challenge in the batch; gain: the percentile as it is, linear as in
    pipeline.metrics.ranking; discount: 1 / log2(1 + place), places by the score as it stands, a tie in the batch's
    order, so that tied clips learn, too. A weighted mean, not Burges' sum, so that the loss is of RankNet's size
    whatever the challenges' sizes. The weights have no gradients.

    Arguments as ranknet's, target 0..1. Without a pair: 0, with zero gradients.
    """
    pairs = _pairs(target, challenge, counted, tau)
    with torch.no_grad():
        together = _together(challenge, counted)
        gain = torch.where(counted, target, 0.0)
        discount = 1 / torch.log2(1 + _places(score, together))
        best = together.to(gain.dtype) @ (gain / torch.log2(1 + _places(gain, together)))  # [B] of the clip's challenge
        change = (gain[:, None] - gain).abs() * (discount[:, None] - discount).abs()
        weights = torch.where(pairs, change / best.clamp(min=1e-6)[:, None], 0.0)
    losses = F.softplus(score[None, :] - score[:, None])
    return (weights * torch.where(pairs, losses, 0.0)).sum() / weights.sum().clamp(min=1e-12)


def listnet(score: Tensor, target: Tensor, challenge: Tensor, counted: Tensor, tau: float = 0.0) -> Tensor:
    """ListNet, top one (Cao et al. 2007): cross entropy of two softmaxes over a challenge's clips, of target and score.

    The target's softmax is of the percentile's normal score. A percentile as it is would give the best clip not three
    times the share of the worst; its logit would give the best of 64 more than a third of all. Less the target's own
    entropy, which has no gradient: 0 is the best there is. The mean over challenges that have two counted clips in the
    batch.

    Arguments as ranknet's, target 0..1; tau is not looked at: a list has no pairs, and near targets weigh nearly alike.
    Without two clips: 0, with zero gradients.
    """
    together = _together(challenge, counted)
    size = together.sum(1)
    wanted = torch.special.ndtri(torch.where(counted, target, 0.5).clamp(_ENDS, 1 - _ENDS))
    log_share, log_wanted = (_log_share(values, together) for values in (score, wanted))
    losses = torch.where(counted, log_wanted.exp() * (log_wanted - log_share), 0.0)
    challenges = torch.where(size > 1, 1 / size.clamp(min=1), 0.0).sum()
    return losses.sum() / challenges.clamp(min=1)


RANKING_LOSSES: dict[str, RankingLoss] = {"ranknet": ranknet, "listnet": listnet, "lambdarank": lambdarank}


def percentile_huber(score: Tensor, percentile: Tensor, counted: Tensor) -> Tensor:
    """Mean Huber loss between sigmoid(score) and the percentile, 0..1.

    Through the sigmoid, because RankNet pulls scores apart without bound, and a percentile has two ends.
    """
    losses = F.huber_loss(score.sigmoid(), percentile, reduction="none", delta=0.25)
    return torch.where(counted, losses, 0.0).sum() / counted.sum().clamp(min=1)


class GradNorm:
    """Weights of several losses on one trunk, by which all train at like rates (GradNorm, Chen et al., ICML 2018).

    The weights start at 1. In each step they move, by an optimiser of their own, to where the gradient of each weighted
    loss on the shared parameters is as long as the mean of all times (r_i / mean of r) ** alpha, with r_i the loss as a
    share of what it was at first; then they are scaled to sum to their number. That gradient is known in closed form:
    the losses are differentiated once, not twice.

    Ours: the optimiser is Adam, and no weight goes below a twentieth of the mean, for a negative one would teach the
    opposite. The weights are on the CPU wherever the losses are.

    Args:
        losses: L, how many.
        shared: the trunk's last parameters that every loss depends on. GradNorm gives them no gradient.
        alpha: above 0; the larger, the more a loss that lags behind is favoured (the paper: 0.12 for losses much alike,
            1.5 for others).
    """

    RATE = 0.025  # of the weights: they may double in about forty steps, as many as a few hundred clips give
    LEAST = 0.05

    def __init__(self, losses: int, shared: Sequence[nn.Parameter], alpha: float):
        self.shared, self.alpha = shared, alpha
        self.weight = torch.ones(losses)  # [L]
        self.first: Tensor | None = None  # [L] the losses of the first step in which each was above 0
        self._optimiser = torch.optim.Adam([self.weight], lr=self.RATE)

    def mean(self, losses: Sequence[Tensor]) -> Tensor:
        """The weighted mean of L losses, scalars above 0; then the weights learn from them.

        A step with a loss that is 0 or not finite teaches the weights nothing: a batch without pairs says nothing.
        """
        together = torch.stack(list(losses))
        weighted = (together * self.weight.to(together, copy=True)).mean()  # a copy: the weights change in place
        now = together.detach().cpu()
        if bool(((now > 0) & now.isfinite()).all()):
            self._learn(now, torch.stack([_length(loss, self.shared) for loss in losses]).cpu())
        return weighted

    def _learn(self, now: Tensor, lengths: Tensor) -> None:
        """now, lengths: [L] of the losses and of their gradients, without weights."""
        if self.first is None:
            self.first = now
        left = now / self.first
        reached = self.weight * lengths
        wanted = reached.mean() * (left / left.mean()) ** self.alpha
        self.weight.grad = (reached - wanted).sign() * lengths  # of sum |reached - wanted|, the wanted ones held
        self._optimiser.step()
        self.weight.clamp_(min=self.LEAST).mul_(len(now) / self.weight.sum())

    def state_dict(self) -> dict[str, Any]:
        """All that goes on with a training that was killed."""
        return {"weight": self.weight.clone(), "first": self.first, "optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight.copy_(state["weight"])
        self.first = state["first"]
        self._optimiser.load_state_dict(state["optimiser"])


def _length(loss: Tensor, shared: Sequence[nn.Parameter]) -> Tensor:
    """Of the loss' gradient on the parameters."""
    gradients = torch.autograd.grad(loss, shared, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients]).norm()


def _together(challenge: Tensor, counted: Tensor) -> Tensor:
    """bool [B, B]: two counted clips of one challenge; a counted clip with itself, too."""
    return (challenge[:, None] == challenge[None, :]) & counted[:, None] & counted[None, :]


def _pairs(target: Tensor, challenge: Tensor, counted: Tensor, tau: float) -> Tensor:
    """bool [B, B]: the first of two clips is to be above the second."""
    return (target[:, None] - target[None, :] > tau) & _together(challenge, counted)


def _places(values: Tensor, together: Tensor) -> Tensor:
    """float [B], from 1: each clip's place among those it is together with, the highest first, a tie in order."""
    order = torch.arange(len(values), device=values.device)
    tied_before = (values[None, :] == values[:, None]) & (order[None, :] < order[:, None])
    before = (values[None, :] > values[:, None]) | tied_before
    return 1 + (before & together).sum(1).to(values.dtype)


def _log_share(values: Tensor, together: Tensor) -> Tensor:
    """[B] log softmax of each clip's value among those it is together with; of a clip that is with none, 0."""
    alone = torch.eye(len(values), dtype=torch.bool, device=values.device)
    others = values.expand(len(values), -1).masked_fill(~(together | alone), -torch.inf)
    return values - others.logsumexp(1)
