"""Loss, weight decay and batch norm statistics of a network's training, wherever it is trained."""

import torch
from torch import Tensor, nn

from models.virality.config import VdvConfig
from models.virality.losses import percentile_huber, ranknet


def loss_of(
    score: Tensor, levels: Tensor, percentile: Tensor, challenge: Tensor, counted: Tensor, config: VdvConfig
) -> Tensor:
    """RankNet of the score, Huber on the percentile, and the mean RankNet of the levels.

    Args:
        score: [B]; levels: [B, L] supervised beside it, L from 0.
        percentile, challenge, counted: [B] as models.virality.losses has them.
    """
    loss = ranknet(score, percentile, challenge, counted, config.tau)
    loss = loss + config.huber_weight * percentile_huber(score, percentile, counted)
    if levels.shape[1]:
        by_level = [ranknet(level, percentile, challenge, counted, config.tau) for level in levels.T]
        loss = loss + config.level_weight * torch.stack(by_level).mean()
    return loss


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups of an optimiser: weights that multiply decay; norms, biases and learned adjacencies do not."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        multiplies = parameter.ndim > 1 and not name.endswith(("adjacency", "importance"))
        (decayed if multiplies else kept).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def reset_norm_statistics(network: nn.Module) -> bool:
    """Reset the statistics of batch norms to plain means over the training-mode batches that follow.

    An epoch of forward passes after the last step is to follow: the running averages lag behind weights that still
    move, and after a short training hold mostly their start. Returns whether the network has batch norms.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    return bool(norms)
