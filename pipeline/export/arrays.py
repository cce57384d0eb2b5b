"""A clip's features as plain arrays, named as the columns of docs/parquet.md."""

from dataclasses import replace

import numpy as np

from pipeline.modalities.face import FaceRows
from pipeline.modalities.record import Column, ModalityRows
from pipeline.modalities.registry import find_extracted

BIOMETRIC = ("embedding", "crop")  # columns of faces by which somebody can be told from others


def exported_columns(modality: str, biometrics: bool) -> list[Column]:
    """The columns of a modality's features that are exported."""
    columns = find_extracted(modality).columns
    return [column for column in columns if column.name != "clip_id" and (biometrics or column.name not in BIOMETRIC)]


def clip_arrays(rows: ModalityRows, biometrics: bool) -> dict[str, np.ndarray]:
    """Arrays of one clip by column, without the crops of faces; of pose with an axis of people in front."""
    record = find_extracted(rows.modality)
    if isinstance(rows, FaceRows) and not rows.crop:  # not read
        rows = replace(rows, crop=(b"",) * len(rows.frame))
    arrays = record.to_arrays(rows)
    kept = {c.name: arrays[c.name] for c in exported_columns(rows.modality, biometrics) if c.name != "crop"}
    if not record.row_per_person:
        return {name: values[0] for name, values in kept.items()}
    return kept | {"frame_index": rows.grid.frame_index, "timestamp": rows.grid.timestamp}
