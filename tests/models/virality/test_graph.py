"""The model as a graph for other runtimes: it scores as the model does, whatever the clips lack, and sizes are free."""

from dataclasses import replace

import pytest
import torch

from models.virality.config import VdvConfig
from models.virality.graph import ScoringGraph
from models.virality.inputs import InputSpec, ModalityInput
from models.virality.vdv import Vdv

CLIPS, FRAMES = 6, 9
SPECS = {"pose": InputSpec(9, is_skeleton=True), "scene": InputSpec(21, statistics_width=5), "face": InputSpec(13)}
CONFIG = VdvConfig(modalities=tuple(SPECS), frames=10, samplings=2, width=16, max_frames=12)


def made_model(config: VdvConfig = CONFIG) -> Vdv:
    """A model whose every number counts, though nobody trained it."""
    torch.manual_seed(0)
    model = Vdv(config, SPECS)
    for parameter in model.parameters():  # some layers start as zeros
        parameter.data += 0.05 * torch.randn_like(parameter)
    fitted = [*model.parts.buffers(), *(model.context.buffers() if model.context is not None else ())]
    for tensor in (tensor for tensor in fitted if tensor.dtype == torch.float32):
        bounded = torch.where(tensor.abs() < 100, tensor, 0.5)
        tensor.copy_(bounded.abs() + 0.1 * torch.rand_like(tensor))
    return model.eval()


def made_inputs(clips: int = CLIPS) -> dict[str, ModalityInput]:
    """Each of the first three clips lacks a modality, the last one all; what is masked is NaN."""
    generator = torch.Generator().manual_seed(1)
    inputs = {}
    for place, (name, spec) in enumerate(SPECS.items()):
        shape = (clips, 2, CONFIG.frames, 17) if spec.is_skeleton else (clips, FRAMES)
        mask = torch.rand(*shape, generator=generator) > 0.3
        mask[place], mask[-1] = False, False
        if spec.is_skeleton:
            mask[4, 0] = False  # one of its samplings shows nobody
        values = torch.randn(*shape[:2], spec.width, *shape[2:], generator=generator)
        if not spec.is_skeleton:
            values = torch.randn(*shape, spec.width, generator=generator)
        hidden = ~mask[:, :, None] if spec.is_skeleton else ~mask[..., None]
        quality = torch.rand(clips, generator=generator)
        inputs[name] = ModalityInput(values.masked_fill(hidden, torch.nan), mask, quality)
    return inputs


@torch.inference_mode()
def both(model: Vdv, inputs: dict[str, ModalityInput], *more: torch.Tensor) -> tuple:
    flat = [tensor for name in model.modalities for tensor in inputs[name]]
    return model(inputs), ScoringGraph(model)(*flat, *more)


@pytest.mark.parametrize("pretrained", [True, False])
def test_scores_parts_and_presence_are_the_model_s(pretrained: bool) -> None:
    model = made_model(replace(CONFIG, pretrained=pretrained))
    expected, (score, parts, present) = both(model, made_inputs())
    assert expected.abstained.tolist() == [False] * (CLIPS - 1) + [True]
    torch.testing.assert_close(score, expected.score)
    torch.testing.assert_close(parts, expected.parts)
    assert torch.equal(present, expected.present)
    assert float(score[:-1].std()) > 0


def test_a_batch_in_which_nobody_has_a_modality_is_scored_by_the_others() -> None:
    inputs = made_inputs()
    inputs["pose"] = inputs["pose"]._replace(mask=torch.zeros_like(inputs["pose"].mask))
    expected, (score, parts, _) = both(made_model(), inputs)
    torch.testing.assert_close(score, expected.score)
    assert not parts[:, 0].any()


def test_the_context_is_a_part_of_the_score_of_clips_that_are_not_abstained_on() -> None:
    model = made_model(replace(CONFIG, context=True))
    assert model.context is not None
    numbers = torch.randn(CLIPS, 14)
    numbers[1, 0] = torch.nan
    expected, (score, _, _, part) = both(model, made_inputs(), numbers)
    own = model.context(model.context.read_numbers(numbers))
    torch.testing.assert_close(part[:-1], own[:-1])
    torch.testing.assert_close(score[:-1], (expected.score + own)[:-1])
    assert (float(part[-1]), float(score[-1])) == (0.0, 0.0)
    assert ScoringGraph(model).input_names[-1] == "context"


def test_networks_that_are_for_comparison_are_refused_by_name() -> None:
    model = made_model(replace(CONFIG, sequence_network="mean_mlp"))
    with pytest.raises(ValueError, match="a network of scene is MeanMlp, neither PSGCN nor RTCN"):
        ScoringGraph(model)
