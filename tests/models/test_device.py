"""Which device each owner of networks has."""

import pytest
import torch

from models.device import owner_devices


@pytest.mark.parametrize(
    ("device", "owners", "gpus", "wanted"),
    [
        ("cpu", 0, 4, ["cpu"]),
        ("cpu", 3, 0, ["cpu", "cpu", "cpu"]),
        ("cuda", 0, 2, ["cuda:0", "cuda:1"]),
        ("cuda", 3, 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda", 1, 2, ["cuda:0"]),
        ("cuda:1", 0, 2, ["cuda:1"]),
        ("cuda:1", 2, 2, ["cuda:1", "cuda:1"]),
    ],
)
def test_every_gpu_has_an_owner_unless_one_is_named(device: str, owners: int, gpus: int, wanted: list[str]) -> None:
    assert [str(found) for found in owner_devices(torch.device(device), owners, gpus)] == wanted
