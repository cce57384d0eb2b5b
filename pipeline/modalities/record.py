"""The record that defines a modality, and the parts that all modalities share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.virality.config import VdvConfig
from models.weights.profiles import Entry
from pipeline.decode.clips import Ending

if TYPE_CHECKING:
    import torch

    from models.extractors.extractor import Extractor
    from models.virality.inputs import InputSpec, ModalityInput

    StateDict = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Column:
    """A column of a modality's shards. T = sampled frames of the clip or windows of its sound, M = items in them,
    D = width of a feature; S, B, F as the modality says.
    """

    name: str
    dtype: str  # numpy's name; string, jpeg
    shape: str = ""  # names of the axes, comma-separated; "" for a scalar
    wide: bool = False  # stored as bytes: lists of wide features would read eight times slower


CLIP_COLUMNS = (Column("clip_id", "string"),)
GRID_COLUMNS = (Column("frame_index", "int32", "T"), Column("timestamp", "float32", "T"), Column("valid", "bool", "T"))


@dataclass(frozen=True)
class Grid:
    """The T frames, or windows of sound, of one clip that a modality was computed on."""

    frame_index: np.ndarray  # int32 [T] index in the source stream, counted from 0; of windows their number
    timestamp: np.ndarray  # float32 [T] seconds from the clip's first frame; of a window its centre


@dataclass(frozen=True)
class Decoded:
    """What the decoding of a clip told of it, beside its frames and its sound."""

    ending: Ending
    scale: float = 1.0  # frame pixels a source pixel
    heard: tuple[float, float] = (0.0, 0.0)  # s, from where to where the file has sound; only where that was asked for


@dataclass(frozen=True)
class ModalityRows:
    """The features of one clip in one modality. Subclasses add their arrays, named as the columns."""

    modality: ClassVar[str]
    clip_id: str
    grid: Grid


@dataclass(frozen=True)
class FeatureTensors:
    """Features of T frames. Where `valid` is False (the network overflowed float16) the feature is 0."""

    feature: "torch.Tensor"  # float32 [T, D]
    timestamp: "torch.Tensor"  # float32 [T] seconds
    frame_index: "torch.Tensor"  # int64 [T]
    valid: "torch.Tensor"  # bool [T]


class Modality(ABC):
    """The definition of one modality, as the model reads it. To add one, write a subclass of ExtractedModality or
    DerivedModality in a new module and list it in pipeline.modalities.registry.MODALITIES.

    Importing a modality's module imports no torch: planning reads names, versions and profile entries only.
    """

    name: str
    version: int  # raised when a change of the code changes the rows: features are then made anew
    rows: type[ModalityRows]
    reads = ""  # of a clip itself: nothing, "frames" or "sound"
    subject = "any frame"  # what the model reads of a clip, as the report names it
    is_skeleton = False  # read by the pose network; all others are sequences of features
    # It tells what people and rooms look like, which can stand in for age, skin, body, disability, income: the report
    # says what the ranking is without it.
    shows_looks = False

    @property
    def title(self) -> str:
        """Its name as people read it."""
        return self.name

    @abstractmethod
    def stored_width(self, rows: Any) -> int | None:
        """Width of the features that the model reads, as the dataset's statistics keep it; None: always the same."""

    @abstractmethod
    def quality(self, rows: Any, decoded: float, lead_faces: np.ndarray) -> float:
        """Trustworthiness of a clip's rows, 0..1.

        Args:
            decoded: share of the expected frames that were decoded.
            lead_faces: int64 [F] indices of the lead dancer's faces among the clip's.
        """

    def input_spec(self, stored_width: int | None) -> "InputSpec":
        """Description of the input for the model's encoder."""
        from models.virality.inputs import InputSpec

        assert stored_width is not None
        return InputSpec(stored_width)

    @abstractmethod
    def read_input(
        self, rows: Any, spec: "InputSpec", config: VdvConfig, lead_faces: np.ndarray, quality: float
    ) -> Any:
        """A clip's model input without the batch dimension, before random sampling. rows: None: the clip has none."""

    def draw_inputs(
        self, inputs: "Sequence[Any]", config: VdvConfig, generators: Sequence[np.random.Generator] | None
    ) -> "list[ModalityInput]":
        """Samples of the inputs that `read_input` returned. generators: one a clip, in training; None: for scoring."""
        return list(inputs)


class DerivedModality(Modality):
    """A modality computed from the rows of others. It has no extractor, no shards and no table in a profile.

    It is used wherever all its sources are. A clip has it where `derive` gives rows.
    """

    sources: tuple[str, ...]  # names of extracted modalities

    def stored_width(self, rows: Any) -> int | None:
        return None

    @abstractmethod
    def derive(self, rows: Mapping[str, ModalityRows]) -> ModalityRows | None:
        """Rows of a clip from those of its sources, by name. None: nothing follows from them."""

    # What a clip says only beside others of its challenge

    def reference(self, rows: Any) -> Mapping[str, np.ndarray]:
        """Arrays of a training clip that others of its challenge are compared with; none: nothing is compared."""
        return {}

    def find_usual(self, references: Sequence[Mapping[str, np.ndarray]]) -> Any:
        """What is usual in a challenge, by `reference` of some of its training clips."""

    def relate(self, rows: Any, usual: Any) -> Any:
        """The rows of a clip against what is usual in its challenge."""
        return rows


class ExtractedModality(Modality):
    """A modality computed by a network from the clip itself, and stored in shards."""

    entry: type[Entry]  # the modality's table of a profile
    columns: tuple[Column, ...]
    row_per_person = False  # one table row a person, perhaps none (`rows` without arrays), instead of one a clip
    huggingface: Mapping[str, Any] = {}  # features of HF `datasets` that do not follow from the Arrow types
    reads = "frames"  # or "sound"
    assembled_apart = False  # `assemble` is Python of tens of milliseconds: beside a GPU, another process does it

    # From pixels, or sound, to rows

    @abstractmethod
    def build_extractor(self, entry: Any, state: "StateDict | None", **common: Any) -> "Extractor":
        """The extractor of a profile's entry.

        Args:
            state: its weights; None: random ones, from `seed`.
            common: device, batch_size and seed, which all extractors take.
        """

    @abstractmethod
    def assemble(self, decoded: Decoded, grid: Grid, frame: np.ndarray, results: Sequence[Any]) -> ModalityRows:
        """Rows of a clip from the extractor's results on its frames, or on the windows of its sound.

        Args:
            frame: int32 [M] position in the grid of each result.
            results: [M] of the extractor's `collect`.
        """

    # From rows to Arrow and back

    def feature_width(self, rows: Any) -> int:
        """D of the columns that have it; 0 where none has."""
        return 0

    @abstractmethod
    def to_arrays(self, rows: Any) -> dict[str, np.ndarray]:
        """Values of every column, with an axis of table rows in front: [1, T, ...], [1, M, ...].

        Raises:
            ValueError: the arrays do not belong together.
        """

    @abstractmethod
    def from_arrays(self, clip_id: str, grid: Grid, arrays: Mapping[str, np.ndarray]) -> ModalityRows:
        """The inverse of `to_arrays`; `arrays` lacks columns that were not read."""

    @abstractmethod
    def tensors(self, rows: Any) -> Any:
        """The rows as torch tensors of their own memory, on the CPU."""

    def stored_width(self, rows: Any) -> int | None:
        return self.feature_width(rows)


class ClipModality(ExtractedModality):
    """A modality with one table row a clip. Its rows' arrays have the columns' names."""

    @abstractmethod
    def valid(self, rows: Any) -> np.ndarray:
        """bool [T] of the column `valid`."""

    def to_arrays(self, rows: Any) -> dict[str, np.ndarray]:
        arrays = {column.name: getattr(rows, column.name, None) for column in self.columns}
        arrays |= {"frame_index": rows.grid.frame_index, "timestamp": rows.grid.timestamp, "valid": self.valid(rows)}
        return {name: np.asarray(value)[None] for name, value in arrays.items()}

    def from_arrays(self, clip_id: str, grid: Grid, arrays: Mapping[str, np.ndarray]) -> ModalityRows:
        columns = {
            name: value[0] for name, value in arrays.items() if name not in ("frame_index", "timestamp", "valid")
        }
        return self.rows(clip_id, grid, **columns)


class FeatureModality(ClipModality):
    """A modality with one feature [D] a frame. Its rows have `feature`: float16 [T, D]."""

    def feature_width(self, rows: Any) -> int:
        return rows.feature.shape[-1]

    def valid(self, rows: Any) -> np.ndarray:
        """Frames whose feature is finite: float16 overflows at 65504."""
        return np.isfinite(rows.feature).all(axis=1)

    def tensors(self, rows: Any) -> FeatureTensors:
        import torch

        feature = torch.tensor(rows.feature, dtype=torch.float32)
        valid = torch.isfinite(feature.sum(dim=1))  # float32 sums of float16 cannot overflow, and are quicker to check
        feature[~valid] = 0
        return FeatureTensors(feature, *grid_tensors(rows.grid), valid)

    def read_input(
        self, rows: Any, spec: "InputSpec", config: VdvConfig, lead_faces: np.ndarray, quality: float
    ) -> "ModalityInput":
        if rows is None:
            return sequence_input(spec, quality)
        tensors = self.tensors(rows)
        values, most = self.model_features(rows, tensors), self.most_frames(config)
        return sequence_input(spec, quality, values, tensors.valid, most)

    def model_features(self, rows: Any, tensors: FeatureTensors) -> "torch.Tensor":
        """float32 [T, spec.width]: the features that the model reads."""
        return tensors.feature

    def most_frames(self, config: VdvConfig) -> int:
        """Most frames of a clip that the model reads; more are thinned evenly."""
        return config.max_frames


def stacked(values: Sequence[Any], shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Array [len(values), *shape], also of no values."""
    return np.asarray(values, dtype).reshape(len(values), *shape)


def grid_tensors(grid: Grid) -> "tuple[torch.Tensor, torch.Tensor]":
    """timestamp float32 [T] and frame_index int64 [T]."""
    import torch

    return torch.tensor(grid.timestamp), torch.tensor(grid.frame_index, dtype=torch.int64)


def sequence_input(
    spec: "InputSpec",
    quality: float,
    values: "torch.Tensor | None" = None,
    mask: "torch.Tensor | None" = None,
    most_frames: int = 0,
) -> "ModalityInput":
    """Model input of a sequence, thinned evenly to `most_frames`; without values the empty one of a clip without rows.

    values: float32 [T, D]; mask: bool [T].
    """
    import torch

    from models.virality.inputs import ModalityInput

    if values is None or mask is None:
        return ModalityInput(torch.zeros(0, spec.width), torch.zeros(0, dtype=torch.bool), torch.tensor(quality))
    kept = torch.from_numpy(evenly(len(values), most_frames))
    return ModalityInput(values[kept], mask[kept], torch.tensor(quality))


def evenly(count: int, most: int) -> np.ndarray:
    """Indices, int64: all of 0..count-1, or `most` of them, the middles of equal segments."""
    if count <= most:
        return np.arange(count)
    return ((np.arange(most) + 0.5) * count / most).astype(np.int64)
