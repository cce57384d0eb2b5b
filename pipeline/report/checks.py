"""Samples of the extraction, so that a wrong one is seen at a glance: face crops, scene, number of people."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from models.extractors.places365 import category_set
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.scene import SceneRows
from pipeline.modalities.tracks import lead_of
from pipeline.report.drawing import cover, fitted, read_jpeg, webp_uri

CROPS = 4  # of a clip
_CROP_SIDE, _CROP_BYTES = 80, 4_000
_SCENES = 5


def moment(pose: PoseRows | None, duration_s: float) -> float:
    """Seconds into the clip at which to look: the middle of what shows the lead dancer, else of the clip."""
    lead = lead_of(pose.tracks) if pose is not None else None
    if pose is None or lead is None or not lead.valid.any():
        return duration_s / 2
    return float(np.median(pose.grid.timestamp[lead.valid]))


def scene_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the categories that `top_category` of a scene shard counts in. metadata: the shard's."""
    extractor = json.loads(metadata.get("options", "{}")).get("extractor", {})
    return category_set(extractor.get("categories", "places365"))[0]


def check(
    pose: PoseRows | None,
    faces: FaceRows | None,
    scene: SceneRows | None,
    names: Sequence[str],
    lead_faces: np.ndarray,
    show: str,
) -> dict:
    """The page's entry of one clip, without picture. people: the most that are seen at once, None without poses.

    Args:
        names: of the scene's categories, see `scene_names`.
        lead_faces: int64 [F] which of the clip's faces are the lead dancer's.
        show: blur, none or show.
    """
    people = None
    if pose is not None:
        together = sum((track.valid.astype(int) for track in pose.tracks), np.zeros(len(pose.grid.timestamp), int))
        people = int(together.max(initial=0))
    return {
        "crops": [] if faces is None or show == "none" else _crops(faces, lead_faces, show == "blur"),
        "scene": [] if scene is None else _top_categories(scene, names),
        "indoor": None if scene is None or not len(scene.indoor) else float(scene.indoor.mean()),
        "people": people,
    }


def _crops(faces: FaceRows, lead_faces: np.ndarray, blur: bool) -> list[str]:
    """Data URIs of some of the lead's faces, or of any faces where the lead has none, spread over the clip."""
    candidates = lead_faces if len(lead_faces) else np.arange(len(faces.frame))
    if not len(candidates):
        return []
    uris = []
    for at in candidates[np.unique(np.linspace(0, len(candidates) - 1, CROPS).round().astype(int))]:
        picture = read_jpeg(faces.crop[int(at)])
        if blur:
            height, width = picture.shape[:2]
            picture = cover(picture, np.array([[0, 0, width, height]], float))
        uris.append(webp_uri(fitted(picture, _CROP_SIDE), _CROP_BYTES))
    return uris


def _top_categories(scene: SceneRows, names: Sequence[str]) -> list[list]:
    """[name, probability] of the most probable categories, by the mean over the clip's frames."""
    if not len(scene.top_category):
        return []
    total = np.zeros(len(names))
    np.add.at(total, scene.top_category.astype(np.int64).ravel(), scene.top_probability.ravel().astype(np.float64))
    mean = total / len(scene.top_category)
    best = [at for at in np.argsort(-mean, kind="stable")[:_SCENES] if mean[at] > 0]
    return [[names[at], float(mean[at])] for at in best]
