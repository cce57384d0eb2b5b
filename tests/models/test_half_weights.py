"""Weights in float16: what autocast makes of them for every batch, made once."""

import pytest
import torch
from torch import Tensor

from models.device import halve_weights
from pipeline.modalities.registry import build_extractor, load_profile
from tests.end_to_end.workspaces import TINY_PROFILE

CPU = torch.device("cpu")
RTMO = "rtmo-t_8xb32-600e_body7-416x416"


def outputs(modality: str, extractor: object) -> list[Tensor]:
    """A network's outputs as torch's autocast has them; on a CPU, whose rules are those of CUDA for these layers."""
    inputs = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.float16):
        if modality == "face":
            return [extractor._network(inputs)]  # type: ignore[attr-defined]
        if modality == "scene":
            return [extractor._network._head(extractor._network._trunk(inputs))]  # type: ignore[attr-defined]
        model = extractor.model  # type: ignore[attr-defined]
        maps = model.head.head_module(model.neck(model.backbone(255 * inputs)))
        return [level for levels in maps if levels is not None for level in levels if level is not None]


@pytest.mark.parametrize("modality", ["pose", "face", "scene"])
def test_no_bit_changes_by_it(modality: str) -> None:
    profile = load_profile(TINY_PROFILE).with_options("pose", architecture=RTMO, input_size=96)
    extractor = build_extractor(modality, profile, CPU)
    whole = {"pose": "model", "face": "_network", "scene": "_network"}[modality]
    networks = {
        "pose": lambda of: (of.backbone, of.neck, of.head.head_module),
        "face": lambda of: (of,),
        "scene": lambda of: (of._trunk, of._head),
    }[modality](getattr(extractor, whole))
    for layer in (layer for network in networks for layer in network.modules()):
        if isinstance(layer, torch.nn.BatchNorm2d):  # 0 and 1, as they begin, are the same in any precision
            for statistics in layer.buffers():
                if statistics.is_floating_point():
                    statistics += torch.rand(layer.num_features) / 10
    expected = outputs(modality, extractor)
    for network in networks:
        before = {name: value.dtype for name, value in network.named_parameters()}
        halve_weights(network, CPU)
        assert {name: value.dtype for name, value in network.named_parameters()} == before  # a CPU runs in float32
        halve_weights(network, torch.device("cuda"))
    assert any(value.dtype == torch.float16 for network in networks for value in network.parameters())
    found = outputs(modality, extractor)
    assert {value.dtype for value in found} == {torch.float16}
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
