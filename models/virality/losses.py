"""Losses of the scores: the order of the clips within a challenge, and their percentile."""

import torch
import torch.nn.functional as F
from torch import Tensor


def ranknet(score: Tensor, target: Tensor, challenge: Tensor, counted: Tensor, tau: float = 0.0) -> Tensor:
    """RankNet (Burges et al. 2005): the mean of softplus(-(s_i - s_j)) over pairs with target_i > target_j + tau.

    score: [B]; target: [B]; challenge: int [B], pairs are within one; counted: bool [B], others are in no pair.
    Without a pair: 0, with zero gradients.
    """
    together = (challenge[:, None] == challenge[None, :]) & counted[:, None] & counted[None, :]
    pairs = (target[:, None] - target[None, :] > tau) & together
    losses = F.softplus(score[None, :] - score[:, None])
    return torch.where(pairs, losses, 0.0).sum() / pairs.sum().clamp(min=1)


def percentile_huber(score: Tensor, percentile: Tensor, counted: Tensor) -> Tensor:
    """Mean Huber loss between sigmoid(score) and the percentile, 0..1.

    Through the sigmoid, because RankNet pulls scores apart without bound, and a percentile has two ends.
    """
    losses = F.huber_loss(score.sigmoid(), percentile, reduction="none", delta=0.25)
    return torch.where(counted, losses, 0.0).sum() / counted.sum().clamp(min=1)
