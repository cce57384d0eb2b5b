"""Parquet files of endings: the outcome of decoding each clip of a shard, one row per clip and one column per field."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.records import arrow_fields
from pipeline.decode.clips import Ending
from pipeline.features.parquet_files import (
    ENDINGS,
    KIND_KEY,
    SCHEMA_KEY,
    SCHEMA_VERSION,
    open_parquet,
    reading,
    refuse_writer_keys,
    writing,
)

ENDINGS_SCHEMA = pa.schema(arrow_fields(Ending))


def write_endings(path: str, endings: Sequence[Ending], metadata: Mapping[str, str]) -> None:
    """Write the endings of a shard's clips, in the order given.

    Raises:
        ValueError: `metadata` holds a key that is the writer's own.
        WorkspaceError: the file cannot be written.
    """
    refuse_writer_keys(path, metadata)
    table = pa.Table.from_pylist([asdict(ending) for ending in endings], ENDINGS_SCHEMA)
    writer_keys = {SCHEMA_KEY: str(SCHEMA_VERSION), KIND_KEY: ENDINGS}
    table = table.replace_schema_metadata(writer_keys | dict(sorted(metadata.items())))
    with writing(path), storage.staged(path) as local:
        pq.write_table(table, local, compression="zstd", write_page_checksum=True)


def read_endings(path: str) -> list[Ending]:
    """Raises WorkspaceError: the file is missing, damaged, or of another schema version."""
    with reading(path):
        file, _ = open_parquet(path, ENDINGS)
        with file:
            rows = file.read(use_threads=False).to_pylist()
            return [Ending(**(row | {"sketch_ms": tuple(row["sketch_ms"])})) for row in rows]
