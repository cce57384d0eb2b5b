"""The folder that an export is written to: it appears whole or not at all, whatever is killed."""

import fcntl
import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core import storage
from pipeline.core.errors import OptionError
from pipeline.core.text import visible

ABOUT = "vdv-export.json"  # in every export: what it was made of, and under FILES which files are its
FILES = "files"
_UNFINISHED = "vdv-part"


def check_out(out: str, workspace: str) -> Path:
    """The local folder that an export is to be written to, which is not there, empty, or an earlier export.

    Raises:
        OptionError: it is elsewhere, in the workspace, or holds something else.
    """
    if not storage.is_local(out):
        raise OptionError(f"--out is {out}; an export is written to a folder of this machine. Copy it from there")
    try:
        path = storage.local_path(out).resolve()
        if storage.is_local(workspace) and path.is_relative_to(storage.local_path(workspace).resolve()):
            raise OptionError(f"--out {out} is in the workspace {workspace}; name a folder outside it")
        if os.path.ismount(path):  # an export takes the place of a folder, which no other can do of this
            raise OptionError(f"--out {out} is where a filesystem is mounted; name a folder in it")
        if path.exists() and not path.is_dir():
            raise OptionError(f"--out {out} is a file; name a folder")
        check_replaceable(path, out)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a byte 0, links in a circle, no right to look
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"--out {visible(out)} cannot be used: {reason}; name another folder") from error
    return path


def check_replaceable(out: Path, given: str) -> None:
    """Refuse a folder that holds anything but what an earlier export wrote there: it would be lost.

    Args:
        given: how messages name it.

    Raises:
        OptionError: the message names the first such file.
    """
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / ABOUT).is_file():
        raise OptionError(f"--out {given} is not empty, and no earlier export; name another folder, or empty it")
    held = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_symlink() or not path.is_dir()}
    if others := sorted(held - {ABOUT, *_files_of(out)}):
        raise OptionError(
            f"--out {given} holds {visible(others[0])}, which the earlier export there did not write; move it away, or"
            " name another folder"
        )


def _files_of(out: Path) -> list[str]:
    """The files that an export says are its; none where it does not say so."""
    try:
        return list(json.loads((out / ABOUT).read_bytes())[FILES])
    except (ValueError, LookupError, TypeError):
        return []


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write to. It takes the place of `out` when the block ends well; else it is removed.

    The block writes ABOUT into it, to which the names of its files are added. What killed exports to the same place
    left beside it is removed first.

    Raises:
        OptionError: something was put into `out` meanwhile.
        WorkspaceError: there is no room, or no right to write there.
    """
    pattern = f".{out.name}.{_UNFINISHED}-"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _locked(out.parent):
            for left in out.parent.glob(f"{glob.escape(pattern)}*"):
                _remove_deserted(left)
            part = out.with_name(f"{pattern}{uuid.uuid4().hex[:12]}")
            part.mkdir()
            lock = os.open(part, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go when this process dies
    except OSError as error:
        raise storage.workspace_error("write", str(out), error) from error
    try:
        yield part
        _list_files(part)
        _flush(part)
        _replace(part, out)
    except OSError as error:
        raise storage.workspace_error("write", str(out), error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_deserted(folder: Path) -> None:
    """Remove the folder of an export that is not under way any more."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    finally:
        os.close(handle)
    shutil.rmtree(folder)


def _list_files(folder: Path) -> None:
    about = json.loads((folder / ABOUT).read_bytes())
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
    (folder / ABOUT).write_text(json.dumps(about | {FILES: files}, indent=1) + "\n")


def _flush(folder: Path) -> None:
    """Have all files on the disk before one of them is seen."""
    for path in folder.rglob("*"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(part: Path, out: Path) -> None:
    """Killed in between, the earlier export is gone, and this one not there yet."""
    if (out / ABOUT).is_file():
        check_replaceable(out, str(out))
        earlier = part.with_name(f".{out.name}.{_UNFINISHED}-{uuid.uuid4().hex[:12]}")
        out.rename(earlier)
        try:
            part.rename(out)
        except OSError:
            earlier.rename(out)
            raise
        shutil.rmtree(earlier)
    else:
        part.rename(out)  # of an empty folder, too; one that was filled meanwhile is left alone, with an error
