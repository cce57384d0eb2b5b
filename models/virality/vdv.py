"""VDV: the encoders of the chosen modalities and the fusion of what they predict."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.virality.baselines import Lstm, MeanMlp, StGcn, StGcnPlus, matched_width, parameter_count
from models.virality.config import VdvConfig
from models.virality.fusion import AttentiveFusion
from models.virality.inputs import InputSpec, ModalityInput
from models.virality.masked import Encoded
from models.virality.psgcn import Psgcn, motion_statistics
from models.virality.rtcn import Rtcn
from models.virality.skeleton import COCO17, Layout


@dataclass(frozen=True)
class Prediction:
    """Model output for B clips; M modalities in the order of `Vdv.modalities`."""

    score: Tensor  # [B] higher is more popular within the challenge; 0 where abstained
    attention: Tensor  # [B, M]
    abstained: Tensor  # bool [B] no modality was present
    encoded: dict[str, Encoded]


class Vdv(nn.Module):
    """Encoders of the chosen modalities and their fusion.

    The fused score's gradient ends at the encoders: a modality's score is that of the modality alone.

    Args:
        config: `modalities` among its options name the model's modalities.
        inputs: the spec of each modality's input.
    """

    def __init__(self, config: VdvConfig, inputs: Mapping[str, InputSpec]):
        super().__init__()
        self.config = config
        self.inputs = dict(inputs)
        self.modalities = config.modalities
        if not self.modalities:
            raise ValueError("a model needs at least one modality")
        self.encoders = nn.ModuleDict({name: build_encoder(config, inputs[name]) for name in self.modalities})
        self.fusion = build_fusion(len(self.modalities), config)

    def forward(self, batch: Mapping[str, ModalityInput]) -> Prediction:
        encoded = {modality: encode(self.encoders[modality], batch[modality]) for modality in self.modalities}
        scores = torch.stack([encoded[modality].score for modality in self.modalities], 1).detach()
        present = torch.stack([encoded[modality].present for modality in self.modalities], 1)
        quality = torch.stack([batch[modality].quality for modality in self.modalities], 1)
        score, attention = self.fusion(scores, quality, present)
        return Prediction(score, attention, ~present.any(1), encoded)


def build_encoder(config: VdvConfig, spec: InputSpec) -> nn.Module:
    """The network of one modality."""
    if spec.is_skeleton:
        return pose_network(config)
    width = ridge_width(spec) if config.ridge else 0
    if config.sequence_network == "lstm":
        return Lstm(spec.width, config.width, config.dropout, width)
    if config.sequence_network == "mean_mlp":
        return MeanMlp(spec.width, config.width, config.dropout, width)
    return Rtcn(
        spec.width,
        config.width,
        config.dilations,
        config.relations_after,
        config.dropout,
        width,
        config.attention_pool,
    )


def ridge_width(spec: InputSpec) -> int:
    """Number of a sequence's features, the last ones, that the ridge regression reads."""
    return spec.ridge_width or spec.width


def clip_statistics(spec: InputSpec, given: ModalityInput) -> tuple[Tensor, Tensor]:
    """Input of a modality's ridge regression for B clips, [B, S], and whether the modality is present, bool [B].

    A statistic is NaN where it is not known. Of a skeleton the mean over its K samplings, as `encode` averages scores.
    """
    if spec.is_skeleton:
        flat, seen = given.values.flatten(0, 1), given.mask.flatten(0, 1)
        statistics = motion_statistics(flat, seen).unflatten(0, given.mask.shape[:2]).nanmean(1)
        return statistics, given.mask.flatten(1).any(1)
    present = given.mask.any(1)
    features = torch.where(given.mask[..., None], given.values, 0.0)
    mean = features.sum(1) / given.mask.sum(1, keepdim=True).clamp(min=1)
    return mean[:, -ridge_width(spec) :], present


def pose_network(config: VdvConfig, layout: Layout = COCO17, coordinates: int = 2) -> nn.Module:
    """The network of poses; one that is not the pyramid is as wide as gives it the pyramid's parameters."""
    common = (layout, coordinates, config.ridge)

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
    """A fusion of so many modalities, not trained yet."""
    return AttentiveFusion(modalities, config.fusion)


def encode(encoder: nn.Module, given: ModalityInput) -> Encoded:
    """Encoder output for a batch; of a skeleton, the mean over its K samplings."""
    if given.values.dim() != 5:
        return encoder(given.values, given.mask)
    batch, samplings = given.values.shape[:2]
    flat = encoder(given.values.flatten(0, 1), given.mask.flatten(0, 1))
    score, levels, embedding, attention, present = (
        value.unflatten(0, (batch, samplings))
        for value in (flat.score, flat.levels, flat.embedding, flat.attention, flat.present)
    )
    return Encoded(score.mean(1), levels.mean(1), embedding.mean(1), attention.mean(1), present.any(1))
