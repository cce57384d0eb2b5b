"""Frames and sound on their way from memory shared with decode workers to the device that computes on them.

What a GPU is given lies in pinned memory first, where the threads of the decode workers copy frames to. From there the
GPU copies them on a stream beside that of its networks: their owner neither copies nor waits. Networks on a CPU read
the shared memory itself.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch

from pipeline.decode.pool import Chunk

# Frames lie in memory that only decode workers write to. For good, because a filter that is taken back would take those
# back that other threads set meanwhile.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class Uploads:
    """The way to one device.

    Attributes:
        take: as of DecodePool.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.take: Callable[[np.ndarray], torch.Tensor] | None = self._pinned if self._stream else None

    def frames(self, chunk: Chunk) -> torch.Tensor:
        """Frames of a chunk on the device, uint8 [n, H, W, 3], for the stream at hand."""
        if self._stream is None:
            return torch.from_numpy(chunk.frames).to(self._device)
        networks = torch.cuda.current_stream(self._stream.device)
        # The stream alone would leave GPU 0 as this thread's, and a context of its own on it.
        with torch.cuda.device(self._stream.device), torch.cuda.stream(self._stream):
            copy = chunk.taken.to(self._stream.device, non_blocking=True)
        networks.wait_stream(self._stream)
        copy.record_stream(networks)  # else its memory would be given out again while the networks may still read it
        return copy

    def sound(self, samples: np.ndarray) -> torch.Tensor:
        """Samples on the device, int16 [N], for the stream at hand: too few for another thread to copy."""
        if self._stream is None:
            return torch.from_numpy(samples).to(self._device)
        return self._pinned(samples).to(self._stream.device, non_blocking=True)

    def _pinned(self, values: np.ndarray) -> torch.Tensor:
        assert self._stream is not None
        with torch.cuda.device(self._stream.device):
            pinned = torch.empty(values.shape, dtype=torch.from_numpy(values).dtype, pin_memory=True)
        np.copyto(pinned.numpy(), values)  # torch would start threads on all cores for each thread that copies
        return pinned
