"""VDV: the encoders of the chosen modalities and the fusion of what they predict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.virality.baselines import Lstm, MeanMlp, StGcn, StGcnPlus, matched_width, parameter_count
from models.virality.config import MODALITIES, SCENE_CATEGORIES, VdvConfig
from models.virality.fusion import AttentiveFusion
from models.virality.masked import Encoded
from models.virality.psgcn import Psgcn, motion_statistics
from models.virality.rtcn import Rtcn
from models.virality.skeleton import COCO17, Layout

__all__ = [
    "MODALITIES",
    "ModalityInput",
    "Prediction",
    "Vdv",
    "VdvConfig",
    "build_encoder",
    "build_fusion",
    "clip_numbers",
    "encode",
    "pose_network",
]


class ModalityInput(NamedTuple):
    """One modality of a batch of B clips, padded; where the mask is False the values have no influence."""

    values: Tensor  # skeleton: [B, K, 9, T, V] of K samplings; others: [B, T, D]
    mask: Tensor  # bool; skeleton: [B, K, T, V]; others: [B, T]
    seconds: Tensor  # [B, T]; not used by the skeleton, whose motion was taken per second
    quality: Tensor  # [B] detection rate x mean confidence, 0..1


@dataclass(frozen=True)
class Prediction:
    """What the model says of B clips; M modalities in the order of `Vdv.modalities`."""

    score: Tensor  # [B] higher is more popular within the challenge; 0 where abstained
    attention: Tensor  # [B, M]
    abstained: Tensor  # bool [B] nothing was there to judge
    encoded: dict[str, Encoded]


class Vdv(nn.Module):
    """Encoders of the chosen modalities and their fusion.

    The fused score's gradient ends at the encoders: a modality's score is that of the modality alone.

    Args:
        config: its `modalities` say which modalities there are.
        features: D of each of appearance, face and scene that is among them.
    """

    def __init__(self, config: VdvConfig, features: Mapping[str, int]):
        super().__init__()
        self.config = config
        self.modalities = tuple(modality for modality in MODALITIES if modality in config.modalities)
        if not self.modalities:
            raise ValueError(f"modalities {config.modalities} hold none of {MODALITIES}")
        self.encoders = nn.ModuleDict(
            {modality: build_encoder(modality, config, features) for modality in self.modalities}
        )
        self.fusion = build_fusion(len(self.modalities), config)

    def forward(self, batch: Mapping[str, ModalityInput]) -> Prediction:
        encoded = {modality: encode(self.encoders[modality], modality, batch[modality]) for modality in self.modalities}
        scores = torch.stack([encoded[modality].score for modality in self.modalities], 1).detach()
        present = torch.stack([encoded[modality].present for modality in self.modalities], 1)
        quality = torch.stack([batch[modality].quality for modality in self.modalities], 1)
        score, attention = self.fusion(scores, quality, present)
        return Prediction(score, attention, ~present.any(1), encoded)


def build_encoder(modality: str, config: VdvConfig, features: Mapping[str, int]) -> nn.Module:
    """The network of one modality. features: as Vdv's."""
    if modality == "pose":
        return pose_network(config)
    line = line_width(modality, features) if config.line else 0
    if config.sequence_network == "lstm":
        return Lstm(features[modality], config.width, config.dropout, line)
    if config.sequence_network == "mean_mlp":
        return MeanMlp(features[modality], config.width, config.dropout, line)
    return Rtcn(
        features[modality],
        config.width,
        config.dilations,
        config.relations_after,
        config.dropout,
        line,
        config.attention_pool,
    )


def line_width(modality: str, features: Mapping[str, int]) -> int:
    """How many of a modality's features, the last, the line sees: all, but of the scene the categories' probabilities
    only.

    Which place it is says more of a clip than 2,048 features of it, and takes fewer clips to learn.
    """
    return SCENE_CATEGORIES if modality == "scene" else features[modality]


def clip_numbers(name: str, given: ModalityInput) -> tuple[Tensor, Tensor]:
    """What the line of a modality sees of each of B clips [B, S], and whether it is present, bool [B]; absent or NaN, a
    number is not known.

    Of a skeleton the mean of its K samplings, as `encode` takes the mean of what is said of them.
    """
    if name == "pose":
        flat, seen = given.values.flatten(0, 1), given.mask.flatten(0, 1)
        numbers = motion_statistics(flat, seen).unflatten(0, given.mask.shape[:2]).nanmean(1)
        return numbers, given.mask.flatten(1).any(1)
    present = given.mask.any(1)
    features = torch.where(given.mask[..., None], given.values, 0.0)
    mean = features.sum(1) / given.mask.sum(1, keepdim=True).clamp(min=1)
    return mean[:, -line_width(name, {name: mean.shape[1]}) :], present


def pose_network(config: VdvConfig, layout: Layout = COCO17, coordinates: int = 2) -> nn.Module:
    """The network of the skeleton modality; one that is not the pyramid is as wide as gives it the pyramid's parameters."""
    common = (layout, coordinates, config.line)

    def psgcn(channels: tuple[int, ...], blocks: int) -> nn.Module:
        return Psgcn(channels, config.refined_channels, blocks, *common, config.refine, config.attention_pool)

    def pyramid() -> nn.Module:
        return psgcn((config.joint_channels, config.part_channels, config.body_channels), config.blocks)

    def flat(width: int) -> nn.Module:
        if config.pose_network == "st_gcn":
            return StGcn(width, *common)
        if config.pose_network == "st_gcn_plus":
            return StGcnPlus(width, *common)
        return psgcn((width,), 3 * config.blocks + 2 * config.refine)  # as deep as the pyramid is, up and down again

    if config.pose_network == "psgcn" and config.pyramid:
        return pyramid()
    with torch.device("meta"):
        parameters = parameter_count(pyramid())
    return flat(matched_width(flat, parameters))


def build_fusion(modalities: int, config: VdvConfig) -> AttentiveFusion:
    """The fusion of so many modalities, not trained yet."""
    return AttentiveFusion(modalities, config.fusion)


def encode(encoder: nn.Module, name: str, given: ModalityInput) -> Encoded:
    """What `encoder` says of a batch; of a skeleton, the mean over its K samplings."""
    if name != "pose":
        return encoder(given.values, given.mask, given.seconds)
    batch, samplings = given.values.shape[:2]
    flat = encoder(given.values.flatten(0, 1), given.mask.flatten(0, 1))
    score, levels, embedding, attention, present = (
        value.unflatten(0, (batch, samplings))
        for value in (flat.score, flat.levels, flat.embedding, flat.attention, flat.present)
    )
    return Encoded(score.mean(1), levels.mean(1), embedding.mean(1), attention.mean(1), present.any(1))
