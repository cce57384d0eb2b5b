"""Networks compiled for a processor: torch's numbers, in the network's own structure, whatever shape comes."""

from typing import Any

import pytest
import torch
from openvino_telemetry import Telemetry
from torch import Tensor, nn

from models.extractors.compiled import CompiledNetwork, compiled

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


def test_other_devices_run_the_network_itself(network: Network) -> None:
    assert compiled(network, torch.device("meta")) is network


def test_nobody_is_told_of_it(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(*_: object, **__: object) -> None:
        raise AssertionError("the publisher would be told")

    monkeypatch.setattr(Telemetry, "start_session", tell)  # as openvino.convert_model does
    CompiledNetwork(network)(pictures(1, 3, 8, 8))
