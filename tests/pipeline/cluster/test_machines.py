"""How many processes own networks on each machine of a cluster, and what they ask Ray for."""

from typing import Any

import pytest

from pipeline.cluster.machines import places_on
from pipeline.core.errors import OptionError


def node(name: str, cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    resources = {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
    return {"NodeID": name, "Alive": alive, "NodeManagerAddress": f"10.0.0.{name}", "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "device", "owners", "workers", "places"),
    [
        ([node("1", 4), node("2", 8)], "auto", 0, 0, [("1", 0, 4, 4), ("2", 0, 8, 8)]),
        ([node("1", 4), node("2", 9, 2)], "auto", 0, 0, [("2", 1, 4, 5), ("2", 1, 4, 4)]),
        ([node("1", 8, 1)], "cuda", 2, 0, [("1", 0.5, 4, 4), ("1", 0.5, 4, 4)]),
        ([node("1", 9, 2)], "cuda", 3, 3, 3 * [("1", 0.5, 1, 1)]),
        ([node("1", 4, 1)], "cpu", 0, 0, [("1", 0, 4, 4)]),
        ([node("1", 2)], "cpu", 0, 6, [("1", 0, 2, 6)]),
        ([node("1", 1)], "cpu", 2, 0, 2 * [("1", 0, 0.5, 1)]),
        ([{**node("1", 4), "Resources": {}}, node("2", 4, alive=False), node("3", 1)], "cpu", 0, 0, [("3", 0, 1, 1)]),
        ([], "cuda", 0, 0, []),
    ],
    ids=[
        "CPUs",
        "a GPU each",
        "half a GPU",
        "uneven",
        "no GPU wanted",
        "more workers than cores",
        "half a core",
        "no room",
        "none",
    ],
)
def test_places(nodes: list, device: str, owners: int, workers: int, places: list) -> None:
    found = places_on(nodes, device, owners, workers)
    assert [(place.node_id, place.gpus, place.cpus, place.workers) for place in found] == places
    assert len(set(found)) == len(found)


def test_a_device_that_no_machine_has_is_refused() -> None:
    with pytest.raises(OptionError, match="no machine of the Ray cluster offers a GPU"):
        places_on([node("1", 4)], "cuda", 0, 0)
    with pytest.raises(OptionError, match="--device cuda:1: with --engine ray"):
        places_on([node("1", 4, 4)], "cuda:1", 0, 0)
