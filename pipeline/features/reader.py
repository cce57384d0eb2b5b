"""Random access to the clips of shards, as rows or as torch tensors with masks."""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.core.errors import WorkspaceError
from pipeline.features.columns import from_table
from pipeline.features.parquet_files import CLIPS_KEY, KIND_KEY, NOBODY_KEY, SKIPPED_KEY, open_parquet, reading
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.modalities.registry import extracted_names, find_extracted


@dataclass(frozen=True)
class _Opened:
    """A shard's file handle and the content of its footer."""

    process: int
    file: pq.ParquetFile
    metadata: dict[str, str]
    clip_ids: tuple[str, ...]
    row_groups: dict[str, int]  # by clip_id; of pose without the clips in `nobody`
    nobody: dict[str, dict[str, list]]
    skipped: dict[str, str]


class ShardReader:
    """One shard, read by clip. The footer is read on first use.

    It may be pickled and may cross a fork: each process opens the file for itself. Not for several threads at once.
    Every use raises WorkspaceError where the file is missing, damaged, or of another schema version.
    """

    def __init__(self, path: str):
        self.path = path
        self._state: _Opened | None = None

    @property
    def modality(self) -> str:
        return self._opened().metadata[KIND_KEY]

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's key-value metadata: the writer's (parquet_files) and its caller's."""
        return self._opened().metadata

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """The clips that were processed, in the shard's order, including those without a person."""
        return self._opened().clip_ids

    @property
    def skipped(self) -> Mapping[str, str]:
        """Why the other clips of the shard have no rows, by clip_id: the code of one that failed, or that of its sound
        (errors.SOUND_CODES), or that it is no longer in the manifest.
        """
        return self._opened().skipped

    def read(self, clip_id: str, crops: bool = True) -> ModalityRows:
        """One clip's rows; reads that clip's part of the file only.

        crops: False does not read the JPEG files of faces, most of their bytes: `crop` is then empty.

        Raises:
            KeyError: the clip is not in this shard, or was skipped.
            WorkspaceError: its part of the file is damaged.
        """
        opened = self._opened()
        if grid := opened.nobody.get(clip_id):
            frame_index, timestamp = np.array(grid["frame_index"], np.int32), np.array(grid["timestamp"], np.float32)
            return find_extracted(self.modality).rows(clip_id, Grid(frame_index, timestamp))
        if clip_id not in opened.row_groups:
            why = f"was skipped ({opened.skipped[clip_id]})" if clip_id in opened.skipped else "is not of this shard"
            raise KeyError(f"{self.path} has no rows of clip {clip_id}: it {why}")
        columns = None
        if not crops:
            columns = [column.name for column in find_extracted(self.modality).columns if column.name != "crop"]
        with reading(self.path):
            table = opened.file.read_row_group(opened.row_groups[clip_id], columns=columns, use_threads=False)
            rows = from_table(opened.metadata[KIND_KEY], table)
            if rows.clip_id != clip_id:
                raise ValueError(f"row group {opened.row_groups[clip_id]} holds clip {rows.clip_id}, not {clip_id}")
        return rows

    def __iter__(self) -> Iterator[ModalityRows]:
        """The rows of all processed clips, in the shard's order."""
        return map(self.read, self.clip_ids)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._state is not None and self._state.process == os.getpid():
            self._state.file.close(force=True)
        self._state = None

    def __getstate__(self) -> dict:
        return {"path": self.path, "_state": None}

    def _opened(self) -> _Opened:
        # After a fork the handle shares file position and connections with the parent: open anew.
        if self._state is None or self._state.process != os.getpid():
            self._state = _open_shard(self.path)
        return self._state


def _open_shard(path: str) -> _Opened:
    with reading(path):
        file, metadata = open_parquet(path)
        try:
            return _indexed(path, file, metadata)
        except BaseException:
            file.close(force=True)
            raise


def _indexed(path: str, file: pq.ParquetFile, metadata: dict[str, str]) -> _Opened:
    if metadata[KIND_KEY] not in extracted_names():
        raise WorkspaceError(f"{path} holds {metadata[KIND_KEY]}, which is no modality")
    clip_ids = tuple(json.loads(metadata[CLIPS_KEY]))
    nobody = json.loads(metadata.get(NOBODY_KEY, "{}"))
    with_rows = [clip_id for clip_id in clip_ids if clip_id not in nobody]
    clips_of_groups = []
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(0).statistics
        clips_of_groups.append(statistics.min if statistics and statistics.min == statistics.max else None)
    if clips_of_groups != with_rows:
        raise ValueError("its row groups are not of the clips that it lists")
    row_groups = {clip_id: group for group, clip_id in enumerate(with_rows)}
    return _Opened(os.getpid(), file, metadata, clip_ids, row_groups, nobody, json.loads(metadata[SKIPPED_KEY]))


class ReaderCache:
    """The readers of the shards used last, kept open; after pickling none is."""

    def __init__(self, max_open: int):
        """max_open: shards kept open at once; each costs a file handle and its footer."""
        self._max_open = max_open
        self._readers: OrderedDict[str, ShardReader] = OrderedDict()

    def reader(self, path: str) -> ShardReader:
        reader = self._readers.pop(path, None) or ShardReader(path)
        self._readers[path] = reader
        while len(self._readers) > self._max_open:
            self._readers.popitem(last=False)[1].close()
        return reader

    def close(self) -> None:
        while self._readers:
            self._readers.popitem()[1].close()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_readers": OrderedDict()}


class FeatureStore:
    """Finds the shard of a clip in each modality and reads it there.

    Keeps the files used last open. It may be pickled and may cross a fork (DataLoader workers), with its index of clips
    but without open files.
    """

    def __init__(self, paths_by_modality: Mapping[str, Sequence[str]], max_open: int = 16):
        """max_open: shards kept open at once, over all modalities."""
        self._paths = {modality: tuple(paths) for modality, paths in paths_by_modality.items()}
        self._paths_by_clip: dict[str, dict[str, str]] = {}  # modality -> clip_id -> path
        self._skipped: dict[str, dict[str, str]] = {}
        self._open = ReaderCache(max_open)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self._paths)

    def clip_ids(self, modality: str) -> tuple[str, ...]:
        """The processed clips of all shards. The first call reads every footer of the modality.

        Raises:
            WorkspaceError: a shard is missing, damaged or of another modality, or two shards hold the same clip.
        """
        return tuple(self._index(modality))

    def has(self, modality: str, clip_id: str) -> bool:
        return clip_id in self._index(modality)

    def skipped(self, modality: str) -> Mapping[str, str]:
        """Reasons why clips have no rows, by clip_id, over all shards."""
        self._index(modality)
        return self._skipped[modality]

    def read(self, modality: str, clip_id: str, crops: bool = True) -> ModalityRows:
        """One clip's rows; see ShardReader.read, also for what is raised."""
        index = self._index(modality)
        if clip_id not in index:
            why = self._skipped[modality].get(clip_id)
            raise KeyError(
                f"clip {clip_id} has no {modality} rows: it {f'was skipped ({why})' if why else 'is in no shard'}"
            )
        return self._open.reader(index[clip_id]).read(clip_id, crops)

    def close(self) -> None:
        self._open.close()

    def _index(self, modality: str) -> dict[str, str]:
        if modality not in self._paths:
            raise KeyError(f"this store has no {modality}, only {', '.join(self._paths) or 'nothing'}")
        if modality not in self._paths_by_clip:
            index: dict[str, str] = {}
            skipped: dict[str, str] = {}
            for path in self._paths[modality]:
                reader = ShardReader(path)
                if reader.modality != modality:
                    raise WorkspaceError(f"{path} holds {reader.modality}, where {modality} is looked for")
                for clip_id in reader.clip_ids:
                    if clip_id in index:
                        raise WorkspaceError(
                            f"clip {clip_id} is in two shards: {index[clip_id]} and {path}; delete one"
                        )
                    index[clip_id] = path
                skipped.update(reader.skipped)
                reader.close()
            self._paths_by_clip[modality], self._skipped[modality] = index, skipped
        return self._paths_by_clip[modality]


def tensors(rows: ModalityRows) -> Any:
    """A clip's rows copied to torch tensors on the CPU: float32, int64 for indices, bool for masks.

    PoseTensors, FaceTensors, of all others FeatureTensors (pipeline.modalities). They lack the crops of faces and the
    categories of scenes, which are in the rows.
    """
    return find_extracted(rows.modality).tensors(rows)
