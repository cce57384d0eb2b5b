"""Scene: the place that a clip was filmed in, by a network trained on Places365."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from models.extractors.places365 import CATEGORY_SETS, category_set
from models.virality.config import VdvConfig
from models.weights.profiles import RESNETS, Entry, Rule, cut_from_resized
from pipeline.modalities.record import (
    CLIP_COLUMNS,
    GRID_COLUMNS,
    Column,
    Decoded,
    FeatureModality,
    FeatureTensors,
    Grid,
    ModalityRows,
    stacked,
)

if TYPE_CHECKING:
    import torch

    from models.extractors.scene import Scene as SceneResult
    from models.extractors.scene import SceneExtractor
    from models.virality.inputs import InputSpec
    from pipeline.modalities.record import StateDict

CATEGORIES = 365  # of Places; a profile's set of categories is never larger


@dataclass(frozen=True)
class SceneRows(ModalityRows):
    """One feature and the most probable categories a frame."""

    modality: ClassVar[str] = "scene"
    feature: np.ndarray  # float16 [T, D]
    top_category: np.ndarray  # int16 [T, 5] index into the profile's set of categories (shard metadata), best first
    top_probability: np.ndarray  # float32 [T, 5]
    indoor: np.ndarray  # float32 [T] probability mass of the indoor categories, 0..1


@dataclass(frozen=True)
class SceneEntry(Entry):
    """The table [scene] of a profile."""

    architecture: Annotated[str, Rule(choices=RESNETS)]
    categories: Annotated[str, Rule(choices=tuple(CATEGORY_SETS))]
    resize: Annotated[int, Rule(low=1)]  # px, both sides of the picture that the input is cut from
    input_size: Annotated[int, Rule(low=32)]  # px, side of the network's input

    def problems(self) -> list[str]:
        return cut_from_resized(self.input_size, self.resize)


class Scene(FeatureModality):
    name = "scene"
    shows_looks = True
    version = 1
    entry = SceneEntry
    rows = SceneRows
    columns = (
        *CLIP_COLUMNS,
        *GRID_COLUMNS,
        Column("feature", "float16", "T,D", wide=True),
        Column("top_category", "int16", "T,5"),
        Column("top_probability", "float32", "T,5"),
        Column("indoor", "float32", "T"),
    )

    def build_extractor(self, entry: SceneEntry, state: "StateDict | None", **common: Any) -> "SceneExtractor":
        from models.extractors.resnet import Preprocessing
        from models.extractors.scene import SceneExtractor

        names, indoor = category_set(entry.categories)
        return SceneExtractor(
            state,
            architecture=entry.architecture,
            categories=names,
            indoor=indoor,
            preprocessing=Preprocessing((entry.resize, entry.resize), entry.input_size),
            **common,
        )

    def assemble(self, decoded: Decoded, grid: Grid, frame: np.ndarray, results: "Sequence[SceneResult]") -> SceneRows:
        """results: one a frame."""
        width = results[0].feature.shape if results else (0,)
        return SceneRows(
            decoded.ending.clip_id,
            grid,
            stacked([scene.feature for scene in results], width, np.float16),
            stacked([scene.top_category for scene in results], (5,), np.int16),
            stacked([scene.top_probability for scene in results], (5,)),
            stacked([scene.indoor for scene in results], ()),
        )

    def quality(self, rows: SceneRows, decoded: float, lead_faces: np.ndarray) -> float:
        """Share of the frames that were decoded times the mean probability of their best category."""
        best = rows.top_probability[:, 0]
        return decoded * (float(best.mean(dtype=float)) if len(best) else 0.0)

    def input_spec(self, stored_width: int | None) -> "InputSpec":
        """The features followed by the categories' probabilities. Statistics are made of the latter alone: they
        predict better than 2,048 features, and take fewer clips to learn.
        """
        from models.virality.inputs import InputSpec

        assert stored_width is not None
        return InputSpec(stored_width + CATEGORIES, CATEGORIES)

    def model_features(self, rows: SceneRows, tensors: FeatureTensors) -> "torch.Tensor":
        import torch

        probability = np.zeros((len(rows.top_category), CATEGORIES), np.float32)  # 0 beyond the most probable ones
        np.put_along_axis(probability, rows.top_category.astype(np.int64), rows.top_probability, 1)
        return torch.cat([tensors.feature, torch.from_numpy(probability)], 1)

    def most_frames(self, config: VdvConfig) -> int:
        return config.scene_frames


SCENE = Scene()
