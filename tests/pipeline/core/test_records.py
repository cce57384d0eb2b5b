"""The columns that a record's fields become."""

from dataclasses import dataclass, field

import pyarrow as pa
import pytest

from pipeline.core.records import Int64, arrow_fields


@dataclass(frozen=True)
class Record:
    name: str
    size: Int64 = 0
    whole: bool = True
    times: tuple[int, ...] = field(default=(), metadata={"unit": "ms"})


def test_every_field_is_a_column_of_its_type_with_its_metadata() -> None:
    assert pa.schema(arrow_fields(Record)).equals(
        pa.schema(
            [
                pa.field("name", pa.string(), nullable=False),
                pa.field("size", pa.int64(), nullable=False),
                pa.field("whole", pa.bool_(), nullable=False),
                pa.field("times", pa.list_(pa.int32()), nullable=False, metadata={"unit": "ms"}),
            ]
        ),
        check_metadata=True,
    )
    assert all(column.nullable for column in arrow_fields(Record, nullable=True))


def test_a_field_of_a_type_without_a_column_is_refused() -> None:
    @dataclass(frozen=True)
    class Other:
        parts: dict[str, int]

    with pytest.raises(KeyError):
        arrow_fields(Other)
