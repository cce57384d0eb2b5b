"""Batches, endings and shards joined into one dataset: its clips, with their labels, splits and files.

datasets/<id>/clips.parquet        one row a clip; the paths in it are relative to the workspace
datasets/<id>/faces.parquet        the lead dancer's face in each frame
datasets/<id>/references.parquet   of training clips, what derived modalities compare others of the challenge with
datasets/<id>/statistics.json      counts; written last, so where it exists, all files do
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from models.weights.catalogue import is_trained
from pipeline.core.errors import WorkspaceError
from pipeline.dataset.context import with_records
from pipeline.dataset.folder import CLIPS, FACES, REFERENCES, STATISTICS, BatchFiles, DatasetFolder
from pipeline.dataset.labels import TRAIN, LabelOptions, make_labels
from pipeline.dataset.near_duplicates import ClipSketch, clip_sketch, find_near_duplicates, name_originals
from pipeline.dataset.rows import references_table
from pipeline.decode.clips import Ending
from pipeline.features.endings import read_endings
from pipeline.features.plan import shard_path
from pipeline.features.reader import ShardReader
from pipeline.ingest.clip_table import IngestedClip, read_ingest
from pipeline.modalities.audio import AudioRows
from pipeline.modalities.face import FaceRows, find_lead_faces
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import ModalityRows
from pipeline.modalities.registry import derived_modalities, find_modality, with_derived
from pipeline.music.fingerprint import same_sounds

DATASET_SCHEMA = 4
_SURE = 0.8  # confidence of a tempo from which on clips of other tempi are not asked whether they sound the same


@dataclass
class _Row:
    """Facts of one clip beside its manifest row."""

    status: str
    code: str
    reason: str
    content_hash: str
    width: int
    height: int
    duration_s: float
    shards: dict[str, str] = field(default_factory=dict)  # relative path by modality that has rows
    without: dict[str, str] = field(default_factory=dict)  # code by modality that a clip with pictures has no rows in
    quality: dict[str, float] = field(default_factory=dict)
    faces: list[tuple[int, int, int | None]] = field(default_factory=list)  # frame, face, track
    sketch: ClipSketch | None = None
    sound: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))  # its fingerprint
    tempo: float = 0.0  # beats a minute; 0: not known for sure


def assemble(
    dataset_folder: DatasetFolder,
    batches: Sequence[BatchFiles],
    options: LabelOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    others: pd.DataFrame | None = None,
    references: pa.Table | pd.DataFrame | None = None,
) -> None:
    """Write the dataset of `batches`.

    Reads every clip's poses and faces once, one clip at a time. A clip without features, for whatever reason, is in the
    dataset like any other; its ending gives the reason.

    Args:
        progress: called with the number of clips done and of all clips.
        others: clips that are none of the batches' and may be earlier ones of a creator's (context.with_records).
        references: table of those that clips are compared with; None: the dataset's own training clips.

    Raises:
        DataError: labels or splits that cannot be made; see pipeline.dataset.labels.
        WorkspaceError: a file is missing, damaged, or does not belong to the others.
    """
    options = options or LabelOptions()
    total = sum(len(files.batch.rows) for files in batches)
    rows: list[_Row] = []
    features = _Features()
    for files in batches:
        ingested = {clip.clip_id: clip for clip in read_ingest(files.ingest).clips}
        endings = _Endings(files.endings)
        for clip_id in files.batch.rows["clip_id"]:
            if clip_id not in ingested:
                raise WorkspaceError(f"{files.ingest} is older than {files.batch.path}: it lacks {clip_id}; run again")
            rows.append(_read_clip(dataset_folder.workspace, files, ingested[clip_id], endings, features))
            if progress:
                progress(len(rows), total)
    features.close()

    modalities = with_derived(batches[0].features) if batches else ()
    clips = _clips_table(batches, rows, modalities)
    clips = with_records(_with_copies(clips, rows), others)
    labels = make_labels(clips, options)
    clips["label"], clips["percentile"], clips["split"] = labels.label, labels.percentile, labels.split
    statistics = {
        "schema": DATASET_SCHEMA,
        **count_clips(clips, modalities),
        "label": {"kind": labels.kind, "why": labels.reason, "options": asdict(options)},
        **features.provenance,
    }
    dataset_folder.write_table(CLIPS, clips)
    dataset_folder.write_table(FACES, _faces_table(clips["clip_id"], rows))
    if references is None:
        training = (clips["split"] == TRAIN).to_numpy(bool)
        references = references_table(dataset_folder.workspace, clips, training, modalities)
    dataset_folder.write_table(REFERENCES, references)
    dataset_folder.write_json(STATISTICS, statistics)


class _Endings:
    """A batch's endings, a shard at a time."""

    def __init__(self, folder: str):
        self._folder = folder
        self._by_shard: dict[str, dict[str, Ending]] = {}

    def find(self, clip: IngestedClip) -> Ending:
        assert clip.shard is not None
        path = shard_path(self._folder, clip.shard)
        if clip.shard not in self._by_shard:
            self._by_shard[clip.shard] = {ending.clip_id: ending for ending in read_endings(path)}
        try:
            return self._by_shard[clip.shard][clip.clip_id]
        except KeyError:
            raise WorkspaceError(f"{path} does not say how {clip.clip_id} ended; delete it and run again") from None


class _Features:
    """The open shards, one a modality, and the combined metadata of all shards read."""

    def __init__(self) -> None:
        self._open: dict[str, ShardReader] = {}
        self.provenance: dict = {"features": {}, "profiles": [], "untrained": []}

    def shard(self, modality: str, path: str) -> ShardReader:
        """The shard's reader; one a modality is open at a time."""
        reader = self._open.get(modality)
        if reader is None or reader.path != path:
            if reader is not None:
                reader.close()
            reader = self._open[modality] = ShardReader(path)
            self._record_metadata(modality, reader)
        return reader

    def close(self) -> None:
        for reader in self._open.values():
            reader.close()

    def _record_metadata(self, modality: str, reader: ShardReader) -> None:
        metadata = reader.metadata
        if modality not in self.provenance["features"]:
            for clip_id in reader.clip_ids[:1]:
                width = find_modality(modality).stored_width(reader.read(clip_id, crops=False))
                if width is not None:
                    self.provenance["features"][modality] = width
        profile = metadata.get("profile", "")
        if profile and profile not in self.provenance["profiles"]:
            self.provenance["profiles"].append(profile)
        if modality not in self.provenance["untrained"] and is_untrained(metadata):
            self.provenance["untrained"].append(modality)


def is_untrained(metadata: Mapping[str, str]) -> bool:
    """Whether a shard's features came from random weights, or from weights that its metadata do not name."""
    weights = json.loads(metadata.get("options", "{}")).get("extractor", {}).get("weights")
    return weights is None or not is_trained(weights)


def _read_clip(workspace: str, files: BatchFiles, clip: IngestedClip, endings: _Endings, features: _Features) -> _Row:
    probe = clip.probe
    if clip.shard is None:
        return _Row("failed", clip.code, clip.reason, clip.content_hash, probe.width, probe.height, probe.duration_s)
    ending = endings.find(clip)
    size = (ending.width, ending.height) if ending.width else (probe.width, probe.height)
    row = _Row(ending.status, ending.code, ending.reason, clip.content_hash, *size, probe.duration_s)
    row.sketch = clip_sketch(ending.sketch_ms, ending.sketches)
    rows: dict[str, ModalityRows] = {}
    for modality, folder in files.features.items():
        path = shard_path(folder, clip.shard)
        reader = features.shard(modality, path)
        if clip.clip_id not in reader.clip_ids:
            if row.status != "failed" and clip.clip_id in reader.skipped:
                row.without[modality] = reader.skipped[clip.clip_id]
            continue
        row.shards[modality] = _relative(path, workspace)
        rows[modality] = reader.read(clip.clip_id, crops=False)
    for derived in derived_modalities(rows):
        if (derived_rows := derived.derive(rows)) is not None:
            row.shards[derived.name], rows[derived.name] = row.shards[derived.sources[0]], derived_rows
    decoded = min(ending.frames / ending.expected, 1.0) if ending.expected else 1.0
    pose, face = rows.get("pose"), rows.get("face")
    if isinstance(face, FaceRows):
        tracks, pose_frames = (pose.tracks, pose.grid.frame_index) if isinstance(pose, PoseRows) else ((), np.zeros(0))
        row.faces = find_lead_faces(tracks, pose_frames, face)
    if isinstance(audio := rows.get("audio"), AudioRows):
        row.sound = np.array(audio.fingerprint)  # of its own memory: the shard's is not kept
        row.tempo = float(audio.tempo) if audio.tempo_confidence >= _SURE else 0.0
    lead_faces = np.array([index for _, index, _ in row.faces], np.int64)
    for modality, modality_rows in rows.items():
        row.quality[modality] = find_modality(modality).quality(modality_rows, decoded, lead_faces)
    return row


def _relative(path: str, workspace: str) -> str:
    prefix = workspace.rstrip("/") + "/"
    if not path.startswith(prefix):
        raise WorkspaceError(f"{path} is not in the workspace {workspace}; a dataset refers to files of its own only")
    return path[len(prefix) :]


def _clips_table(batches: Sequence[BatchFiles], rows: Sequence[_Row], modalities: Sequence[str]) -> pd.DataFrame:
    """Manifest columns, without the uri, and the facts of `_Row`."""
    parts = [
        files.batch.rows.drop(columns=["uri", "line"], errors="ignore").assign(batch=files.batch.name)
        for files in batches
    ]
    clips = pd.concat(parts, ignore_index=True)
    for name in ("status", "code", "reason", "content_hash", "width", "height", "duration_s"):
        clips[name] = [getattr(row, name) for row in rows]
    for modality in modalities:
        clips[f"shard_{modality}"] = pd.array([row.shards.get(modality) for row in rows], dtype="string")
        clips[f"quality_{modality}"] = [row.quality.get(modality, 0.0) for row in rows]
        if find_modality(modality).reads == "sound":
            clips[f"without_{modality}"] = pd.array([row.without.get(modality) for row in rows], dtype="string")
    return clips


def _with_copies(clips: pd.DataFrame, rows: Sequence[_Row]) -> pd.DataFrame:
    """The table with `copies` and `same_sound`: clip_id of the first of the clips that show, or sound, the same."""
    clip_ids = clips["clip_id"].tolist()
    pictures = find_near_duplicates([row.sketch for row in rows])
    sounds = same_sounds([row.sound for row in rows], [row.tempo for row in rows])
    copies = name_originals(clip_ids, clips["content_hash"].tolist(), pictures)
    same_sound = name_originals(clip_ids, [""] * len(clips), sounds)
    return clips.assign(
        copies=pd.array(copies, dtype="string"), same_sound=pd.array(same_sound, dtype="string")
    )  # fmt: skip


def _faces_table(clip_ids: Sequence[str], rows: Sequence[_Row]) -> pa.Table:
    records = [(clip_id, *face) for clip_id, row in zip(clip_ids, rows, strict=True) for face in row.faces]
    columns = list(zip(*records, strict=True)) if records else [(), (), (), ()]
    types = {"clip_id": pa.string(), "frame": pa.int32(), "face": pa.int32(), "track_id": pa.int32()}
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types.values(), strict=True)]
    return pa.table(arrays, names=list(types))


def count_clips(clips: pd.DataFrame, modalities: Sequence[str]) -> dict:
    """Numbers of clips by ending, code, split, challenge and modality, of those without sound by why, and of copies.

    clips: of clips.parquet.
    """
    challenges = {}
    for name, group in clips.groupby("challenge"):
        challenges[str(name)] = {
            "clips": len(group),
            "labelled": int(group["label"].notna().sum()),
            "train": int((group["split"] == TRAIN).sum()),
        }
    return {
        "clips": len(clips),
        "status": {status: int((clips["status"] == status).sum()) for status in ("ok", "partial", "failed")},
        "codes": dict(sorted(Counter(code for code in clips["code"] if code).items())),
        "split": {str(side): int(count) for side, count in clips["split"].value_counts().sort_index().items()},
        "challenges": challenges,
        "modalities": {modality: int(clips[f"shard_{modality}"].notna().sum()) for modality in modalities},
        "without": {modality: codes for modality in modalities if (codes := _count_without(clips, modality))},
        "copies": _count_copies(clips),
        "same_sound": _count_same_sounds(clips),
    }


def _count_without(clips: pd.DataFrame, modality: str) -> dict[str, int]:
    """Numbers of clips that were decoded and have no rows in a modality that reads sound, by code."""
    codes = clips[f"without_{modality}"].dropna() if f"without_{modality}" in clips else ()
    return dict(sorted(Counter(codes).items()))


def _count_same_sounds(clips: pd.DataFrame) -> dict[str, int]:
    """Numbers of clips whose sound another one has, and of those held out that share it with training clips of another
    challenge: what was learned of a track may then help where the challenge has not been seen.
    """
    if "same_sound" not in clips:
        return {"clips": 0, "held_out_of_other_challenges": 0}
    shared = clips[clips["same_sound"].notna()]
    by_sound = shared[shared["split"] == TRAIN].groupby("same_sound")["challenge"]
    trained = {str(sound): set(challenges) for sound, challenges in by_sound}  # agg(set) gives lists where one is alone
    held_out = shared[shared["split"] != TRAIN]
    elsewhere = sum(
        bool(trained.get(sound, set()) - {challenge})
        for sound, challenge in zip(held_out["same_sound"], held_out["challenge"], strict=True)
    )
    return {"clips": len(shared), "held_out_of_other_challenges": elsewhere}


def _count_copies(clips: pd.DataFrame) -> dict[str, int]:
    """Numbers of clips that are copies of an earlier one: the same file, and near-duplicates."""
    copies = clips[clips["copies"].notna() & (clips["copies"] != clips["clip_id"])]
    exact = clips.duplicated(["content_hash"]) & (clips["content_hash"] != "")
    same_file = int(exact[copies.index].sum())
    return {"of_a_file": same_file, "near": len(copies) - same_file}
