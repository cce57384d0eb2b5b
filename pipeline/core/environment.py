"""What a run was made with, beside its data and options: the code, the packages, the machine. For `run.json`."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "lightning", "numpy", "pandas", "pyarrow", "scipy", "scikit-learn")
_CHECKOUT = Path(__file__).resolve().parents[2]


def code_version(checkout: Path = _CHECKOUT) -> dict:
    """Of this package: version; commit, the checkout's, and dirty, whether tracked files differ from it.

    commit and dirty are None where the package does not lie at the top of a git checkout, or git is not there.
    """
    found: dict = {"version": version("vdv"), "commit": None, "dirty": None}
    top = _git(checkout, "rev-parse", "--show-toplevel")
    # An installed package may lie inside a checkout of something else.
    if top is None or Path(top).resolve() != checkout.resolve():
        return found
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:  # nothing was ever committed
        return found
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return found | {"commit": commit, "dirty": None if changed is None else bool(changed)}


def environment(device: torch.device) -> dict:
    """Python, packages, system, processor and the device that is computed on; nothing that names the machine."""
    cuda = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "system": f"{sys.platform} {platform.machine()}",
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
    }


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """As the kernel names it, else the architecture."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _git(folder: Path, *command: str) -> str | None:
    """What git answers; None: it is not installed, or this is none of its folders."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
