"""Loading published weights into a network, with an error that names the keys that do not fit."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.errors import WeightsError

_LISTED = 5  # keys listed in an error; the others are counted


def load_into(network: nn.Module, state: Mapping[str, Tensor], name: str, ignore: tuple[str, ...] = ()) -> None:
    """Copy `state` into `network`, every parameter and buffer, in place.

    The `module.` before every key that nn.DataParallel writes (the 2017 Places365 checkpoints have it) is dropped.
    BatchNorm's `num_batches_tracked`, unused in evaluation and lacking in old checkpoints, may be missing.

    Args:
        name: of the network in errors, e.g. "scene network (resnet50, 365 categories)".
        ignore: prefixes of keys in the checkpoint that the network does not use (a training head).

    Raises:
        WeightsError: keys are missing or unknown, or shapes differ; names them.
    """
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if ignore:
        state = {key: value for key, value in state.items() if not key.startswith(ignore)}
    expected = network.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in expected]
    misshaped = [
        f"{key} is {_shape(state[key])}, not {_shape(expected[key])}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    faults = [
        f"{label}: {_first(names)}"
        for label, names in (("missing", missing), ("unknown", unknown), ("wrong shape", misshaped))
        if names
    ]
    if faults:
        raise WeightsError(
            f"these weights do not fit the {name}; {'; '.join(faults)}. "
            "Check that the profile's architecture and the weights' URL belong together"
        )
    with torch.no_grad():
        network.load_state_dict({**expected, **state})


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _first(names: list[str]) -> str:
    omitted = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {omitted} more" if omitted > 0 else "")
