"""Files of a workspace on any fsspec filesystem: every file appears whole or not at all."""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.core.errors import WorkspaceError, how_to_install

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_STAGED = ".staged-"  # prefix of a local file that is still being written; it ends in .part, so *.parquet leaves it out
_OUTBOX = "vdv-outbox-"  # prefix of temporary folders
FRESH_S = 60.0  # a temporary folder younger than this may belong to a process that has yet to lock it
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_local(path: str) -> bool:
    return "://" not in path or path.startswith(("file://", "local://"))


def local_path(path: str) -> Path:
    """The filesystem path of a local `path` (plain or file://)."""
    return Path(remote(path)[1]) if "://" in path else Path(path)


def join(base: str, *parts: str) -> str:
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def remote(path: str, **options: Any) -> "tuple[AbstractFileSystem, str]":
    """The filesystem of a URL and the path inside it. Listings that fsspec remembers are forgotten first.

    options: of the filesystem.

    Raises:
        WorkspaceError: no such filesystem, or its package is not installed.
    """
    from fsspec.core import url_to_fs  # here, for a decode worker needs none, and starts in a seventh less time

    with _explained("use", path):
        filesystem, inner = url_to_fs(path, **options)
        filesystem.invalidate_cache()  # else what another process wrote since would not be seen
    return filesystem, inner


def exists(path: str) -> bool:
    """Raises WorkspaceError where the filesystem cannot be asked."""
    if is_local(path):
        return local_path(path).exists()
    filesystem, inner = remote(path)
    with _explained("look at", path):
        return filesystem.exists(inner)


def info(path: str) -> dict:
    """Metadata of one remote file (fsspec's `info`): size, and ETag or times where the filesystem has them.

    Raises:
        FileNotFoundError: no such file.
        WorkspaceError: the filesystem does not answer.
    """
    filesystem, inner = remote(path)
    with _explained("look at", path):
        return filesystem.info(inner)


def infos(folder: str) -> dict[str, dict]:
    """`info` of every file directly in a remote folder, by name; {} where there is no folder. One listing."""
    filesystem, inner = remote(folder)
    try:
        with _explained("list", folder):
            entries = filesystem.ls(inner, detail=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rsplit("/", 1)[-1]: entry for entry in entries if entry["type"] == "file"}


def listing(folder: str, recursive: bool = True) -> dict[str, int]:
    """Size in bytes of every finished file under `folder`, by its path relative to it; {} where there is no folder.

    recursive: False gives the files directly in it only.

    One listing on an object store, one scan of the folders on a local disk; never a stat a file.

    Raises:
        WorkspaceError: the folder exists but cannot be read, or its filesystem does not answer.
    """
    if is_local(folder):
        root = str(local_path(folder))
        try:
            return dict(_walk(root, "", recursive))
        except OSError as error:
            raise workspace_error("list", error.filename or folder, error) from error
    filesystem, inner = remote(folder)
    inner = inner.rstrip("/")
    try:
        with _explained("list", folder):
            entries = filesystem.find(inner, maxdepth=None if recursive else 1, detail=True)
    except FileNotFoundError:
        return {}
    below = len(inner) + 1
    return {name[below:]: info["size"] for name, info in entries.items() if info["type"] == "file" and name[below:]}


def _walk(root: str, prefix: str, recursive: bool) -> Iterator[tuple[str, int]]:
    try:
        entries = os.scandir(os.path.join(root, prefix))
    except FileNotFoundError:  # never made, or removed since its parent was scanned
        return
    with entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith(_STAGED):
                continue
            if entry.is_dir():  # links too: a folder may have been moved to another disk
                if recursive:
                    yield from _walk(root, name + "/", recursive)
            elif entry.is_file():
                try:
                    yield name, entry.stat().st_size
                except FileNotFoundError:  # removed since the scan
                    continue


def read_bytes(path: str) -> bytes:
    """The whole file.

    Raises:
        FileNotFoundError: no such file.
        WorkspaceError: it exists but cannot be read, or its filesystem does not answer.
    """
    if is_local(path):
        with _explained("read", path):
            return local_path(path).read_bytes()
    filesystem, inner = remote(path)
    with _explained("read", path):
        return filesystem.cat_file(inner)


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """A file to read parts of. Raises what `read_bytes` does."""
    with _explained("read", path):
        if is_local(path):
            file = local_path(path).open("rb")
        else:
            filesystem, inner = remote(path)
            file = filesystem.open(inner, "rb", cache_type="none")
    with file, _explained("read", path):
        yield file


def write_bytes(path: str, data: bytes) -> None:
    """Write a small file; a reader sees all of it or none."""
    with staged(path) as local:
        local.write_bytes(data)


def remove(path: str) -> None:
    """Remove one file; no error where there is none."""
    try:
        if is_local(path):
            with _explained("remove", path):
                local_path(path).unlink()
        else:
            filesystem, inner = remote(path)
            with _explained("remove", path):
                filesystem.rm_file(inner)
    except FileNotFoundError:
        return


def remove_folder(folder: str) -> None:
    """Remove a folder and all that is in it; no error where there is none."""
    filesystem, inner = remote(folder)
    try:
        with _explained("remove", folder):
            filesystem.rm(inner, recursive=True)
    except FileNotFoundError:
        return


def move(source: str, target: str) -> None:
    """Move a file within a filesystem, whole or not at all, over what is at `target`. FileNotFoundError: no source."""
    with _explained("write", target):
        if is_local(target):
            local_path(target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(local_path(source), local_path(target))
            _sync_folder(local_path(target).parent)
            return
        filesystem, inner = remote(target)
        filesystem.cp_file(remote(source)[1], inner)  # an object store's server does
        filesystem.rm_file(remote(source)[1])


@contextmanager
def staged(path: str) -> Iterator[Path]:
    """A local file to write, which takes its place at `path` when the block ends well, and is removed when it raises.

    On a local filesystem: flushed to disk, then renamed. On an object store: one upload.

    Raises:
        WorkspaceError: `path` cannot be written, or the disk is full.
    """
    with _staged_local(path) if is_local(path) else _staged_remote(path) as temporary:
        yield temporary


@contextmanager
def _staged_local(path: str) -> Iterator[Path]:
    target = local_path(path)
    with _explained("write", path, missing_is_error=True):
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{_STAGED}{uuid.uuid4().hex[:12]}-{target.name}"[:250] + ".part")
    with _explained("write", path, missing_is_error=True):
        lock = os.open(temporary, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go when this process dies: see remove_stale
        with _disk_full_explained(path):
            yield temporary
        with _explained("write", path, missing_is_error=True):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(lock)


@contextmanager
def _staged_remote(path: str) -> Iterator[Path]:
    filesystem, inner = remote(path)
    with temporary_folder() as outbox:
        temporary = outbox / path.rsplit("/", 1)[-1]
        with _disk_full_explained(str(temporary)):
            yield temporary
        with _explained("write", path, missing_is_error=True):
            filesystem.put_file(str(temporary), inner)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for files that have no place yet, removed with all that is in it when the block ends.

    Those that killed processes left are removed first; that of this one, should it be killed, is left to the next.

    Raises:
        WorkspaceError: there is no room for it.
    """
    remove_stale_folders()
    with _explained("write", tempfile.gettempdir(), missing_is_error=True):
        folder = Path(tempfile.mkdtemp(prefix=_OUTBOX))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go when this process dies
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sync_folder(folder: Path) -> None:
    """A rename survives a power cut only once the folder itself is on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_stale(folder: str) -> int:
    """Remove the files that killed writers left, but none of living ones; return how many.

    Of a local `folder`: whatever is staged under it. Of a remote one: this machine's temporary folders from which
    uploads to anywhere were under way.
    """
    if not is_local(folder):
        return remove_stale_folders()
    removed = 0
    for path in local_path(folder).rglob(f"{_STAGED}*"):
        if _deserted(path):
            with _explained("remove", str(path)):
                path.unlink(missing_ok=True)
            removed += 1
    return removed


def remove_stale_folders() -> int:
    """Remove the temporary folders that killed processes left; return how many files were in them."""
    removed = 0
    for outbox in Path(tempfile.gettempdir()).glob(f"{_OUTBOX}*"):
        if _is_private(outbox) and _age_s(outbox) >= FRESH_S and _deserted(outbox):
            removed += sum(len(files) for _, _, files in os.walk(outbox))
            shutil.rmtree(outbox, ignore_errors=True)  # another process may be at it, too
    return removed


def _is_private(path: Path) -> bool:
    """Whether it is a folder that `mkdtemp` made for this user; others may put anything under such a name."""
    try:
        status = path.lstat()
    except FileNotFoundError:  # another process removed it
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # another process removed it
        return 0.0


def _deserted(path: Path) -> bool:
    """Whether no living process holds the lock of a staged file or folder."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # opening a FIFO would wait for its writer
    except (FileNotFoundError, PermissionError):  # another process removed it, or it is another user's
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


@contextmanager
def _explained(doing: str, path: str, missing_is_error: bool = False) -> Iterator[None]:
    """Turn whatever a filesystem or its network library raises into a WorkspaceError that says what to do.

    FileNotFoundError passes unchanged, unless `missing_is_error`.
    """
    try:
        yield
    except Exception as error:  # botocore, aiohttp, gcsfs ... each have families of their own, none an OSError
        if isinstance(error, WorkspaceError) or (isinstance(error, FileNotFoundError) and not missing_is_error):
            raise
        raise workspace_error(doing, path, error) from error


@contextmanager
def _disk_full_explained(path: str) -> Iterator[None]:
    """Turn the error of a full disk into a WorkspaceError; every other error of the block is the caller's."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise workspace_error("write", path, error) from error


def workspace_error(doing: str, path: str, error: Exception) -> WorkspaceError:
    """The error that says what could not be done, why, and what to do. doing: "write", "read", "list" and the like."""
    what = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return WorkspaceError(f"cannot {doing} {path}: {what}; {_advice(path, error)}")


def disk_error(error: OSError) -> str | None:
    """A message about a disk that is full or read-only, for an error that does not say where; None: it is another."""
    if error.errno not in {*DISK_FULL, errno.EROFS}:
        return None
    places = error.filename or f"in the workspace, or the folder for temporary files ({tempfile.gettempdir()})"
    return f"cannot write {places}: {error.strerror}; {_advice('', error)}"


def _advice(path: str, error: Exception) -> str:
    scheme = path.split("://", 1)[0] if "://" in path else "file"
    if isinstance(error, ImportError | ValueError) and not is_local(path):
        extra = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}.get(scheme)
        return how_to_install(extra) if extra else f"check the {scheme}:// at its start"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        where = "there" if is_local(path) else f"in {tempfile.gettempdir()}"  # from which it was to be uploaded
        return f"free some space {where} and run again; what was finished is kept"
    if is_local(path):
        return "check that the folder is there and that you may read and write it"
    access = type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError"} or isinstance(
        error, PermissionError
    )
    if scheme in {"s3", "s3a"}:
        if access:
            return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), and the rights on the bucket"
        if isinstance(error, FileNotFoundError):
            return "check the bucket's name and that it exists"
        return "check the network and, where the store is not Amazon's, AWS_ENDPOINT_URL_S3; then run again"
    if access:
        return "check your credentials for it and your rights there"
    return "check the address and the network, then run again; what was finished is kept"
