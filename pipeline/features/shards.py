"""Writing of shards: Parquet files of many clips, one row group a clip. `pipeline.features.reader` reads them."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
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
from pipeline.files.checksums import close_parquet
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.modalities.registry import find_extracted

_WRITE_OPTIONS = {
    "compression": "zstd",
    "use_dictionary": False,
    # Only of clip_id: a query for one clip then skips all other row groups, and the reader can check its index.
    "write_statistics": ["clip_id"],
    "write_page_checksum": True,  # a flipped bit is an error, not a feature
}


def provenance(
    *, profile: str, weights: Mapping[str, str], decoder: str, options: object, code_version: str = ""
) -> dict[str, str]:
    """Provenance of a shard, as a file's key-value metadata.

    weights: sha256, hex, by the network's name. decoder: names with versions, "decord 0.6.0, pyav 14.2.0".
    options: what `fingerprint` takes. code_version: of this package unless given.
    """
    return {
        "profile": profile,
        "weights": canonical_json(weights),
        "decoder": decoder,
        "options": canonical_json(options),
        "code_version": code_version or _own_version(),
    }


@cache
def _own_version() -> str:
    return version("vdv")


class ShardWriter:
    """Writes one modality's shard. Clips may come in any order; the file is the same, byte for byte.

    As a context manager it publishes the file when the block ends, and leaves nothing when it raises (when it is
    killed, a temporary file may stay, which pipeline.core.storage.remove_stale deletes).

    A clip's rows are written as soon as those of all clips before it in `order` are, and held in memory until then, so
    clips should come roughly in order.
    """

    def __init__(self, path: str, modality: str, order: Sequence[str], metadata: Mapping[str, str]):
        """order: the clip_ids of the shard, each to be added or skipped. metadata: as of `provenance`.

        Raises:
            ValueError: a clip is twice in `order`, or `metadata` holds a key that the writer sets.
        """
        self._record = find_extracted(modality)
        if len(set(order)) != len(order):
            raise ValueError(f"{path}: a clip is in the shard's order twice")
        refuse_writer_keys(path, metadata)
        self.path = path
        self.modality = modality
        self._order = tuple(order)
        self._positions = {clip_id: position for position, clip_id in enumerate(order)}
        self._metadata = dict(metadata)
        # By position. Grid: a clip without rows, for nobody is in it; str: the reason why a skipped clip has none.
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
        """Number of clips held in memory until those before them are written."""
        return len(self._pending)

    def add(self, rows: ModalityRows) -> None:
        """Add the rows of one clip.

        Raises:
            TypeError: rows of another modality.
            ValueError: a clip not in `order` or already added; arrays of a wrong shape or dtype.
            WorkspaceError: the file cannot be written (disk full, no rights).
        """
        if rows.modality != self.modality:
            raise TypeError(f"{self.path} takes {self.modality} rows, not {rows.modality} rows")
        # A clip without a frame does not know the width of features.
        width = self._record.feature_width(rows) if len(rows.grid.frame_index) else self._width
        if self._width not in (None, width):
            raise ValueError(f"{self.path}: features of clip {rows.clip_id} are {width} wide, others {self._width}")
        batch = to_batch(rows)
        self._check_order(rows.clip_id)
        self._width = width
        self._enqueue(rows.clip_id, batch if batch.num_rows else rows.grid)

    def skip(self, clip_id: str, reason: str) -> None:
        """Record in the file's metadata that a clip has no rows, and why. Raises as `add` does."""
        self._check_order(clip_id)
        self._enqueue(clip_id, reason)

    def close(self) -> None:
        """Publish the file. A second call has no effect.

        Raises:
            ValueError: a clip of `order` was neither added nor skipped; the file is then not published.
            WorkspaceError: the file cannot be written.
        """
        if self._closed:
            return
        self._drain()
        if self._next < len(self._order):
            missing = [clip for clip in self._order[self._next :] if self._positions[clip] not in self._pending]
            self.discard()
            raise ValueError(f"{self.path}: neither added nor skipped: {', '.join(missing)}")
        try:
            with writing(self.path), self._staged:
                file = self._open()
                close_parquet(file, self._local, self.path, self._final_metadata())
        finally:
            self._closed = True
            self._file = None  # frees the file's footer: 2 MB a shard of 64 clips in four modalities

    def discard(self) -> None:
        """Publish nothing (an earlier file at `path` stays)."""
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

    def _check_order(self, clip_id: str) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        position = self._positions.get(clip_id)
        if position is None:
            raise ValueError(f"{self.path}: clip {clip_id} is not of this shard")
        if position < self._next or position in self._pending:
            raise ValueError(f"{self.path}: clip {clip_id} was already added or skipped")

    def _enqueue(self, clip_id: str, content: pa.RecordBatch | Grid | str) -> None:
        self._pending[self._positions[clip_id]] = content
        if self._width is not None:  # part of the schema, so no file can be opened without it
            self._drain()

    def _drain(self) -> None:
        while self._next in self._pending:
            self._write(self._order[self._next], self._pending.pop(self._next))
            self._next += 1

    def _write(self, clip_id: str, content: pa.RecordBatch | Grid | str) -> None:
        if isinstance(content, str):
            self._skipped[clip_id] = content
            return
        if isinstance(content, Grid):
            # float(str(x)): the shortest decimal that is this float32, not the 17 digits of its float64.
            timestamps = [float(str(second)) for second in content.timestamp]
            self._nobody[clip_id] = {"frame_index": content.frame_index.tolist(), "timestamp": timestamps}
        else:
            with writing(self.path):
                self._open().write_batch(content)
        self._clips.append(clip_id)

    def _open(self) -> pq.ParquetWriter:
        if self._file is None:
            self._local = self._staged.enter_context(storage.staged(self.path))
            self._file = pq.ParquetWriter(
                str(self._local), arrow_schema(self.modality, self._width or 0), **_WRITE_OPTIONS
            )
        return self._file

    def _final_metadata(self) -> dict[str, str]:
        metadata = {
            SCHEMA_KEY: str(SCHEMA_VERSION),
            KIND_KEY: self.modality,
            TENSORS_KEY: json.dumps(shapes(self.modality, self._width or 0)),
            CLIPS_KEY: json.dumps(self._clips),
            SKIPPED_KEY: json.dumps(self._skipped),
        }
        if self._record.row_per_person:
            metadata[NOBODY_KEY] = json.dumps(self._nobody)
        return metadata | dict(sorted(self._metadata.items()))


class _Discarded(Exception):
    """Makes pipeline.core.storage.staged delete its file."""
