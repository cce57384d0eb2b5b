"""The joint model's parts: what each modality adds to a clip's score. Fitted by pipeline.training.joint.

A part is linear in the statistics of the clip's modality, in waves along them and in the scores of its networks; a
missing modality adds nothing. How far a clip's quality of the modality is below the usual fades its part: an attention
whose weights are the clip's own.

Waves are random Fourier features (Rahimi and Recht, "Random features for large-scale kernel machines", 2007): what is
linear in them is a smooth function of the statistics, a Gaussian process whose kernel is exp(-d^2 / 2 w^2) of their
distance d.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.virality.config import CONTEXT_NUMBERS

FEATURE_LIMIT = 4.0  # standard deviations that a feature's mean or a probability counts for, about, at most
MOTION_LIMIT = 2.0  # and a motion statistic, whose tails say how odd a dancer is, not how good
_NETWORK_LIMIT = 4.0  # and a network's score, which nothing bounds on a clip unlike all that it was trained on
_QUALITY_LIMIT = 3.0  # and the quality
WAVES = 512  # W of a part, each a cosine and a sine
WIDTH = 1.5  # w, in typical distances of a clip's statistics from the mean


class Evidence(NamedTuple):
    """Numbers of one modality of B clips, standardised, as the joint model reads them; 0 in clips that lack it."""

    statistics: Tensor  # [B, S]
    waves: Tensor  # [B, 2W]
    networks: Tensor  # [B, N] the networks' scores: the one trained on labels, then a pretrained one if there is one
    clarity: Tensor  # [B] standard deviations that the quality is above the usual
    present: Tensor  # bool [B]


class Part(nn.Module):
    """One modality's part of the score.

    Args:
        statistics: S of a clip.
        limit: of a standardised statistic, or one outlier would decide alone. Nearer to the mean it counts for nearly
            its value: limit * tanh(z / limit).
        networks: N whose scores it reads.
    """

    mean: Tensor  # [S] of the statistics of the training clips
    scale: Tensor  # [S] standard deviation, above 0; infinite: it is always the same
    centre: Tensor  # [S] mean of the limited statistics
    longest: Tensor  # [] norm of the statistics of a clip, at most: no clip is further away than any trained on
    network_mean: Tensor  # [N] of the networks' scores of clips that they had not seen
    network_scale: Tensor  # [N] their standard deviation, above 0
    directions: Tensor  # [S, W] of the waves, standard normal
    width: Tensor  # [] distance over which the kernel falls, above 0
    waves_centre: Tensor  # [2W] mean of the waves
    usual: Tensor  # [] mean quality
    varies: Tensor  # [] its standard deviation, above 0; infinite: it is always the same
    coefficients: Tensor  # [S]
    wave_coefficients: Tensor  # [2W]
    network_coefficients: Tensor  # [N] at least 0
    slope: Tensor  # [] at least 0
    spread: Tensor  # [] standard deviation of the part at the usual quality, on the training clips

    def __init__(self, statistics: int, limit: float, networks: int = 1):
        super().__init__()
        self.limit = limit
        for name in ("mean", "centre", "coefficients"):
            self.register_buffer(name, torch.zeros(statistics))
        for name in ("waves_centre", "wave_coefficients"):
            self.register_buffer(name, torch.zeros(2 * WAVES))
        drawn = torch.randn(statistics, WAVES, generator=torch.Generator().manual_seed(0))
        self.register_buffer("directions", drawn)
        self.register_buffer("scale", torch.ones(statistics))
        for name in ("network_mean", "network_coefficients"):
            self.register_buffer(name, torch.zeros(networks))
        self.register_buffer("network_scale", torch.ones(networks))
        for name in ("usual", "slope"):
            self.register_buffer(name, torch.zeros(()))
        unbounded = {"longest": torch.finfo(torch.float32).max, "varies": torch.inf}
        for name in ("longest", "varies", "width", "spread"):
            self.register_buffer(name, torch.full((), unbounded.get(name, 1.0)))

    def set(self, **values: Tensor | float) -> None:
        """Set buffers by name."""
        for name, value in values.items():
            getattr(self, name).copy_(torch.as_tensor(value))

    def limited(self, statistics: Tensor) -> Tensor:
        """Standardised and limited statistics [B, S]; NaN, not known, becomes the mean."""
        standard = (statistics - self.mean) / self.scale
        return (self.limit * (standard / self.limit).tanh()).nan_to_num(nan=0.0)

    def waves(self, standard: Tensor) -> Tensor:
        """Waves [B, 2W] along limited statistics [B, S] less their centre; not centred themselves."""
        angle = standard @ self.directions / self.width
        return torch.cat([angle.cos(), angle.sin()], 1) / WAVES**0.5

    def read(self, statistics: Tensor, networks: Tensor, quality: Tensor, present: Tensor) -> Evidence:
        """statistics [B, S], NaN where not known; networks [B, N]; quality [B]; present bool [B]."""
        standard = self.limited(statistics) - self.centre
        length = torch.linalg.vector_norm(standard, dim=1, keepdim=True)  # unlike a root, it has a gradient at 0
        standard = standard * (self.longest / length.clamp(min=self.longest))
        score = ((networks - self.network_mean) / self.network_scale).clamp(-_NETWORK_LIMIT, _NETWORK_LIMIT)
        clarity = ((quality - self.usual) / self.varies).clamp(-_QUALITY_LIMIT, _QUALITY_LIMIT)
        known = present[:, None]
        return Evidence(
            torch.where(known, standard, 0.0),
            torch.where(known, self.waves(standard) - self.waves_centre, 0.0),
            torch.where(known, score, 0.0),
            torch.where(present, clarity, 0.0),
            present,
        )

    def forward(self, evidence: Evidence) -> Tensor:
        """The part of each clip's score, [B]."""
        value = evidence.statistics @ self.coefficients + evidence.waves @ self.wave_coefficients
        value = value + evidence.networks @ self.network_coefficients
        return self.trust(evidence.clarity) * value

    def trust(self, clarity: Tensor) -> Tensor:
        """Factor of the part, [B]: 1 at the usual quality."""
        return (self.slope * clarity).exp()


class ContextPart(Part):
    """The context's part of the score: no content of the clip is in it, and it is there of every clip.

    Its numbers, in the order of CONTEXT_NUMBERS, then of each whether it is not known, are counted from buffers taken
    from the training clips.
    """

    last_upload_s: Tensor  # [] float64, since 1970, from which ages are counted; NaN: no time is known
    usual_likes: Tensor  # [] float64, mean of log(likes + 1), from which records are

    def __init__(self) -> None:
        super().__init__(2 * len(CONTEXT_NUMBERS), FEATURE_LIMIT, networks=0)
        for name in ("last_upload_s", "usual_likes"):
            self.register_buffer(name, torch.full((), torch.nan, dtype=torch.float64))

    def read_numbers(self, numbers: Tensor) -> Evidence:
        """numbers: [B, 2 * len(CONTEXT_NUMBERS)], NaN where not known."""
        ones = torch.ones(numbers.shape[0], device=numbers.device)  # len() would fix the size of an exported graph
        return self.read(numbers, numbers[:, :0], ones, ones.bool())
