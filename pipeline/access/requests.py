"""Requests to the process that reads files elsewhere, its answers, and how many may be under way."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.access.rules import scheme

# Requests under way at a time. Of filesystems that hold a thread for each the memory limit counts its stack and heap,
# and a web server may answer whoever opens more connections with errors.
AT_ONCE = 16
MOST_FETCHES = 64  # the same of fetches from S3: at 50 ms each 1,280 clips a second
DISK_FULL = "disk full"  # `error` of an answer: no room on this machine
_LOOPED = ("s3", "s3a", "http", "https")  # fetched by one event loop, as s3fs and aiohttp can


@dataclass(frozen=True)
class Request:
    """A question about one file, or a folder to list, or a file to fetch."""

    op: Literal["info", "list", "fetch"]
    uri: str
    deadline_s: float


@dataclass(frozen=True)
class Answer:
    """Answer to a request. `code` is one of errors.CLIP_CODES; empty: it was answered."""

    result: Any = None  # info: fsspec's; list: fsspec's info by name
    code: str = ""
    reason: str = ""
    error: str = ""  # name of the error behind the code


def is_web(uri: str) -> bool:
    return scheme(uri) in ("http", "https")


def is_looped(op: str, uri: str) -> bool:
    """Whether a request needs no thread: one that hangs can be given up, and the others go on."""
    return scheme(uri) in _LOOPED and (op == "fetch" or is_web(uri))


def most_fetches(uri: str) -> int:
    """Number of fetches like that of `uri` that may be under way in one process."""
    return MOST_FETCHES if is_looped("fetch", uri) and not is_web(uri) else AT_ONCE
