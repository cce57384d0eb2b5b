"""Arrow columns of a dataclass, so that the fields of a record that is written to Parquet are listed once."""

from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pyarrow as pa

Int64 = Annotated[int, pa.int64()]  # a field's Arrow type, where it is not that of its Python type

_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int32(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    tuple[int, ...]: pa.list_(pa.int32()),
}


def arrow_fields(record: type, nullable: bool = False) -> list[pa.Field]:
    """One column for each field of a dataclass, in order; a field's metadata become the column's."""
    hints = get_type_hints(record, include_extras=True)
    types = {name: get_args(hint)[1] if get_origin(hint) is Annotated else _TYPES[hint] for name, hint in hints.items()}
    return [pa.field(item.name, types[item.name], nullable, dict(item.metadata) or None) for item in fields(record)]
