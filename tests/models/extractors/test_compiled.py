"""Networks compiled for a processor: torch's numbers, in the network's own structure, whatever shape comes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from openvino_telemetry import Telemetry
from torch import Tensor, nn
from torch.nn import functional

from models.extractors.audio.extractor import AudioExtractor
from models.extractors.compiled import CompiledNetwork, compiled, computes_bfloat16
from models.extractors.recorded import RecordedFunction
from pipeline.modalities.registry import build_extractor, load_profile

CPU = torch.device("cpu")


class Network(nn.Module):
    """Results as mmpose's heads have them: tensors in lists in a tuple, None for a branch that is lacking."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU())
        self.second = nn.Conv2d(8, 4, 3, stride=2)

    def forward(self, inputs: Tensor) -> tuple[list[Tensor], None, list[Tensor]]:
        features = self.first(inputs)
        return [features, self.second(features)], None, [features.mean((2, 3)).softmax(1)]


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network()
        for values, low, high in zip(network.first[1].buffers(), (-1, 0.5), (1, 2), strict=False):  # mean, variance
            values.uniform_(low, high)
    return network.eval().requires_grad_(False)


def pictures(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def assert_equal(found: Any, wanted: Any) -> None:
    assert isinstance(found, tuple)
    assert [type(part) for part in found] == [list, type(None), list]
    for ours, theirs in zip(found[0] + found[2], wanted[0] + wanted[2], strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sides_vary", [False, True])
def test_results_are_torchs_for_every_shape_that_comes(network: Network, sides_vary: bool) -> None:
    run = compiled(network, CPU, sides_vary)
    for shape in ((2, 3, 20, 31), (1, 3, 9, 8), (2, 3, 20, 31), (2, 3, 40, 16)):
        inputs = pictures(*shape)
        wanted = network(inputs)
        assert_equal(run(inputs), wanted)
        assert_equal(run(inputs.contiguous(memory_format=torch.channels_last)), wanted)


def test_results_stay_when_others_follow(network: Network) -> None:
    run = compiled(network, CPU)
    inputs = pictures(2, 3, 12, 12)
    before = run(inputs)
    kept = before[0][0].clone()
    run(inputs + 1)
    assert torch.equal(before[0][0], kept)


def test_the_inputs_are_left_as_they_are_and_a_picture_does_not_depend_on_the_others(network: Network) -> None:
    run = compiled(network, CPU)
    inputs = pictures(4, 3, 33, 17)
    given = inputs.clone()
    whole = run(inputs)
    assert torch.equal(inputs, given)
    for part, turned in zip(whole[0] + whole[2], run(inputs.flip(0))[0] + run(inputs.flip(0))[2], strict=True):
        assert torch.equal(part, turned.flip(0))


def inputs_of(extractor: Any) -> tuple[Tensor, list[None]]:
    """A batch of what an extractor's network reads: smooth noise, as pictures are and sounds' spectra."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand((4, 1 if isinstance(extractor, AudioExtractor) else 3, 8, 8), generator=generator)
    if isinstance(extractor, AudioExtractor):
        return 60 * functional.interpolate(coarse, size=(100, 64), mode="bicubic") - 80, [None] * 4
    return (255 * functional.interpolate(coarse, size=(160, 160), mode="bicubic").clip(0, 1)).byte(), [None] * 4


@pytest.mark.skipif(not computes_bfloat16(), reason="this processor does not compute in bfloat16")
@pytest.mark.parametrize("modality", ["appearance", "scene", "face", "audio"])
def test_embeddings_of_trained_networks_bear_bfloat16(modality: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def embeddings() -> Tensor:
        extractor = build_extractor(modality, load_profile("demo"), CPU)
        found = extractor.launch(*inputs_of(extractor))
        return (found if isinstance(found, Tensor) else found[0]).double()

    rounded = embeddings()
    monkeypatch.setattr("models.extractors.compiled.computes_bfloat16", lambda: False)
    exact = embeddings()
    assert not torch.equal(rounded, exact)
    assert 1 - torch.cosine_similarity(rounded, exact).min() < 1e-4
    apart = torch.pdist(exact)  # in float16 alone a thousandth of it would be lost
    assert (rounded - exact).norm(dim=1).max() < 0.05 * apart.min()


def test_what_is_no_embedding_keeps_its_digits(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.extractors.compiled.computes_bfloat16", lambda: True)
    inputs = pictures(2, 3, 12, 12)
    assert_equal(compiled(network, CPU)(inputs), network(inputs))


def test_other_devices_run_the_network_itself_recorded_where_shapes_are_fixed(network: Network) -> None:
    assert compiled(network, torch.device("meta"), sides_vary=True) is network
    assert isinstance(compiled(network, torch.device("meta")), RecordedFunction)


def test_nobody_is_told_of_it(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(*_: object, **__: object) -> None:
        raise AssertionError("the publisher would be told")

    monkeypatch.setattr(Telemetry, "start_session", tell)  # as openvino.convert_model does
    CompiledNetwork(network)(pictures(1, 3, 8, 8))


WARNED = """
import warnings
import torch
from models.extractors.compiled import compiled

filters = warnings.catch_warnings()  # of another thread, which ends while this one traces
filters.__enter__()

class Network(torch.nn.Module):
    def forward(self, inputs):
        if torch.jit.is_tracing():
            filters.__exit__(None, None, None)
        return inputs * int(inputs.sum())

print(compiled(Network().eval(), torch.device("cpu"))(torch.ones(1, 3)).tolist())
"""


def test_no_warning_of_a_trace_is_shown_whatever_other_threads_do(tmp_path: Path) -> None:
    environment = os.environ | {"VDV_COMPILED": str(tmp_path), "PYTHONWARNINGS": ""}
    command = [sys.executable, "-c", WARNED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[[3.0, 3.0, 3.0]]\n", "")
