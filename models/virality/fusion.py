"""Attentive fusion: the modalities' *predictions*, weighted clip by clip. The inputs of the weights are ours."""

import torch
from torch import Tensor, nn

from models.virality.config import FUSIONS

FLOOR = 1e-3  # reliability, as a share of the largest: a modality without any still decides where it is alone
_QUALITY_LIMIT = 3.0  # standard deviations
_LEAST_TRUST, _MOST_TRUST = -4.0, 2.0  # logarithms


class AttentiveFusion(nn.Module):
    """A convex sum of calibrated scores; its weights, the attention, are a softmax over the present modalities.

    A score is calibrated on clips that its encoder had not seen: `centre` and `spread` are of the scores, `reliability`
    is their coefficient in predicting the label. The attention's logit is linear: the logarithm of
    the reliability, and `steepness` times how far the clip's quality of that modality is from the usual, in standard
    deviations. A network in its place, whose input held the score too, gained less from a few hundred clips
    (docs/benchmarks.md).

    A modality that is missing, or seen badly, leaves its weight open. The sum is therefore drawn to the middle, 0, by
    the share of the usual weight that it lacks: a clip known by its scene alone is not ranked best of its challenge.
    Last, `gain` puts the sum on the scale of the label, its percentile's normal score, so that scores of models trained
    separately can be compared.

    Args:
        modalities: M.
        mode: attention: all of this; reliability: quality has no influence; mean: nor has reliability, calibrated
            scores count alike.
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
        """Set buffers, by name, to what was measured on clips held out. Not all reliabilities may be 0."""
        for name, values in measured.items():
            getattr(self, name).copy_(values)

    def prior(self) -> Tensor:
        """Weights before a clip's quality counts, [M]; only their ratios matter."""
        if self.mode == "mean":
            return torch.ones_like(self.reliability)
        return torch.maximum(self.reliability, FLOOR * self.reliability.max())

    def clarity(self, quality: Tensor) -> Tensor:
        """Standard deviations of a quality [B, M] above the usual, [B, M], at most 3 either way."""
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
    """Factor of a modality's weight, [B, M]: 1 at the usual quality."""
    return (steepness * clarity).clamp(_LEAST_TRUST, _MOST_TRUST).exp()
