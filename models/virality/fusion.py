"""Attentive fusion: the modalities' *predictions*, weighed clip by clip. What the weights are made from is ours."""

import torch
from torch import Tensor, nn

from models.virality.config import FUSIONS

FLOOR = (
    1e-3  # reliability, as a share of the best one's: a modality that proved nothing still decides where it is alone
)
_QUALITY_LIMIT = 3.0  # standard deviations
_LEAST_TRUST, _MOST_TRUST = -4.0, 2.0  # logarithms


class AttentiveFusion(nn.Module):
    """A convex sum of calibrated scores; its weights, the attention, are a softmax over the present modalities.

    A score is calibrated by numbers measured on clips that its encoder had not seen: `centre` and `spread` of the
    scores, and `reliability`, by how much the label goes with them. The attention's logit is linear: the logarithm of
    the reliability, and `steepness` times how far the clip's quality of that modality is from the usual, in standard
    deviations. A network in its place, which saw the score too, gained less from a few hundred clips
    (docs/benchmarks.md).

    What is missing, or seen badly, would have had a say. The sum is therefore drawn to the middle, 0, by the share of
    the usual weight that it lacks: a clip known by its scene alone is not called the best of its challenge. Last,
    `gain` puts the sum on the label's own scale, its percentile's normal score, so that scores of models trained apart
    can be compared.

    Args:
        modalities: M.
        mode: how much of this there is. attention: all; reliability: the quality is not looked at; mean: nor the
            reliability, calibrated scores count alike.
    """

    centre: Tensor  # [M]
    spread: Tensor  # [M] above 0
    reliability: Tensor  # [M] at least 0
    usual: Tensor  # [M] mean quality
    varies: Tensor  # [M] its standard deviation, above 0; infinite: it is always the same
    steepness: Tensor  # [M] at least 0; stays 0 but for the mode attention
    gain: Tensor  # []

    def __init__(self, modalities: int, mode: str = "attention"):
        super().__init__()
        if mode not in FUSIONS:
            raise ValueError(f"fusion mode {mode!r} is none of {', '.join(FUSIONS)}")
        self.mode = mode
        for name in ("centre", "usual", "steepness"):
            self.register_buffer(name, torch.zeros(modalities))
        for name in ("spread", "reliability", "varies"):
            self.register_buffer(name, torch.ones(modalities))
        self.register_buffer("gain", torch.ones(()))

    def calibrate(self, **measured: Tensor) -> None:
        """Sets any of the buffers, by name; what was measured on clips held out. Not all reliabilities may be 0."""
        for name, values in measured.items():
            getattr(self, name).copy_(values)

    def prior(self) -> Tensor:
        """[M] the weights before a clip's quality is looked at; the largest decide, their sum is of no meaning."""
        if self.mode == "mean":
            return torch.ones_like(self.reliability)
        return torch.maximum(self.reliability, FLOOR * self.reliability.max())

    def clarity(self, quality: Tensor) -> Tensor:
        """[B, M] by how many standard deviations a quality [B, M] is above the usual, at most 3 either way."""
        return ((quality - self.usual) / self.varies).clamp(-_QUALITY_LIMIT, _QUALITY_LIMIT)

    def forward(self, scores: Tensor, quality: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """scores [B, M] as the encoders gave them, quality [B, M] 0..1, present bool [B, M].

        Returns the fused score [B] and the attention [B, M], which sums to 1; both 0 where nothing is present.
        """
        calibrated = torch.where(present, (scores - self.centre) / self.spread, 0.0)
        prior = self.prior()
        weights = torch.where(present, prior * trust_of(self.steepness, self.clarity(quality)), 0.0)
        attention = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        return self.gain * (weights * calibrated).sum(1) / prior.sum(), attention


def trust_of(steepness: Tensor, clarity: Tensor) -> Tensor:
    """[B, M] what a modality's weight is multiplied by: 1 at the usual quality."""
    return (steepness * clarity).clamp(_LEAST_TRUST, _MOST_TRUST).exp()
