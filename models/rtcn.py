"""RTCN: a sequence of frame features through gated dilated convolutions and non-local temporal relations to a score.

The abstract fixes "appearance dynamics with non-local temporal relations"; layers, sizes and their use for the face and
the scene too are ours, and so is the line through the features' mean over time that is mixed with what they say: with
a few hundred clips the mean holds most of what can be learned, and a deep network alone learns clips by heart.
The relation is the embedded Gaussian of "Non-local Neural Networks" (arXiv 1711.07971).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.masked import (
    FEATURE_LIMIT,
    AttentionPool,
    Encoded,
    Line,
    MeanPool,
    Mix,
    absent,
    laid_out,
    masked_mean,
    masked_softmax,
)


class GatedConv(nn.Module):
    """x + GLU(convolution of kernel 3), padded so that the length stays."""

    def __init__(self, width: int, dilation: int, dropout: float):
        super().__init__()
        self.conv = nn.Conv1d(width, 2 * width, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, C], mask bool [B, T]."""
        gated = F.glu(self.conv(x.transpose(1, 2)), 1).transpose(1, 2)
        return (x + self.dropout(gated)) * mask[..., None]


class TemporalRelation(nn.Module):
    """Every frame gathers from all frames, by likeness and by nearness in seconds; starts as the identity."""

    def __init__(self, width: int):
        super().__init__()
        inner = width // 2
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        self.nearness = nn.Parameter(torch.zeros(()))  # per second of distance
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, mask: Tensor, seconds: Tensor) -> Tensor:
        """x [B, T, C], mask bool [B, T], seconds [B, T]."""
        likeness = self.query(x) @ self.key(x).transpose(1, 2) / self.query.out_features**0.5
        distance = (seconds[:, :, None] - seconds[:, None, :]).abs()
        weights = masked_softmax(likeness - self.nearness * distance, mask[:, None, :])
        return (x + self.output(weights @ self.value(x))) * mask[..., None]


class Rtcn(nn.Module):
    """Frame features of one modality -> score, embedding, attention over frames.

    Args:
        features: D of the input.
        dilations: one gated layer each.
        relations_after: the layers, counted from 1, that a temporal relation follows; none: a plain TCN.
        line: how many of the features, the last, the line beside the network sees the mean of; 0: no line.
        attention_pool: False pools by the plain mean.
    """

    def __init__(
        self,
        features: int,
        width: int = 64,
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16),
        relations_after: tuple[int, ...] = (2, 4),
        dropout: float = 0.5,
        line: int = 0,
        attention_pool: bool = True,
    ):
        super().__init__()
        self.input = nn.Sequential(nn.LayerNorm(features), nn.Dropout(dropout), nn.Linear(features, width))
        self.layers = nn.ModuleList(GatedConv(width, dilation, dropout) for dilation in dilations)
        self.relations = nn.ModuleDict({str(layer): TemporalRelation(width) for layer in relations_after})
        self.pool = AttentionPool(width) if attention_pool else MeanPool()
        self.head = nn.Linear(width, 1)
        self.line = Line(line, FEATURE_LIMIT) if line else None
        self.mix = Mix(1, line > 0)
        self.embedding_size = width

    def forward(self, features: Tensor, mask: Tensor, seconds: Tensor) -> Encoded:
        """features: [B, T, D]; mask: bool [B, T]; seconds: [B, T]; any T from 1.

        What lies where the mask is False has no influence, NaN included. A clip with no True is absent.
        """
        present = mask.any(1)
        if not present.any():
            return absent(mask, features, len(self.mix.weight), self.embedding_size)
        mask = mask[present]
        features = torch.where(mask[..., None], features[present], 0.0)
        score, embedding, attention = self._encode(features, mask, seconds[present])
        line = None if self.line is None else self.line(masked_mean(features, mask)[:, -len(self.line.slope) :])
        return laid_out(score, line, self.mix, embedding, attention, present)

    def _encode(self, features: Tensor, mask: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All clips present -> score [N, 1], embedding [N, E], attention [N, T]."""
        x = self.input(features) * mask[..., None]
        seconds = torch.where(mask, seconds, 0.0)
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, mask)
            if str(number) in self.relations:
                x = self.relations[str(number)](x, mask, seconds)
        pooled, weights = self.pool(x, mask)
        return self.head(pooled), pooled, weights
