"""The model as one graph of tensors, for other runtimes: no branch and no shape in it depends on what a batch holds.

Training leaves the clips that lack a modality out of its network's batch, for the norms' statistics. Here, where norms
are constants, they go through as clips of zeros that are seen throughout, and what comes out of them is replaced by 0.
"""

import torch
from torch import Tensor, nn

from models.virality.inputs import ModalityInput
from models.virality.psgcn import Psgcn
from models.virality.rtcn import Rtcn
from models.virality.vdv import Vdv, clip_statistics

PARTS = ModalityInput._fields  # of a modality's input, in the order in which the graph takes them


class ScoringGraph(nn.Module):
    """What `Vdv` predicts of a batch of any size; of a model with the context, its part of the score is in it.

    Args:
        model: in eval mode.

    Raises:
        ValueError: a network is neither PSGCN nor RTCN, but one of those for comparison.
    """

    def __init__(self, model: Vdv):
        super().__init__()
        for name in model.modalities:
            for network in model.ensemble(name):
                if not isinstance(network, Psgcn | Rtcn):
                    raise ValueError(f"a network of {name} is {type(network).__name__}, neither PSGCN nor RTCN")
        self.model = model

    @property
    def input_names(self) -> list[str]:
        """Names of `forward`'s arguments: values, mask and quality of each modality, then the context's numbers."""
        names = [f"{modality}_{part}" for modality in self.model.modalities for part in PARTS]
        return [*names, "context"] if self.model.context is not None else names

    @property
    def output_names(self) -> list[str]:
        return ["score", "parts", "present", *(["context_part"] if self.model.context is not None else [])]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Score [B], the modalities' parts of it [B, M], their presence bool [B, M]; then the context's part [B].

        inputs: in the order of `input_names`; those of a modality as ModalityInput has them, the context's as
            ContextPart.read_numbers takes them.
        """
        evidence = {}
        for place, name in enumerate(self.model.modalities):
            given = ModalityInput(*inputs[len(PARTS) * place : len(PARTS) * (place + 1)])
            statistics, present = clip_statistics(self.model.inputs[name], given)
            scores = [torch.stack([network_scores(one, given) for one in self.model.ensemble(name)]).mean(0)]
            if name in self.model.pretrained:
                scores.append(network_scores(self.model.pretrained[name], given))
            evidence[name] = self.model.part(name).read(statistics, torch.stack(scores, 1), given.quality, present)
        prediction = self.model.predict(evidence, {})
        if self.model.context is None:
            return prediction.score, prediction.parts, prediction.present
        part = self.model.context(self.model.context.read_numbers(inputs[-1]))
        part = torch.where(prediction.abstained, 0.0, part)
        return prediction.score + part, prediction.parts, prediction.present, part


def network_scores(network: nn.Module, given: ModalityInput) -> Tensor:
    """Scores of `vdv.encode`, [B]: of a skeleton the mean over its samplings; 0 where the modality is missing."""
    assert isinstance(network, Psgcn | Rtcn)
    values, mask = given.values, given.mask
    if values.dim() == 5:
        values, mask = values.flatten(0, 1), mask.flatten(0, 1)
    present = mask.flatten(1).any(1)
    if mask.dim() == 3:  # [N, T, V] beside values [N, S, T, V]
        seen, shown = mask | ~present[:, None, None], mask[:, None]
    else:  # [N, T] beside values [N, T, D]
        seen, shown = mask | ~present[:, None], mask[..., None]
    levels, _, _ = network.encode_present(torch.where(shown, values, 0.0), seen)
    score = torch.where(present, levels.mean(1), 0.0)
    return score.unflatten(0, given.mask.shape[:2]).mean(1) if given.values.dim() == 5 else score
