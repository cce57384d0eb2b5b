"""RTCN: a sequence of frame features through gated dilated convolutions and non-local temporal relations to a score.

The abstract fixes "appearance dynamics with non-local temporal relations"; layers, sizes and their use for the face and
the scene too are ours. The relation is the residual block of "Non-local Neural Networks" (Wang et al., arXiv
1711.07971): a softmax over other frames' similarity, their values, an output that starts at zero. Three changes are
ours, so that it learns whether something comes again: one embedding for both sides, compared by cosine (similar frames
are similar before anything is learned); only frames beyond the convolutions' reach are gathered (nearer ones are
similar anyway and would drown them); and it may gather from nowhere.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.virality.masked import (
    AttentionPool,
    Encoded,
    MeanPool,
    absent_encoded,
    encoded_batch,
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
    """Every frame gathers from similar frames beyond the reach; starts as the identity.

    Args:
        reach: frames to either side that the convolutions before it see. A clip no longer has nothing to gather.
    """

    SHARPNESS = 10.0  # a cosine that is 0.1 higher weighs e times as much
    NOWHERE = 0.5  # cosine; gathering from nowhere weighs as much as all frames of the clip would at this similarity

    def __init__(self, width: int, reach: int):
        super().__init__()
        inner = width // 2
        self.reach = reach
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, C], mask bool [B, T]."""
        key = F.normalize(self.key(x), dim=-1)
        place = torch.arange(x.shape[1], device=x.device)
        far = (place[:, None] - place).abs() > self.reach
        # A softmax with one more term, for nowhere; cosines are bounded, so that nothing can overflow.
        similarity = (self.SHARPNESS * (key @ key.transpose(1, 2) - self.NOWHERE)).exp() * (far & mask[:, None, :])
        nowhere = mask.sum(1)[:, None, None]
        gathered = similarity @ self.value(x) / (similarity.sum(2, keepdim=True) + nowhere)
        return (x + self.output(gathered)) * mask[..., None]


class Rtcn(nn.Module):
    """Frame features of one modality -> score, embedding, attention over frames.

    Args:
        features: D of the input.
        dilations: one gated layer each.
        relations_after: the layers, counted from 1, that a temporal relation follows; none: a plain TCN.
        attention_pool: False pools by the plain mean.
    """

    def __init__(
        self,
        features: int,
        width: int = 64,
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16),
        relations_after: tuple[int, ...] = (2, 4),
        dropout: float = 0.5,
        attention_pool: bool = True,
    ):
        super().__init__()
        self.input = nn.Sequential(nn.LayerNorm(features), nn.Dropout(dropout), nn.Linear(features, width))
        self.layers = nn.ModuleList(GatedConv(width, dilation, dropout) for dilation in dilations)
        self.relations = nn.ModuleDict(
            {str(layer): TemporalRelation(width, sum(dilations[:layer])) for layer in relations_after}
        )
        self.pool = AttentionPool(width) if attention_pool else MeanPool()
        self.head = nn.Linear(width, 1)
        self.embedding_size = width

    def forward(self, features: Tensor, mask: Tensor) -> Encoded:
        """features: [B, T, D]; mask: bool [B, T]; any T from 1.

        Values where the mask is False have no influence, NaN included. A clip with no True is absent.
        """
        present = mask.any(1)
        if not present.any():
            return absent_encoded(mask, features, 1, self.embedding_size)
        mask = mask[present]
        features = torch.where(mask[..., None], features[present], 0.0)
        score, embedding, attention = self.encode_present(features, mask)
        return encoded_batch(score, embedding, attention, present)

    def encode_present(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All clips present -> score [N, 1], embedding [N, E], attention [N, T]."""
        x = self.input(features) * mask[..., None]
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, mask)
            if str(number) in self.relations:
                x = self.relations[str(number)](x, mask)
        pooled, weights = self.pool(x, mask)
        return self.head(pooled), pooled, weights
