"""Tables and shards of a workspace read for the clips in them, whichever version wrote them, damaged or not."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.features.parquet_files import CLIPS_KEY, SKIPPED_KEY
from pipeline.files.checksums import read_footer

UPLOADS = "uploads"  # folder of the workspace: clips scored by ScoreUploads
GONE = "vdv.gone"  # key of an ingest table's metadata, as pipeline.ingest.clip_table writes it


def table_names(workspace: str) -> list[str]:
    """`<batch>/<file>` of the tables of clips in clips/, those of earlier states and of ingests under way included."""
    names = storage.listing(storage.join(workspace, "clips"))
    return sorted(name for name in names if name.count("/") == 1 and name.endswith(".parquet"))


def read_table(path: str, *columns: str) -> tuple[list[dict], dict[str, str]] | None:
    """Rows, of these columns as far as the file has them, and metadata; None: the file is gone or cannot be read."""
    try:
        data = storage.read_bytes(path)
        footer, metadata = read_footer(path, io.BytesIO(data))
        present = [name for name in columns if name in footer.schema.to_arrow_schema().names]
        return pq.read_table(pa.BufferReader(data), columns=present).to_pylist(), metadata
    except (FileNotFoundError, DamagedFile, pa.ArrowException, OSError):
        return None


def shard_clips(path: str) -> tuple[str, ...] | None:
    """The clips that a shard of features speaks of, with those that it skipped; None: its footer cannot be read."""
    try:
        with storage.opened(path) as file:
            _, metadata = read_footer(path, file)
    except (FileNotFoundError, DamagedFile):
        return None
    return (*json.loads(metadata.get(CLIPS_KEY, "[]")), *json.loads(metadata.get(SKIPPED_KEY, "{}")))
