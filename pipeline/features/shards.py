"""Shards: Parquet files of many clips, one row group a clip. Reading them by clip is `pipeline.features.reader`."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.fingerprint import canonical_json
from pipeline.features.columns import arrow_schema, shapes, to_batch
from pipeline.features.parquet_files import (
    CLIPS_KEY,
    KIND_KEY,
    NOBODY_KEY,
    SCHEMA_KEY,
    SCHEMA_VERSION,
    SKIPPED_KEY,
    TENSORS_KEY,
    refuse_writer_keys,
    writing,
)
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.modalities.registry import find_modality

_WRITE_OPTIONS = {
    "compression": "zstd",
    "use_dictionary": False,
    # Of clip_id alone: a query for one clip then skips all other row groups, and the reader can check its index.
    "write_statistics": ["clip_id"],
    "write_page_checksum": True,  # a flipped bit is an error, not a feature
}


def provenance(
    *, profile: str, weights: Mapping[str, str], decoder: str, options: object, code_version: str = ""
) -> dict[str, str]:
    """What every shard says of its making, as a file's key-value metadata.

    weights: sha256, hex, by the network's name. decoder: names with versions, "decord 0.6.0, pyav 14.2.0".
    options: what `fingerprint` takes. code_version: of this package unless given.
    """
    return {
        "profile": profile,
        "weights": canonical_json(weights),
        "decoder": decoder,
        "options": canonical_json(options),
        "code_version": code_version or version("vdv"),
    }


class ShardWriter:
    """Writes one modality's shard. Clips may come in any order; the file is the same, byte for byte.

    As a context manager it publishes the file when the block ends well and leaves nothing when it raises (or is killed:
    then a temporary file may stay, which pipeline.core.storage.remove_stale takes away).

    A clip's rows are written as soon as those of all clips before it in `order` are; till then they are held in memory,
    so feed it roughly in order.
    """

    def __init__(self, path: str, modality: str, order: Sequence[str], metadata: Mapping[str, str]):
        """order: the clip_ids of the shard, each to be added or skipped. metadata: `provenance` and the like.

        Raises:
            ValueError: a clip is twice in `order`, or `metadata` holds a key that is the writer's own.
        """
        self._record = find_modality(modality)
        if len(set(order)) != len(order):
            raise ValueError(f"{path}: a clip is in the shard's order twice")
        refuse_writer_keys(path, metadata)
        self.path = path
        self.modality = modality
        self._order = tuple(order)
        self._positions = {clip_id: position for position, clip_id in enumerate(order)}
        self._metadata = dict(metadata)
        # By position; Grid: a clip without rows because nobody is in it; str: the reason why a clip has none.
        self._pending: dict[int, pa.RecordBatch | Grid | str] = {}
        self._next = 0  # position of the first clip that is not written yet
        self._clips: list[str] = []
        self._skipped: dict[str, str] = {}
        self._nobody: dict[str, dict[str, list]] = {}
        axes = {axis for column in self._record.columns for axis in column.shape.split(",")}
        self._width: int | None = None if "D" in axes else 0  # of features; None: no frame seen yet
        self._file: pq.ParquetWriter | None = None
        self._staged = ExitStack()
        self._closed = False

    @property
    def pending(self) -> int:
        """How many clips wait in memory for one before them."""
        return len(self._pending)

    def add(self, rows: ModalityRows) -> None:
        """Takes the rows of one clip.

        Raises:
            TypeError: rows of another modality.
            ValueError: a clip not in `order` or already there; arrays that are not as its class promises.
            WorkspaceError: the file cannot be written (disk full, no rights).
        """
        if rows.modality != self.modality:
            raise TypeError(f"{self.path} takes {self.modality} rows, not {rows.modality} rows")
        # A clip without a frame need not know how wide a feature would have been.
        width = self._record.feature_width(rows) if len(rows.grid.frame_index) else self._width
        if self._width not in (None, width):
            raise ValueError(f"{self.path}: features of clip {rows.clip_id} are {width} wide, others {self._width}")
        batch = to_batch(rows)
        self._expect(rows.clip_id)
        self._width = width
        self._take(rows.clip_id, batch if batch.num_rows else rows.grid)

    def skip(self, clip_id: str, reason: str) -> None:
        """States that a clip failed and has no rows; the file's metadata then say so. Raises as `add` does."""
        self._expect(clip_id)
        self._take(clip_id, reason)

    def close(self) -> None:
        """Publishes the file. No second effect when called again.

        Raises:
            ValueError: a clip of `order` was neither added nor skipped; the file is then not published.
            WorkspaceError: the file cannot be written.
        """
        if self._closed:
            return
        self._drain()
        if self._next < len(self._order):
            missing = [clip for at, clip in enumerate(self._order[self._next :], self._next) if at not in self._pending]
            self.discard()
            raise ValueError(f"{self.path}: neither added nor skipped: {', '.join(missing)}")
        try:
            with writing(self.path), self._staged:
                file = self._open()
                file.add_key_value_metadata(self._final_metadata())
                file.close()
        finally:
            self._closed = True
            self._file = None  # it would keep the file's footer: 2 MB a shard of 64 clips in four modalities

    def discard(self) -> None:
        """Leaves nothing at `path` (what was there before stays)."""
        if self._closed:
            return
        self._closed = True
        if self._file is not None:
            with suppress(OSError, pa.ArrowException):  # a full disk; the file is thrown away all the same
                self._file.close()
        with suppress(_Discarded), self._staged:
            raise _Discarded

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _expect(self, clip_id: str) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        position = self._positions.get(clip_id)
        if position is None:
            raise ValueError(f"{self.path}: clip {clip_id} is not of this shard")
        if position < self._next or position in self._pending:
            raise ValueError(f"{self.path}: clip {clip_id} was already added or skipped")

    def _take(self, clip_id: str, what: pa.RecordBatch | Grid | str) -> None:
        self._pending[self._positions[clip_id]] = what
        if self._width is not None:  # the schema says it, so no file can be begun without
            self._drain()

    def _drain(self) -> None:
        while self._next in self._pending:
            self._write(self._order[self._next], self._pending.pop(self._next))
            self._next += 1

    def _write(self, clip_id: str, what: pa.RecordBatch | Grid | str) -> None:
        if isinstance(what, str):
            self._skipped[clip_id] = what
            return
        if isinstance(what, Grid):
            # float(str(x)): the shortest decimal that is this float32, not the 17 digits of its float64.
            timestamps = [float(str(second)) for second in what.timestamp]
            self._nobody[clip_id] = {"frame_index": what.frame_index.tolist(), "timestamp": timestamps}
        else:
            with writing(self.path):
                self._open().write_batch(what)
        self._clips.append(clip_id)

    def _open(self) -> pq.ParquetWriter:
        if self._file is None:
            local = self._staged.enter_context(storage.staged(self.path))
            self._file = pq.ParquetWriter(str(local), arrow_schema(self.modality, self._width or 0), **_WRITE_OPTIONS)
        return self._file

    def _final_metadata(self) -> dict[str, str]:
        own = {
            SCHEMA_KEY: str(SCHEMA_VERSION),
            KIND_KEY: self.modality,
            TENSORS_KEY: json.dumps(shapes(self.modality, self._width or 0)),
            CLIPS_KEY: json.dumps(self._clips),
            SKIPPED_KEY: json.dumps(self._skipped),
        }
        if self._record.row_per_person:
            own[NOBODY_KEY] = json.dumps(self._nobody)
        return own | dict(sorted(self._metadata.items()))


class _Discarded(Exception):
    """Makes pipeline.core.storage.staged take its file away."""
