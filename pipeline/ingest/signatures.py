"""Signatures of clips' files: texts that change when a file does, made of its size and its filesystem's metadata."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError

MISSING = "missing"
UNREACHABLE = "unreachable:"

_LIST_FROM = 64  # clips of one folder from which listing it beats asking for each, though it may hold many others
_THREADS = 16  # requests under way at a time
_UNLISTED = ("http://", "https://")  # fsspec "lists" a web server by reading links out of its pages
# What filesystems call the identity or age of an object, best first. Size alone is what is left for those without any.
_IDENTITY = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "mtime", "updated", "created")


def file_signatures(uris: Sequence[str]) -> list[str]:
    """The signature of the file at each uri, equal as long as the file is (very probably) the same; no file is read.

    Local: size and time of change (ns). Remote: size and ETag, else checksum, else time of change, as the store states
    them; only the size where it states none. "missing" where there is no file, "unreachable:<error>" where the
    filesystem does not say. Folders that hold many of the clips are listed at once; the other remote files are asked
    for one by one, some at a time.
    """
    by_uri: dict[str, str] = {}
    folders: dict[str, list[str]] = defaultdict(list)
    for uri in dict.fromkeys(uris):
        if storage.is_local(uri):
            by_uri[uri] = _local(uri)
        else:
            folders[uri.rsplit("/", 1)[0]].append(uri)
    single: list[str] = []
    for folder, members in folders.items():
        if len(members) < _LIST_FROM or folder.startswith(_UNLISTED) or "::" in folder:
            single += members
        else:
            by_uri.update(_listed(folder, members))
    if single:
        with ThreadPoolExecutor(_THREADS) as pool:
            by_uri.update(zip(single, pool.map(_remote, single), strict=True))
    return [by_uri[uri] for uri in uris]


def states_content(signature: str) -> bool:
    """Whether an equal signature later means an equal file: not where the file was missing or out of reach."""
    return signature != MISSING and not signature.startswith(UNREACHABLE)


def _local(uri: str) -> str:
    try:
        stat = os.stat(storage.local_path(uri) if "://" in uri else uri)
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except OSError as error:
        return UNREACHABLE + type(error).__name__
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _remote(uri: str) -> str:
    try:
        return _from_info(storage.info(uri))
    except FileNotFoundError:
        return MISSING
    except WorkspaceError as error:
        return UNREACHABLE + type(error.__cause__ or error).__name__


def _listed(folder: str, uris: Iterable[str]) -> dict[str, str]:
    try:
        entries = storage.infos(folder)
    except WorkspaceError as error:
        return dict.fromkeys(uris, UNREACHABLE + type(error.__cause__ or error).__name__)
    names = {uri: uri.rsplit("/", 1)[1] for uri in uris}
    return {uri: _from_info(entries[name]) if name in entries else MISSING for uri, name in names.items()}


def _from_info(info: Mapping) -> str:
    """The signature from a filesystem's info; the same whether the folder was listed or the file asked for alone."""
    size = info.get("size")
    for key in _IDENTITY:
        value = info.get(key)
        if value is not None:
            return f"{size}-{_text(value)}"
    return f"{size}"


def _text(value: object) -> str:
    """One text for a time given as datetime or as seconds (fsspec's memory filesystem gives both)."""
    if isinstance(value, datetime):
        value = value.timestamp()
    return str(round(value * 1e6)) if isinstance(value, float) else str(value).strip('"')
