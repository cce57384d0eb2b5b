"""What the columns of a shard are called, what they hold and how they are stored; docs/parquet.md tells users.

T = sampled frames of the clip, M = faces in them, D = width of a feature.

Numbers that somebody queries (joints, boxes, probabilities) are nested lists of fixed inner sizes, which every reader
of Parquet understands. Wide features are one `binary` a clip: the little-endian float16 of a C-contiguous array, whose
shape and dtype stand in the field's metadata (and, for readers that do not show it, in the file's, under `tensors`).
Lists of these would read eight times slower.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.core.options import MODALITIES

# HF `datasets` then shows crops as images without being told. It knows `Sequence` in all its versions.
_HUGGINGFACE = {"info": {"features": {"crop": {"_type": "Sequence", "feature": {"_type": "Image"}}}}}


@dataclass(frozen=True)
class Column:
    """One column: `shape` names an array's axes, "" for a scalar; `wide` arrays are stored as bytes."""

    name: str
    dtype: str  # numpy's name; string, jpeg
    shape: str = ""
    wide: bool = False


_CLIP = (Column("clip_id", "string"),)
_GRID = (Column("frame_index", "int32", "T"), Column("timestamp", "float32", "T"), Column("valid", "bool", "T"))

COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "pose": (
        *_CLIP,
        Column("track_id", "int32"),
        Column("is_lead", "bool"),
        *_GRID,
        Column("keypoints", "float32", "T,17,3"),
        Column("box", "float32", "T,4"),
        Column("score", "float32", "T"),
    ),
    "appearance": (*_CLIP, *_GRID, Column("feature", "float16", "T,D", wide=True)),
    "face": (
        *_CLIP,
        *_GRID,
        Column("frame", "int32", "M"),
        Column("box", "float32", "M,4"),
        Column("landmarks", "float32", "M,5,2"),
        Column("probability", "float32", "M"),
        Column("embedding", "float16", "M,512", wide=True),
        Column("crop", "jpeg", "M"),
    ),
    "scene": (
        *_CLIP,
        *_GRID,
        Column("feature", "float16", "T,D", wide=True),
        Column("top_category", "int16", "T,5"),
        Column("top_probability", "float32", "T,5"),
        Column("indoor", "float32", "T"),
    ),
}
assert tuple(COLUMNS) == MODALITIES

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
        for column in COLUMNS[modality]
        if column.shape
    }


def arrow_schema(modality: str, width: int = 0) -> pa.Schema:
    """The schema of a modality's shard, with each array's shape and dtype in its field's metadata.

    width: D of the scene's and the appearance's features; of no meaning to pose and face.
    """
    described = shapes(modality, width)
    fields = [
        pa.field(column.name, arrow_type(column), metadata=described.get(column.name)) for column in COLUMNS[modality]
    ]
    return pa.schema(fields, metadata={"huggingface": json.dumps(_HUGGINGFACE)} if modality == "face" else None)
