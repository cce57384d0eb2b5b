"""Parquet files of endings: the outcome of decoding each clip of a shard, one row per clip and one column per field."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow as pa

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
from pipeline.files.checksums import check_parquet, write_parquet

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
    with writing(path):
        write_parquet(path, table, writer_keys | dict(sorted(metadata.items())))


def read_endings(path: str) -> list[Ending]:
    """Raises WorkspaceError: the file is missing, damaged, or of another schema version."""
    with reading(path):
        data = storage.read_bytes(path)
        file, _ = open_parquet(path, ENDINGS, pa.BufferReader(data))
        check_parquet(path, data)
        with file:
            rows = file.read(use_threads=False).to_pylist()
            return [Ending(**(row | {"sketch_ms": tuple(row["sketch_ms"])})) for row in rows]


def add_endings(path: str, before: Sequence[Ending], now: Sequence[Ending], metadata: Mapping[str, str]) -> None:
    """Write those that a shard had `before` merged with those of `now`; nothing where none changes.

    Raises as `write_endings`.
    """
    endings = _merge_endings(before, now)
    if endings != before:
        write_endings(path, endings, metadata)


def _merge_endings(before: Sequence[Ending], now: Sequence[Ending]) -> list[Ending]:
    """The worst ending of each clip: decoding it again for another modality may have ended differently.

    So a clip that any modality lacks, after a slow disk or a crash, is never called ok.
    """
    endings = {ending.clip_id: ending for ending in before}
    for ending in now:
        old = endings.get(ending.clip_id)
        if old is None or _loss(ending) > _loss(old):
            endings[ending.clip_id] = ending
    return list(endings.values())


def _loss(ending: Ending) -> tuple[int, int]:
    return ("ok", "partial", "failed").index(ending.status), -ending.frames
