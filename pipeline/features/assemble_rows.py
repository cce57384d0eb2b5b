"""From what the extractors said of a clip's frames to the rows that are stored: back to source pixels, over time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.decode.clips import Ending
from pipeline.features.rows import AppearanceRows, FaceRows, Grid, ModalityRows, PoseRows, SceneRows
from pipeline.features.tracks import link, mark_lead

# ending, grid of T frames, [M] position in the grid of each result, the M results, frame pixels a source pixel
Assemble = Callable[[Ending, Grid, np.ndarray, Sequence[Any], float], ModalityRows]


def _pose(ending: Ending, grid: Grid, frame: np.ndarray, results: Sequence[Any], scale: float) -> PoseRows:
    """results: models.extractors.pose.People, one a frame."""
    to_source = np.array([1 / scale, 1 / scale, 1], np.float32)
    tracks = (
        replace(track, keypoints=track.keypoints * to_source, box=track.box / np.float32(scale))
        for track in link(results, grid.timestamp)
    )
    return PoseRows(ending.clip_id, grid, mark_lead(tuple(tracks), (ending.width, ending.height)))


def _face(ending: Ending, grid: Grid, frame: np.ndarray, results: Sequence[Any], scale: float) -> FaceRows:
    """results: models.extractors.face.Face, any number a frame."""
    return FaceRows(
        ending.clip_id,
        grid,
        frame,
        _stack([face.box for face in results], (4,)) / np.float32(scale),
        _stack([face.landmarks for face in results], (5, 2)) / np.float32(scale),
        _stack([face.probability for face in results], ()),
        _stack([face.embedding for face in results], (512,), np.float16),
        tuple(face.crop for face in results),
    )


def _scene(ending: Ending, grid: Grid, frame: np.ndarray, results: Sequence[Any], scale: float) -> SceneRows:
    """results: models.extractors.scene.Scene, one a frame."""
    width = results[0].feature.shape if results else (0,)
    return SceneRows(
        ending.clip_id,
        grid,
        _stack([scene.feature for scene in results], width, np.float16),
        _stack([scene.top_category for scene in results], (5,), np.int16),
        _stack([scene.top_probability for scene in results], (5,)),
        _stack([scene.indoor for scene in results], ()),
    )


def _appearance(ending: Ending, grid: Grid, frame: np.ndarray, results: Sequence[Any], scale: float) -> AppearanceRows:
    """results: float16 [D], one a frame."""
    width = results[0].shape if results else (0,)
    return AppearanceRows(ending.clip_id, grid, _stack(results, width, np.float16))


def _stack(values: Sequence[Any], shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """[len(values), *shape]; also when there are none."""
    return np.asarray(values, dtype).reshape(len(values), *shape)


ASSEMBLE: Mapping[str, Assemble] = {"pose": _pose, "face": _face, "scene": _scene, "appearance": _appearance}
