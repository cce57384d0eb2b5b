"""Code, packages and machine that a run was made with, for `run.json`; and packages that only some of vdv needs."""

import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import OptionError, how_to_install

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "lightning", "numpy", "pandas", "pyarrow", "scipy", "scikit-learn")
_CHECKOUT = Path(__file__).resolve().parents[2]


def code_version(checkout: Path = _CHECKOUT) -> dict:
    """Version of this package, commit of its checkout, and dirty: whether tracked files differ from the commit.

    commit and dirty are None where the package does not lie at the top of a git checkout, or git is not installed.
    """
    code: dict = {"version": version("vdv"), "commit": None, "dirty": None}
    top = _git(checkout, "rev-parse", "--show-toplevel")
    # An installed package may lie inside a checkout of something else.
    if top is None or Path(top).resolve() != checkout.resolve():
        return code
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:  # nothing was ever committed
        return code
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return code | {"commit": commit, "dirty": None if changed is None else bool(changed)}


@cache  # files of metadata are read for it, milliseconds each
def decoder_versions() -> str:
    """Names and versions of the packages that decode."""
    return ", ".join(f"{name} {version(name)}" for name in ("av", "decord"))


def environment(device: "torch.device") -> dict:
    """Python, packages, system, processor and the device that is computed on; nothing that names the machine."""
    import torch  # here: planning asks for packages alone

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
    """Name of the processor as the kernel gives it, else the architecture."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def require_packages(extra: str, *modules: str) -> None:
    """Raise OptionError, which says what to install, where one of the modules is not installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise OptionError(f"this needs {' and '.join(missing)}, not installed here: {how_to_install(extra)}")


def _git(folder: Path, *command: str) -> str | None:
    """Output of a git command; None where git is not installed or `folder` is in no checkout."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
