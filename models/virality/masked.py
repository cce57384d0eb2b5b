"""Layers that the encoders share, with masks for what is absent, and the encoders' common output."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Encoded:
    """Encoder output for a batch of B clips of one modality. Where `present` is False everything else is 0."""

    score: Tensor  # [B] the mean of `levels`
    levels: Tensor  # [B, L] scores of the network's levels, one at least
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


def encoded_batch(levels: Tensor, embedding: Tensor, attention: Tensor, present: Tensor) -> Encoded:
    """Encoder output for B clips from that for the N present ones: levels' scores [N, L]. present: bool [B], N of them
    True.
    """
    score, levels, embedding, attention = (
        scatter_present(values, present) for values in (levels.mean(1), levels, embedding, attention)
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
