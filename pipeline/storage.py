"""Files of a workspace on any fsspec filesystem: every file appears whole or not at all."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.core import url_to_fs

from pipeline.errors import WorkspaceError

_STAGED = ".staged-"  # prefix of a local file that is still being written


def is_local(path: str) -> bool:
    return "://" not in path or path.startswith(("file://", "local://"))


def local_path(path: str) -> Path:
    """The filesystem path of a local `path` (plain or file://)."""
    return Path(url_to_fs(path)[1]) if "://" in path else Path(path)


def join(base: str, *parts: str) -> str:
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def exists(path: str) -> bool:
    filesystem, inner = url_to_fs(path)
    return filesystem.exists(inner)


def listing(folder: str) -> dict[str, int]:
    """Size in bytes of every finished file under `folder`, by its path relative to it. One listing, no stat a file."""
    if is_local(folder):
        root = str(local_path(folder))
        return dict(_walk(root, "")) if os.path.isdir(root) else {}
    filesystem, inner = url_to_fs(folder)
    inner = inner.rstrip("/")
    try:
        found = filesystem.find(inner, detail=True)
    except FileNotFoundError:
        return {}
    return {name[len(inner) :].lstrip("/"): info["size"] for name, info in found.items() if info["type"] == "file"}


def _walk(root: str, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(os.path.join(root, prefix)) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, name + "/")
            elif not entry.name.startswith(_STAGED):
                yield name, entry.stat().st_size


def read_bytes(path: str) -> bytes:
    """Raises FileNotFoundError."""
    with fsspec.open(path, "rb") as file:
        return file.read()


def write_bytes(path: str, data: bytes) -> None:
    """Writes a small file; a reader sees all of it or none."""
    with staged(path) as local:
        local.write_bytes(data)


@contextmanager
def staged(path: str) -> Iterator[Path]:
    """A local file to write; it takes its place at `path` when the block ends well, and is removed when it raises.

    On a local filesystem: flushed to disk, then renamed. On an object store: one upload.

    Raises:
        WorkspaceError: `path` cannot be written.
    """
    try:
        if is_local(path):
            target = local_path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f"{_STAGED}{uuid.uuid4().hex[:12]}-{target.name}"[:255])
        else:
            temporary = Path(tempfile.mkdtemp(prefix="vdv-")) / path.rsplit("/", 1)[-1]
    except OSError as error:
        raise WorkspaceError(f"cannot write {path}: {error.strerror}; check the workspace's folder and rights") from error
    try:
        yield temporary
        if is_local(path):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _sync_folder(target.parent)
        else:
            filesystem, inner = url_to_fs(path)
            filesystem.put_file(str(temporary), inner)
    finally:
        if is_local(path):
            temporary.unlink(missing_ok=True)
        else:
            shutil.rmtree(temporary.parent)


def _sync_folder(folder: Path) -> None:
    """A rename survives a power cut only once the folder itself is on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_stale(folder: str) -> int:
    """Removes what killed writers left under a local `folder`; returns how many files. Call when nobody writes."""
    if not is_local(folder):
        return 0
    stale = [path for path in local_path(folder).rglob(f"{_STAGED}*") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)
