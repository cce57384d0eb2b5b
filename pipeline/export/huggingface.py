"""The clips as Parquet files with a dataset card, as Hugging Face's `datasets.load_dataset` reads a folder.

README.md                      the card: splits, columns, who is shown
data/<split>-00000.parquet     a row a clip: scalars, and features as arrays with declared shapes
films/<clip_id>.mp4            if asked for; named by the column `film`
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.arrays import clip_arrays, exported_columns
from pipeline.export.contents import Contents, ExportedClip, about_schema, exported_clips
from pipeline.export.films import FilmReader
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import ModalityRows
from pipeline.modalities.tracks import Track, lead_of

FILE_CLIPS = 1024  # of a file, at most
GROUP_CLIPS = 32  # of a row group: what is held in memory, and what a reader reads at once
FILMS = "films"


@dataclass(frozen=True)
class ArrayColumn:
    """A column of arrays, of any length along their first axis."""

    name: str
    dtype: str  # numpy's name
    inner: tuple[int, ...]  # sizes of the other axes

    @property
    def feature(self) -> dict[str, Any]:
        """The column as the YAML of a dataset card has it."""
        if not self.inner:
            return {"name": self.name, "sequence": self.dtype}
        array = {"shape": [None, *self.inner], "dtype": self.dtype}
        return {"name": self.name, "dtype": {f"array{len(self.inner) + 1}_d": array}}

    def arrow(self, values: Sequence[np.ndarray]) -> pa.Array:
        """Nested lists of a clip each."""
        flat = pa.array(np.concatenate([np.ascontiguousarray(value, self.dtype).ravel() for value in values]))
        for size in reversed(self.inner):
            offsets = np.arange(0, len(flat) + 1, size, dtype=np.int32)
            flat = pa.ListArray.from_arrays(pa.array(offsets), flat)
        ends = np.cumsum([0, *(len(value) for value in values)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), flat)

    def empty(self) -> np.ndarray:
        return np.zeros((0, *self.inner), self.dtype)


# Of the lead dancer, whom the model looks at, in all T frames; then of everybody, where they are seen.
_POSE = (
    ArrayColumn("pose_frame_index", "int32", ()), ArrayColumn("pose_timestamp", "float32", ()),
    ArrayColumn("pose_valid", "bool", ()), ArrayColumn("pose_keypoints", "float32", (17, 3)),
    ArrayColumn("pose_box", "float32", (4,)), ArrayColumn("pose_score", "float32", ()),
    ArrayColumn("people_frame", "int32", ()), ArrayColumn("people_track_id", "int32", ()),
    ArrayColumn("people_is_lead", "bool", ()), ArrayColumn("people_keypoints", "float32", (17, 3)),
    ArrayColumn("people_box", "float32", (4,)), ArrayColumn("people_score", "float32", ()),
)  # fmt: skip
_CROPS = "face_crop"


def array_columns(contents: Contents) -> list[ArrayColumn]:
    """The columns of features; none of a modality that no clip has."""
    columns: list[ArrayColumn] = []
    for modality in present_modalities(contents):
        if modality == "pose":
            columns += _POSE
            continue
        width = contents.statistics["features"].get(modality)
        for column in exported_columns(modality, contents.biometrics):
            if column.shape and column.dtype != "jpeg":
                axes = column.shape.replace("D", str(width)).split(",")[1:]
                columns.append(ArrayColumn(f"{modality}_{column.name}", column.dtype, tuple(map(int, axes))))
    return columns


def present_modalities(contents: Contents) -> list[str]:
    return [name for name in contents.modalities if contents.statistics["modalities"].get(name)]


def array_values(rows: ModalityRows, biometrics: bool) -> dict[str, np.ndarray]:
    """A clip's values of `array_columns`, by column."""
    arrays = clip_arrays(rows, biometrics)
    if isinstance(rows, PoseRows):
        return _pose_values(rows)
    return {f"{rows.modality}_{name}": value for name, value in arrays.items() if np.ndim(value)}


def _pose_values(rows: PoseRows) -> dict[str, np.ndarray]:
    lead, frames = lead_of(rows.tracks), len(rows.grid.timestamp)
    if lead is None:
        lead = Track(-1, True, np.zeros(frames, bool), np.zeros((frames, 17, 3), np.float32),
                     np.zeros((frames, 4), np.float32), np.zeros(frames, np.float32))  # fmt: skip
    values: dict[str, np.ndarray] = {"pose_frame_index": rows.grid.frame_index, "pose_timestamp": rows.grid.timestamp}
    values |= {f"pose_{name}": getattr(lead, name) for name in ("valid", "keypoints", "box", "score")}
    seen = [np.flatnonzero(track.valid) for track in rows.tracks]
    counts = [len(frames) for frames in seen]
    values["people_frame"] = np.concatenate([np.zeros(0, np.int32), *seen])
    values["people_track_id"] = np.repeat([track.track_id for track in rows.tracks], counts)
    values["people_is_lead"] = np.repeat([track.is_lead for track in rows.tracks], counts)
    for name, inner in (("keypoints", (17, 3)), ("box", (4,)), ("score", ())):
        of_tracks = [getattr(track, name)[at] for track, at in zip(rows.tracks, seen, strict=True)]
        values[f"people_{name}"] = np.concatenate([np.zeros((0, *inner), np.float32), *of_tracks])
    return values


def write_huggingface(
    contents: Contents, folder: Path, films: FilmReader | None, progress: Callable[[int, int], None]
) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Write the Parquet files; returns their names by split, and the columns as a dataset card has them."""
    writer = _Writer(contents, folder, films, progress)
    return {split: writer.write_split(split) for split in contents.splits}, writer.features


class _Writer:
    def __init__(
        self, contents: Contents, folder: Path, films: FilmReader | None, progress: Callable[[int, int], None]
    ):
        self._contents, self._folder, self._films = contents, folder, films
        self._progress, self._done = progress, 0
        self._columns = array_columns(contents)
        self._modalities = present_modalities(contents)
        self._crops = contents.biometrics and "face" in self._modalities
        self.schema = self._schema()
        (folder / "data").mkdir()
        if films is not None:
            (folder / FILMS).mkdir()

    def write_split(self, split: str) -> list[str]:
        clips = exported_clips(self._contents, self._contents.rows_of(split), self._modalities)
        names = []
        for number, of_file in enumerate(_files(clips)):
            names.append(f"{split}-{number:05d}.parquet")
            with pq.ParquetWriter(self._folder / "data" / names[-1], self.schema, compression="zstd") as file:
                while group := list(islice(of_file, GROUP_CLIPS)):
                    file.write_table(self._table(group))
                    self._done += len(group)
                    self._progress(self._done, len(self._contents.clips))
        return names

    @property
    def features(self) -> list[dict[str, Any]]:
        arrays = {column.name: column.feature for column in self._columns}
        arrays[_CROPS] = {"name": _CROPS, "sequence": "image"}
        return [arrays.get(field.name) or {"name": field.name, "dtype": _value(field.type)} for field in self.schema]

    def _schema(self) -> pa.Schema:
        scalars = [_readable(field) for field in about_schema(self._contents, self._modalities)]
        if self._films is not None:
            scalars.append(pa.field("film", pa.string()))
        arrays = [pa.field(column.name, column.arrow([column.empty()]).type) for column in self._columns]
        if self._crops:
            arrays.append(pa.field(_CROPS, pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))))
        return pa.schema([*scalars, *arrays])

    def _table(self, clips: Sequence[ExportedClip]) -> pa.Table:
        records = [
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in clip.about.items()}
            for clip in clips
        ]
        if self._films is not None:
            for clip, record in zip(clips, records, strict=True):
                record["film"] = self._copy_film(clip.clip_id, self._films)
        scalars = [field.name for field in self.schema if field.name in records[0]]
        columns = {
            name: pa.array([record[name] for record in records], self.schema.field(name).type) for name in scalars
        }
        values = [{} for _ in clips]  # type: list[dict[str, np.ndarray]]
        for of_clip, clip in zip(values, clips, strict=True):
            for rows in clip.rows.values():
                of_clip |= array_values(rows, self._contents.biometrics)
        for column in self._columns:
            columns[column.name] = column.arrow([of_clip.get(column.name, column.empty()) for of_clip in values])
        if self._crops:
            faces = [clip.rows.get("face") for clip in clips]
            crops = [[{"bytes": crop, "path": None} for crop in face.crop] if isinstance(face, FaceRows) else []
                     for face in faces]  # fmt: skip
            columns[_CROPS] = pa.array(crops, self.schema.field(_CROPS).type)
        return pa.table(columns, schema=self.schema)

    def _copy_film(self, clip_id: str, films: FilmReader) -> str | None:
        film = films.films.get(clip_id)
        name = f"{FILMS}/{clip_id}{film.suffix if film else ''}"
        return name if films.copy(clip_id, self._folder / name) else None


def _files(clips: Iterator[ExportedClip]) -> Iterator[Iterator[ExportedClip]]:
    """The clips of a file each, of which one is read at a time."""
    for first in clips:

        def of_file(first: ExportedClip = first) -> Iterator[ExportedClip]:
            yield first
            for _, clip in zip(range(FILE_CLIPS - 1), clips, strict=False):
                yield clip

        yield of_file()


def _readable(field: pa.Field) -> pa.Field:
    """Times as texts, ISO 8601: torch has no type for them, and `with_format("torch")` would fail."""
    return pa.field(field.name, pa.string()) if pa.types.is_timestamp(field.type) else field


def _value(kind: pa.DataType) -> str:
    """Name of a scalar's type as `datasets` has it."""
    names = {pa.float64(): "float64", pa.float32(): "float32"}
    return names.get(kind, str(kind))
