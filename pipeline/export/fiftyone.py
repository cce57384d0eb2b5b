"""The clips as a FiftyOne dataset on disk, as `fiftyone.Dataset.from_dir` reads it (fiftyone.types.FiftyOneDataset).

metadata.json    the dataset's document: its fields
samples.json     a sample a clip: the film's path, and the clip's scalars as fields; its split as a tag, too
frames.json      by sampled frame: people as keypoints and boxes, faces as boxes, in shares of the picture's sides
data/            the films, if asked for

Written without FiftyOne, as version 1.0 keeps it: later versions migrate what earlier ones wrote.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from models.virality.skeleton import COCO17
from pipeline.core import storage
from pipeline.export.contents import Contents, ExportedClip, about_schema, exported_clips
from pipeline.export.films import USUAL_SUFFIX, Film, FilmReader
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows

VERSION = "1.0.0"  # of FiftyOne, whose documents these are
DATA = "data"
READ = ("pose", "face", "audio")
_FIELDS, _LABELS = "fiftyone.core.fields.", "fiftyone.core.labels."
_EPOCH = {"$date": "1970-01-01T00:00:00Z"}  # FiftyOne puts the time of the import in its place
Document = dict[str, Any]


def write_fiftyone(
    contents: Contents,
    folder: Path,
    films: FilmReader | None,
    places: Mapping[str, Film],
    progress: Callable[[int, int], None],
) -> None:
    """Write the dataset.

    Args:
        films: None: films are not copied, and samples name them where they lie.
        places: the films of the clips, by clip_id.
    """
    if films is not None:
        (folder / DATA).mkdir()
    modalities = [name for name in READ if name in contents.modalities]
    dataset = _object_id(contents.run_folder.id)
    _write(folder / "metadata.json", _metadata(contents, modalities, dataset))
    total = len(contents.clips)
    with _Collection(folder, "samples") as samples, _Collection(folder, "frames") as frames:
        for done, clip in enumerate(exported_clips(contents, range(total), modalities), start=1):
            path = _film_path(clip.clip_id, folder, films, places.get(clip.clip_id))
            sample = _sample(clip, path, dataset)
            samples.add(sample)
            for frame in _frames(clip, sample["_id"], dataset):
                frames.add(frame)
            progress(done, total)


class _Collection:
    """A JSON file of documents, written one after the other."""

    def __init__(self, folder: Path, key: str):
        self._path, self._key, self._some = folder / f"{key}.json", key, False

    def __enter__(self) -> "_Collection":
        self._file: IO[str] = self._path.open("w", encoding="utf-8")
        self._file.write(f'{{"{self._key}": [')
        return self

    def __exit__(self, *_: object) -> None:
        self._file.write("]}")
        self._file.close()

    def add(self, document: Document) -> None:
        self._file.write((",\n" if self._some else "\n") + json.dumps(document, allow_nan=False))
        self._some = True


def _film_path(clip_id: str, folder: Path, films: FilmReader | None, place: Film | None) -> str:
    """Path of a clip's film: in the export, or where it lies on this machine, or where it would be copied to."""
    inside = f"{DATA}/{clip_id}{place.suffix if place else USUAL_SUFFIX}"
    if films is not None:
        films.copy(clip_id, folder / inside)
        return inside
    return str(storage.local_path(place.uri)) if place and storage.is_local(place.uri) else inside


def _sample(clip: ExportedClip, path: str, dataset: Document) -> Document:
    values = {name: _value(value) for name, value in clip.about.items() if value is not None}
    return {
        "_id": _object_id(clip.clip_id), "filepath": path, "tags": [clip.about["split"]], "_media_type": "video",
        "_rand": int(sha256(clip.clip_id.encode()).hexdigest()[:12], 16) / 16**12, "_dataset_id": dataset,
        "created_at": _EPOCH, "last_modified_at": _EPOCH, **values,
    }  # fmt: skip


def _value(value: Any) -> Any:
    return {"$date": value.strftime("%Y-%m-%dT%H:%M:%SZ")} if isinstance(value, datetime) else value


def _frames(clip: ExportedClip, sample: Document, dataset: Document) -> Iterator[Document]:
    """The frames of a clip that show somebody, by their number in the film, from 1."""
    width, height = clip.about["width"], clip.about["height"]
    by_number: dict[int, Document] = {}
    ids = _Ids(clip.clip_id)

    def labels_of(number: int, field: str, kind: str) -> list[Document]:
        frame = by_number.setdefault(int(number), {"frame_number": int(number)})
        return frame.setdefault(field, {"_cls": kind, kind.lower(): []})[kind.lower()]

    if isinstance(pose := clip.rows.get("pose"), PoseRows):
        for track in pose.tracks:
            name, index = "lead" if track.is_lead else "person", track.track_id
            for at in np.flatnonzero(track.valid):
                number = pose.grid.frame_index[at] + 1
                points = (track.keypoints[at, :, :2] / (width, height)).round(6).tolist()
                confidence = track.keypoints[at, :, 2].astype(float).round(4).tolist()
                labels_of(number, "people", "Keypoints").append(
                    {**ids.label("Keypoint", name), "points": points, "confidence": confidence, "index": index}
                )
                labels_of(number, "boxes", "Detections").append(
                    {**ids.label("Detection", name), **_box(track.box[at], track.score[at], width, height),
                     "index": index}
                )  # fmt: skip
    if isinstance(face := clip.rows.get("face"), FaceRows):
        for at, box, probability in zip(face.frame, face.box, face.probability, strict=True):
            labels_of(face.grid.frame_index[at] + 1, "faces", "Detections").append(
                {**ids.label("Detection", "face"), **_box(box, probability, width, height)}
            )
    for _, frame in sorted(by_number.items()):
        yield {"_id": ids.next(), "_sample_id": sample, "_dataset_id": dataset, "created_at": _EPOCH,
               "last_modified_at": _EPOCH, **frame}  # fmt: skip


def _box(box: np.ndarray, confidence: float, width: int, height: int) -> Document:
    """x1, y1, x2, y2 in pixels as FiftyOne's left, top, width, height."""
    left, top, right, bottom = (box / (width, height, width, height)).astype(float).round(6).tolist()
    sides = [left, top, round(right - left, 6), round(bottom - top, 6)]
    return {"bounding_box": sides, "confidence": round(float(confidence), 4)}


class _Ids:
    """Ids of what is in a clip's frames, the same each time."""

    def __init__(self, clip_id: str):
        self._clip, self._count = sha256(clip_id.encode()).hexdigest()[:16], 0

    def next(self) -> Document:
        self._count += 1
        return {"$oid": f"{self._clip}{self._count:08x}"}

    def label(self, kind: str, name: str) -> Document:
        return {"_id": self.next(), "_cls": kind, "attributes": {}, "tags": [], "label": name}


def _object_id(text: str) -> Document:
    return {"$oid": sha256(f"vdv {text}".encode()).hexdigest()[:24]}


def _metadata(contents: Contents, modalities: list[str], dataset: Document) -> Document:
    scalars = [_field(field.name, _kind(field.type)) for field in about_schema(contents, modalities)]
    fields = [
        _field("id", "ObjectIdField", db_field="_id"), _field("filepath", "StringField"),
        _field("tags", "ListField", subfield=f"{_FIELDS}StringField"),
        _field("metadata", "EmbeddedDocumentField", document="fiftyone.core.metadata.VideoMetadata"),
        _field("_media_type", "StringField"), _field("_rand", "FloatField"), *_KEPT, *scalars,
    ]  # fmt: skip
    frames = [
        _field("id", "ObjectIdField", db_field="_id"), _field("frame_number", "FrameNumberField"),
        _field("_sample_id", "ObjectIdField"), *_KEPT,
    ]  # fmt: skip
    if "pose" in modalities:
        frames += [_labels("people", "Keypoint", _KEYPOINT), _labels("boxes", "Detection", _DETECTION)]
    if "face" in modalities:
        frames.append(_labels("faces", "Detection", _DETECTION))
    edges = [[joint, parent] for joint, parent in COCO17.edges]
    return {
        "_id": dataset, "name": f"vdv-{contents.run_folder.id}", "slug": f"vdv-{contents.run_folder.id}",
        "version": VERSION, "created_at": _EPOCH, "last_modified_at": _EPOCH, "persistent": False,
        "media_type": "video", "group_media_types": {}, "tags": [],
        "info": {"run": contents.run_folder.id, "label": contents.statistics["label"]["kind"]},
        "app_config": {"grid_media_field": "filepath", "media_fields": ["filepath"], "modal_media_field": "filepath"},
        "classes": {}, "default_classes": [], "mask_targets": {}, "default_mask_targets": {},
        "skeletons": {}, "default_skeleton": {"labels": list(COCO17.joints), "edges": edges},
        "sample_fields": fields, "frame_fields": frames, "saved_views": [], "workspaces": [],
        "annotation_runs": {}, "brain_methods": {}, "evaluations": {}, "runs": {},
    }  # fmt: skip


def _field(
    name: str, kind: str, db_field: str = "", subfield: str | None = None, document: str | None = None,
    fields: tuple[Document, ...] = (),
) -> Document:  # fmt: skip
    return {
        "name": name, "ftype": f"{_FIELDS}{kind}", "embedded_doc_type": document, "subfield": subfield,
        "fields": list(fields), "db_field": db_field or name, "description": None, "info": None,
        "read_only": name in ("created_at", "last_modified_at"), "created_at": _EPOCH,
    }  # fmt: skip


def _labels(name: str, kind: str, fields: tuple[Document, ...]) -> Document:
    """The field of a frame's labels of one kind, Keypoint or Detection."""
    several = _field(
        f"{kind.lower()}s", "ListField", subfield=f"{_FIELDS}EmbeddedDocumentField", document=f"{_LABELS}{kind}",
        fields=fields,
    )  # fmt: skip
    return _field(name, "EmbeddedDocumentField", document=f"{_LABELS}{kind}s", fields=(several,))


_KEPT = (
    _field("_dataset_id", "ObjectIdField"), _field("created_at", "DateTimeField"),
    _field("last_modified_at", "DateTimeField"),
)  # fmt: skip
_LABEL = (
    _field("id", "ObjectIdField", db_field="_id"), _field("tags", "ListField", subfield=f"{_FIELDS}StringField"),
    _field("attributes", "DictField", subfield=f"{_FIELDS}EmbeddedDocumentField", document=f"{_LABELS}Attribute"),
    _field("label", "StringField"),
)  # fmt: skip
_NUMBERS = f"{_FIELDS}FloatField"
_KEYPOINT = (
    *_LABEL, _field("points", "KeypointsField"), _field("confidence", "ListField", subfield=_NUMBERS),
    _field("index", "IntField"),
)  # fmt: skip
_DETECTION = (
    *_LABEL, _field("bounding_box", "ListField", subfield=_NUMBERS), _field("mask", "ArrayField"),
    _field("mask_path", "StringField"), _field("confidence", "FloatField"), _field("index", "IntField"),
)  # fmt: skip


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "BooleanField"
    if pa.types.is_integer(kind):
        return "IntField"
    if pa.types.is_floating(kind):
        return "FloatField"
    return "DateTimeField" if pa.types.is_timestamp(kind) else "StringField"


def _write(path: Path, document: Document) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
