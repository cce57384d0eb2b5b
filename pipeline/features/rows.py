"""What one clip yields, between the extractors, the shards and the dataset. T = sampled frames of that modality."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """The frames of one clip that a modality looked at."""

    frame_index: np.ndarray  # int32 [T] index in the source stream, counted from 0
    timestamp: np.ndarray  # float32 [T] seconds from the clip's first frame


@dataclass(frozen=True)
class Track:
    """One person over the clip. Where `valid` is False every number of that frame is 0."""

    track_id: int  # 0.. by first appearance
    is_lead: bool
    valid: np.ndarray  # bool [T] seen in this frame
    keypoints: np.ndarray  # float32 [T, 17, 3] COCO-17; x, y in pixels of the upright source frame; score 0..1
    box: np.ndarray  # float32 [T, 4] x1, y1, x2, y2, same pixels
    score: np.ndarray  # float32 [T] the network's confidence that this is a person, 0..1


@dataclass(frozen=True)
class PoseRows:
    clip_id: str
    grid: Grid
    tracks: tuple[Track, ...]  # empty: nobody was found


@dataclass(frozen=True)
class FaceRows:
    clip_id: str
    grid: Grid
    frame: np.ndarray  # int32 [M] position in the grid of each of the M faces, ascending
    box: np.ndarray  # float32 [M, 4] x1, y1, x2, y2 in pixels of the upright source frame
    landmarks: np.ndarray  # float32 [M, 5, 2] eyes, nose, mouth corners, same pixels
    probability: np.ndarray  # float32 [M]
    embedding: np.ndarray  # float16 [M, 512]
    crop: tuple[bytes, ...]  # M JPEG files of 160 x 160 px


@dataclass(frozen=True)
class SceneRows:
    clip_id: str
    grid: Grid
    feature: np.ndarray  # float16 [T, D]
    top_category: np.ndarray  # int16 [T, 5] index into the profile's set of categories (shard metadata), best first
    top_probability: np.ndarray  # float32 [T, 5]
    indoor: np.ndarray  # float32 [T] probability mass of the indoor categories, 0..1


@dataclass(frozen=True)
class AppearanceRows:
    clip_id: str
    grid: Grid
    feature: np.ndarray  # float16 [T, D]


ModalityRows = PoseRows | FaceRows | SceneRows | AppearanceRows
