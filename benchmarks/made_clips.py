"""A dataset of as many clips as one likes, with features made up: real manifest, ingest, endings, shards, tables.

Widths and rates are the `full` profile's: pose at 10 frames a second, face and appearance at 5, scene and sound at 1;
features of 512 and 2,048 numbers. A clip is 10 to 20 s long and shows one person. There is nothing to learn in it.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.core.options import DecodeLimits
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import BatchFiles, DatasetFolder
from pipeline.decode.clips import Ending, Probe
from pipeline.features.endings import write_endings
from pipeline.features.plan import shard_path
from pipeline.features.shards import ShardWriter
from pipeline.ingest.clip_table import read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.appearance import AppearanceRows
from pipeline.modalities.audio import MEL_BANDS, SPECTRA_HZ, AudioRows
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.modalities.registry import extracted_names
from pipeline.modalities.scene import CATEGORIES as SCENE_CATEGORIES
from pipeline.modalities.scene import SceneRows
from pipeline.modalities.tracks import Track

DATASET = "datasets/made"
CHALLENGES = 16
FRAMES_PER_S = 10
STRIDE = {"pose": 1, "face": 2, "scene": 10, "appearance": 2}
WIDE, FACE = 2048, 512  # numbers of a feature
STOOD = np.array(
    [
        (0, -150), (8, -158), (-8, -158), (16, -155), (-16, -155), (35, -110), (-35, -110), (60, -60), (-60, -60),
        (70, -10), (-70, -10), (22, 0), (-22, 0), (24, 75), (-24, 75), (26, 150), (-26, 150),
    ],
    float,
)  # px, COCO-17  # fmt: skip


def make_dataset(folder: Path, clips: int) -> str:
    """Writes workspace and dataset DATASET below `folder`; returns the workspace. About 350 kB a clip."""
    names = [f"clip{place:05}" for place in range(clips)]
    manifest = pd.DataFrame(
        {
            "clip_id": names,
            "challenge": [f"challenge{place % CHALLENGES:02}" for place in range(clips)],
            "creator_id": [f"creator{place}" for place in range(clips)],
            "likes": np.random.default_rng(0).integers(10, 100_000, clips),
        }
    )
    return write_dataset(folder, manifest, make_clip, extracted_names())


def write_dataset(
    folder: Path,
    manifest: pd.DataFrame,
    rows_of: Callable[[str], Mapping[str, ModalityRows]],
    modalities: Sequence[str],
) -> str:
    """Writes workspace and dataset DATASET below `folder`, which is there; returns the workspace.

    manifest: all columns but uri; rows_of: a clip's rows by modality.
    """
    source, workspace = folder / "source", str(folder / "workspace")
    source.mkdir()
    for name in manifest["clip_id"]:
        (source / f"{name}.mp4").write_text(name)
    manifest.assign(uri=manifest["clip_id"] + ".mp4").to_csv(source / "made.csv", index=False)
    (batch,) = read_manifests(str(source / "made.csv"))
    ingest = run_ingest(workspace, batch, 1, DecodeLimits(), probe=_probe)
    folders = {modality: f"{workspace}/features/{modality}/0000/made" for modality in modalities}
    endings = f"{workspace}/clips/made/endings/0000"
    shards: dict[str, list[str]] = {}
    for clip in read_ingest(ingest).clips:
        assert clip.shard is not None
        shards.setdefault(clip.shard, []).append(clip.clip_id)
    for shard, members in shards.items():
        write_endings(shard_path(endings, shard), [_ending(clip_id) for clip_id in members], {})
        rows = [rows_of(clip_id) for clip_id in members]
        for modality, place in folders.items():
            with ShardWriter(shard_path(place, shard), modality, members, {"profile": "made", "options": "{}"}) as out:
                for of_clip in rows:
                    out.add(of_clip[modality])
    assemble(DatasetFolder(workspace, DATASET), [BatchFiles(batch, ingest, endings, folders)])
    return workspace


def whole_track(keypoints: np.ndarray) -> Track:
    """The lead, seen in every frame, from keypoints [T, 17, 3] x, y in pixels, score 0..1."""
    box = np.concatenate([keypoints[..., :2].min(1), keypoints[..., :2].max(1)], 1)
    seen = np.ones(len(keypoints), bool)
    return Track(
        0, True, seen, keypoints.astype(np.float32), box.astype(np.float32), np.full(len(seen), 0.9, np.float32)
    )


def make_clip(clip_id: str) -> dict[str, ModalityRows]:
    """Its rows by modality, decided by its id."""
    rng = np.random.default_rng(list(clip_id.encode()))
    seconds = np.arange(rng.integers(10 * FRAMES_PER_S, 20 * FRAMES_PER_S)) / FRAMES_PER_S
    grids = {
        name: Grid((seconds[::n] * 30).astype(np.int32), seconds[::n].astype(np.float32)) for name, n in STRIDE.items()
    }
    faces, scenes = len(grids["face"].timestamp), len(grids["scene"].timestamp)
    pose = _dancer(len(seconds), rng)
    nose = pose.keypoints[:: STRIDE["face"], 0, :2]
    probability = -np.sort(-rng.random((scenes, 5), np.float32) / 5, 1)
    categories = rng.permuted(np.tile(np.arange(SCENE_CATEGORIES, dtype=np.int16), (scenes, 1)), axis=1)[:, :5]
    return {
        "pose": PoseRows(clip_id, grids["pose"], (pose,)),
        "face": FaceRows(
            clip_id,
            grids["face"],
            np.arange(faces, dtype=np.int32),
            np.concatenate([nose - 20, nose + 20], 1),
            np.repeat(nose[:, None], 5, 1),
            np.full(faces, 0.95, np.float32),
            (0.05 * rng.standard_normal((faces, FACE), np.float32)).astype(np.float16),
            (_crop(),) * faces,
        ),
        "scene": SceneRows(
            clip_id, grids["scene"], _activations(scenes, rng), categories, probability, np.ones(scenes, np.float32)
        ),
        "appearance": AppearanceRows(
            clip_id, grids["appearance"], _activations(len(grids["appearance"].timestamp), rng)
        ),
        "audio": _music(clip_id, float(seconds[-1]), rng),
    }


def _music(clip_id: str, seconds: float, rng: np.random.Generator) -> AudioRows:
    """Noise with beats."""
    bpm, spectra = float(rng.uniform(90, 140)), int(seconds * SPECTRA_HZ)
    beats = np.arange(0.2, seconds, 60 / bpm)
    middles = np.arange(1.0, seconds, 1.0)
    return AudioRows(
        clip_id,
        Grid(np.arange(len(middles), dtype=np.int32), middles.astype(np.float32)),
        _activations(len(middles), rng),
        rng.normal(-30, 10, (spectra, MEL_BANDS)).astype(np.float16),
        rng.gamma(0.5, 2, spectra).astype(np.float32),
        beats.astype(np.float32),
        np.full(len(beats), 0.8, np.float32),
        np.float32(bpm),
        np.float32(0.8),
        rng.integers(-(2**31), 2**31, int(20 * seconds)).astype(np.int32),
        np.array([0, seconds], np.float32),
    )


def _dancer(frames: int, rng: np.random.Generator) -> Track:
    """Somebody who sways; one joint in ten is not seen, and one frame in twenty shows nobody."""
    moved = np.cumsum(rng.normal(0, 2, (frames, 17, 2)), 0)
    valid = rng.random(frames) > 0.05
    valid[0] = True
    score = np.where(rng.random((frames, 17, 1)) > 0.1, 0.9, 0.1)
    keypoints = np.concatenate([400 + STOOD + moved, score], 2) * valid[:, None, None]
    box = np.concatenate([keypoints[..., :2].min(1), keypoints[..., :2].max(1)], 1)
    return Track(0, True, valid, keypoints.astype(np.float32), box.astype(np.float32), 0.9 * valid.astype(np.float32))


def _activations(frames: int, rng: np.random.Generator) -> np.ndarray:
    """float16 [frames, WIDE], none below 0, as a pooled ReLU leaves them."""
    return np.abs(rng.standard_normal((frames, WIDE), np.float32)).astype(np.float16)


def _crop() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (160, 160), (128, 128, 128)).save(buffer, "JPEG")
    return buffer.getvalue()


def _probe(clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
    """Stands in for pipeline.decode.pool.probe_clips: there is no video."""
    for clip_id, _ in clips:
        digest = hashlib.sha256(clip_id.encode()).hexdigest()
        yield Probe(clip_id, digest, len(clip_id), "mov", "h264", 720, 1280, 0, False, 30.0, 15.0, 450)


def _ending(clip_id: str) -> Ending:
    return Ending(clip_id, "ok", "", "", 150, 150, "decord", 720, 1280, 1, 0.1)
