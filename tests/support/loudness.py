"""A modality that reads sound, the loudness of each window: one record, and the product carries it from the film to the
report without knowing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from models.extractors.extractor import Extractor, Prepared, SoundExtractor, pad_batch
from models.weights.profiles import Entry
from pipeline.core.options import SOUND_HZ
from pipeline.modalities import registry
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

WINDOW = 80  # samples: 5 ms
WINDOW_S = WINDOW / SOUND_HZ
PROFILE = """
[loudness]
architecture = "mean"
weights = "untrained:0"
stride = 1
batch_size = { cpu = 64, cuda = 64 }
"""


@dataclass(frozen=True)
class LoudnessRows(ModalityRows):
    modality: ClassVar[str] = "loudness"
    feature: np.ndarray  # float16 [T, 1] mean amplitude, 0..1; not a number where the file has no sound


class LoudnessExtractor(SoundExtractor):
    modality = "loudness"

    def __init__(self, batch_size: int = 64):
        self.batch_size = batch_size
        self.sounds: list[Tensor] = []  # that were prepared
        self.clips_of_batches: list[int] = []  # number of clips in each batch

    def grid(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        windows = np.arange(samples // WINDOW, dtype=np.int32)
        return windows, ((windows + 0.5) * WINDOW_S).astype(np.float32)

    def prepare(self, frames: Tensor) -> Prepared:
        assert frames.dtype == torch.float32
        assert frames.ndim == 1
        self.sounds.append(frames)
        count = len(frames) // WINDOW
        inputs = frames[: count * WINDOW].reshape(count, WINDOW)
        return Prepared(inputs, list(range(count)), [len(self.sounds)] * count)

    def launch(self, inputs: Tensor, extras: list[Any]) -> Tensor:
        self.clips_of_batches.append(len(set(extras)))
        return pad_batch(inputs, self.batch_size).abs().mean(1, keepdim=True)

    def collect(self, outputs: Tensor, extras: list[Any]) -> list[Any]:
        return list(outputs[: len(extras)].cpu().numpy())


class Loudness(FeatureModality):
    name = "loudness"
    version = 1
    entry = Entry
    rows = LoudnessRows
    columns = (*CLIP_COLUMNS, *GRID_COLUMNS, Column("feature", "float16", "T,D", wide=True))
    reads = "sound"
    subject = "the sound's loudness"

    def build_extractor(self, entry: Entry, state: dict[str, Tensor] | None, **common: Any) -> LoudnessExtractor:
        return LoudnessExtractor(common["batch_size"])

    def assemble(self, decoded: Decoded, grid: Grid, frame: np.ndarray, results: Sequence[np.ndarray]) -> LoudnessRows:
        feature = stacked(results, (1,), np.float16)
        assert (frame == np.arange(len(feature))).all()
        outside = (grid.timestamp < decoded.heard[0]) | (grid.timestamp > decoded.heard[1])
        feature[outside] = np.nan
        return LoudnessRows(decoded.ending.clip_id, grid, feature)

    def quality(self, rows: LoudnessRows, decoded: float, lead_faces: np.ndarray) -> float:
        return decoded * float(np.isfinite(rows.feature).mean())


LOUDNESS = Loudness()


def build(modality: str, device: torch.device) -> Extractor:
    """For owners in processes of their own, where nobody else has listed the modality."""
    if LOUDNESS not in registry.MODALITIES:
        registry.MODALITIES = (*registry.MODALITIES, LOUDNESS)
    return LoudnessExtractor()
