"""The make-believe device computes what the processor does, and counts where a GPU would make it wait."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.counted_device import Tape, TapeError, counted_device

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


def work(values: Tensor, host: Tensor) -> list[object]:
    """Operators whose results are new tensors, views, tensors given and numbers."""
    there = values.to(host.device)  # what is on the host passes the device by
    mean = values.mean(1, keepdim=True)
    values = torch.cat([values, mean], 1).view(-1)
    values += 1
    copied = torch.empty(8).copy_(values)
    return [there, copied, values.split(4)[1].cpu(), values.sum().item(), (values > 2).nonzero().tolist(), host * 2]


@pytest.mark.parametrize("inference", [False, True])
def test_a_tape_gives_the_host_what_it_got_when_recorded_and_computes_nothing(inference: bool) -> None:
    with counted_device() as (device, counts), torch.inference_mode(inference):
        counts.tape = Tape()
        expected = work(VALUES.to(device), VALUES)
        recorded = replace(counts)
        for turn in (1, 2):
            counts.tape.rewind()
            others, before = torch.zeros(2, 3), counts.host_operators
            played = work(others.to(device), VALUES)
            assert counts.host_operators >= before + 2  # host * 2, and what the copy is written to
            for ours, theirs in zip(played, expected, strict=True):
                assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
            for name in ("operators", "waits", "uploads"):
                assert getattr(counts, name) == (turn + 1) * getattr(recorded, name)
        assert counts.seconds == recorded.seconds


def test_other_threads_get_values_of_a_tape_that_is_played() -> None:
    with counted_device() as (device, counts), ThreadPoolExecutor(1) as beside:
        counts.tape = Tape()
        for _ in range(2):
            doubled = VALUES.to(device) * 2
            assert torch.equal(beside.submit(lambda values: values[1].cpu(), doubled).result(), VALUES[1] * 2)
            counts.tape.rewind()


def test_another_operator_than_was_recorded_is_an_error() -> None:
    with counted_device() as (device, counts):
        counts.tape = Tape()
        values = VALUES.to(device)
        values.abs()
        counts.tape.rewind()
        values = VALUES.to(device)
        with pytest.raises(TapeError, match=r"operator 1 is aten.neg.default, and was aten.abs.default"):
            values.neg()
        values.abs()
        with pytest.raises(TapeError, match="was none when"):
            values.abs()
