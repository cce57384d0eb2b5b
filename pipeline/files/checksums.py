"""Checksums that lie inside a workspace's files, so that each can be checked by itself.

JSON         its first key, "$checksum": sha256 of all bytes behind it
Parquet      in the metadata "checksum": sha256 of the footer, with 64 zeros in the checksum's own place, and
             "data_checksum": sha256 of all before the footer. Each page has a CRC-32 besides, so that one clip can be
             read and checked without the others
safetensors  in the metadata "checksum": sha256 of the file, with 64 zeros in its own place
other        32 bytes in front: sha256 of the place (below) and all behind them; only of files that nobody else opens

Beside it ("$place" in JSON) stands the file's place in its workspace: a whole file in another one's place is damage,
too. The workspace can be moved, and files be copied out of it: what lies in no workspace's folders has no place.
"""

import hashlib
import io
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.core import storage
from pipeline.core.errors import DamagedFile

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CHECKSUM, DATA_CHECKSUM = "checksum", "data_checksum"  # keys of files' metadata
JSON_CHECKSUM, JSON_PLACE = "$checksum", "$place"  # no run, clip or challenge is called so
PLACE = "place"  # key of files' metadata

_JSON_START = f'{{\n "{JSON_CHECKSUM}": "'.encode()
_DIGITS = 64  # of a sha256 in hex
_ZEROS = b"0" * _DIGITS
_MAGIC = b"PAR1"
_TAIL = 65536  # bytes at a Parquet file's end that are read first; mostly its whole footer


# Of a workspace; all other files are in these folders.
_FOLDERS = {"clips", "commands", "features", "datasets", "runs", "uploads"}
_OUTSIDE_FOLDERS = {"latest.json", "tombstones.json", "purge.json"}


def place_of(path: str) -> str:
    """A file's path relative to the workspace that it lies in; "": it lies in none."""
    *folders, name = path.split("/")
    if name in _OUTSIDE_FOLDERS:
        return name
    at = max((at for at, folder in enumerate(folders) if folder in _FOLDERS), default=None)
    return "" if at is None else "/".join([*folders[at:], name])


def _check_place(path: str, stated: str) -> None:
    if (place := place_of(path)) and stated != place:
        raise DamagedFile(path, f"it holds what belongs into {stated}" if stated else "it does not state its place")


def json_bytes(path: str, content: Mapping[str, Any], ascii_only: bool = True, allow_nan: bool = True) -> bytes:
    """A JSON object as text, with its checksum as the first key; one that it was read with goes.

    path: where it is to lie. ascii_only: escape all other characters. allow_nan: else NaN and infinities, which JSON
    lacks, raise ValueError.
    """
    place = place_of(path)
    content = {key: value for key, value in content.items() if key not in (JSON_CHECKSUM, JSON_PLACE)}
    content = ({JSON_PLACE: place} if place else {}) | content
    text = json.dumps(content, indent=1, ensure_ascii=ascii_only, allow_nan=allow_nan)
    rest = ('"' + ("," if content else "\n") + text[1:] + "\n").encode()
    return _JSON_START + hashlib.sha256(rest).hexdigest().encode() + rest


def json_content(path: str, data: bytes) -> dict[str, Any]:
    """The object that `json_bytes` wrote, without its checksum and its place. Raises DamagedFile."""
    end = len(_JSON_START) + _DIGITS
    stated = data[len(_JSON_START) : end]
    if not data.startswith(_JSON_START) or hashlib.sha256(data[end:]).hexdigest().encode() != stated:
        raise DamagedFile(path, _difference(data))
    content = json.loads(data)
    del content[JSON_CHECKSUM]
    _check_place(path, content.pop(JSON_PLACE, ""))
    return content


def framed(path: str, data: bytes) -> bytes:
    """The bytes of a file that is to lie at `path`, behind their checksum."""
    return _framing(path, data) + data


def unframed(path: str, data: bytes) -> bytes:
    """The bytes that were given to `framed`. Raises DamagedFile."""
    if _framing(path, data[32:]) != data[:32]:
        raise DamagedFile(path, _difference(data))
    return data[32:]


def _framing(path: str, data: bytes) -> bytes:
    return hashlib.sha256(place_of(path).encode() + data).digest()


def file_hash(path: str) -> str:
    """sha256, hex, of a file's bytes."""
    return hashlib.sha256(storage.read_bytes(path)).hexdigest()


def placeholder() -> str:
    """Text to write where `seal` is to put a file's checksum; there is no second one like it."""
    return secrets.token_hex(_DIGITS // 2)


def seal(local: Path, mark: str) -> None:
    """Put the checksum of a whole file in the place of its placeholder."""
    data = local.read_bytes()
    digest = _digest(data, mark.encode())
    with local.open("r+b") as file:
        file.seek(data.index(mark.encode()))
        file.write(digest.encode())


def check_tensors(path: str, data: bytes) -> dict[str, str]:
    """Check a whole safetensors file and return the metadata that were written. Raises DamagedFile."""
    header = _tensors_header(path, data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = dict(header["__metadata__"])
    stated = metadata.pop(CHECKSUM, "")
    if not _is_digest(data, stated):
        raise DamagedFile(path, _difference(data))
    _check_place(path, metadata.pop(PLACE, ""))
    return metadata


def _check_tensors_size(path: str, file: IO[bytes]) -> None:
    length = int.from_bytes(file.read(8), "little")
    size = file.seek(0, 2)
    file.seek(8)
    header = _tensors_header(path, file.read(min(length, size)))
    ends = (tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
    if size != 8 + length + max(ends, default=0):
        raise DamagedFile(path, f"it has {size} bytes, and its header speaks of others")
    _check_place(path, header["__metadata__"].get(PLACE, ""))


def _tensors_header(path: str, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
        header["__metadata__"][CHECKSUM].encode()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedFile(path, "it does not begin as a file of tensors does" if text else "it is empty") from error
    return header


def close_parquet(writer: "pq.ParquetWriter", local: Path, path: str, metadata: Mapping[str, str]) -> None:
    """End the file that `writer` writes at `local` with its checksums and these metadata.

    path: where it is to lie. The writer must have been opened with `write_page_checksum`.
    """
    marks = {CHECKSUM: placeholder(), DATA_CHECKSUM: placeholder()}
    writer.add_key_value_metadata({**metadata, PLACE: place_of(path), **marks})
    writer.close()
    data = local.read_bytes()
    start = len(data) - _footer_length(data[-8:])
    footer = data[start:]
    of_data = hashlib.sha256(memoryview(data)[:start]).hexdigest()
    footer = footer.replace(marks[DATA_CHECKSUM].encode(), of_data.encode())
    digest = _digest(footer, marks[CHECKSUM].encode())
    with local.open("r+b") as file:
        file.seek(start)
        file.write(footer.replace(marks[CHECKSUM].encode(), digest.encode()))


def write_parquet(path: str, table: "pa.Table", metadata: Mapping[str, str] | None = None) -> None:
    """Write a table with checksums, whole or not at all. Raises WorkspaceError."""
    import pyarrow.parquet as pq

    with storage.staged(path) as local:
        writer = pq.ParquetWriter(local, table.schema, compression="zstd", write_page_checksum=True)
        if table.num_rows:  # Hugging Face's datasets refuse a row group without rows
            writer.write_table(table)
        close_parquet(writer, local, path, metadata or {})


def read_footer(path: str, file: IO[bytes]) -> "tuple[pq.FileMetaData, dict[str, str]]":
    """A Parquet file's footer and the key-value metadata in it; one read of the file's end, mostly.

    The footer is checked where it states a checksum; whether it does is for the caller to see, who knows more of what
    others write.

    Raises:
        DamagedFile: the footer is cut off or not as it was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    length = _footer_length(tail[-8:])
    if not 12 < length + 4 <= size:
        raise DamagedFile(path, "it is empty" if not size else "it does not end as a Parquet file does")
    if length > len(tail):
        file.seek(size - length)
        tail = file.read()
    footer = tail[-length:]
    try:
        parsed = pq.read_metadata(pa.BufferReader(footer))
        metadata = {key.decode(): value.decode() for key, value in (parsed.metadata or {}).items()}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedFile(path, "its footer cannot be read") from error
    if CHECKSUM in metadata and not _is_digest(footer, metadata[CHECKSUM]):
        raise DamagedFile(path, "its footer is not as it was written")
    if CHECKSUM in metadata:
        _check_place(path, metadata.pop(PLACE, ""))
    return parsed, metadata


def check_parquet_end(path: str) -> None:
    """Check a Parquet file's footer, and so that nothing is cut off. Raises DamagedFile, and as `storage.opened`."""
    with storage.opened(path) as file:
        _, metadata = read_footer(path, file)
    if CHECKSUM not in metadata:
        raise DamagedFile(path, "its footer is not as it was written")


def check_parquet(path: str, data: bytes) -> dict[str, str]:
    """Check a whole Parquet file and return its key-value metadata. Raises DamagedFile."""
    _, metadata = read_footer(path, io.BytesIO(data))
    start = len(data) - _footer_length(data[-8:])
    if CHECKSUM not in metadata or hashlib.sha256(memoryview(data)[:start]).hexdigest() != metadata.get(DATA_CHECKSUM):
        raise DamagedFile(path, "its content is not as it was written")
    return metadata


def check_file(path: str) -> None:
    """Check a file by what its name says it is; of one that has no checksum, that it is there.

    A Parquet or safetensors file is checked whole on a local disk. Elsewhere, where that would be a download, only its
    footer or header is; reading it checks the rest.

    Raises:
        FileNotFoundError: no such file.
        DamagedFile: it is not as it was written.
    """
    suffix = path[path.rfind(".") :]
    if suffix == ".json":
        json_content(path, storage.read_bytes(path))
    elif suffix == ".parquet":
        if storage.is_local(path):
            check_parquet(path, storage.read_bytes(path))
        else:
            check_parquet_end(path)
    elif suffix == ".safetensors":
        if storage.is_local(path):
            check_tensors(path, storage.read_bytes(path))
        else:
            with storage.opened(path) as file:
                _check_tensors_size(path, file)
    elif not storage.exists(path):
        raise FileNotFoundError(path)


def _footer_length(end: bytes) -> int:
    """Bytes of a Parquet file's footer with the 8 behind it, which are given; 0: it is none."""
    return int.from_bytes(end[:4], "little") + 8 if len(end) == 8 and end[4:] == _MAGIC else 0


def _is_digest(data: bytes, stated: str) -> bool:
    """Whether `stated`, which stands in `data`, is the digest of the rest."""
    blank = stated.encode()
    return len(blank) == _DIGITS and data.count(blank) == 1 and _digest(data, blank) == stated


def _digest(data: bytes, blank: bytes) -> str:
    """sha256, hex, of `data` with zeros where `blank` stands."""
    at = data.index(blank)
    whole = memoryview(data)
    digest = hashlib.sha256(whole[:at])
    digest.update(_ZEROS)
    digest.update(whole[at + _DIGITS :])
    return digest.hexdigest()


def _difference(data: bytes) -> str:
    return "it is empty" if not data else "its checksum is not that of its content"
