"""Model input of a modality: a padded batch with its mask, and what an encoder must know of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class InputSpec:
    """What an encoder must know of its input."""

    width: int  # D of a sequence [B, T, D]; of a skeleton [B, K, C, T, V] its channels C
    statistics_width: int = 0  # how many of a sequence's features, the last, statistics are made of; 0: all
    is_skeleton: bool = False


class ModalityInput(NamedTuple):
    """One modality of a batch of B clips, padded; where the mask is False the values have no influence."""

    values: Tensor  # skeleton: [B, K, 9, T, V] of K samplings; sequence: [B, T, D]
    mask: Tensor  # bool; skeleton: [B, K, T, V]; sequence: [B, T]
    quality: Tensor  # [B] detection rate x mean confidence, 0..1

    @property
    def nbytes(self) -> int:
        """Memory of the tensors."""
        return sum(tensor.nbytes for tensor in self)

    def to(self, device: torch.device) -> "ModalityInput":
        return ModalityInput(*(tensor.to(device) for tensor in self))


def to_device(inputs: Mapping[str, ModalityInput], device: torch.device) -> dict[str, ModalityInput]:
    return {name: given.to(device) for name, given in inputs.items()}


def pad(clips: Sequence[ModalityInput]) -> ModalityInput:
    """Inputs of single clips as one of a batch; sequences are filled with masked zeros to the longest, at least 1."""
    quality = torch.stack([clip.quality for clip in clips])
    if clips[0].values.dim() == 4:  # a skeleton: all of one length
        values, mask = torch.stack([clip.values for clip in clips]), torch.stack([clip.mask for clip in clips])
        return ModalityInput(values, mask, quality)
    longest = max(1, *(len(clip.mask) for clip in clips))
    # Of numpy, whose zeros cost nothing till something is written over them: torch would write all of them first.
    values = torch.from_numpy(np.zeros((len(clips), longest, clips[0].values.shape[1]), np.float32))
    mask = torch.zeros(len(clips), longest, dtype=torch.bool)
    for place, clip in enumerate(clips):
        values[place, : len(clip.mask)] = clip.values
        mask[place, : len(clip.mask)] = clip.mask
    return ModalityInput(values, mask, quality)
