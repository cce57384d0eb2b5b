"""Attentive fusion: the modalities' *predictions*, weighed clip by clip. What the weights are made from is ours."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.masked import masked_softmax


class AttentiveFusion(nn.Module):
    """Weights of a softmax over the present modalities, from each one's embedding, score and quality.

    Scores are averaged in units of their spread in training: RankNet pulls them apart without bound, and the
    modality that memorised most would drown the others. The last layer starts at zero, so the fusion starts as the
    mean of what is there.
    """

    def __init__(self, embedding_sizes: tuple[int, ...], hidden: int = 64, modality_dropout: float = 0.2):
        super().__init__()
        self.modality_dropout = modality_dropout
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(len(embedding_sizes)))
        self.weigh = nn.ModuleList()
        for size in embedding_sizes:
            last = nn.Linear(hidden, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.weigh.append(nn.Sequential(nn.Linear(size + 2, hidden), nn.ReLU(), last))

    def forward(
        self, scores: Tensor, embeddings: tuple[Tensor, ...], quality: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """scores [B, M], embeddings M x [B, E_m], quality [B, M] 0..1, present bool [B, M].

        Returns the fused score [B] and the attention [B, M], which sums to 1; both 0 where nothing is present.
        """
        if self.training:
            self._measure(scores, present)
            if self.modality_dropout > 0:
                present = self._drop(present)
        inputs = (
            torch.cat([F.layer_norm(embedding, embedding.shape[1:]), score[:, None], clear[:, None]], 1)
            for embedding, score, clear in zip(embeddings, scores.detach().T, quality.T, strict=True)
        )
        logits = torch.cat([weigh(values) for weigh, values in zip(self.weigh, inputs, strict=True)], 1)
        attention = masked_softmax(logits, present)
        return (attention * scores / self.spread).sum(1), attention

    @torch.no_grad()
    def _measure(self, scores: Tensor, present: Tensor) -> None:
        """Follows the standard deviation of each modality's scores, over batches in which it has two or more."""
        count = present.sum(0)
        mean = torch.where(present, scores, 0.0).sum(0) / count.clamp(min=1)
        squares = torch.where(present, (scores - mean).square(), 0.0).sum(0)
        spread = (squares / (count - 1).clamp(min=1)).sqrt()
        self.spread.copy_(torch.where((count > 1) & (spread > 1e-4), self.spread.lerp(spread, 0.1), self.spread))

    def _drop(self, present: Tensor) -> Tensor:
        """Leaves modalities out at random, but never the last one of a clip."""
        luck = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
        kept = luck >= self.modality_dropout
        kept.scatter_(1, luck.argmax(1, keepdim=True), True)
        return kept & present
