"""The interface that all extractors share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Prepared:
    """Network inputs prepared from frames. A frame may give any number of inputs (a face extractor: one a face).

    Of sound, a window stands where a frame does.
    """

    inputs: Tensor  # [M, ...] of one shape whatever the frames' size, so that clips can share a batch
    frame: list[int] = field(default_factory=list)  # [M] index of the frame that each input comes from, ascending
    extras: list[Any] = field(default_factory=list)  # [M] what the results need beside the outputs (a transform, a box)


class Extractor(ABC):
    """A network that turns frames, or sound, into one result an input, in batches of any mix of clips.

    `prepare` and `launch` give a GPU its work, and `launch` does not wait for it: shapes of what it computes do not
    depend on what it finds. `collect` waits, so the owner of a device calls it in another thread, and launches the next
    batches meanwhile.

    A clip's results must not depend on what shares its batch: `launch` pads every batch to `batch_size`
    (`pad_batch`), because kernels chosen by shape round differently, and `prepare` sees frames of one clip only.
    """

    modality: str
    batch_size: int

    @abstractmethod
    def prepare(self, frames: Tensor) -> Prepared:
        """frames: uint8 [N, H, W, 3] RGB of one clip, on the extractor's device."""

    @abstractmethod
    def launch(self, inputs: Tensor, extras: list[Any]) -> Any:
        """Outputs for M inputs, on the device.

        inputs: [M, ...], M <= batch_size, cut or joined from `Prepared.inputs`; extras: the M extras.
        """

    @abstractmethod
    def collect(self, outputs: Any, extras: list[Any]) -> list[Any]:
        """M results, on the host. outputs: of `launch`; extras: the same M extras. Any thread."""

    def infer(self, inputs: Tensor, extras: list[Any]) -> list[Any]:
        """M results, waited for: `launch` and `collect`."""
        return self.collect(self.launch(inputs, extras), extras)


class SoundExtractor(Extractor):
    """An extractor of a modality that reads sound."""

    @abstractmethod
    def prepare(self, sound: Tensor) -> Prepared:
        """sound: all of one clip's, float32 [N] in -1..1, on the extractor's device."""

    @abstractmethod
    def grid(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows that so many samples are cut into: their numbers, int32 [T], and the times of their centres in
        seconds, float32 [T]. Sound has none of its own, as frames have.
        """


def pad_batch(inputs: Tensor, batch_size: int) -> Tensor:
    """inputs [M, ...] padded with zeros to [batch_size, ...]."""
    missing = batch_size - inputs.shape[0]
    if missing < 0:
        raise ValueError(f"{inputs.shape[0]} inputs do not fit a batch of {batch_size}")
    if missing == 0:
        return inputs
    return torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])])
