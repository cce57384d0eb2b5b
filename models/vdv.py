"""VDV: the encoders of the chosen cues and the fusion of what they predict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.config import CUE_MODALITY, CUES, VdvConfig
from models.fusion import AttentiveFusion
from models.masked import Encoded
from models.psgcn import Psgcn
from models.rtcn import Rtcn

__all__ = ["CUES", "CUE_MODALITY", "Cue", "Prediction", "Vdv", "VdvConfig", "build_encoder", "encode"]


class Cue(NamedTuple):
    """One cue of a batch of B clips, padded; where the mask is False the values have no influence."""

    values: Tensor  # skeleton: [B, K, 9, T, V] of K samplings; others: [B, T, D]
    mask: Tensor  # bool; skeleton: [B, K, T, V]; others: [B, T]
    seconds: Tensor  # [B, T]; not used by the skeleton, whose motion was taken per second
    quality: Tensor  # [B] detection rate x mean confidence, 0..1


@dataclass(frozen=True)
class Prediction:
    """What the model says of B clips; M cues in the order of `Vdv.cues`."""

    score: Tensor  # [B] higher is more popular within the challenge; 0 where abstained
    attention: Tensor  # [B, M]
    abstained: Tensor  # bool [B] nothing was there to judge
    encoded: dict[str, Encoded]


class Vdv(nn.Module):
    """Encoders of the chosen cues and their fusion.

    The fused score's gradient ends at the encoders: a modality's score is that of the modality alone.

    Args:
        config: its `modalities` say which cues there are.
        features: D of each of appearance, face and scene that is among them.
    """

    def __init__(self, config: VdvConfig, features: Mapping[str, int]):
        super().__init__()
        self.config = config
        self.cues = tuple(cue for cue in CUES if CUE_MODALITY[cue] in config.modalities)
        if not self.cues:
            raise ValueError(f"modalities {config.modalities} hold none of {tuple(CUE_MODALITY.values())}")
        self.encoders = nn.ModuleDict({cue: build_encoder(cue, config, features) for cue in self.cues})
        self.fusion = AttentiveFusion(len(self.cues), config.fusion_hidden, config.modality_dropout)

    def forward(self, batch: Mapping[str, Cue]) -> Prediction:
        encoded = {cue: encode(self.encoders[cue], cue, batch[cue]) for cue in self.cues}
        scores = torch.stack([encoded[cue].score for cue in self.cues], 1).detach()
        present = torch.stack([encoded[cue].present for cue in self.cues], 1)
        quality = torch.stack([batch[cue].quality for cue in self.cues], 1)
        score, attention = self.fusion(scores, quality, present)
        return Prediction(score, attention, ~present.any(1), encoded)


def build_encoder(cue: str, config: VdvConfig, features: Mapping[str, int]) -> nn.Module:
    """The network of one cue. features: as Vdv's."""
    if cue == "skeleton":
        channels = (config.joint_channels, config.part_channels, config.body_channels)
        return Psgcn(channels, config.refined_channels, config.blocks, line_dropout=config.line_dropout)
    return Rtcn(
        features[cue], config.width, config.dilations, config.relations_after, config.dropout, config.line_dropout
    )


def encode(encoder: nn.Module, name: str, cue: Cue) -> Encoded:
    """What `encoder` says of a batch; of a skeleton, the mean over its K samplings."""
    if name != "skeleton":
        return encoder(cue.values, cue.mask, cue.seconds)
    batch, samplings = cue.values.shape[:2]
    flat = encoder(cue.values.flatten(0, 1), cue.mask.flatten(0, 1))
    score, levels, embedding, attention, present = (
        value.unflatten(0, (batch, samplings))
        for value in (flat.score, flat.levels, flat.embedding, flat.attention, flat.present)
    )
    return Encoded(score.mean(1), levels.mean(1), embedding.mean(1), attention.mean(1), present.any(1))
