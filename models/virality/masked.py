"""Layers that the encoders share, with masks for what is absent, and the encoders' common output."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

FEATURE_LIMIT = 4.0  # of the ridge regressions on features and probabilities
MOTION_LIMIT = 2.0  # and of those on motion statistics, where tails say how odd a dancer is, not how good


@dataclass(frozen=True)
class Encoded:
    """Encoder output for a batch of B clips of one modality. Where `present` is False everything else is 0."""

    score: Tensor  # [B] `levels`, weighted by LevelMix
    levels: Tensor  # [B, L] scores of the network's levels, one at least, then the ridge regression's if there is one
    embedding: Tensor  # [B, E]
    attention: Tensor  # [B, T] or [B, T, V]: weights of the pooling; sums to 1 over a present clip
    present: Tensor  # bool [B]


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where `mask` is True, 0 elsewhere; all 0 (never NaN) where nothing is True."""
    lowest = torch.finfo(logits.dtype).min
    return torch.where(mask, logits.masked_fill(~mask, lowest).softmax(-1), 0.0)


def scatter_present(values: Tensor, present: Tensor) -> Tensor:
    """values [N, ...] of the N present clips, laid out as [B, ...] with zeros for the absent ones."""
    whole = values.new_zeros(present.shape[0], *values.shape[1:])
    whole[present] = values
    return whole


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """[B, T, C], 0 where mask bool [B, T] is False -> [B, C], the mean over the present frames, one at least."""
    return x.sum(1) / mask.sum(1, keepdim=True)


def absent_encoded(mask: Tensor, like: Tensor, levels: int, embedding: int) -> Encoded:
    """Encoder output for a batch in which no clip is present: zeros.

    mask: bool [B, T] or [B, T, V], the attention's shape; like: any tensor of the scores' type and device; levels and
    embedding: L and E of `Encoded`.
    """
    score = like.new_zeros(len(mask))
    attention = torch.zeros_like(mask, dtype=like.dtype)
    rows = score[:, None]
    return Encoded(score, rows.expand(-1, levels), rows.expand(-1, embedding), attention, mask.flatten(1).any(1))


def encoded_batch(
    network: Tensor, ridge: Tensor | None, mix: "LevelMix", embedding: Tensor, attention: Tensor, present: Tensor
) -> Encoded:
    """Encoder output for B clips from the scores of the N present ones: a network's [N, L] and the ridge regression's
    [N]. present: bool [B], N of them True.
    """
    levels = network if ridge is None else torch.cat([network, ridge[:, None]], 1)
    score, levels, embedding, attention = (
        scatter_present(values, present) for values in (mix(levels), levels, embedding, attention)
    )
    return Encoded(score, levels, embedding, attention, present)


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch norm of [B, C, T, V] whose training statistics leave out masked frames."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """mask: bool [B, 1, T, 1], True somewhere. Where it is False the output means nothing."""
        if not self.training or bool(mask.all()):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        # Masked frames become the mean of the others. That changes neither the mean nor the sum of squares around it,
        # only their divisor, so torch's own norm can be used: quick, for masked frames are few.
        clip, _, frame, _ = (~mask).nonzero(as_tuple=True)
        share = 1 - len(clip) / mask.numel()
        count = share * x.numel() / x.shape[1]
        mean = (x.sum((0, 2, 3)) - x[clip, :, frame].sum((0, 2))) / count
        channel = torch.arange(x.shape[1], device=x.device)
        filled = x.index_put((clip[:, None], channel, frame[:, None]), mean[:, None])
        output, _, scale = torch.native_batch_norm(
            filled, self.weight * share**0.5, self.bias, None, None, True, 0.0, self.eps * share
        )
        with torch.no_grad():
            self.num_batches_tracked += 1
            # As torch's: no momentum means the plain mean over batches.
            pace = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            variance = scale.pow(-2) / share - self.eps
            self.running_mean.lerp_(mean, pace)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), pace)
        return output


class AttentionPool(nn.Module):
    """A weighted mean over places. Its weights' layer starts at zero, so it starts as the plain mean."""

    def __init__(self, channels: int):
        super().__init__()
        self.logit = nn.Linear(channels, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, N, C], mask bool [B, N] -> pooled [B, C], weights [B, N]."""
        weights = masked_softmax(self.logit(x).squeeze(-1), mask)
        return torch.einsum("bn,bnc->bc", weights, x), weights


class MeanPool(nn.Module):
    """The mean over unmasked places, with the interface of AttentionPool."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, N, C], mask bool [B, N] -> pooled [B, C], weights [B, N]."""
        weights = mask.to(x.dtype) / mask.sum(1, keepdim=True).clamp(min=1)
        return torch.einsum("bn,bnc->bc", weights, x), weights


class Ridge(nn.Module):
    """A ridge regression on statistics of a clip, beside a network: with few clips it is the better half.

    Fitted in closed form (pipeline.training.ridge), not trained with the network; until then it returns 0. A statistic
    that is NaN, not known, counts as the mean.

    Args:
        statistics: S of a clip.
        limit: standard deviations that a statistic counts for at most, or one outlier would decide alone. Nearer to the
            mean it counts for nearly its value: limit * tanh(z / limit).
    """

    def __init__(self, statistics: int, limit: float):
        super().__init__()
        self.limit = limit
        self.mean: Tensor
        self.scale: Tensor
        self.coefficients: Tensor
        self.register_buffer("mean", torch.zeros(statistics))
        self.register_buffer("scale", torch.ones(statistics))
        self.register_buffer("coefficients", torch.zeros(statistics))

    def set(self, mean: Tensor, scale: Tensor, coefficients: Tensor) -> None:
        """Each [S]; scale above 0."""
        for buffer, values in ((self.mean, mean), (self.scale, scale), (self.coefficients, coefficients)):
            buffer.copy_(values)

    def forward(self, statistics: Tensor) -> Tensor:
        """statistics [N, S] -> score [N]."""
        standard = (statistics - self.mean) / self.scale
        return (self.limit * (standard / self.limit).tanh()).nan_to_num(nan=0.0) @ self.coefficients


class LevelMix(nn.Module):
    """An encoder's score: the weighted sum of its levels, those of its network and the ridge regression's.

    Starts as half the network's mean and half the regression; the weights are then fitted to clips held out
    (pipeline.training.fit).
    """

    def __init__(self, network_levels: int, ridge: bool):
        super().__init__()
        self.network_levels = network_levels  # the first of the levels; the regression's comes after them
        self.centre: Tensor
        self.weight: Tensor
        share = 0.5 if ridge else 1.0
        self.register_buffer("centre", torch.zeros(network_levels + ridge))
        self.register_buffer("weight", torch.tensor([share / network_levels] * network_levels + [0.5] * ridge))

    def set(self, centre: Tensor, weight: Tensor) -> None:
        """Each [L]."""
        self.centre.copy_(centre)
        self.weight.copy_(weight)

    def forward(self, levels: Tensor) -> Tensor:
        """levels [N, L] -> score [N]."""
        return (levels - self.centre) @ self.weight
