"""The loop that trains each of the small networks: AdamW, a warm-up and a cosine, and the mean of the late weights."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

_WARM_UP = 0.02  # share of the training
_CLIP_NORM = 5.0
_AVERAGED_STEPS = 300  # about how many steps back the mean of the weights reaches


@dataclass(frozen=True)
class Budget:
    """Training ends at whichever comes first; the learning rate follows the share of it that is spent.

    seconds: None: as long as the steps take.
    """

    steps: int
    batch: int
    learning_rate: float
    seconds: float | None = None
    weight_decay: float = 0.01


def fit(
    network: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Iterator[Any],
    budget: Budget,
    what: str,
    save: Callable[[nn.Module], None] | None = None,
    saves: int = 0,
) -> nn.Module:
    """Trains `network` in place and returns another of its kind, whose weights are the running mean of its own.

    Args:
        loss: of the network and one batch; a scalar.
        batches: endless.
        what: labels the progress bar.
        save: called with the averaged network `saves` times on the way, evenly, so that a long training is of use
            before it ends.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    optimizer = torch.optim.AdamW(_groups(network, budget.weight_decay), lr=budget.learning_rate)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / _AVERAGED_STEPS), use_buffers=True)
    begun, saved, smooth = time.monotonic(), 0, 0.0
    bar = tqdm(itertools.islice(batches, budget.steps), what, budget.steps, mininterval=2.0)
    for step, batch in enumerate(bar):
        seconds = time.monotonic() - begun
        spent = max(step / budget.steps, seconds / budget.seconds if budget.seconds else 0)
        if spent >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate * _rate(spent)
        network.train()
        value = loss(network, batch)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), _CLIP_NORM)
        optimizer.step()
        if step < 2 * _AVERAGED_STEPS:  # the first weights are no part of any mean worth having
            averaged.n_averaged.zero_()
        averaged.update_parameters(network)
        if step % 20 == 0:
            now = value.item()
            if math.isnan(now):
                raise FloatingPointError(f"{what}: the loss is no number at step {step}; lower the learning rate")
            smooth = now if step == 0 else 0.8 * smooth + 0.2 * now
            bar.set_postfix_str(f"loss {smooth:.4f}, {100 * spent:.0f} %")
        if save and saved < int(spent * (saves + 1)):
            saved += 1
            save(averaged.module.eval())
    return averaged.module.eval()


def training_autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 where the device computes in it: twice as fast, and with float32's range, so no loss is scaled."""
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16) if native else nullcontext()


def _rate(spent: float) -> float:
    """Of the learning rate, where `spent` of the training is over: up in a line, down along half a cosine."""
    if spent < _WARM_UP:
        return (spent + 0.001) / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (spent - _WARM_UP) / (1 - _WARM_UP))) * 0.99 + 0.01


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels decay; biases and normalisation do not."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
