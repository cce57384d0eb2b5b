"""What a network's training consists of wherever it is trained: its loss, what is decayed, its norms' statistics."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.virality.config import VdvConfig
from models.virality.losses import RANKING_LOSSES, percentile_huber

Balance = Callable[[Sequence[Tensor]], Tensor]


def loss_of(
    score: Tensor,
    levels: Tensor,
    percentile: Tensor,
    challenge: Tensor,
    counted: Tensor,
    config: VdvConfig,
    balance: Balance | None = None,
) -> Tensor:
    """The config's ranking loss of the score and of each level, and Huber on the percentile.

    Args:
        score: [B]; levels: [B, L] supervised beside it, L from 0.
        percentile, challenge, counted: [B] as models.virality.losses has them.
        balance: the L levels' losses to one; None: their mean.
    """
    rank = RANKING_LOSSES[config.ranking]
    loss = rank(score, percentile, challenge, counted, config.tau)
    loss = loss + config.huber_weight * percentile_huber(score, percentile, counted)
    if levels.shape[1]:
        alone = [rank(level, percentile, challenge, counted, config.tau) for level in levels.T]
        loss = loss + config.level_weight * (torch.stack(alone).mean() if balance is None else balance(alone))
    return loss


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict]:
    """For an optimiser. Decay is for what multiplies; norms, biases and the learned adjacency keep their start."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        multiplies = parameter.ndim > 1 and not name.endswith(("adjacency", "importance"))
        (decayed if multiplies else kept).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def reset_norm_statistics(network: nn.Module) -> bool:
    """Batch norms start their statistics anew, as plain means over the batches that follow in training mode. Whether
    there are any.

    To be followed by an epoch of forward passes, after the last step: the running averages lag behind weights that
    still move, and after a short training hold mostly their start.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    return bool(norms)
