"""Putting published weights into a network, with an error that names what does not fit."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.errors import WeightsError

_NAMED = 5  # keys listed in an error; the rest are counted


def load_into(network: nn.Module, state: Mapping[str, Tensor], what: str, ignore: tuple[str, ...] = ()) -> None:
    """Copies `state` into `network`, every parameter and buffer of it, in place.

    The `module.` before every key that nn.DataParallel writes (the 2017 Places365 checkpoints have it) is dropped.
    BatchNorm's `num_batches_tracked`, which evaluation never reads and old checkpoints lack, may be missing.

    Args:
        what: names the network in errors, e.g. "scene network (resnet50, 365 categories)".
        ignore: prefixes of keys that the checkpoint may hold and the network does not use (a training head).

    Raises:
        WeightsError: keys are missing or unknown, or shapes differ; names them.
    """
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if ignore:
        state = {key: value for key, value in state.items() if not key.startswith(ignore)}
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    misshaped = [
        f"{key} is {_shape(state[key])}, not {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    faults = [
        f"{label}: {_first(names)}"
        for label, names in (("missing", missing), ("unknown", unknown), ("wrong shape", misshaped))
        if names
    ]
    if faults:
        raise WeightsError(
            f"these weights do not fit the {what}; {'; '.join(faults)}. "
            "Check that the profile's architecture and the weights' URL belong together"
        )
    with torch.no_grad():
        network.load_state_dict({**own, **state})


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _first(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
