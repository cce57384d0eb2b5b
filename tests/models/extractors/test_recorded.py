"""Recorded work gives what the function gives, in tensors of the caller's own; what cannot be recorded runs as it is.

On the make-believe device, which raises for what CUDA would not record; the last on a GPU, where there is one.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.counted_device import Counts, counted_device
from models.device import autocast
from models.extractors.recorded import recorded

NOT_RECORDED = "runs without a CUDA graph"


@pytest.fixture
def counted() -> Iterator[tuple[torch.device, Counts]]:
    with counted_device() as (device, counts), torch.inference_mode():
        yield device, counts


def work(values: Tensor) -> Any:
    """Some operators whose results lie in lists and tuples, with None among them."""
    total = values.sum(1, keepdim=True)
    return [(values * 2).relu(), None], (total, total.sort(0, descending=True)[0])


def leaves(result: Any) -> list[Tensor]:
    (doubled, nothing), (total, ordered) = result
    assert nothing is None
    return [value.cpu() for value in (doubled, total, ordered)]


def same(result: Any, inputs: Tensor) -> bool:
    return all(map(torch.equal, leaves(result), leaves(work(inputs))))


def batches(rows: int) -> list[Tensor]:
    return [torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]


def test_on_a_cpu_a_function_stays_itself() -> None:
    assert recorded(work, torch.device("cpu")) is work


def test_a_torch_that_does_not_recover_from_a_failed_recording_records_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.14.1+cu130")
    assert recorded(work, torch.device("cuda")) is work


def test_each_shape_is_recorded_once_and_a_result_outlives_the_next_call(counted: tuple[torch.device, Counts]) -> None:
    device, counts = counted
    function = recorded(work, device)
    for rows in (4, 2, 4):
        first, second = batches(rows)
        given = [first.to(device), second.to(device)]
        kept = function(given[0])
        before = counts.operators
        assert same(function(given[1]), second)
        assert same(kept, first)
        assert counts.operators - before - 6 == 1 + 1 + 3  # six to look at results; copied, played, copied from
    assert counts.uploads == 6


@pytest.mark.parametrize(
    "act",
    [
        lambda values: values[values > 0],
        lambda values: values * values.max().item(),
        lambda values: values + torch.ones(3).to(values.device),
    ],
)
def test_what_waits_or_is_given_numbers_by_the_host_runs_as_it_is(
    act: Callable[[Tensor], Tensor], counted: tuple[torch.device, Counts], caplog: pytest.LogCaptureFixture
) -> None:
    device, _ = counted
    function = recorded(act, device)
    for values in batches(4):
        assert torch.equal(function(values.to(device)).cpu(), act(values))
    assert [NOT_RECORDED in record.message for record in caplog.records] == [True]


def test_what_does_something_else_each_time_runs_as_it_is(
    counted: tuple[torch.device, Counts], caplog: pytest.LogCaptureFixture
) -> None:
    device, _ = counted
    calls = iter(range(100))
    function = recorded(lambda values: values + next(calls), device)
    (values, _), before = batches(4), next(calls)
    there = values.to(device)
    found = [(function(there).cpu() - values).mean().round().item() for _ in range(2)]
    assert "other results" in caplog.text
    assert found[1] == found[0] + 1 > before + 1


@pytest.mark.parametrize("turned", [False, True])
def test_each_layout_of_inputs_has_a_recording_of_its_own(turned: bool, counted: tuple[torch.device, Counts]) -> None:
    device, _ = counted
    layouts: list[tuple[int, ...]] = []

    def noted(values: Tensor) -> Tensor:
        layouts.append(values.stride())
        return values * 2

    function = recorded(noted, device)
    plain = torch.randn(2, 3, 4, 5)
    for values in sorted((plain, plain.to(memory_format=torch.channels_last)), key=Tensor.stride, reverse=turned):
        layouts.clear()
        assert torch.equal(function(values.to(device)).cpu(), plain * 2)
        assert set(layouts) == {values.stride()}


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU to record work on")


@gpu
@pytest.mark.parametrize("index", range(max(1, torch.cuda.device_count())))
def test_a_gpu_plays_back_what_it_was_asked_for(index: int, caplog: pytest.LogCaptureFixture) -> None:
    device = torch.device("cuda", index)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 5))
    network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    inputs = [torch.randn(4, 3, 16, 16, device=device) for _ in range(3)]
    inputs.append(inputs[0].to(memory_format=torch.channels_last))
    with torch.inference_mode(), autocast(device), caplog.at_level(logging.WARNING):
        expected = [network(values) for values in inputs]
        functions = [
            recorded(network, device),
            recorded(lambda values: network(values).sort(1, stable=True)[0], device),
        ]
        with _busy_with(device):
            found = [[function(values) for values in inputs] for function in functions]
    for values, kept, ordered in zip(expected, *found, strict=True):
        assert torch.equal(kept, values)
        assert torch.equal(ordered, values.sort(1)[0])
    assert NOT_RECORDED not in caplog.text


@contextmanager
def _busy_with(device: torch.device) -> Iterator[None]:
    """Another thread allocates pinned memory, copies from it and waits, as decode workers' and that of results do."""
    ended = Event()

    def work() -> None:
        while not ended.is_set():
            pinned = torch.ones(1000, pin_memory=True)
            assert pinned.to(device, non_blocking=True).sum().cpu() == 1000

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(work)
        try:
            yield
        finally:
            ended.set()
        done.result()


@gpu
def test_what_a_gpu_cannot_record_leaves_its_stream_and_memory_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    device = torch.device("cuda", 0)
    values = torch.randn(4, 3, device=device)
    before = torch.cuda.current_stream()
    refused = recorded(lambda given: given * given.max().item(), device)
    assert torch.equal(refused(values), values * values.max())
    assert NOT_RECORDED in caplog.text
    assert torch.cuda.current_stream() == before
    caplog.clear()
    assert same(recorded(work, device)(values), values.cpu())
    torch.cuda.empty_cache()
    assert not caplog.records
