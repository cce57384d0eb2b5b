"""The training loop learns, ends when its budget is spent, and says when it diverges."""

import itertools
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from simulation.training.fitting import Budget, fit, training_autocast

WANTED = torch.tensor([[1.0, -2.0, 0.5]])


def examples() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    while True:
        inputs = torch.randn(32, 3, generator=random)
        yield inputs, inputs @ WANTED.T


def squared(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (network(batch[0]) - batch[1]).square().mean()


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def test_a_line_is_learned_and_the_mean_of_the_weights_comes_back() -> None:
    network = line()
    averaged = fit(network, squared, examples(), Budget(steps=1500, batch=32, learning_rate=0.03), "line")
    assert averaged is not network
    torch.testing.assert_close(averaged.weight, WANTED, atol=0.02, rtol=0)
    assert not averaged.training


def test_seconds_end_a_training_that_steps_would_not() -> None:
    def slow() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in examples():
            time.sleep(0.01)
            yield batch

    start = time.monotonic()
    fit(line(), squared, slow(), Budget(steps=10**6, batch=32, learning_rate=0.01, seconds=0.5), "line")
    assert time.monotonic() - start < 5


def test_it_takes_as_many_steps_as_it_may_and_saves_evenly_on_the_way() -> None:
    taken, saved = itertools.count(), []

    def counted(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        next(taken)
        return squared(network, batch)

    fit(
        line(),
        counted,
        examples(),
        Budget(steps=40, batch=32, learning_rate=0.01),
        "line",
        lambda network: saved.append(network.get_parameter("weight").clone()),
        saves=3,
    )
    assert next(taken) == 40
    assert len(saved) == 3
    assert not torch.equal(saved[0], saved[2])


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    with pytest.raises(FloatingPointError, match="line: the loss is no number at step 0"):
        fit(
            line(),
            lambda network, batch: squared(network, batch) * float("nan"),
            examples(),
            Budget(9, 32, 0.01),
            "line",
        )


def test_weights_stay_in_float32_whatever_the_device_computes_in() -> None:
    network = line()
    with training_autocast(torch.device("cpu")):
        said = network(torch.ones(1, 3))
    assert said.dtype in (torch.bfloat16, torch.float32)
    said.float().sum().backward()
    assert network.weight.grad is not None
    assert network.weight.grad.dtype == network.weight.dtype == torch.float32
