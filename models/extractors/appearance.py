"""Holistic appearance: the feature of the whole picture by a network trained on ImageNet."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.extractors.extractor import Extractor, Prepared
from models.extractors.resnet import Preprocessing, ResNet, square_crops

# torchvision's ResNet50_Weights.IMAGENET1K_V2.transforms(): shorter side 232 px, then the central 224 px square.
APPEARANCE_PREPROCESSING = Preprocessing(resize=232, crop=224)
_IMAGENET_CLASSES = 1000

# Outputs of the bundled resnet10-w32's classifier: attributes of the lead's clothes, in units of their deviation in
# training, then a score for each pattern. Extraction keeps only the feature before the classifier.
OUTFIT_ATTRIBUTES = (
    "top chroma", "top lightness", "top red-green", "top yellow-blue",
    "bottom chroma", "bottom lightness", "bottom red-green", "bottom yellow-blue", "shoes chroma",
    "top-bottom lightness difference", "top-bottom colour difference", "pattern contrast", "sleeves", "legs",
)  # fmt: skip
PATTERNS = ("plain", "stripes", "dots")


def count_classes(architecture: str) -> int:
    """Number of outputs of the classifier that an architecture's weights come with."""
    return len(OUTFIT_ATTRIBUTES) + len(PATTERNS) if architecture == "resnet10-w32" else _IMAGENET_CLASSES


class AppearanceExtractor(Extractor):
    """The pooled feature before the classifier of a ResNet; one result a frame, no frame left out."""

    modality = "appearance"

    def __init__(
        self,
        state: Mapping[str, Tensor] | None,
        *,
        device: torch.device,
        batch_size: int,
        architecture: str = "resnet50",
        classes: int | None = None,
        preprocessing: Preprocessing = APPEARANCE_PREPROCESSING,
        seed: int = 0,
    ) -> None:
        """
        Args:
            state: weights, the classifier of `classes` outputs included; None: random from `seed`.
            classes: None: as many as the architecture's weights come with.

        Raises:
            ProfileError: unknown architecture or impossible sizes.
            WeightsError: `state` does not fit.
        """
        self.batch_size = batch_size
        self.device = device
        self.preprocessing = preprocessing
        self._network = ResNet(
            architecture,
            state,
            name="appearance network",
            classes=classes or count_classes(architecture),
            device=device,
            batch_size=batch_size,
            seed=seed,
        )
        self.feature_size = self._network.feature_size

    def prepare(self, frames: Tensor) -> Prepared:
        """uint8 RGB frames [N, H, W, 3] -> inputs uint8 [N, 3, crop, crop]."""
        count = len(frames)
        return Prepared(square_crops(frames, self.preprocessing), list(range(count)), [None] * count)

    def launch(self, inputs: Tensor, extras: list[Any]) -> Tensor:
        """M features, float16 [M, D]. inputs: uint8 [M, 3, crop, crop], M <= batch_size; extras are ignored."""
        feature, _ = self._network(inputs)
        return feature.half()

    def collect(self, outputs: Tensor, extras: list[Any]) -> list[np.ndarray]:
        """M features, float16 [D]."""
        return list(outputs.cpu().numpy())
