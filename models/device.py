"""The device that networks run on, and the precision of their numbers there."""

from contextlib import AbstractContextManager, nullcontext

import torch

from models.errors import ProfileError


def resolve_device(name: str) -> torch.device:
    """The device of a `--device` value: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:N`.

    Raises:
        ProfileError: the name is none of these, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ProfileError(f"--device {name!r} is not a device: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ProfileError(
            f"--device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices that torch can use; "
            "use --device cpu, or check the driver with nvidia-smi"
        )
    return device


def autocast(device: torch.device) -> AbstractContextManager:
    """float16 on CUDA, where it doubles the throughput of these networks; full precision on a CPU."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.float16)
    return nullcontext()
