"""Networks compiled for a processor by OpenVINO: up to seven times as fast as torch runs them, equal but for rounding.

torch's graph is read by OpenVINO's front end for it; batch norms, activations and constants are folded into the
convolutions, and weights laid out once as the kernels read them. Numbers are float32, but for networks that give up
some of their digits for speed on processors that compute in bfloat16. On a GPU networks stay torch's own, recorded.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from models.extractors.recorded import recorded
from models.weights import compiled_files
from models.weights.compiled_files import CompiledFile

log = logging.getLogger(__name__)

# Of what a trace fixes: shapes, which are the same in every call; and of the tracer's age. For good, because networks
# are compiled in several threads, and a filter that one of them set for a while would go when another still needs it.
warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
warnings.filterwarnings("ignore", message="`torch.jit.trace` is deprecated", category=FutureWarning)


def compiled(
    network: nn.Module, device: torch.device, sides_vary: bool = False, embeds: bool = False
) -> Callable[[Tensor], Any]:
    """A function that computes what `network` computes from one tensor: compiled on a CPU, recorded on a GPU.

    Args:
        network: in eval mode, on `device`, its weights final by the first call and without gradients. Its results are
            tensors, or tuples and lists of them and of None.
        sides_vary: whether inputs [B, C, H, W] have many heights and widths, which costs a CPU a tenth of the speed;
            nothing is recorded then.
        embeds: whether results are embeddings, which bear bfloat16 (1 - cosine about 1e-5) where the processor has it;
            coordinates and what is held against a threshold do not.
    """
    if device.type == "cpu":
        return CompiledNetwork(network, sides_vary, embeds)
    return network if sides_vary else recorded(network, device)


class CompiledNetwork:
    """A network that is compiled, which takes a second, for each shape of input when it first comes.

    For one thread at a time. It uses as many processor cores as torch did at the first call.
    """

    def __init__(self, network: nn.Module, sides_vary: bool = False, embeds: bool = False):
        self._network = network
        self._sides_vary = sides_vary
        self._precision = "bf16" if embeds and computes_bfloat16() else "f32"
        self._compiled: dict[Sequence[int], _Compiled] = {}

    def __call__(self, inputs: Tensor) -> Any:
        """What the network returns. inputs: float32 [B, C, H, W], in memory contiguous or channels last."""
        shape = tuple(inputs.shape[:2]) if self._sides_vary else tuple(inputs.shape)
        if shape not in self._compiled:
            self._compiled[shape] = _Compiled(self._network, inputs, self._sides_vary, self._precision)
        return self._compiled[shape](inputs)


class _Compiled:
    """A network compiled for one shape of inputs, or for all with its batch and channels; once a machine."""

    def __init__(self, network: nn.Module, example: Tensor, sides_vary: bool, precision: str):
        shape = [*example.shape[:2], -1, -1] if sides_vary else list(example.shape)
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # decode workers and other owners need the same cores
        }
        key = compiled_files.cache_key(network, shape=shape, options=options, processor=compiled_files.processor())
        kept = compiled_files.read(key)
        model = _imported(kept, options) if kept else None
        if kept is None or model is None:
            model, leaves, tree = _compile(network, example, shape, options)
            kept = CompiledFile(model.export_model().getvalue(), leaves, tree)
            compiled_files.write(key, kept)
        self._request = model.create_infer_request()
        self._outputs = range(len(model.outputs))
        self._leaves, self._tree = kept.leaves, kept.tree

    def __call__(self, inputs: Tensor) -> Any:
        self._request.infer([inputs.contiguous().numpy()], share_inputs=True)
        # Copied, for the next call writes to the same memory.
        found = (torch.from_numpy(self._request.get_output_tensor(place).data.copy()) for place in self._outputs)
        return tree_unflatten([next(found) if is_tensor else None for is_tensor in self._leaves], self._tree)


def _compile(
    network: nn.Module, example: Tensor, shape: list[int], options: dict[str, Any]
) -> tuple[Any, list[bool], TreeSpec]:
    """OpenVINO's model; which of the network's results are tensors; and how they belong together."""
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    flat = _Flat(network)
    with torch.inference_mode():
        decoder = TorchScriptPythonDecoder(torch.jit.trace(lambda inputs: flat(inputs), (example,), check_trace=False))
    # By the front end rather than openvino.convert_model, which reports its use to the publisher.
    front_end = FrontEndManager().load_by_framework("pytorch")
    model = front_end.convert(front_end.load(decoder))
    model.reshape({model.inputs[0]: openvino.PartialShape(shape)})
    return _core().compile_model(model, "CPU", options), flat.leaves, flat.tree


def _imported(kept: CompiledFile, options: dict[str, Any]) -> Any:
    """OpenVINO's model; None where it does not take what was kept."""
    try:
        return _core().import_model(kept.model, "CPU", options)
    except RuntimeError as error:
        log.warning("a compiled network is made again, for OpenVINO does not take it: %s", error)
        return None


class _Flat:
    """A network whose results are one tuple of tensors, and, after a call, how they belong together.

    No module: a trace takes half the time where it need not make one of each layer.
    """

    leaves: list[bool]  # whether each is a tensor; the others are None
    tree: TreeSpec  # that they are the leaves of

    def __init__(self, network: nn.Module):
        self._network = network

    def __call__(self, inputs: Tensor) -> tuple[Tensor, ...]:
        leaves, self.tree = tree_flatten(self._network(inputs))
        self.leaves = [isinstance(leaf, Tensor) for leaf in leaves]
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))


def computes_bfloat16() -> bool:
    """Whether this machine's processor multiplies in bfloat16: Intel's from 2020 (Cooper Lake) on, AMD's from Zen 4."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()
