"""Small batches of clips in which something can be learned, on real manifests, ingest files, endings and shards."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.options import DecodeLimits
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import BatchFiles, DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.decode.clips import Ending, Probe
from pipeline.decode.picture_sketch import SKETCH
from pipeline.features.endings import write_endings
from pipeline.features.plan import shard_path
from pipeline.features.shards import ShardWriter
from pipeline.ingest.clip_table import IngestedClip, read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.audio import AudioRows
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.modalities.registry import extracted_names
from pipeline.modalities.tracks import Track
from tests.support.feature_rows import appearance_rows, audio_rows, face_rows, scene_rows

UPRIGHT = np.array(
    [
        (0, -150), (8, -158), (-8, -158), (16, -155), (-16, -155), (35, -110), (-35, -110), (60, -60), (-60, -60),
        (70, -10), (-70, -10), (22, 0), (-22, 0), (24, 75), (-24, 75), (26, 150), (-26, 150),
    ],
    float,
)  # px, COCO-17 of a standing person, origin at the pelvis; image right is the person's left  # fmt: skip


@dataclass(frozen=True)
class Clip:
    clip_id: str
    challenge: str = "shuffle"
    creator: str | None = None
    likes: int | None = None
    followers: int | None = None
    split: str | None = None
    uploaded_at: str | None = None
    speed: float = 1.0  # swings a second
    frames: int = 40  # of the pose's grid
    fails: str = ""  # a code: at ingest not_a_video, in decoding anything else
    nobody: bool = False
    content: str = ""  # of its file; its id unless given
    film: int | None = None  # clips of one number show the same pictures
    sound: int | None = None  # clips of one number have the same track
    unheard: str = ""  # a code of errors.SOUND_CODES: why it has no sound
    pose: PoseRows | None = None  # in place of a dance made from the rest
    audio: AudioRows | None = None  # in place of a sound made from the rest


def dancing(clip: Clip, seed: int = 0) -> PoseRows:
    """The lead swings arms and legs at `speed`; somebody else stands beside. Now and then joints are lost."""
    if clip.pose is not None:
        return clip.pose
    rng = np.random.default_rng([seed, *clip.clip_id.encode()])
    seconds = np.arange(clip.frames) / 10
    grid = Grid((seconds * 30).astype(np.int32), seconds.astype(np.float32))
    if clip.nobody or not clip.frames:
        return PoseRows(clip.clip_id, grid, ())
    phase = rng.uniform(0, 2 * np.pi, 17)
    reach = np.array([3.0] * 7 + [20, 20, 35, 35] + [6, 6, 15, 15, 25, 25])
    swing = np.sin(2 * np.pi * clip.speed * seconds[:, None] + phase) * reach
    size, place = rng.uniform(0.7, 1.5), rng.uniform(250, 450, 2)
    lead = (UPRIGHT + np.stack([swing, swing[:, ::-1] / 2], 2)) * size + place + rng.normal(0, 1, (clip.frames, 17, 2))
    stood = np.broadcast_to(UPRIGHT + np.array([150, 300]), (clip.frames, 17, 2))
    tracks = (_track(0, stood, False, rng), _track(1, lead, True, rng))
    return PoseRows(clip.clip_id, grid, tracks)


def _track(track_id: int, position: np.ndarray, is_lead: bool, rng: np.random.Generator) -> Track:
    frames = len(position)
    valid = rng.random(frames) > 0.1
    valid[0] = True
    score = np.where(rng.random((frames, 17)) > 0.1, 0.9, 0.1)
    keypoints = np.where(valid[:, None, None], np.concatenate([position, score[..., None]], 2), 0).astype(np.float32)
    box = np.concatenate([position.min(1), position.max(1)], 1) * valid[:, None]
    return Track(track_id, is_lead, valid, keypoints, box.astype(np.float32), (valid * 0.8).astype(np.float32))


def lead_face(pose: PoseRows, seed: int = 0) -> FaceRows:
    """A face on the head of everybody in every second frame of the pose's grid."""
    found = [
        (at // 2, track.keypoints[at, 0, :2])
        for at in range(0, len(pose.grid.timestamp), 2)
        for track in pose.tracks
        if track.valid[at] and track.keypoints[at, 0, 2] > 0.5
    ]
    if not found:
        return face_rows(pose.clip_id, frames=len(pose.grid.timestamp[::2]), faces=0)
    nose = np.array([place for _, place in found])
    face = face_rows(pose.clip_id, frames=1, faces=len(found), seed=seed)
    offsets = np.array([(8, -8), (-8, -8), (0, 0), (6, 8), (-6, 8)])
    return FaceRows(
        pose.clip_id,
        Grid(pose.grid.frame_index[::2], pose.grid.timestamp[::2]),
        np.array([frame for frame, _ in found], np.int32),
        np.concatenate([nose - 20, nose + 20], 1).astype(np.float32),
        (nose[:, None] + offsets).astype(np.float32),
        face.probability,
        face.embedding,
        face.crop,
    )


def rows_of(modality: str, clip: Clip, seed: int = 0) -> ModalityRows:
    pose = dancing(clip, seed)
    noise = int(hashlib.sha256(f"{seed}/{clip.clip_id}".encode()).hexdigest()[:8], 16)
    if modality == "pose":
        return pose
    if modality == "face":
        return lead_face(pose, noise)
    if modality == "scene":
        return scene_rows(clip.clip_id, frames=max(1, clip.frames // 10), width=16, seed=noise)
    if modality == "audio":
        rows = clip.audio or audio_rows(clip.clip_id, windows=max(1, clip.frames // 10), width=20, seed=noise)
        if clip.sound is None:
            return rows
        track = np.random.default_rng(clip.sound).integers(-(2**31), 2**31, 400).astype(np.int32)
        return replace(rows, fingerprint=track[noise % 9 :][:100])  # of 5 s, at any of its moments
    return appearance_rows(clip.clip_id, frames=max(1, clip.frames // 2), width=24, seed=noise)


def make_batch(
    workspace: Path,
    clips: Sequence[Clip],
    name: str = "june",
    modalities: Sequence[str] = extracted_names(),
    weights: str = "sha256:00",
    seed: int = 0,
) -> BatchFiles:
    """Manifest, ingest, endings and shards of `clips`, as the pipeline would have made them."""
    source = workspace.parent / f"{workspace.name}-source"
    source.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        (source / f"{clip.clip_id}.mp4").write_text(clip.content or clip.clip_id)
    rows = [
        {
            "clip_id": clip.clip_id, "uri": f"{clip.clip_id}.mp4", "challenge": clip.challenge,
            "creator_id": clip.creator, "likes": clip.likes, "followers": clip.followers, "split": clip.split,
            "uploaded_at": clip.uploaded_at,
        }
        for clip in clips
    ]  # fmt: skip
    pd.DataFrame(rows).astype({"likes": "Int64", "followers": "Int64"}).to_csv(source / f"{name}.csv", index=False)
    (batch,) = read_manifests(str(source / f"{name}.csv"))
    by_id = {clip.clip_id: clip for clip in clips}

    def probe(wanted: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
        for clip_id, uri in wanted:
            data = Path(uri).read_bytes()
            code = "not_a_video" if by_id[clip_id].fails == "not_a_video" else ""
            digest = hashlib.sha256(data).hexdigest()
            yield Probe(
                clip_id, digest, len(data), "mov", "h264", 720, 1280, 0, False, 30.0, 4.0, 120, code, code and "broken"
            )

    ingest_path = run_ingest(str(workspace), batch, 1, DecodeLimits(), shard_clips=16, probe=probe)
    folders = {modality: f"{workspace}/features/{modality}/0000/{name}" for modality in modalities}
    endings_folder = f"{workspace}/clips/{name}/endings/0000"
    shards: dict[str, list[IngestedClip]] = {}
    for ingested in read_ingest(ingest_path).clips:
        if ingested.shard is not None:
            shards.setdefault(ingested.shard, []).append(ingested)
    metadata = {"profile": "test", "options": json.dumps({"extractor": {"weights": weights}})}
    for shard, members in shards.items():
        endings = [_ending(by_id[member.clip_id]) for member in members]
        write_endings(shard_path(endings_folder, shard), endings, {})
        for modality, folder in folders.items():
            order = [member.clip_id for member in members]
            with ShardWriter(shard_path(folder, shard), modality, order, metadata) as writer:
                for clip_id in order:
                    clip = by_id[clip_id]
                    if why := clip.fails or (clip.unheard if modality == "audio" else ""):
                        writer.skip(clip_id, why)
                    else:
                        writer.add(rows_of(modality, by_id[clip_id], seed))
    return BatchFiles(batch, ingest_path, endings_folder, folders)


def _ending(clip: Clip) -> Ending:
    if clip.fails:
        return Ending(clip.clip_id, "failed", clip.fails, "made to fail", 0, clip.frames, "", 0, 0, 1, 0.1)
    ending = Ending(clip.clip_id, "ok", "", "", clip.frames, clip.frames, "decord", 720, 1280, 1, 0.1)
    if clip.film is None:
        return ending
    sketches = np.random.default_rng(clip.film).integers(-30, 30, (40, SKETCH), np.int8) + np.int8(20)
    return replace(ending, sketch_ms=tuple(range(0, 8000, 200)), sketches=sketches.tobytes())


def speed_decides(count: int = 40, challenges: Sequence[str] = ("shuffle", "wave"), seed: int = 0) -> list[Clip]:
    """Clips of as many creators; the faster the dancer, the more likes, within a challenge."""
    rng = np.random.default_rng(seed)
    speeds = rng.uniform(0.1, 1.5, count)
    return [
        Clip(
            clip_id=f"clip{place:03d}",
            challenge=challenges[place % len(challenges)],
            creator=f"creator{place}",
            likes=int(np.exp(4 * speed) * 10 ** (place % len(challenges))),
            speed=float(speed),
            frames=int(rng.integers(30, 60)),
        )
        for place, speed in enumerate(speeds)
    ]


def make_small_dataset(workspace: Path) -> Path:
    """`datasets/one` of 24 clips with poses and scenes, 15 to train on."""
    files = make_batch(workspace, speed_decides(24), modalities=("pose", "scene"))
    assemble(DatasetFolder(str(workspace), "datasets/one"), [files], LabelOptions(holdout=0.4))
    return workspace
