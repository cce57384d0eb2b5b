"""Functions that are called on a cluster. Without torch: each process that dies takes another, which imports this."""

import os
import signal
import sys
from pathlib import Path

from pipeline.core.errors import DataError


def name_of(number: int, device: str) -> str:
    return f"{number} on {device}"


def refuse(number: int, device: str) -> None:
    raise DataError(f"nothing to learn from in fold {number}")


def has_torch(number: int, device: str) -> bool:
    return "torch" in sys.modules


def die(folder: str, lives: int, number: int, device: str) -> int:
    """Kills its process as often as there are lives; then the number."""
    past = len(os.listdir(folder))
    if past < lives:
        Path(folder, str(past)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number
