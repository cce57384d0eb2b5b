"""Rows of a dataset's clips, of extracted and of derived modalities alike; and what derived ones compare clips with.

Of a derived modality `shard_<modality>` in clips.parquet names the shard of its first source: so what counts clips,
names features or renames shards need not know that it has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.core import storage
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.reader import ReaderCache
from pipeline.modalities.record import DerivedModality, ModalityRows
from pipeline.modalities.registry import derived_modalities, find_modality

OPEN_SHARDS = 16
MOST_REFERENCES = 64  # training clips of a challenge

REFERENCES_SCHEMA = pa.schema({
    "clip_id": pa.string(), "challenge": pa.string(), "modality": pa.string(), "name": pa.string(),
    "shape": pa.list_(pa.int64()), "values": pa.list_(pa.float32()),
})  # fmt: skip

Usual = Mapping[tuple[str, str], Any]  # what is usual, by modality and challenge


class RowReader:
    """Reads the rows of a dataset's clips, by row of its table. May be pickled and cross a fork, as ReaderCache.

    Args:
        clips: clips.parquet.
        usual: of the dataset (`read_usual`), by which derived rows are related; without, they stand for themselves.
    """

    def __init__(self, workspace: str, clips: pd.DataFrame, usual: Usual | None = None):
        self._workspace, self._clips, self._usual = workspace, clips, usual or {}
        self._shards = ReaderCache(OPEN_SHARDS)

    def shard_path(self, row: int, modality: str) -> str | None:
        """Path of a clip's shard, relative to the workspace; None: the clip has no rows of the modality."""
        value = self._clips[f"shard_{modality}"].iat[row] if f"shard_{modality}" in self._clips else None
        return None if value is None or pd.isna(value) else str(value)

    def read(self, row: int, modality: str) -> ModalityRows | None:
        """A clip's rows, without the crops of faces. None: it has none."""
        path = self.shard_path(row, modality)
        if path is None:
            return None
        record = find_modality(modality)
        if not isinstance(record, DerivedModality):
            return self._read_shard(path, str(self._clips["clip_id"].iat[row]))
        sources = {source: self.read(row, source) for source in record.sources}
        there = {source: rows for source, rows in sources.items() if rows is not None}
        rows = record.derive(there) if len(there) == len(sources) else None
        usual = self._usual.get((modality, str(self._clips["challenge"].iat[row])))
        return rows if rows is None or usual is None else record.relate(rows, usual)

    def close(self) -> None:
        self._shards.close()

    def _read_shard(self, path: str, clip_id: str) -> ModalityRows | None:
        reader = self._shards.reader(storage.join(self._workspace, path))
        # A shard may have been made anew since and lack the clip, or hold one that has moved: clips.parquet decides.
        return reader.read(clip_id, crops=False) if clip_id in reader.clip_ids else None


def references_table(workspace: str, clips: pd.DataFrame, training: np.ndarray, modalities: Sequence[str]) -> pa.Table:
    """`reference` of derived modalities, for some training clips of each challenge: an array a row.

    Of REFERENCES_SCHEMA. clips: clips.parquet; training: bool, of each of them; modalities: those of the dataset.
    """
    reader, records = RowReader(workspace, clips), []
    for record in derived_modalities(modalities):
        rows = np.flatnonzero(training & clips[f"shard_{record.name}"].notna().to_numpy(bool))
        for challenge, members in pd.Series(rows).groupby(clips["challenge"].to_numpy()[rows]):
            for row in _spread(members.to_numpy(), MOST_REFERENCES):
                derived = reader.read(row, record.name)
                arrays = record.reference(derived) if derived is not None else {}
                about = (str(clips["clip_id"].iat[row]), str(challenge), record.name)
                records += [(*about, name, list(values.shape), values.ravel()) for name, values in arrays.items()]
    reader.close()
    columns = list(zip(*records, strict=True)) if records else [()] * len(REFERENCES_SCHEMA)
    return pa.table(
        [pa.array(list(column), field.type) for column, field in zip(columns, REFERENCES_SCHEMA, strict=True)],
        schema=REFERENCES_SCHEMA,
    )


def _spread(rows: np.ndarray, most: int) -> Iterator[int]:
    """At most `most` of the rows, evenly."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    return iter(rows[places].tolist())


def read_usual(dataset_folder: DatasetFolder) -> Usual:
    """What is usual in each challenge of the dataset, for each derived modality that compares clips."""
    usual = {}
    for (modality, challenge), of_challenge in dataset_folder.read_references().groupby(["modality", "challenge"]):
        record = find_modality(str(modality))
        assert isinstance(record, DerivedModality)
        references = [
            {
                str(row.name): np.array(row.values, np.float32).reshape(row.shape)
                for row in of_clip[["name", "shape", "values"]].itertuples(index=False, name="Array")
            }
            for _, of_clip in of_challenge.groupby("clip_id", sort=False)
        ]
        usual[str(modality), str(challenge)] = record.find_usual(references)
    return usual
