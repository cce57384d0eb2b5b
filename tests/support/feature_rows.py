"""Small rows of every modality as the extractors would make them, for any test that needs some."""

from collections.abc import Callable

import numpy as np

from pipeline.modalities.appearance import AppearanceRows
from pipeline.modalities.audio import AudioRows
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.modalities.scene import SceneRows
from pipeline.modalities.tracks import Track
from tests.support.pictures import jpeg

WIDTH = 48  # of features, in place of the 2048 of a real network


def grid(frames: int, stride: int = 1, seed: int = 0) -> Grid:
    """A grid of a clip of about 30 frames a second, sampled at 10; timestamps are as uneven as a phone's."""
    index = np.arange(frames, dtype=np.int32) * 3 * stride
    jitter = np.random.default_rng(seed).uniform(-0.004, 0.004, frames)
    return Grid(index, (index / 29.97 + jitter).astype(np.float32))


def track(track_id: int, frames: int, is_lead: bool = False, seed: int = 0) -> Track:
    """A person about 200 px tall, out of sight in about a quarter of the frames."""
    rng = np.random.default_rng([seed, track_id])
    valid = rng.random(frames) > 0.25
    centre = rng.uniform(200, 400, (frames, 1, 2))
    keypoints = np.concatenate([centre + rng.normal(0, 60, (frames, 17, 2)), rng.random((frames, 17, 1))], axis=2)
    corners = np.concatenate([keypoints[..., :2].min(axis=1), keypoints[..., :2].max(axis=1)], axis=1)
    return Track(
        track_id=track_id,
        is_lead=is_lead,
        valid=valid,
        keypoints=np.where(valid[:, None, None], keypoints, 0).astype(np.float32),
        box=np.where(valid[:, None], corners, 0).astype(np.float32),
        score=np.where(valid, rng.random(frames), 0).astype(np.float32),
    )


def pose_rows(clip_id: str = "clip", frames: int = 6, persons: int = 2, seed: int = 0) -> PoseRows:
    """The last person is the lead, so that nothing passes by taking the first."""
    tracks = tuple(track(number, frames, is_lead=number == persons - 1, seed=seed) for number in range(persons))
    return PoseRows(clip_id, grid(frames, 1, seed), tracks)


def face_rows(clip_id: str = "clip", frames: int = 4, faces: int = 3, seed: int = 0) -> FaceRows:
    """Faces fall on any frames, some of which hold several and some none. No frames, no faces."""
    rng = np.random.default_rng(seed)
    faces = faces if frames else 0
    corner = rng.uniform(0, 300, (faces, 2))
    return FaceRows(
        clip_id=clip_id,
        grid=grid(frames, 2, seed),
        frame=np.sort(rng.integers(0, max(frames, 1), faces)).astype(np.int32),
        box=np.concatenate([corner, corner + rng.uniform(20, 90, (faces, 2))], axis=1).astype(np.float32),
        landmarks=(corner[:, None] + rng.uniform(0, 90, (faces, 5, 2))).astype(np.float32),
        probability=rng.uniform(0.6, 1, faces).astype(np.float32),
        embedding=rng.normal(0, 0.05, (faces, 512)).astype(np.float16),
        crop=tuple(jpeg(int(tone)) for tone in rng.integers(0, 256, faces)),
    )


def scene_rows(clip_id: str = "clip", frames: int = 3, width: int = WIDTH, seed: int = 0) -> SceneRows:
    rng = np.random.default_rng(seed)
    return SceneRows(
        clip_id=clip_id,
        grid=grid(frames, 10, seed),
        feature=rng.gamma(0.5, 1, (frames, width)).astype(np.float16),
        top_category=rng.permuted(np.tile(np.arange(365, dtype=np.int16), (frames, 1)), axis=1)[:, :5],
        top_probability=-np.sort(-rng.random((frames, 5)).astype(np.float32) / 5, axis=1),
        indoor=rng.random(frames).astype(np.float32),
    )


def appearance_rows(clip_id: str = "clip", frames: int = 3, width: int = WIDTH, seed: int = 0) -> AppearanceRows:
    feature = np.random.default_rng(seed).gamma(0.5, 1, (frames, width)).astype(np.float16)
    return AppearanceRows(clip_id, grid(frames, 2, seed), feature)


def audio_rows(
    clip_id: str = "clip", windows: int = 5, width: int = WIDTH, seed: int = 0, beats: int = 9, bpm: float = 112.0
) -> AudioRows:
    """A clip with a window a second; without windows there are no spectra either."""
    rng = np.random.default_rng(seed)
    spectra = 100 * windows
    return AudioRows(
        clip_id=clip_id,
        grid=Grid(np.arange(windows, dtype=np.int32), (np.arange(windows) + 1).astype(np.float32)),
        feature=rng.gamma(0.5, 1, (windows, width)).astype(np.float16),
        log_mel=rng.normal(-30, 10, (spectra, 64)).astype(np.float16),
        onset=rng.gamma(0.5, 2, spectra).astype(np.float32),
        beats=(0.3 + np.arange(beats) * 60 / bpm).astype(np.float32),
        beat_confidence=rng.uniform(0.5, 1, beats).astype(np.float32),
        tempo=np.float32(bpm),
        tempo_confidence=np.float32(0.9),
        fingerprint=rng.integers(-(2**31), 2**31, 20 * windows).astype(np.int32),
        heard=np.array([0.0, windows], np.float32),
    )


def rows_of(modality: str, clip_id: str = "clip", seed: int = 0) -> ModalityRows:
    """Rows of usual size."""
    make: dict[str, Callable[..., ModalityRows]] = {
        "pose": pose_rows, "face": face_rows, "scene": scene_rows, "appearance": appearance_rows, "audio": audio_rows,
    }  # fmt: skip
    return make[modality](clip_id, seed=seed)
