"""The networks that embed a face as a vector whose direction stands for the person's identity and looks."""

from collections.abc import Mapping

import torch
from facenet_pytorch import InceptionResnetV1
from torch import Tensor, nn
from torch.nn.functional import normalize

from models.errors import ProfileError
from models.extractors.narrow_resnet import NarrowResNet
from models.weights.state_dicts import load_into

EMBEDDING_SIZE = 512
# InceptionResnetV1 is facenet-pytorch's; resnet10-w32 the one that comes trained with vdv for the demo world.
ARCHITECTURES = ("inception-resnet-v1", "resnet10-w32")


class FaceResNet(nn.Module):
    """resnet10-w32 whose classifier is replaced by an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = NarrowResNet(EMBEDDING_SIZE, zero_init_residual=True)

    def forward(self, faces: Tensor) -> Tensor:
        """float [B, 3, 160, 160], values -1..1 -> [B, 512] of length 1."""
        return normalize(self.trunk(faces), dim=1)


def standardised(faces: Tensor) -> Tensor:
    """uint8 or float levels 0..255 -> float -1..1, facenet-pytorch's fixed_image_standardization."""
    return (faces.float() - 127.5) / 128


def embedding_network(architecture: str, state: Mapping[str, Tensor] | None, seed: int) -> nn.Module:
    """The network, on the CPU: from faces [B, 3, 160, 160] as `standardised` returns them to [B, 512] of length 1.

    Args:
        state: its weights (a classifier's are ignored); None: random from `seed`.

    Raises:
        ProfileError: an architecture that is not one of ARCHITECTURES.
        WeightsError: `state` does not fit.
    """
    if architecture not in ARCHITECTURES:
        raise ProfileError(f"face: unknown architecture {architecture!r}; use one of {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FaceResNet() if architecture == "resnet10-w32" else InceptionResnetV1(pretrained=None)
    if state is not None:
        load_into(network, state, f"face embedding network ({type(network).__name__})", ignore=("logits.",))
    return network
