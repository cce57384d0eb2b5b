"""Folders of a workspace: where their files lie, whether they are there, and reading and writing them."""

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.core import storage

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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

    def read_json(self, name: str) -> Any:
        """A JSON file's content."""
        return json.loads(storage.read_bytes(self.file(name)))

    def write_json(self, name: str, content: object) -> None:
        """Writes a JSON file, whole or not at all."""
        storage.write_bytes(self.file(name), (json.dumps(content, indent=1) + "\n").encode())

    def read_table(self, name: str) -> "pd.DataFrame":
        """A small Parquet file."""
        return read_table(self.file(name))

    def read_table_if_there(self, name: str) -> "pd.DataFrame | None":
        """A small Parquet file; None where it is not there."""
        return self.read_table(name) if self.has(name) else None

    def write_table(self, name: str, table: "pd.DataFrame | pa.Table") -> None:
        """Writes a Parquet file, whole or not at all; a frame without its index."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
        with (
            storage.staged(self.file(name)) as local,
            pq.ParquetWriter(local, arrow.schema, compression="zstd") as file,
        ):
            if arrow.num_rows:  # Hugging Face's datasets refuse a row group without rows
                file.write_table(arrow)


def read_table(path: str) -> "pd.DataFrame":
    """A small Parquet file, on any filesystem."""
    import pandas as pd

    return pd.read_parquet(io.BytesIO(storage.read_bytes(path)))
