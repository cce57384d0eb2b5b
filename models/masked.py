"""What the encoders share: how masks enter norms, softmax and batches, and what an encoder says of a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Encoded:
    """One modality's word on a batch of B clips. Where `present` is False everything else is 0."""

    score: Tensor  # [B]
    levels: Tensor  # [B, L] scores supervised beside `score`; L = 0 where there is one level only
    embedding: Tensor  # [B, E]
    attention: Tensor  # [B, T] or [B, T, V]: what the pooling looked at; sums to 1 over a present clip
    present: Tensor  # bool [B]


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where `mask` is True, 0 elsewhere; all 0 (never NaN) where nothing is True."""
    lowest = torch.finfo(logits.dtype).min
    return torch.where(mask, logits.masked_fill(~mask, lowest).softmax(-1), 0.0)


def spread(values: Tensor, present: Tensor) -> Tensor:
    """values [N, ...] of the N present clips, laid out as [B, ...] with zeros for the absent ones."""
    whole = values.new_zeros(present.shape[0], *values.shape[1:])
    whole[present] = values
    return whole


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch norm of [B, C, T, V] whose training statistics leave out the frames that the mask leaves out."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """mask: bool [B, 1, T, 1], True somewhere."""
        if not self.training or bool(mask.all()):
            return super().forward(x)
        weight = mask.to(x.dtype)
        count = weight.sum() * x.shape[3]
        mean = (x * weight).sum((0, 2, 3)) / count
        centred = x - mean[:, None, None]
        variance = (centred.square() * weight).sum((0, 2, 3)) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            # As torch's: no momentum means the plain mean over batches.
            pace = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, pace)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), pace)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


class AttentionPool(nn.Module):
    """A weighted mean over places. Its weights' layer starts at zero, so it starts as the mean of what is there."""

    def __init__(self, channels: int):
        super().__init__()
        self.logit = nn.Linear(channels, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, N, C], mask bool [B, N] -> pooled [B, C], weights [B, N]."""
        weights = masked_softmax(self.logit(x).squeeze(-1), mask)
        return torch.einsum("bn,bnc->bc", weights, x), weights


class Line(nn.Module):
    """A line through numbers of a clip, to stand beside a network: with few clips it is the better half.

    The numbers are standardised over the training clips; heavy dropout, since there may be more of them than clips.
    Starts at zero.
    """

    def __init__(self, features: int, dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(features, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, numbers: Tensor) -> Tensor:
        """numbers [N, features] -> score [N]."""
        if self.training and len(numbers) < 2:  # one clip has no spread: as the norm stands
            assert self.norm.running_mean is not None
            assert self.norm.running_var is not None
            standard = (numbers - self.norm.running_mean) * (self.norm.running_var + self.norm.eps).rsqrt()
        else:
            standard = self.norm(numbers)
        return self.head(self.dropout(standard.clamp(-4, 4))).squeeze(-1)
