"""The make-believe device computes what the processor does, and counts where a GPU would make it wait."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.counted_device import counted_device

VALUES = torch.arange(6.0).view(2, 3)


@pytest.mark.parametrize(
    ("act", "waits"),
    [
        (lambda x: x.cpu(), 1),
        (lambda x: x.to("cpu"), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x.sum().item(), 1),
        (lambda x: bool((x > 1).any()), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x[x > 1], 1),
        (lambda x: x[:, 1:] * 2 + x.max(), 0),
        (lambda x: x[x.sum(0).argsort()[:2]], 0),
        (lambda x: x.clone().masked_fill_(x > 1, 0), 0),
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_waits_are_counted_and_values_are_those_of_the_processor(
    act: Callable[[Tensor], object], waits: int, inference: bool
) -> None:
    expected = act(VALUES)
    with counted_device() as (device, counts), torch.inference_mode(inference):
        values = VALUES.to(device)
        before = replace(counts)
        found = act(values)
        assert counts.waits - before.waits == waits
        assert counts.operators > before.operators
        assert not isinstance(found, Tensor) or torch.equal(found.cpu(), torch.as_tensor(expected))


def test_a_tensor_says_that_it_is_on_the_device_and_uploads_are_counted() -> None:
    with counted_device() as (device, counts):
        moved = [VALUES.to(device), torch.tensor([1, 2], device=device), torch.zeros(2, device=device)]
        assert {tensor.device.type for tensor in moved} == {"counted"}
        assert (counts.uploads, counts.waits) == (2, 0)
        moved[0][0] = 7
        assert moved[0].cpu()[0].tolist() == [7, 7, 7]
    assert VALUES[0, 0] == 0
