"""The interface that all extractors share."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prepared:
    """Network inputs prepared from frames. A frame may give any number of inputs (a face extractor: one a face)."""

    inputs: Tensor  # [M, ...] of one shape whatever the frames' size, so that clips can share a batch
    frame: list[int] = field(default_factory=list)  # [M] index of the frame that each input comes from, ascending
    extras: list[Any] = field(default_factory=list)  # [M] what `infer` needs beside the input (a transform, a box)


class Extractor(Protocol):
    """A network that turns frames into one result an input: `infer(prepare(frames))`, in batches of any mix of clips.

    A clip's results must not depend on what shares its batch: `infer` pads every batch to `batch_size`
    (`pad_batch`), because kernels chosen by shape round differently, and `prepare` sees frames of one clip only.
    """

    modality: str
    batch_size: int

    def prepare(self, frames: Tensor) -> Prepared:
        """frames: uint8 [N, H, W, 3] RGB of one clip, on the extractor's device."""
        ...

    def infer(self, inputs: Tensor, extras: list[Any]) -> list[Any]:
        """M results. inputs: [M, ...], M <= batch_size, cut or joined from `Prepared.inputs`; extras: the M extras."""
        ...


def pad_batch(inputs: Tensor, batch_size: int) -> Tensor:
    """inputs [M, ...] padded with zeros to [batch_size, ...]."""
    missing = batch_size - inputs.shape[0]
    if missing < 0:
        raise ValueError(f"{inputs.shape[0]} inputs do not fit a batch of {batch_size}")
    if missing == 0:
        return inputs
    return torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])])
