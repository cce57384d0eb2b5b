"""The device that networks run on, and the precision of their numbers there. Imports torch only to use it."""

import re
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from models.errors import OptionError

if TYPE_CHECKING:
    import torch

_NAMES = re.compile(r"auto|cpu|cuda(?::(0|[1-9][0-9]{0,3}))?")


def check_device_name(name: str) -> None:
    """Raise OptionError for a `--device` value that is none of `auto`, `cpu`, `cuda` and `cuda:N`."""
    if not _NAMES.fullmatch(name):
        raise OptionError(
            f"--device {name!r}: vdv runs on CPUs and CUDA GPUs; use auto (a GPU where there is one), cpu, cuda or"
            " cuda:N"
        )


def resolve_device(name: str) -> "torch.device":
    """The device of a `--device` value: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:N`.

    Raises:
        OptionError: the name is none of these, or the device is not there.
    """
    check_device_name(name)
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device, there = torch.device(name), torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= there:
        names = ", ".join(["auto", "cpu", *(f"cuda:{index}" for index in range(there))])
        raise OptionError(
            f"--device {name!r}: this machine has {there} CUDA devices that torch can use: use one of {names}; where"
            " there should be more, check the driver with nvidia-smi"
        )
    return device


def owner_devices(device: "torch.device", owners: int, gpus: int) -> "list[torch.device]":
    """The device of each process that owns networks.

    Args:
        device: `cuda` without a number is every GPU in turn.
        owners: how many; 0: one a GPU of `device`, or one on a CPU.
        gpus: how many the machine has.
    """
    import torch

    if device.type != "cuda" or device.index is not None:
        return [device] * max(1, owners)
    return [torch.device("cuda", owner % gpus) for owner in range(owners or gpus)]


def halve_weights(network: "torch.nn.Module", device: "torch.device") -> None:
    """Make float16 of what `autocast` would make float16 of anew for every batch; no result changes by it.

    torch keeps its copies of weights that are trained, and these are not. Only for what runs under `autocast`.
    """
    import torch

    if device.type == "cuda":
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.half()


def autocast(device: "torch.device") -> AbstractContextManager:
    """float16 on CUDA, where it doubles the throughput of these networks; full precision on a CPU."""
    if device.type == "cuda":
        import torch

        return torch.autocast("cuda", dtype=torch.float16)
    return nullcontext()
