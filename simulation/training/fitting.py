"""Training loop of the small networks: AdamW, a warm-up and a cosine, and the mean of the late weights."""

import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

_WARM_UP = 0.02  # share of the training
_CLIP_NORM = 5.0
_AVERAGED_STEPS = 300  # that the mean of the weights reaches back, about


@dataclass(frozen=True)
class Budget:
    """Bounds of a training, which ends at the first; the learning rate follows the share that is spent."""

    steps: int
    batch: int
    learning_rate: float
    seconds: float | None = None  # None: as long as the steps take
    weight_decay: float = 0.01


class RandomSamples(Dataset, ABC):
    """Endless dataset: any index is a sample, drawn by a generator that seed and index determine."""

    batch_type: Callable[..., Any]  # made of the stacked parts of B samples

    def __init__(self, seed: int):
        self.seed = seed

    def __len__(self) -> int:
        return 1 << 31

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        return self.sample(np.random.default_rng((self.seed, index)))

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        """A random picture uint8 [3, h, w] and its target."""

    def batches(self, batch: int, workers: int) -> Iterator[Any]:
        """Yield batches of `batch` samples without end, loaded by `workers` processes (0: by this one)."""
        ahead = 4 if workers else None
        for parts in DataLoader(self, batch, sampler=range(len(self)), num_workers=workers, prefetch_factor=ahead):
            yield self.batch_type(*parts)


def fit(
    network: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Iterator[Any],
    budget: Budget,
    what: str,
    save: Callable[[nn.Module], None] | None = None,
    saves: int = 0,
) -> nn.Module:
    """Train `network` in place and return a copy whose weights are the running mean of those in training.

    Args:
        network: to train.
        loss: of the network and one batch; a scalar.
        batches: endless.
        budget: bounds of the training.
        what: label of the progress bar.
        save: called with the averaged network `saves` times on the way, evenly, so that a long training is of use
            before it ends.
        saves: number of calls of `save`.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    optimizer = torch.optim.AdamW(_groups(network, budget.weight_decay), lr=budget.learning_rate)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / _AVERAGED_STEPS), use_buffers=True)
    start, saved, smooth = time.monotonic(), 0, 0.0
    bar = tqdm(itertools.islice(batches, budget.steps), what, budget.steps, mininterval=2.0)
    for step, batch in enumerate(bar):
        seconds = time.monotonic() - start
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
        if step < 2 * _AVERAGED_STEPS:  # the first weights are left out of the mean
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
    """Autocast to bfloat16 where the device has it: twice as fast, and with float32's range, so no loss is scaled."""
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16) if native else nullcontext()


def _rate(spent: float) -> float:
    """Share of the learning rate after a share `spent` of the training: up in a line, down along half a cosine."""
    if spent < _WARM_UP:
        return (spent + 0.001) / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (spent - _WARM_UP) / (1 - _WARM_UP))) * 0.99 + 0.01


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Groups of parameters: matrices and kernels decay; biases and normalisation do not."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
