"""Extractors that do something to the process or the node that they are in; what they do is told by module and name.

Imports little: each actor of the tests imports it.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from models.extractors.extractor import Extractor, Prepared
from pipeline.core.errors import ProfileError
from tests.support.square_finder import SquareFinder


class Trap(SquareFinder):
    """Does something before it looks at frames, told whether they are of the big clip; if that is true, sees nobody."""

    def __init__(self, modality: str, spring: Callable[[bool], bool | None]):
        super().__init__(modality)
        self._spring = spring

    def prepare(self, frames: torch.Tensor) -> Prepared:
        blind = self._spring(frames.shape[1:3] == (192, 128))
        return super().prepare(torch.zeros_like(frames) if blind else frames)


def trap(spring: Callable[[bool], bool | None], modality: str, device: torch.device) -> Extractor:
    return Trap(modality, spring) if modality == "pose" else SquareFinder(modality)


def plain(modality: str, device: torch.device) -> Extractor:
    return SquareFinder(modality)


def wait_for_another(folder: str, is_big: bool) -> None:
    """Until two processes have come here."""
    Path(folder, str(os.getpid())).touch()
    while len(os.listdir(folder)) < 2:
        time.sleep(0.01)


def in_vain(modality: str, device: torch.device) -> Extractor:
    raise ProfileError(f"no {modality} on {device}")


def end_once(end: Callable[[], None], folder: str, is_big: bool) -> None:
    if is_big and not Path(folder, "ended").exists():
        Path(folder, "ended").touch()
        end()


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def kill(folder: str, is_big: bool) -> None:
    if is_big:
        Path(folder, str(time.monotonic_ns())).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def signal_the_node(number: int, head: str, folder: str, is_big: bool) -> bool:
    """To the raylet of the node that is not the head, whose child this process is; on the head, wait for that.

    Then the process waits to be killed, or to be let go on, which a file tells it, and sees nobody from then on.
    """
    import ray

    on_head = ray.get_runtime_context().get_node_id() == head
    if not on_head and not Path(folder, "signalled").exists():
        os.kill(os.getppid(), number)
        Path(folder, "signalled").touch()
    while not Path(folder, "signalled" if on_head else "go on").exists():
        time.sleep(0.01)
    return not on_head
