"""Folders of a workspace: where their files lie, whether they are there, and reading and writing them."""

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.files.checksums import check_file, check_parquet, file_hash, json_bytes, json_content, write_parquet

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folder:
    """A folder of a workspace, on any filesystem that fsspec knows."""

    workspace: str  # folder or URL that holds everything made
    place: str = ""  # relative to the workspace: files keep it so, that a workspace can be moved; "": the workspace

    @property
    def path(self) -> str:
        """Folder or URL."""
        return storage.join(self.workspace, self.place) if self.place else self.workspace

    @property
    def id(self) -> str:
        """The last part of the place."""
        return self.place.rstrip("/").rsplit("/", 1)[-1]

    def file(self, *names: str) -> str:
        """Path or URL of a file in the folder; of several names, below folders in it."""
        return storage.join(self.path, *names)

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return storage.exists(self.file(name))

    def is_intact(self, name: str) -> bool:
        """Whether the file is there and as it was written, as far as `checksums.check_file` looks.

        A damaged file is removed, with a warning, so that it is made again.
        """
        return is_intact(self.file(name), check_file)

    def are_all_intact(self, *names: str) -> bool:
        """The same of several files, each of which is looked at, so that all that is damaged is named at once."""
        intact = [self.is_intact(name) for name in names]
        return all(intact)

    def read_intact_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file's content; None where it is not there, or was damaged and is removed now, with a warning."""
        try:
            return self.read_json(name)
        except FileNotFoundError:
            return None
        except DamagedFile as damaged:
            discard(damaged)
            return None

    def hashes(self, *names: str) -> dict[str, str]:
        """sha256, hex, of files whose formats have no place for one; to be kept in a JSON file beside them."""
        return {name: file_hash(self.file(name)) for name in names}

    def have_hashes(self, hashes: Mapping[str, str]) -> bool:
        """Whether files are there and, on a local disk, as they were when `hashes` was taken.

        A damaged one is removed, with a warning.
        """
        intact = True
        for name, stated in hashes.items():
            path = self.file(name)
            if not storage.exists(path):
                intact = False
            elif storage.is_local(path) and file_hash(path) != stated:
                discard(DamagedFile(path, "its checksum is not that of its content"))
                intact = False
        return intact

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file's content. Raises DamagedFile."""
        path = self.file(name)
        return json_content(path, storage.read_bytes(path))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a JSON file, whole or not at all."""
        path = self.file(name)
        storage.write_bytes(path, json_bytes(path, content))

    def read_table(self, name: str) -> "pd.DataFrame":
        """A small Parquet file. Raises DamagedFile."""
        return read_table(self.file(name))

    def read_arrow(self, name: str) -> "pa.Table":
        """The same as an Arrow table. Raises DamagedFile."""
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(checked_table(self.file(name))))

    def read_table_if_there(self, name: str) -> "pd.DataFrame | None":
        """A small Parquet file; None where it is not there."""
        return self.read_table(name) if self.has(name) else None

    def write_table(self, name: str, table: "pd.DataFrame | pa.Table") -> None:
        """Writes a Parquet file, whole or not at all; a frame without its index."""
        import pyarrow as pa

        arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
        write_parquet(self.file(name), arrow)


_looking: ContextVar[bool] = ContextVar("looking", default=False)


@contextmanager
def only_looking() -> Iterator[None]:
    """Within it damaged files are named and left where they are."""
    before = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(before)


def discard(damaged: DamagedFile) -> None:
    """Remove a damaged file with a warning, so that whoever made it makes it again."""
    if _looking.get():
        log.warning(f"{damaged.path} is damaged ({damaged.what}); it would be removed, to be made again")
        return
    log.warning(f"{damaged.path} is damaged ({damaged.what}); it is removed, to be made again")
    storage.remove(damaged.path)


def is_intact(path: str, check: Callable[[str], object]) -> bool:
    """Whether a file is there and `check`, of pipeline.files.checksums, finds it whole; a damaged one is discarded."""
    try:
        check(path)
    except FileNotFoundError:
        return False
    except DamagedFile as damaged:
        discard(damaged)
        return False
    return True


def read_table(path: str) -> "pd.DataFrame":
    """A small Parquet file, on any filesystem. Raises DamagedFile."""
    import pandas as pd

    return pd.read_parquet(io.BytesIO(checked_table(path)))


def checked_table(path: str) -> bytes:
    """A small Parquet file's bytes. Raises DamagedFile."""
    data = storage.read_bytes(path)
    check_parquet(path, data)
    return data
