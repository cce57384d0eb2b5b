"""Appearance: one feature of the whole picture a frame, by a network trained on ImageNet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from models.weights.profiles import RESNETS, Entry, Rule, cut_from_resized
from pipeline.modalities.record import (
    CLIP_COLUMNS,
    GRID_COLUMNS,
    Column,
    Decoded,
    FeatureModality,
    Grid,
    ModalityRows,
    stacked,
)

if TYPE_CHECKING:
    from models.extractors.extractor import Extractor
    from pipeline.modalities.record import StateDict


@dataclass(frozen=True)
class AppearanceRows(ModalityRows):
    """One feature a frame."""

    modality: ClassVar[str] = "appearance"
    feature: np.ndarray  # float16 [T, D]


@dataclass(frozen=True)
class AppearanceEntry(Entry):
    """The table [appearance] of a profile."""

    architecture: Annotated[str, Rule(choices=RESNETS)]
    resize: Annotated[int, Rule(low=1)]  # px, shorter side of the picture that the input is cut from
    input_size: Annotated[int, Rule(low=32)]

    def problems(self) -> list[str]:
        return cut_from_resized(self.input_size, self.resize)


class Appearance(FeatureModality):
    name = "appearance"
    shows_looks = True
    version = 1
    entry = AppearanceEntry
    rows = AppearanceRows
    columns = (*CLIP_COLUMNS, *GRID_COLUMNS, Column("feature", "float16", "T,D", wide=True))

    def build_extractor(self, entry: AppearanceEntry, state: "StateDict | None", **common: Any) -> "Extractor":
        from models.extractors.appearance import AppearanceExtractor
        from models.extractors.resnet import Preprocessing

        return AppearanceExtractor(
            state,
            architecture=entry.architecture,
            preprocessing=Preprocessing(entry.resize, entry.input_size),
            **common,
        )

    def assemble(
        self, decoded: Decoded, grid: Grid, frame: np.ndarray, results: Sequence[np.ndarray]
    ) -> AppearanceRows:
        """results: float16 [D], one a frame."""
        width = results[0].shape if results else (0,)
        return AppearanceRows(decoded.ending.clip_id, grid, stacked(results, width, np.float16))

    def quality(self, rows: AppearanceRows, decoded: float, lead_faces: np.ndarray) -> float:
        """Share of the frames that were decoded times n / (1 + n) for the mean length n of their features.

        The less familiar a picture is to the network, the shorter its feature: grey, blurred or dark pictures
        (compare Meng et al., "MagFace", CVPR 2021).
        """
        lengths = np.linalg.norm(rows.feature.astype(np.float32), axis=1)
        length = float(lengths.mean(dtype=float)) if len(lengths) else 0.0
        return decoded * (length / (1 + length))


APPEARANCE = Appearance()
