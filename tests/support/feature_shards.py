"""Shards of made rows, for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.features.shards import ShardWriter, provenance
from pipeline.modalities.record import ModalityRows

PROVENANCE = provenance(profile="demo", weights={"net": "ab" * 32}, decoder="decord 0.6.0", options={"stride": 2})


def write(
    path: str | Path,
    rows: Sequence[ModalityRows],
    order: Sequence[str] | None = None,
    metadata: Mapping[str, str] = PROVENANCE,
) -> str:
    order = order or [row.clip_id for row in rows]
    with ShardWriter(str(path), rows[0].modality, order, metadata) as writer:
        for row in rows:
            writer.add(row)
    return str(path)
