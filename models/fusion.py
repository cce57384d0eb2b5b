"""Attentive fusion: the modalities' *predictions*, weighed clip by clip. What the weights are made from is ours."""

import torch
from torch import Tensor, nn

from models.config import FUSIONS
from models.masked import masked_softmax

FLOOR = 1e-3  # reliability, as a share of the best one's: a cue that proved nothing still decides where it is alone


class AttentiveFusion(nn.Module):
    """A convex sum of calibrated scores; its weights are a softmax over the present modalities.

    A score is calibrated by three numbers a modality, measured on clips that its encoder had not seen: `centre` and
    `spread` of the scores, and `reliability`, by how much the label goes with them. The weights start in proportion to
    reliability; a small network on each modality's calibrated score and quality moves them from clip to clip. It does
    not see embeddings: those of the encoders it is trained on lie in other spaces than those of the final ones.

    What is missing would have had a say. The sum is therefore drawn to the middle, 0, by the share of reliability that
    is missing: a clip known by its scene alone is not called the best of its challenge. Last, `gain` puts the sum on
    the label's own scale, its percentile's normal score, so that scores of models trained apart can be compared.

    Args:
        cues: M.
        hidden: of each modality's small network.
        modality_dropout: the probability that training leaves a modality of a clip out.
        mode: how much of this there is. attention: all; reliability: no small networks, the weights stay in proportion
            to reliability; mean: nor that, calibrated scores count alike. Of the last two there is nothing to train.
    """

    def __init__(self, cues: int, hidden: int = 8, modality_dropout: float = 0.2, mode: str = "attention"):
        super().__init__()
        if mode not in FUSIONS:
            raise ValueError(f"fusion mode {mode!r} is none of {', '.join(FUSIONS)}")
        self.mode = mode
        self.modality_dropout = modality_dropout
        self.centre: Tensor
        self.spread: Tensor
        self.reliability: Tensor
        self.register_buffer("centre", torch.zeros(cues))
        self.register_buffer("spread", torch.ones(cues))
        self.register_buffer("reliability", torch.ones(cues))
        self.gain: Tensor
        self.register_buffer("gain", torch.ones(()))
        self.weigh = nn.ModuleList()
        for _ in range(cues if mode == "attention" else 0):
            last = nn.Linear(hidden, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.weigh.append(nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), last))

    def calibrate(self, centre: Tensor, spread: Tensor, reliability: Tensor) -> None:
        """Sets what was measured on clips held out, each [M], spread above 0, reliability at least 0 and not all 0."""
        for buffer, values in ((self.centre, centre), (self.spread, spread), (self.reliability, reliability)):
            buffer.copy_(values)

    def forward(self, scores: Tensor, quality: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """scores [B, M] as the encoders gave them, quality [B, M] 0..1, present bool [B, M].

        Returns the fused score [B] and the attention [B, M], which sums to 1; both 0 where nothing is present.
        """
        if self.training and self.modality_dropout > 0:
            present = self._drop(present)
        calibrated = torch.where(present, (scores - self.centre) / self.spread, 0.0)
        prior = torch.maximum(self.reliability, FLOOR * self.reliability.max())
        if self.mode == "mean":
            prior = torch.ones_like(prior)
        logits = prior.log().expand_as(calibrated)
        if self.mode == "attention":
            seen = torch.stack([calibrated.clamp(-3, 3), quality], 2)  # [B, M, 2]
            logits = logits + torch.cat([weigh(seen[:, place]) for place, weigh in enumerate(self.weigh)], 1)
        attention = masked_softmax(logits, present)
        told = (prior * present).sum(1) / prior.sum()
        return self.gain * told * (attention * calibrated).sum(1), attention

    def _drop(self, present: Tensor) -> Tensor:
        """Leaves modalities out at random, but never the last one of a clip."""
        luck = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
        kept = luck >= self.modality_dropout
        kept.scatter_(1, luck.argmax(1, keepdim=True), True)
        return kept & present
