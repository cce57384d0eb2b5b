"""VDV: the encoders of the chosen modalities and the joint model of their parts of the score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from models.virality.baselines import Lstm, MeanMlp, StGcn, StGcnPlus, matched_width, parameter_count
from models.virality.config import CONTEXT, VdvConfig
from models.virality.ensemble import Ensemble
from models.virality.inputs import InputSpec, ModalityInput
from models.virality.joint import FEATURE_LIMIT, MOTION_LIMIT, ContextPart, Evidence, Part
from models.virality.masked import Encoded
from models.virality.psgcn import Psgcn, motion_statistics, statistics_count
from models.virality.rtcn import Rtcn
from models.virality.skeleton import COCO17, Layout


@dataclass(frozen=True)
class Prediction:
    """Model output for B clips; M modalities in the order of `Vdv.modalities`."""

    score: Tensor  # [B] higher is more popular within the challenge: the sum of the parts; 0 where abstained
    parts: Tensor  # [B, M] 0 where absent
    attention: Tensor  # [B, M] how much each part may move this clip's score, as a share; 0 where absent
    present: Tensor  # bool [B, M]
    encoded: dict[str, Encoded]

    @property
    def abstained(self) -> Tensor:
        """bool [B] no modality was present."""
        return ~self.present.any(1)


class Vdv(nn.Module):
    """Encoders of the chosen modalities, and the parts of the score read from their scores and from statistics.

    What it predicts is of the content alone. With `config.context` it holds the context's part, too, which scoring adds
    (pipeline.scoring.scores) and feedback does not look at.

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
        self.encoders = nn.ModuleDict()
        for name in self.modalities:
            self.encoders[name] = Ensemble(build_encoder(config, inputs[name]) for _ in range(config.ensemble))
        self.pretrained = nn.ModuleDict()  # networks beside the encoders that no label changes
        for name in self.modalities:
            if inputs[name].is_skeleton and config.pretrained:
                self.pretrained[name] = pose_network(VdvConfig()).requires_grad_(False)
        self.parts = nn.ModuleDict(
            {name: build_part(inputs[name], 1 + (name in self.pretrained)) for name in self.modalities}
        )
        self.context = ContextPart() if config.context else None

    def forward(self, batch: Mapping[str, ModalityInput]) -> Prediction:
        encoded = {modality: encode(self.encoders[modality], batch[modality]) for modality in self.modalities}
        evidence = {name: self.read(name, batch[name], encoded[name]) for name in self.modalities}
        return self.predict(evidence, encoded)

    def ensemble(self, modality: str) -> Ensemble:
        """The networks of a modality."""
        return cast(Ensemble, self.encoders[modality])

    def part(self, modality: str) -> Part:
        """The part of a modality, or of CONTEXT."""
        return cast(Part, self.context if modality == CONTEXT else self.parts[modality])

    def read(self, modality: str, given: ModalityInput, encoded: Encoded, still: bool = False) -> Evidence:
        """What the joint model reads of one modality of B clips. still: as clip_statistics takes it."""
        statistics, present = clip_statistics(self.inputs[modality], given, still)
        scores = [encoded.score]
        if modality in self.pretrained:
            scores.append(encode(self.pretrained[modality], given).score)
        return self.part(modality).read(statistics, torch.stack(scores, 1), given.quality, present)

    def predict(self, evidence: Mapping[str, Evidence], encoded: dict[str, Encoded]) -> Prediction:
        parts = torch.stack([self.part(name)(evidence[name]) for name in self.modalities], 1)
        present = torch.stack([evidence[name].present for name in self.modalities], 1)
        reach = torch.stack(
            [self.part(name).spread * self.part(name).trust(evidence[name].clarity) for name in self.modalities], 1
        )
        weights = torch.where(present, reach, 0.0)
        attention = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        return Prediction(parts.sum(1), parts, attention, present, encoded)

    def part_at_usual_quality(self, modality: str, values: Tensor, mask: Tensor, still: bool = False) -> Tensor:
        """One modality's part of the score of B clips, [B], were they seen as well as most.

        values, mask: as ModalityInput has them; still: as clip_statistics takes it.
        """
        given = ModalityInput(values, mask, self.part(modality).usual.expand(len(values)))
        return self.part(modality)(self.read(modality, given, encode(self.encoders[modality], given), still))


def build_encoder(config: VdvConfig, spec: InputSpec) -> nn.Module:
    """A network of one modality."""
    if spec.is_skeleton:
        return pose_network(config)
    if config.sequence_network == "lstm":
        return Lstm(spec.width, config.width, config.dropout)
    if config.sequence_network == "mean_mlp":
        return MeanMlp(spec.width, config.width, config.dropout)
    return Rtcn(
        spec.width,
        config.width,
        config.dilations,
        config.relations_after,
        config.dropout,
        config.attention_pool,
    )


def build_part(spec: InputSpec, networks: int = 1) -> Part:
    """One modality's part of the score, not fitted yet. networks: whose scores it reads."""
    if spec.is_skeleton:
        return Part(statistics_count(len(COCO17.joints)), MOTION_LIMIT, networks)
    return Part(statistics_width(spec), FEATURE_LIMIT, networks)


def statistics_width(spec: InputSpec) -> int:
    """Number of a sequence's features, the last ones, whose means are the modality's statistics."""
    return spec.statistics_width or spec.width


def clip_statistics(spec: InputSpec, given: ModalityInput, still: bool = False) -> tuple[Tensor, Tensor]:
    """Statistics of a modality of B clips, [B, S], and whether the modality is present, bool [B].

    A statistic is NaN where it is not known. Of a skeleton the mean over its K samplings, as `encode` averages scores.

    still: those of joints that do not move count as known, too; then they change without a leap as a motion begins.
    """
    if spec.is_skeleton:
        flat, seen = given.values.flatten(0, 1), given.mask.flatten(0, 1)
        statistics = motion_statistics(flat, seen, still).unflatten(0, given.mask.shape[:2]).nanmean(1)
        return statistics, given.mask.flatten(1).any(1)
    present = given.mask.any(1)
    features = torch.where(given.mask[..., None], given.values, 0.0)
    mean = features.sum(1) / given.mask.sum(1, keepdim=True).clamp(min=1)
    return mean[:, -statistics_width(spec) :], present


def pose_network(config: VdvConfig, layout: Layout = COCO17, coordinates: int = 2) -> nn.Module:
    """The network of poses; one that is not the pyramid is as wide as gives it the pyramid's parameters."""
    common = (layout, coordinates)

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
