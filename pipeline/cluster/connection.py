"""The connection to a Ray cluster, and what has to agree between its machines."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.core.environment import decoder_versions
from pipeline.core.errors import OptionError, how_to_install

_PRODUCT = Path(__file__).resolve().parents[2]
_CONNECT_S = 10.0  # for the cluster's head to answer


@dataclass(frozen=True)
class Cluster:
    """The cluster to use, and how much of it."""

    address: str  # as ray.init takes it: auto, host:port, local
    device: str  # auto, cpu or cuda
    owners: int  # on each machine; 0: one a GPU, or one on a CPU
    decode_workers: int  # on each machine; 0: one a processor core


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module ray, connected to a cluster for as long as the block lasts."""
    try:
        import ray
    except ImportError as error:
        raise OptionError(f"--engine ray needs Ray: {how_to_install('ray')}") from error
    if ray.is_initialized():  # by a notebook, say
        yield ray
        return
    on_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _check_answers(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        with chdir(_PRODUCT):  # Ray has all workers import from the working folder, which others may have filled
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError(
            f"--ray-address {address}: no Ray cluster can be used there ({reason}); start one with ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
        if on_main:
            signal.signal(signal.SIGTERM, handler)  # ray.init puts its own there


def _check_answers(address: str) -> None:
    """Raise OSError where nothing answers at host:port: Ray itself would try for ever."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), _CONNECT_S):
            pass


def versions() -> str:
    """Versions of the packages whose results have to agree between machines."""
    return f"vdv {version('vdv')}, {decoder_versions()}"


def check_versions(machine: str, wanted: str) -> None:
    """Raise OptionError where this machine, of that name, has other `versions` than the driver."""
    if versions() != wanted:
        raise OptionError(
            f"{machine} has {versions()}, and the driver has {wanted}: install the same on all machines of the cluster"
        )
