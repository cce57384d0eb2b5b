"""The network of poses starts from the bundled weights wherever they fit, and nowhere else."""

from dataclasses import replace

import pytest
import torch

from models.virality.config import VdvConfig
from models.virality.pretrained import start_pretrained
from models.virality.vdv import pose_network


def changed(config: VdvConfig) -> bool:
    """Whether any weight of the config's network is another after the start."""
    torch.manual_seed(0)
    network = pose_network(config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start_pretrained(network, config)
    return not all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_of_the_default_sizes_starts_from_what_is_bundled() -> None:
    assert changed(VdvConfig())


@pytest.mark.parametrize("other", [{"pretrained": False}, {"joint_channels": 32}, {"pose_network": "st_gcn"}])
def test_one_that_is_not_asked_to_or_has_other_layers_does_not(other: dict) -> None:
    assert not changed(replace(VdvConfig(), **other))
