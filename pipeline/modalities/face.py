"""Face: every face of a frame with its embedding, and which faces are the lead dancer's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from models.virality.config import VdvConfig
from models.weights.profiles import Entry, Rule
from pipeline.modalities.record import (
    CLIP_COLUMNS,
    GRID_COLUMNS,
    ClipModality,
    Column,
    Decoded,
    Grid,
    ModalityRows,
    grid_tensors,
    sequence_input,
    stacked,
)
from pipeline.modalities.tracks import Track, lead_of, match_faces

if TYPE_CHECKING:
    import torch

    from models.extractors.face import FaceExtractor
    from models.extractors.people import Face as FaceResult
    from models.virality.inputs import InputSpec, ModalityInput
    from pipeline.modalities.record import StateDict

EMBEDDING = 512


@dataclass(frozen=True)
class FaceRows(ModalityRows):
    """The M faces in a clip's frames."""

    modality: ClassVar[str] = "face"
    frame: np.ndarray  # int32 [M] position in the grid of each of the M faces, ascending
    box: np.ndarray  # float32 [M, 4] x1, y1, x2, y2 in pixels of the upright source frame
    landmarks: np.ndarray  # float32 [M, 5, 2] eyes, nose, mouth corners, same pixels
    probability: np.ndarray  # float32 [M]
    embedding: np.ndarray  # float16 [M, 512]
    crop: tuple[bytes, ...]  # M JPEG files of 160 x 160 px


@dataclass(frozen=True)
class FaceTensors:
    """M faces in T frames, in ascending order of frames."""

    embedding: "torch.Tensor"  # float32 [M, 512]
    frame: "torch.Tensor"  # int64 [M] position in the T frames
    box: "torch.Tensor"  # float32 [M, 4] x1, y1, x2, y2 in pixels of the upright source frame
    landmarks: "torch.Tensor"  # float32 [M, 5, 2]
    probability: "torch.Tensor"  # float32 [M]
    timestamp: "torch.Tensor"  # float32 [T] seconds
    frame_index: "torch.Tensor"  # int64 [T]
    valid: "torch.Tensor"  # bool [T] the frame shows a face


@dataclass(frozen=True)
class FaceEntry(Entry):
    """The table [face] of a profile."""

    architecture: Annotated[str, Rule(choices=("inception-resnet-v1", "resnet10-w32"))]
    detector_weights: Annotated[str, Rule(choices=("package:facenet-pytorch",))]
    min_face_size: Annotated[int, Rule(low=12)]  # px; MTCNN's window is 12 px
    thresholds: Annotated[tuple[float, float, float], Rule(low=0.01, high=0.99)]  # of P-Net, R-Net, O-Net
    max_faces: Annotated[int, Rule(low=1)]  # kept a frame


class Face(ClipModality):
    name = "face"
    shows_looks = True
    version = 1
    entry = FaceEntry
    rows = FaceRows
    columns = (
        *CLIP_COLUMNS,
        *GRID_COLUMNS,
        Column("frame", "int32", "M"),
        Column("box", "float32", "M,4"),
        Column("landmarks", "float32", "M,5,2"),
        Column("probability", "float32", "M"),
        Column("embedding", "float16", f"M,{EMBEDDING}", wide=True),
        Column("crop", "jpeg", "M"),
    )
    # Shows the crops as images. All versions of `datasets` know `Sequence`.
    huggingface: Mapping[str, Any] = {"crop": {"_type": "Sequence", "feature": {"_type": "Image"}}}
    # A clip may show five faces and none on the lead dancer's head.
    subject = "the lead dancer's face"

    def build_extractor(self, entry: FaceEntry, state: "StateDict | None", **common: Any) -> "FaceExtractor":
        from models.extractors.face import FaceExtractor
        from models.extractors.face_search.cascade import DetectorOptions

        return FaceExtractor(
            state,
            architecture=entry.architecture,
            max_faces=entry.max_faces,
            detector=DetectorOptions(entry.min_face_size, entry.thresholds),
            **common,
        )

    def assemble(self, decoded: Decoded, grid: Grid, frame: np.ndarray, results: "Sequence[FaceResult]") -> FaceRows:
        """results: any number a frame."""
        return FaceRows(
            decoded.ending.clip_id,
            grid,
            frame,
            stacked([face.box for face in results], (4,)) / np.float32(decoded.scale),
            stacked([face.landmarks for face in results], (5, 2)) / np.float32(decoded.scale),
            stacked([face.probability for face in results], ()),
            stacked([face.embedding for face in results], (EMBEDDING,), np.float16),
            tuple(face.crop for face in results),
        )

    def valid(self, rows: FaceRows) -> np.ndarray:
        """Frames that show a face."""
        frames = len(rows.grid.frame_index)
        inside = ((rows.frame >= 0) & (rows.frame < frames)).all()
        if not (inside and (np.diff(rows.frame) >= 0).all()):
            raise ValueError(
                f"face rows of clip {rows.clip_id}: frame must ascend within 0..{frames - 1}, is {rows.frame}"
            )
        valid = np.zeros(frames, bool)
        valid[rows.frame] = True
        return valid

    def to_arrays(self, rows: FaceRows) -> dict[str, np.ndarray]:
        if len(rows.frame) != len(rows.crop):
            raise ValueError(f"face rows of clip {rows.clip_id}: {len(rows.frame)} faces, but {len(rows.crop)} crops")
        return super().to_arrays(rows) | {"crop": np.array(rows.crop, object)[None]}

    def from_arrays(self, clip_id: str, grid: Grid, arrays: Mapping[str, Any]) -> FaceRows:
        columns = {name: arrays[name][0] for name in ("frame", "box", "landmarks", "probability", "embedding")}
        return FaceRows(clip_id, grid, **columns, crop=tuple(arrays["crop"][0]) if "crop" in arrays else ())

    def tensors(self, rows: FaceRows) -> FaceTensors:
        """All but the crops."""
        import torch

        frame = torch.tensor(rows.frame, dtype=torch.int64)
        timestamp, frame_index = grid_tensors(rows.grid)
        valid = torch.zeros(len(timestamp), dtype=torch.bool)
        valid[frame] = True
        return FaceTensors(
            embedding=torch.tensor(rows.embedding, dtype=torch.float32),
            frame=frame,
            box=torch.tensor(rows.box, dtype=torch.float32),
            landmarks=torch.tensor(rows.landmarks, dtype=torch.float32),
            probability=torch.tensor(rows.probability, dtype=torch.float32),
            timestamp=timestamp,
            frame_index=frame_index,
            valid=valid,
        )

    def stored_width(self, rows: FaceRows) -> int:
        return int(rows.embedding.shape[1])

    def quality(self, rows: FaceRows, decoded: float, lead_faces: np.ndarray) -> float:
        """Sum of the detection probabilities of the lead dancer's faces over the number of frames."""
        return float(np.sum(rows.probability[lead_faces], dtype=float) / max(len(rows.grid.timestamp), 1))

    def read_input(
        self, rows: FaceRows | None, spec: "InputSpec", config: VdvConfig, lead_faces: np.ndarray, quality: float
    ) -> "ModalityInput":
        """Embeddings of the lead dancer's faces."""
        if rows is None:
            return sequence_input(spec, quality)
        import torch

        kept, tensors = torch.from_numpy(lead_faces), self.tensors(rows)
        values = tensors.embedding[kept]
        mask = values.isfinite().all(1)
        values = torch.where(mask[:, None], values, 0.0)
        return sequence_input(spec, quality, values, mask, config.max_frames)


def find_lead_faces(
    tracks: Sequence[Track], pose_frame_index: np.ndarray, faces: FaceRows
) -> list[tuple[int, int, int | None]]:
    """(frame, face, track_id) of the lead dancer's face, at most one a frame.

    Without tracks, where there are no poses or nobody in them, the largest face of a frame is taken for the lead's; its
    track_id is None.
    """
    if tracks:
        source = faces.grid.frame_index[faces.frame]
        owner = match_faces(tracks, pose_frame_index, source, faces.box, faces.landmarks)
        lead = lead_of(tracks)
        chosen = np.flatnonzero(owner == lead.track_id) if lead is not None else np.zeros(0, np.int64)
        return [(int(faces.frame[face]), int(face), int(owner[face])) for face in chosen]
    sides = faces.box[:, 2:] - faces.box[:, :2]
    order = np.lexsort((-sides.prod(1), faces.frame))
    _, firsts = np.unique(faces.frame[order], return_index=True)
    return [(int(faces.frame[face]), int(face), None) for face in order[firsts]]


FACE = Face()
