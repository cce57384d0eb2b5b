"""Weights of a network of poses that has learned on simulated dancers how well a dance is danced.

It stands, as it is, beside the network that is trained on labels: with few clips the other can't learn what it knows,
and would forget it if it started from it.

A file bundled with vdv (simulation/training/motion_training.py); no real motion had a part in it.
"""

import safetensors.torch
from torch import nn

from models.weights.catalogue import BUNDLED_FOLDER

MOTION_WEIGHTS = BUNDLED_FOLDER / "motion.safetensors"


def start_pretrained(network: nn.Module) -> None:
    """Copy the bundled weights into a network of poses of the default sizes."""
    network.load_state_dict(safetensors.torch.load_file(MOTION_WEIGHTS))
