"""The processes that own networks on the machines of a cluster: how many on each, with which share of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import OptionError


@dataclass(frozen=True)
class Place:
    """Room for one owner of networks on a machine."""

    node_id: str
    number: int  # on this machine
    machine: str  # its address, for messages
    gpus: float  # share of one that it asks Ray for; 0: a CPU's
    cpus: float  # that it asks Ray for
    workers: int  # decode processes


def places_on(nodes: Iterable[Mapping[str, Any]], device: str, owners: int, decode_workers: int) -> list[Place]:
    """Where owners of networks are to be, on all machines that are alive.

    Where any has a GPU, those without are left out: on a CPU the same networks give other last digits.

    Args:
        nodes: as `ray.nodes` has them. One that offers no CPU to Ray is left out.
        device: auto, cpu or cuda.
        owners: on each machine; 0: one a GPU, or one on a CPU.
        decode_workers: on each machine; 0: one a processor core that it offers.

    Raises:
        OptionError: a device of another name, or `cuda` and no GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"--device {device}: with --engine ray, which chooses among GPUs, give auto, cpu or cuda")
    alive = [node for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    on_gpu = device != "cpu" and any(_gpus(node) for node in alive)
    if device == "cuda" and alive and not on_gpu:
        raise OptionError("--device cuda: no machine of the Ray cluster offers a GPU; give --device cpu, or add one")
    return [
        place
        for node in sorted(alive, key=lambda node: node["NodeID"])
        if not on_gpu or _gpus(node)
        for place in _places(node, _gpus(node) if on_gpu else 0, owners, decode_workers)
    ]


def _gpus(node: Mapping[str, Any]) -> int:
    return int(node["Resources"].get("GPU", 0))


def _places(node: Mapping[str, Any], gpus: int, owners: int, decode_workers: int) -> list[Place]:
    count = owners or gpus or 1
    cores = node["Resources"]["CPU"]
    share, left = divmod(decode_workers or int(cores), count)
    gpu = 1 / -(-count // gpus) if gpus else 0.0
    cpus = cores / count if cores < count else cores // count
    places = []
    for number in range(count):
        workers = max(1, share + (number < left))
        place = Place(node["NodeID"], number, node["NodeManagerAddress"], gpu, min(cpus, workers), workers)
        places.append(place)
    return places
