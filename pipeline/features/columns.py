"""Columns of shards: their Arrow types, and rows of clips to columns and back without a loop over frames or joints.

T = sampled frames of the clip, or windows of its sound, M = faces in them, S = spectra of its sound, B = beats,
F = words of its fingerprint, D = width of a feature; docs/parquet.md has the columns for users.

Numbers that somebody queries (joints, boxes, probabilities) are nested lists of fixed inner sizes, which every reader
of Parquet understands. Wide features are one `binary` a clip: the little-endian float16 of a C-contiguous array, whose
shape and dtype stand in the field's metadata (and, for readers that do not show it, in the file's, under `tensors`).
Lists of these would read eight times slower.
"""

import json
import math

import numpy as np
import pyarrow as pa

from pipeline.modalities.record import Column, Grid, ModalityRows
from pipeline.modalities.registry import find_extracted

_SCALARS = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "float32": pa.float32(),
    "jpeg": pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
}


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of one column: T,17,3 becomes list<fixed_size_list<fixed_size_list<float32>[3]>[17]>."""
    if column.wide:
        return pa.binary()
    kind = _SCALARS[column.dtype]
    axes = column.shape.split(",") if column.shape else []
    for size in reversed(axes[1:]):
        kind = pa.list_(kind, int(size))
    return pa.list_(kind) if axes else kind


def shapes(modality: str, width: int) -> dict[str, dict[str, str]]:
    """Shape and dtype of every array column, with `width` for D."""
    return {
        column.name: {"shape": column.shape.replace("D", str(width)), "dtype": column.dtype}
        for column in find_extracted(modality).columns
        if column.shape
    }


def arrow_schema(modality: str, width: int = 0) -> pa.Schema:
    """The schema of a modality's shard, with each array's shape and dtype in its field's metadata.

    width: D of its features; ignored for a modality without.
    """
    described, record = shapes(modality, width), find_extracted(modality)
    fields = [
        pa.field(column.name, arrow_type(column), metadata=described.get(column.name)) for column in record.columns
    ]
    features = {"info": {"features": dict(record.huggingface)}}
    return pa.schema(fields, metadata={"huggingface": json.dumps(features)} if record.huggingface else None)


def to_batch(rows: ModalityRows) -> pa.RecordBatch:
    """Record batch of a clip in its modality's schema: one row; of pose one a person, perhaps none.

    Raises:
        ValueError: an array does not have the shape or dtype of its class; the message names clip and array.
    """
    modality = find_extracted(rows.modality)
    arrays = modality.to_arrays(rows)
    sizes = {"D": modality.feature_width(rows)}
    for column in modality.columns:  # the first column along an axis says how long it is
        if axis := _leading_axis(column):
            sizes.setdefault(axis, arrays[column.name].shape[1])
    columns = []
    for column in modality.columns:
        values = arrays[column.name]
        if column.shape and column.dtype != "jpeg":
            expected = tuple(sizes.get(axis) if axis in sizes else int(axis) for axis in column.shape.split(","))
            if values.shape[1:] != expected or values.dtype != column.dtype:
                raise ValueError(
                    f"{modality.name} rows of clip {rows.clip_id}: {column.name} is {values.dtype}"
                    f" {list(values.shape[1:])},"
                    f" must be {column.dtype} {list(expected)} ({column.shape})"
                )
        columns.append(_to_arrow(column, values))
    return pa.record_batch(columns, schema=arrow_schema(modality.name, sizes["D"]))


def from_table(modality: str, table: pa.Table | pa.RecordBatch) -> ModalityRows:
    """The rows of one clip, as they were given to `to_batch`; the arrays are read-only views where possible.

    A missing `crop` column gives no crops.

    Raises:
        ValueError: the table is empty, holds several clips, or its columns do not agree in T or in M.
    """
    clip_ids = set(table.column("clip_id").to_pylist())
    if len(clip_ids) != 1:
        raise ValueError(f"a table of one clip is needed, this one holds {len(clip_ids)}")
    clip_id = clip_ids.pop()
    record, present = find_extracted(modality), set(table.schema.names)
    arrays = {
        column.name: _from_arrow(column, table.column(column.name), table.schema.field(column.name), table.num_rows)
        for column in record.columns
        if column.name in present and column.name != "clip_id"
    }
    for axis in sorted({_leading_axis(column) for column in record.columns} - {""}):
        along = {
            c.name: arrays[c.name].shape[1] for c in record.columns if _leading_axis(c) == axis and c.name in arrays
        }
        if len(set(along.values())) > 1:
            raise ValueError(f"columns of clip {clip_id} differ in length: {along}")
    return record.from_arrays(clip_id, Grid(arrays["frame_index"][0], arrays["timestamp"][0]), arrays)


def _leading_axis(column: Column) -> str:
    """Name of the axis along which a column's arrays vary in length from clip to clip; empty where they do not."""
    axis = column.shape.split(",")[0]
    return "" if axis.isdigit() else axis


def _to_arrow(column: Column, values: np.ndarray) -> pa.Array:
    """Arrow array of a column. values: [rows], or [rows, n, ...] of an array column."""
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
    """Values [rows], or [rows, n, ...] of an array column; the rows of one clip agree in n."""
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
