"""Weights that the network of poses starts from: it has learned on simulated dancers how well a dance is danced.

A file bundled with vdv (simulation/training/motion_training.py); no real motion had a part in it.
"""

import functools
import hashlib

import safetensors.torch
from torch import Tensor, nn

from models.virality.config import VdvConfig
from models.weights.catalogue import BUNDLED_FOLDER

MOTION_WEIGHTS = BUNDLED_FOLDER / "motion.safetensors"


def start_pretrained(network: nn.Module, config: VdvConfig) -> None:
    """Copy the bundled weights into a network of poses, where `config.pretrained` and its layers are the bundled ones'.

    A network of another shape or kind keeps the weights that it has.
    """
    if not config.pretrained:
        return
    state = _state()
    expected = network.state_dict()
    if {name: value.shape for name, value in state.items()} == {name: value.shape for name, value in expected.items()}:
        network.load_state_dict(state)


@functools.cache
def _state() -> dict[str, Tensor]:
    return safetensors.torch.load_file(MOTION_WEIGHTS)


@functools.cache
def pretrained_identity() -> str:
    """Identity of the bundled weights, for fingerprints."""
    return f"sha256:{hashlib.sha256(MOTION_WEIGHTS.read_bytes()).hexdigest()}"
