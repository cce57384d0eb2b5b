"""Rows of clips to Arrow columns and back, without a loop over frames or joints."""

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from pipeline.features.rows import AppearanceRows, FaceRows, Grid, ModalityRows, PoseRows, SceneRows, Track
from pipeline.features.schema import COLUMNS, Column, arrow_schema, arrow_type

ROW_CLASSES: Mapping[str, type] = {"pose": PoseRows, "face": FaceRows, "scene": SceneRows, "appearance": AppearanceRows}


def to_batch(rows: ModalityRows) -> pa.RecordBatch:
    """The clip's rows as a record batch of its modality's schema: one row; of pose one a person, so perhaps none.

    Raises:
        ValueError: an array has not the shape or dtype that pipeline.features.rows promises; the message names clip and
            array.
    """
    modality = modality_of(rows)
    stacked = _stacked(rows)
    frames = stacked["frame_index"].shape[1]
    sizes = {"T": frames, "M": stacked["frame"].shape[1] if "frame" in stacked else 0, "D": feature_width(rows)}
    columns = []
    for column in COLUMNS[modality]:
        values = stacked[column.name]
        if column.shape and column.dtype != "jpeg":
            wanted = tuple(sizes.get(axis) if axis in sizes else int(axis) for axis in column.shape.split(","))
            if values.shape[1:] != wanted or values.dtype != column.dtype:
                raise ValueError(
                    f"{modality} rows of clip {rows.clip_id}: {column.name} is {values.dtype} {list(values.shape[1:])},"
                    f" must be {column.dtype} {list(wanted)} ({column.shape})"
                )
        columns.append(_to_arrow(column, values))
    return pa.record_batch(columns, schema=arrow_schema(modality, sizes["D"]))


def from_table(modality: str, table: pa.Table | pa.RecordBatch) -> ModalityRows:
    """The rows of one clip, equal to those that `to_batch` was given; its arrays are read-only views where they can be.

    A missing `crop` column gives no crops.

    Raises:
        ValueError: the table is empty, holds several clips, or its columns do not agree in T or in M.
    """
    clip_ids = set(table.column("clip_id").to_pylist())
    if len(clip_ids) != 1:
        raise ValueError(f"a table of one clip is needed, this one holds {len(clip_ids)}")
    clip_id = clip_ids.pop()
    present = set(table.schema.names)
    values = {
        column.name: _from_arrow(column, table.column(column.name), table.schema.field(column.name), table.num_rows)
        for column in COLUMNS[modality]
        if column.name in present and column.name != "clip_id"
    }
    for axis in ("T", "M"):
        along = {c.name: values[c.name].shape[1] for c in COLUMNS[modality] if c.shape[:1] == axis and c.name in values}
        if len(set(along.values())) > 1:
            raise ValueError(f"columns of clip {clip_id} differ in length: {along}")
    grid = Grid(values["frame_index"][0], values["timestamp"][0])
    if modality == "pose":
        arrays = [values[name] for name in ("valid", "keypoints", "box", "score")]
        persons = zip(values["track_id"].tolist(), values["is_lead"].tolist(), *arrays, strict=True)
        return PoseRows(clip_id, grid, tuple(Track(*person) for person in persons))
    own = {name: value[0] for name, value in values.items() if name not in ("frame_index", "timestamp", "valid")}
    if modality == "face":
        return FaceRows(clip_id, grid, **(own | {"crop": tuple(own.get("crop", ()))}))
    if modality == "scene":
        return SceneRows(clip_id, grid, **own)
    return AppearanceRows(clip_id, grid, **own)


def modality_of(rows: ModalityRows) -> str:
    for modality, kind in ROW_CLASSES.items():
        if isinstance(rows, kind):
            return modality
    raise TypeError(f"{type(rows).__name__} is not the rows of a modality")


def feature_width(rows: ModalityRows) -> int:
    """D of the scene's and the appearance's features, 0 for the other modalities."""
    return rows.feature.shape[-1] if isinstance(rows, SceneRows | AppearanceRows) else 0


def _stacked(rows: ModalityRows) -> dict[str, np.ndarray]:
    """Every column's values with an axis of table rows in front: [1, T, ...], [1, M, ...], of pose [P, T, ...]."""
    if isinstance(rows, PoseRows):
        return _stacked_tracks(rows)
    stacked = {column.name: getattr(rows, column.name, None) for column in COLUMNS[modality_of(rows)]}
    stacked |= {"frame_index": rows.grid.frame_index, "timestamp": rows.grid.timestamp, "valid": _valid(rows)}
    stacked["clip_id"] = rows.clip_id
    if isinstance(rows, FaceRows):
        if not len(rows.frame) == len(rows.crop):
            raise ValueError(f"face rows of clip {rows.clip_id}: {len(rows.frame)} faces, but {len(rows.crop)} crops")
        stacked["crop"] = np.array(rows.crop, object)
    return {name: np.asarray(value)[None] for name, value in stacked.items()}


def _stacked_tracks(rows: PoseRows) -> dict[str, np.ndarray]:
    persons, frames = len(rows.tracks), len(rows.grid.frame_index)
    stacked = {
        "clip_id": np.array([rows.clip_id] * persons),
        "track_id": np.array([track.track_id for track in rows.tracks], np.int32),
        "is_lead": np.array([track.is_lead for track in rows.tracks], bool),
        "frame_index": np.tile(rows.grid.frame_index, (persons, 1)),
        "timestamp": np.tile(rows.grid.timestamp, (persons, 1)),
    }
    if stacked["is_lead"].sum() > 1:
        raise ValueError(f"pose rows of clip {rows.clip_id}: {stacked['is_lead'].sum()} leads, a clip has one at most")
    for column in COLUMNS["pose"]:
        if column.name not in stacked:
            if persons:
                arrays = [getattr(track, column.name) for track in rows.tracks]
                if len({array.shape for array in arrays}) > 1:
                    raise ValueError(f"pose rows of clip {rows.clip_id}: {column.name} differs in shape between tracks")
                stacked[column.name] = np.stack(arrays)
            else:
                sizes = [frames if axis == "T" else int(axis) for axis in column.shape.split(",")]
                stacked[column.name] = np.empty([0, *sizes], column.dtype)
    return stacked


def _valid(rows: FaceRows | SceneRows | AppearanceRows) -> np.ndarray:
    """bool [T]. Of faces: the frames that show one. Of features: those that are finite (float16 overflows at 65504)."""
    if not isinstance(rows, FaceRows):
        return np.isfinite(rows.feature).all(axis=1)
    frames = len(rows.grid.frame_index)
    inside = ((rows.frame >= 0) & (rows.frame < frames)).all()
    if not (inside and (np.diff(rows.frame) >= 0).all()):
        raise ValueError(f"face rows of clip {rows.clip_id}: frame must ascend within 0..{frames - 1}, is {rows.frame}")
    valid = np.zeros(frames, bool)
    valid[rows.frame] = True
    return valid


def _to_arrow(column: Column, values: np.ndarray) -> pa.Array:
    """values: [rows], or [rows, n, ...] of an array column."""
    kind = arrow_type(column)
    if not column.shape:
        return pa.array(values.tolist() if column.dtype == "string" else values, kind)
    if column.wide:
        little = values.astype(np.dtype(column.dtype).newbyteorder("<"), copy=False)
        return pa.array([np.ascontiguousarray(row).tobytes() for row in little], kind)
    if column.dtype == "jpeg":
        pictures = pa.array(values.ravel().tolist(), pa.binary())
        flat = pa.StructArray.from_arrays(
            [pictures, pa.nulls(len(pictures), pa.string())], fields=list(kind.value_type)
        )
    else:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        nesting, inner = [], kind.value_type
        while pa.types.is_fixed_size_list(inner):
            nesting.append(inner)
            inner = inner.value_type
        for fixed in reversed(nesting):
            flat = pa.FixedSizeListArray.from_arrays(flat, type=fixed)
    offsets = np.arange(values.shape[0] + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)


def _from_arrow(column: Column, chunked: pa.ChunkedArray | pa.Array, field: pa.Field, rows: int) -> np.ndarray:
    """[rows], or [rows, n, ...] of an array column; the rows of one clip agree in n."""
    array = chunked.combine_chunks() if isinstance(chunked, pa.ChunkedArray) else chunked
    if array.null_count:
        raise ValueError(f"column {column.name} holds nulls")
    if column.wide:
        axes = field.metadata[b"shape"].decode().split(",")[1:]
        data = np.frombuffer(array[0].as_buffer(), np.dtype(column.dtype).newbyteorder("<"))
        return data.reshape(1, -1, *map(int, axes)) if data.size else np.empty((1, 0, *map(int, axes)), column.dtype)
    inner = []
    if column.shape:
        array = array.flatten()
        while pa.types.is_fixed_size_list(array.type):
            inner.append(array.type.list_size)
            array = array.flatten()
    if column.dtype == "jpeg":
        return np.array(array.field("bytes").to_pylist(), object).reshape(rows, -1)
    values = array.to_numpy(zero_copy_only=False).astype(column.dtype, copy=False)
    return values.reshape(rows, len(values) // (rows * math.prod(inner)), *inner) if column.shape else values
