"""Pose: every person of a frame as 17 COCO keypoints, linked over time into tracks, one of them the lead dancer's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from models.extractors.mmpose_compat import POSE_CONFIGS
from models.virality.config import VdvConfig
from models.weights.catalogue import load_catalogue
from models.weights.profiles import Entry, Rule
from pipeline.modalities.record import (
    CLIP_COLUMNS,
    GRID_COLUMNS,
    Column,
    Decoded,
    ExtractedModality,
    Grid,
    ModalityRows,
    grid_tensors,
)
from pipeline.modalities.tracks import People, Track, lead_of, link, mark_lead

if TYPE_CHECKING:
    import torch

    from models.extractors.pose import PoseExtractor
    from models.virality.inputs import InputSpec, ModalityInput
    from models.virality.pose_sampling import LeadPose
    from pipeline.modalities.record import StateDict

# Coarsest cell of RTMO's head, px; other input sides would be padded inside the network.
_RTMO_CELL = 32


@dataclass(frozen=True)
class PoseRows(ModalityRows):
    """The people of a clip."""

    modality: ClassVar[str] = "pose"
    tracks: tuple[Track, ...] = ()  # empty: nobody was detected


@dataclass(frozen=True)
class PoseTensors:
    """P persons (P may be 0) in T frames. Where `valid` is False every number is 0."""

    keypoints: "torch.Tensor"  # float32 [P, T, 17, 3] COCO-17; x, y in pixels of the upright source frame; score 0..1
    valid: "torch.Tensor"  # bool [P, T]
    boxes: "torch.Tensor"  # float32 [P, T, 4] x1, y1, x2, y2, same pixels
    scores: "torch.Tensor"  # float32 [P, T]
    lead: int | None  # index of the lead dancer among the P; None: nobody
    timestamp: "torch.Tensor"  # float32 [T] seconds
    frame_index: "torch.Tensor"  # int64 [T]


def _architectures() -> tuple[str, ...]:
    published = (entry.architecture for entry in load_catalogue().values() if entry.modality == "pose")
    return (*published, *sorted(path.stem for path in POSE_CONFIGS.glob("*.py")))


@dataclass(frozen=True)
class PoseEntry(Entry):
    """The table [pose] of a profile."""

    architecture: Annotated[str, Rule(choices=_architectures)]  # name of a config inside mmpose or pose_configs/
    # px of the network's input: side of a square, or width and height
    input_size: Annotated[int | tuple[int, int], Rule(low=_RTMO_CELL, multiple_of=_RTMO_CELL)]
    score_threshold: Annotated[float, Rule(low=0, high=0.99)]  # persons at or below it are dropped
    # intersection over union above which the less probable person is dropped
    nms_threshold: Annotated[float, Rule(low=0.01, high=0.99)]
    max_persons: Annotated[int, Rule(low=1, high=300)]  # kept a frame; the maximum of models.extractors.pose


class Pose(ExtractedModality):
    name = "pose"
    version = 3
    entry = PoseEntry
    rows = PoseRows
    columns = (
        *CLIP_COLUMNS,
        Column("track_id", "int32"),
        Column("is_lead", "bool"),
        *GRID_COLUMNS,
        Column("keypoints", "float32", "T,17,3"),
        Column("box", "float32", "T,4"),
        Column("score", "float32", "T"),
    )
    row_per_person = True
    subject = "the lead dancer"
    assembled_apart = True
    is_skeleton = True

    def build_extractor(self, entry: PoseEntry, state: "StateDict | None", **common: Any) -> "PoseExtractor":
        from models.extractors.pose import PoseExtractor  # imported here: mmpose takes seconds

        return PoseExtractor(
            entry.architecture,
            state,
            input_size=entry.input_size,
            max_persons=entry.max_persons,
            score_threshold=entry.score_threshold,
            nms_threshold=entry.nms_threshold,
            **common,
        )

    def assemble(self, decoded: Decoded, grid: Grid, frame: np.ndarray, results: Sequence[People]) -> PoseRows:
        """results: one a frame."""
        ending, scale = decoded.ending, decoded.scale
        to_source = np.array([1 / scale, 1 / scale, 1], np.float32)
        tracks = (
            replace(track, keypoints=track.keypoints * to_source, box=track.box / np.float32(scale))
            for track in link(results, grid.timestamp)
        )
        return PoseRows(ending.clip_id, grid, mark_lead(tuple(tracks), (ending.width, ending.height)))

    def to_arrays(self, rows: PoseRows) -> dict[str, np.ndarray]:
        """[P, ...], a table row a person."""
        persons, frames = len(rows.tracks), len(rows.grid.frame_index)
        arrays = {
            "clip_id": np.array([rows.clip_id] * persons),
            "track_id": np.array([track.track_id for track in rows.tracks], np.int32),
            "is_lead": np.array([track.is_lead for track in rows.tracks], bool),
            "frame_index": np.tile(rows.grid.frame_index, (persons, 1)),
            "timestamp": np.tile(rows.grid.timestamp, (persons, 1)),
        }
        if (leads := arrays["is_lead"].sum()) > 1:
            raise ValueError(f"pose rows of clip {rows.clip_id}: {leads} leads, a clip has one at most")
        for column in self.columns:
            if column.name in arrays:
                continue
            if not persons:
                sizes = [frames if axis == "T" else int(axis) for axis in column.shape.split(",")]
                arrays[column.name] = np.empty([0, *sizes], column.dtype)
                continue
            values = [getattr(track, column.name) for track in rows.tracks]
            if len({value.shape for value in values}) > 1:
                raise ValueError(f"pose rows of clip {rows.clip_id}: {column.name} differs in shape between tracks")
            arrays[column.name] = np.stack(values)
        return arrays

    def from_arrays(self, clip_id: str, grid: Grid, arrays: Mapping[str, np.ndarray]) -> PoseRows:
        per_frame = [arrays[name] for name in ("valid", "keypoints", "box", "score")]
        persons = zip(arrays["track_id"].tolist(), arrays["is_lead"].tolist(), *per_frame, strict=True)
        return PoseRows(clip_id, grid, tuple(Track(*person) for person in persons))

    def tensors(self, rows: PoseRows) -> PoseTensors:
        import torch

        persons, frames = len(rows.tracks), len(rows.grid.timestamp)

        def stack(name: str, *shape: int) -> np.ndarray:
            return np.array([getattr(track, name) for track in rows.tracks]).reshape(persons, frames, *shape)

        timestamp, frame_index = grid_tensors(rows.grid)
        leads = [position for position, track in enumerate(rows.tracks) if track.is_lead]
        return PoseTensors(
            keypoints=torch.tensor(stack("keypoints", 17, 3), dtype=torch.float32),
            valid=torch.tensor(stack("valid"), dtype=torch.bool),
            boxes=torch.tensor(stack("box", 4), dtype=torch.float32),
            scores=torch.tensor(stack("score"), dtype=torch.float32),
            lead=leads[0] if leads else None,
            timestamp=timestamp,
            frame_index=frame_index,
        )

    def stored_width(self, rows: PoseRows) -> None:
        return None

    def quality(self, rows: PoseRows, decoded: float, lead_faces: np.ndarray) -> float:
        """Share of the frames in which the lead dancer is seen times the mean score of the joints there."""
        lead = lead_of(rows.tracks)
        if lead is None or not lead.valid.any():
            return 0.0
        return float(lead.valid.mean() * np.nan_to_num(lead.keypoints[lead.valid, :, 2]).clip(0, 1).mean())

    def input_spec(self, stored_width: int | None) -> "InputSpec":
        from models.virality.inputs import InputSpec
        from models.virality.skeleton import STREAMS

        return InputSpec(STREAMS, is_skeleton=True)

    def read_input(
        self, rows: PoseRows | None, spec: "InputSpec", config: VdvConfig, lead_faces: np.ndarray, quality: float
    ) -> "LeadPose":
        tracks, timestamp = (rows.tracks, rows.grid.timestamp) if rows is not None else ((), np.zeros(0, np.float32))
        return read_lead(tracks, timestamp, config, quality)

    def draw_inputs(
        self, inputs: "Sequence[LeadPose]", config: VdvConfig, generators: Sequence[np.random.Generator] | None
    ) -> "list[ModalityInput]":
        from models.virality.pose_sampling import sample_poses

        return sample_poses(inputs, config, generators)


def read_lead(tracks: Sequence[Track], timestamp: np.ndarray, config: VdvConfig, quality: float = 0.0) -> "LeadPose":
    """The lead dancer of a clip's tracks, normalised. timestamp: float32 [T] seconds of the tracks' frames."""
    import torch

    from models.virality.pose_sampling import LeadPose
    from models.virality.skeleton import normalise

    lead = lead_of(tracks)
    if lead is None or not lead.valid.any():
        return LeadPose(None, torch.tensor(quality))
    posture = normalise(lead.keypoints, lead.valid, timestamp, config.min_joint_score)
    return LeadPose(posture, torch.tensor(quality))


POSE = Pose()
