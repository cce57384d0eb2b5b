"""Work on a GPU that is recorded once, as a CUDA graph, and then asked for at one stroke.

A forward pass gives a GPU hundreds of operators, each for some microseconds of the thread that owns it; of batches that
a fast GPU computes in as little, that thread is the limit. All batches of an extractor have one size (`pad_batch`),
so that one recording serves for all of them.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

log = logging.getLogger(__name__)

_SAFE_FROM = "2.15"  # an older torch keeps memory back for ever after a recording that failed
_WARM_UPS = 3  # calls in which libraries choose kernels and constants are made, neither of which can be recorded


def recorded(function: Callable[[Tensor], Any], device: torch.device) -> Callable[[Tensor], Any]:
    """`function` as it is on a CPU; else a function that has a GPU do the same work, for one thread at a time.

    Args:
        function: of one tensor on `device`, to tensors, or tuples and lists of them and of None. It waits for nothing,
            copies nothing from the host, and does the same whatever the values.
    """
    if device.type == "cpu" or torch.torch_version.TorchVersion(torch.__version__) < _SAFE_FROM:
        return function
    return RecordedFunction(function, device)


class RecordedFunction:
    """See `recorded`. What cannot be recorded is said once, and called as it is."""

    def __init__(self, function: Callable[[Tensor], Any], device: torch.device):
        self._function = function
        self._device = device
        # By shape and layout of the inputs: kernels of another layout round otherwise.
        self._recordings: dict[tuple[tuple[int, ...], tuple[int, ...]], Callable[[Tensor], Any]] = {}

    def __call__(self, inputs: Tensor) -> Any:
        """What the function returns, in tensors of the caller's own."""
        kind = tuple(inputs.shape), inputs.stride()
        if kind not in self._recordings:
            try:
                self._recordings[kind] = _Recording(self._function, inputs, self._device)
            except RuntimeError as error:
                log.warning("a network runs without a CUDA graph, which costs some speed and nothing else: %s", error)
                self._recordings[kind] = self._function
        return self._recordings[kind](inputs)


class _Recording:
    """The work for inputs of one shape and layout. Raises RuntimeError where it can't be, or gives other results."""

    def __init__(self, function: Callable[[Tensor], Any], inputs: Tensor, device: torch.device):
        self._inputs = inputs.clone()
        self._outputs, self._replay = capture(lambda: function(self._inputs), device)
        others = torch.empty_like(inputs).copy_(inputs.roll(1, 0))
        pairs = zip(tree_leaves(self(others)), tree_leaves(function(others)), strict=True)
        if not all(_equal(one, other) for one, other in pairs if isinstance(other, Tensor)):
            raise RuntimeError("what was recorded gives other results than what was called")

    def __call__(self, inputs: Tensor) -> Any:
        with torch.inference_mode():
            self._inputs.copy_(inputs)
        self._replay()
        # Copied, for the next call writes to the same memory.
        return tree_map_only(Tensor, torch.clone, self._outputs)


def _equal(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def capture(work: Callable[[], Any], device: torch.device) -> tuple[Any, Callable[[], None]]:
    """What `work` returns, and what does it again on the GPU, into the same tensors.

    Raises RuntimeError where it holds what cannot be recorded.
    """
    with torch.cuda.device(device):
        caller, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        with torch.cuda.stream(caller):  # where torch is back afterwards, whatever fails
            aside.wait_stream(caller)
            try:
                with torch.cuda.stream(aside):
                    for _ in range(_WARM_UPS):
                        work()
            finally:
                caller.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # thread_local: others go on meanwhile, with pinned memory and with results that they wait for.
            with _nothing_collected(), torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                outputs = work()
    return outputs, graph.replay


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Python's collector would end a recording by destroying an older one."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
