"""Signatures of clips' files: texts that change when a file does, made of its size and its filesystem's metadata."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from pipeline.access.remote_files import RemoteFiles
from pipeline.access.requests import Answer, Request
from pipeline.access.rules import check_file, check_uri, scheme
from pipeline.core import storage
from pipeline.core.errors import CLIP_CODES, ClipError
from pipeline.core.options import DecodeLimits

MISSING = "missing"
NOT_ALLOWED = "not_allowed"
UNREACHABLE = "unreachable:"

_LIST_FROM = 64  # clips of one folder from which listing it beats asking for each, though it may hold many others
_LISTED = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")  # a web server has no listing
_INFO_S, _LIST_S = 20.0, 300.0  # for one file, and for a folder: a million objects take two minutes
_RETRY_PAUSE_S = 0.5
# Look-ups that may run out of time at one host, and in all, before hosts that never answered are asked no more: ten
# thousand clips on a server that is down would take hours.
_LOST_A_HOST, _LOST = 3, 64
# What filesystems call the identity or age of an object, best first. Size alone is what is left for those without any.
_IDENTITY = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "mtime", "updated", "created")


def clip_signatures(uris: Sequence[str], limits: DecodeLimits, info_s: float = _INFO_S) -> list[str]:
    """The signature of the file at each uri, equal as long as the file is (very probably) the same; no file is read.

    Local: size and time of change (ns). Remote: size and ETag, else checksum, else time of change, as the store states
    them; only the size where it states none. "missing" where there is no file, "not_allowed" where it may not be read
    (pipeline.access.rules), "unreachable:<error>" where the filesystem does not say. Folders that hold many of the
    clips are listed at once; the other remote files are asked for one by one, some at a time. All of it happens in a
    process beside, each request has a deadline, and what fails for a reason that may pass is asked once more.

    limits: of these the patterns of what may be read, and the memory. info_s: deadline for one file.
    """
    by_uri: dict[str, str] = {}
    folders: dict[str, list[str]] = defaultdict(list)
    for uri in dict.fromkeys(uris):
        try:
            check_uri(uri, limits.allow_uri)
        except ClipError:
            by_uri[uri] = NOT_ALLOWED
            continue
        if scheme(uri) == "file":
            by_uri[uri] = _local(uri, limits.allow_uri)
        else:
            folders[uri.rsplit("/", 1)[0]].append(uri)
    if folders:
        with RemoteFiles(limits) as files:
            by_uri.update(_remote(files, folders, info_s))
    return [by_uri[uri] for uri in uris]


def file_signature(path: str) -> str:
    """The signature of one of our own files, which its writer may have on any filesystem.

    Raises:
        WorkspaceError: the filesystem does not answer.
    """
    if storage.is_local(path):
        return _local(path, ("*",))
    try:
        return _from_info(storage.info(path))
    except FileNotFoundError:
        return MISSING


def states_content(signature: str) -> bool:
    """Whether an equal signature later means an equal file: not where nobody could look at it."""
    return signature not in (MISSING, NOT_ALLOWED) and not signature.startswith(UNREACHABLE)


def stated_bytes(signature: str) -> int | None:
    """Size of the file that a signature is of; None where it is not there or the store does not state it."""
    size = signature.split("-")[0]
    return int(size) if states_content(signature) and size.isdecimal() else None


def _local(uri: str, patterns: Sequence[str]) -> str:
    try:
        status = os.stat(storage.local_path(uri) if "://" in uri else uri)
        check_file(uri, status, patterns)
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except ClipError:
        return NOT_ALLOWED
    except OSError as error:
        return UNREACHABLE + type(error).__name__
    return f"{status.st_size}-{status.st_mtime_ns}"


def _remote(files: RemoteFiles, folders: Mapping[str, Sequence[str]], info_s: float) -> dict[str, str]:
    found: dict[str, str] = {}
    listed = {folder for folder, uris in folders.items() if len(uris) >= _LIST_FROM and scheme(folder) in _LISTED}
    for request, answer in files.ask(Request("list", folder, _LIST_S) for folder in sorted(listed)):
        found.update(_listed(folders[request.uri], answer))
    single = [uri for folder, uris in folders.items() if folder not in listed for uri in uris]
    again: list[str] = []
    hosts = _Hosts()
    for _ in range(2):
        for request, answer in files.ask(Request("info", uri, info_s) for uri in hosts.worth_asking(single)):
            found[request.uri] = _from_answer(answer)
            hosts.note(request.uri, answer)
            if answer.code != MISSING and answer.code and CLIP_CODES[answer.code].retryable:
                again.append(request.uri)
        if not again:
            break
        time.sleep(_RETRY_PAUSE_S)
        single, again = again, []
    unasked = {uri: UNREACHABLE + "deadline" for uris in folders.values() for uri in uris if uri not in found}
    return found | unasked


class _Hosts:
    """Hosts that answered, and those that let look-ups run out of time."""

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._lost: Counter[str] = Counter()

    def note(self, uri: str, answer: Answer) -> None:
        """Take down how a host took a request."""
        host = _host(uri)
        if answer.code in ("deadline", "crash"):
            self._lost[host] += 1
        else:
            self._answered.add(host)

    def worth_asking(self, uris: Iterable[str]) -> Iterator[str]:
        """The uris whose host may still answer, at the time when each one's turn comes."""
        for uri in uris:
            host = _host(uri)
            if host in self._answered or (self._lost[host] < _LOST_A_HOST and self._lost.total() < _LOST):
                yield uri


def _host(uri: str) -> str:
    """Of a uri that is none, such as `https://[x/a.mp4`, itself; whoever fetches it says what is wrong."""
    try:
        return urlsplit(uri).netloc
    except ValueError:
        return uri


def _from_answer(answer: Answer) -> str:
    if not answer.code:
        return _from_info(answer.result)
    return answer.code if answer.code in (MISSING, NOT_ALLOWED) else UNREACHABLE + answer.error


def _listed(uris: Iterable[str], answer: Answer) -> dict[str, str]:
    if answer.code:
        return dict.fromkeys(uris, _from_answer(answer))
    names = {uri: uri.rsplit("/", 1)[1] for uri in uris}
    return {uri: _from_info(answer.result[name]) if name in answer.result else MISSING for uri, name in names.items()}


def _from_info(info: Mapping) -> str:
    """The signature from a filesystem's info; the same whether the folder was listed or the file asked for alone."""
    size = info.get("size")
    for key in _IDENTITY:
        value = info.get(key)
        if value is not None:
            return f"{size}-{_text(value)}"
    return f"{size}"


def _text(value: object) -> str:
    """One text for a time given as datetime or as seconds, as it comes from another process."""
    if isinstance(value, datetime):
        value = value.timestamp()
    return str(round(value * 1e6)) if isinstance(value, float) else str(value).strip('"')
