"""Frames and sound on their way from memory shared with decode workers to the device that computes on them.

What a GPU is given is copied into pinned memory first and from there on a stream beside that of the networks, both by
the threads of the decode workers: their owner neither copies nor waits. Networks on a CPU read the shared memory.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

# Frames lie in memory that only decode workers write to. For good, because a filter that is taken back would take those
# back that other threads set meanwhile.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


@dataclass(frozen=True)
class Upload:
    """A copy that a GPU makes, or has made."""

    _copy: torch.Tensor
    _end: torch.cuda.Event

    def arrived(self) -> torch.Tensor:
        """The copy, for the stream at hand, which waits for it; the caller does not."""
        stream = torch.cuda.current_stream(self._copy.device)
        stream.wait_event(self._end)
        self._copy.record_stream(stream)  # else its memory were given out again, once it is let go, behind the other
        return self._copy


class Uploads:
    """Takes frames to a GPU; for any thread."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)

    def begin(self, frames: np.ndarray) -> Upload:
        """Copy frames, uint8 [N, H, W, 3]; their memory is free when this returns."""
        with torch.cuda.stream(self._stream):
            copy = torch.from_numpy(frames).pin_memory().to(self._stream.device, non_blocking=True)
            return Upload(copy, self._stream.record_event())


def on_device(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Frames or sound as a tensor on the device, copied by this thread; on a CPU, the memory itself."""
    shared = torch.from_numpy(values)
    return (shared.pin_memory() if device.type == "cuda" else shared).to(device, non_blocking=True)
