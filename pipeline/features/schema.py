"""Arrow types of a shard's columns and the layout of its tensors; docs/parquet.md has them for users.

T = sampled frames of the clip, M = faces in them, D = width of a feature.

Numbers that somebody queries (joints, boxes, probabilities) are nested lists of fixed inner sizes, which every reader
of Parquet understands. Wide features are one `binary` a clip: the little-endian float16 of a C-contiguous array, whose
shape and dtype stand in the field's metadata (and, for readers that do not show it, in the file's, under `tensors`).
Lists of these would read eight times slower.
"""

import json

import pyarrow as pa

from pipeline.modalities.record import Column
from pipeline.modalities.registry import find_modality

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
    """Shape and dtype of every array column, with `width` in the place of D."""
    return {
        column.name: {"shape": column.shape.replace("D", str(width)), "dtype": column.dtype}
        for column in find_modality(modality).columns
        if column.shape
    }


def arrow_schema(modality: str, width: int = 0) -> pa.Schema:
    """The schema of a modality's shard, with each array's shape and dtype in its field's metadata.

    width: D of its features; of no meaning to a modality without them.
    """
    described, record = shapes(modality, width), find_modality(modality)
    fields = [
        pa.field(column.name, arrow_type(column), metadata=described.get(column.name)) for column in record.columns
    ]
    features = {"info": {"features": dict(record.huggingface)}}
    return pa.schema(fields, metadata={"huggingface": json.dumps(features)} if record.huggingface else None)
