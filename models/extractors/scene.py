"""Scene: the kind of place that a clip was filmed in, by a network trained on Places365."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.errors import ProfileError
from models.extractors import places365
from models.extractors.extractor import Extractor, Prepared
from models.extractors.resnet import Preprocessing, ResNet, square_crops

# The publisher's demo (CSAILVision/places365, run_placesCNN_basic.py): 256 x 256 px, aspect not kept, central 224 px.
SCENE_PREPROCESSING = Preprocessing(resize=(256, 256), crop=224)
TOP = 5  # categories kept a frame


@dataclass(frozen=True)
class Scene:
    """One frame's scene."""

    feature: np.ndarray  # float16 [D] pooled feature before the classifier
    top_category: np.ndarray  # int16 [5] index into the extractor's categories, most probable first
    top_probability: np.ndarray  # float32 [5] softmax over all categories
    indoor: float  # probability mass of the indoor categories, 0..1


class SceneExtractor(Extractor):
    """A ResNet's scene categories and its pooled feature; one result a frame, no frame left out."""

    modality = "scene"

    def __init__(
        self,
        state: Mapping[str, Tensor] | None,
        *,
        device: torch.device,
        batch_size: int,
        architecture: str = "resnet50",
        categories: Sequence[str] = places365.CATEGORIES,
        indoor: Sequence[bool] = places365.INDOOR,
        preprocessing: Preprocessing = SCENE_PREPROCESSING,
        seed: int = 0,
    ) -> None:
        """
        Args:
            state: torchvision's keys, classifier of len(categories) outputs; None: random from `seed`.
            categories: names in the order of the classifier's outputs; 5 or more.
            indoor: whether each category is indoors.

        Raises:
            ProfileError: unknown architecture, impossible sizes, or categories and flags that do not match.
            WeightsError: `state` does not fit.
        """
        if len(categories) != len(indoor) or len(categories) < TOP or len(set(categories)) != len(categories):
            raise ProfileError(
                f"scene categories: {len(categories)} names ({len(set(categories))} different) and {len(indoor)} "
                f"indoor flags; give {TOP} or more different names and one flag each"
            )
        self.batch_size = batch_size
        self.device = device
        self.categories = tuple(categories)
        self.preprocessing = preprocessing
        self._network = ResNet(
            architecture,
            state,
            name="scene network",
            classes=len(categories),
            device=device,
            batch_size=batch_size,
            seed=seed,
        )
        self._indoor = torch.tensor([float(flag) for flag in indoor], device=device)
        self.feature_size = self._network.feature_size

    def prepare(self, frames: Tensor) -> Prepared:
        """uint8 RGB frames [N, H, W, 3] -> inputs uint8 [N, 3, crop, crop]."""
        count = len(frames)
        return Prepared(square_crops(frames, self.preprocessing), list(range(count)), [None] * count)

    @torch.inference_mode()
    def launch(self, inputs: Tensor, extras: list[Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The fields of M scenes, stacked. inputs: uint8 [M, 3, crop, crop], M <= batch_size; extras are ignored."""
        feature, logits = self._network(inputs)
        probability = logits.softmax(dim=1)
        # A sort, not topk: equal probabilities then come out in the same order on every device.
        ordered, category = probability.sort(dim=1, descending=True, stable=True)
        inside = (probability * self._indoor).sum(dim=1).clamp(0, 1)
        return feature.half(), category[:, :TOP].short(), ordered[:, :TOP], inside

    def collect(self, outputs: tuple[Tensor, ...], extras: list[Any]) -> list[Scene]:
        """M scenes."""
        feature, category, probability, inside = (values.cpu().numpy() for values in outputs)
        return [Scene(*row) for row in zip(feature, category, probability, inside.tolist(), strict=True)]
