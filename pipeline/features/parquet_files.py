"""Parquet files of this pipeline: the metadata of all of them, and opening them with errors that say what to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import DamagedFile, WorkspaceError
from pipeline.files.checksums import CHECKSUM, DATA_CHECKSUM, PLACE, read_footer

SCHEMA_VERSION = 2  # raise it with every change to what a shard holds; it is part of every feature's fingerprint
ENDINGS_VERSION = 2  # raise it when endings hold something else: clips are decoded again for them, features stay

# Keys of a file's metadata that the writer sets; all other keys are the caller's (pipeline.features.shards.provenance).
SCHEMA_KEY = "schema_version"
KIND_KEY = "modality"  # one of MODALITIES, or ENDINGS
TENSORS_KEY = "tensors"  # JSON {column: {"shape": ..., "dtype": ...}}
CLIPS_KEY = "clips"  # JSON [clip_id] of the clips that were processed, in the order of their row groups
SKIPPED_KEY = "skipped"  # JSON {clip_id: reason} of the clips that have no rows: they failed, or cannot be heard
NOBODY_KEY = "nobody"  # pose: JSON {clip_id: {"frame_index": [T], "timestamp": [T]}} of the clips without a person
WRITER_KEYS = frozenset(
    {
        SCHEMA_KEY,
        KIND_KEY,
        TENSORS_KEY,
        CLIPS_KEY,
        SKIPPED_KEY,
        NOBODY_KEY,
        PLACE,
        CHECKSUM,
        DATA_CHECKSUM,
        "huggingface",
    }
)

ENDINGS = "endings"


def open_parquet(
    path: str, kind: str | None = None, content: pa.NativeFile | None = None
) -> tuple[pq.ParquetFile, dict[str, str]]:
    """Open a file of this pipeline and return it with its metadata; only the footer is read, and checked.

    To be called, and the file to be read, inside `reading`. kind: the modality it must be of, or ENDINGS. content: of
    the file, where it was read already.
    """
    local = storage.is_local(path)
    if content is not None:
        source = content
    elif local:
        source = pa.OSFile(str(storage.local_path(path)))
    else:
        filesystem, inner = storage.remote(path)
        # Exact ranges: the default of s3fs reads 50 MB ahead, where one clip is some 100 kB.
        source = filesystem.open(inner, "rb", cache_type="none")
    try:
        return _checked(path, kind, source, pre_buffer=content is None and not local)
    except BaseException:
        source.close()
        raise


def _checked(path: str, kind: str | None, source: Any, pre_buffer: bool) -> tuple[pq.ParquetFile, dict[str, str]]:
    """pre_buffer joins the reads of a row group's columns: fewer requests to an object store, of no use on a disk."""
    footer, metadata = read_footer(path, source)
    metadata.pop("ARROW:schema", None)
    problem = ""
    if SCHEMA_KEY not in metadata or KIND_KEY not in metadata:
        problem = "is a Parquet file, but none that this pipeline wrote; take it out of the workspace"
    elif metadata[SCHEMA_KEY] != str(SCHEMA_VERSION):
        problem = (
            f"was written with schema version {metadata[SCHEMA_KEY]}, this version of vdv reads {SCHEMA_VERSION};"
            f" run the same command again to build it anew, or read it with the version that wrote it"
            f" ({metadata.get('code_version', 'not stated')})"
        )
    elif kind is not None and metadata[KIND_KEY] != kind:
        problem = f"holds {metadata[KIND_KEY]}, not {kind}; delete it and run the same command again"
    elif CHECKSUM not in metadata:
        raise DamagedFile(path, "its footer is not as it was written")
    if problem:
        raise WorkspaceError(f"{path} {problem}")
    file = pq.ParquetFile(source, metadata=footer, pre_buffer=pre_buffer, page_checksum_verification=True)
    return file, {key: value for key, value in metadata.items() if key not in (CHECKSUM, DATA_CHECKSUM)}


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what can go wrong with reading a file into WorkspaceErrors that say what to do."""
    try:
        yield
    except WorkspaceError:
        raise
    except FileNotFoundError as error:
        raise WorkspaceError(f"{path} is missing; BuildVDV makes it again, and of uploads ScoreUploads") from error
    except Exception as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        # Damage shows as an error of Arrow's, as an OSError without a number, or as columns that do not fit together.
        no_number = isinstance(error, OSError) and error.errno is None
        if no_number or isinstance(error, pa.ArrowException | ValueError):
            raise DamagedFile(path, what) from error
        raise WorkspaceError(
            f"{path} cannot be read ({what}); check its rights, or the network, and run again"
        ) from error


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn what can go wrong with writing a file into WorkspaceErrors that say what to do."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise storage.workspace_error("write", path, error) from error


def refuse_writer_keys(path: str, metadata: Mapping[str, str]) -> None:
    """Raise ValueError where a caller's metadata hold a key that the writer sets."""
    if taken := sorted(WRITER_KEYS & set(metadata)):
        raise ValueError(f"{path}: the metadata keys {taken} are set by the writer")
