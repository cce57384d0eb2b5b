"""Clips fetched ahead of those who decode them, many at a time: latency is waited for once, and not for each clip."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any

from pipeline.access.fetch_cache import FetchCache
from pipeline.access.fetcher_process import GRACE_S, FetcherProcess
from pipeline.access.requests import DISK_FULL, MOST_FETCHES, Answer, most_fetches
from pipeline.access.rules import scheme
from pipeline.core import storage
from pipeline.core.options import DecodeLimits
from pipeline.core.text import visible

FETCHED = Answer()
_POLL_S = 0.2  # how soon a deadline that the process did not keep is noticed
# Of files that are fetched and not decoded yet, and those under way as far as their size can be guessed: enough for 64
# small clips, and few enough large ones that each still comes within its deadline over a line of 1.1 MB/s.
_AHEAD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched ahead, or the reason why it could not be."""

    path: Path
    size_bytes: int = 0
    seconds: float = 0.0
    answer: Answer = FETCHED


Then = Callable[[Fetched | None], None]


@dataclass(frozen=True)
class _UnderWay:
    request: dict[str, Any]
    then: Then
    began: float
    until: float


class Prefetch:
    """Fetches files elsewhere in one process, each into a file of its own. Whoever made it closes it.

    It begins with as few fetches at a time as there are `readers`, and goes on to more with each that succeeds, as far
    as files of their mean size fit into 128 MiB.

    Args:
        limits: of these the deadline and the size of a file, the memory of the process, and the cache.
        readers: number of those who wait for files: so many fetches may be under way whatever their size.
        failed: called with an error, in another thread, when the process cannot be started.
    """

    def __init__(self, limits: DecodeLimits, readers: int, failed: Callable[[BaseException], None]):
        self._limits, self._readers, self._failed = limits, readers, failed
        self._cache = FetchCache(limits.fetch_cache, limits.fetch_cache_mb * 2**20)
        self._new: deque[_UnderWay] = deque()
        self._woken, self._wake = Pipe(duplex=False)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._folder = ExitStack()
        self._place: Path | None = None
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # guards the counts below
        self._most = MOST_FETCHES
        self._is_full = False  # the disk was, once: from then on one file at a time is ahead
        self._fetching = 0
        self._window = readers
        self._sizes = (0, 0)  # number and bytes of the files fetched so far
        self._held: dict[Path, int] = {}  # bytes by file, of those not given back yet

    def takes(self, uri: str) -> bool:
        """Whether files like this one are fetched ahead: not those that a process has to end for, or that block."""
        return scheme(uri) not in ("file", "chain")

    @property
    def used(self) -> bool:
        """Whether any file was asked for."""
        return self._place is not None

    @property
    def most_ahead(self) -> int:
        return self._most

    def has_room(self) -> bool:
        """Whether another fetch may begin."""
        if self._is_full:
            return not self.holds_any()
        with self._lock:
            if self._fetching + len(self._held) < self._readers:
                return True
            count, size = self._sizes
            guessed = (self._fetching + 1) * size / max(count, 1)
            return self._fetching < self._window and sum(self._held.values()) + guessed <= _AHEAD_BYTES

    def holds_any(self) -> bool:
        """Whether files are here that are not given back yet, or under way."""
        with self._lock:
            return bool(self._fetching or self._held)

    def begin(self, uri: str, then: Then) -> None:
        """Fetch a file, and call `then` in another thread with what came of it.

        It is called with None where the file is to be fetched otherwise: the process died, perhaps of another file. An
        answer of DISK_FULL asks for the same, once no other files are here. Nothing is called once this is closed.
        """
        self._start()
        with self._lock:
            self._fetching += 1
            self._most = min(self._most, most_fetches(uri))
        request = {"id": next(self._numbers), "op": "fetch", "uri": uri, "deadline_s": self._limits.deadline_s,
                   "file": str(self._new_path())}  # fmt: skip
        now = time.monotonic()
        self._new.append(_UnderWay(request, then, now, now + self._limits.deadline_s + GRACE_S))
        self._wake.send_bytes(b"")

    def cached(self, uri: str, content_hash: str) -> Fetched | None:
        """The file with this content as an earlier pool has fetched and kept it, taken out of the cache."""
        path = self._new_path()
        if not self._cache.take(uri, content_hash, path):
            return None
        size = path.stat().st_size
        with self._lock:
            self._held[path] = size
        return Fetched(path, size)

    def give_back(self, fetched: Fetched, keep_as: tuple[str, str] | None = None) -> None:
        """Remove a file that is needed no more here. keep_as: its uri and the hash of its content, for the cache."""
        if keep_as is None or not self._cache.keep(fetched.path, *keep_as):
            fetched.path.unlink(missing_ok=True)
        with self._lock:
            self._held.pop(fetched.path, None)

    def close(self) -> None:
        """End the process, and remove the files that were fetched."""
        self._stop.set()
        if self._thread is not None:
            self._wake.send_bytes(b"")
            self._thread.join()
        self._thread = None
        self._folder.close()
        self._wake.close()
        self._woken.close()

    def _new_path(self) -> Path:
        if self._place is None:
            self._place = self._folder.enter_context(storage.temporary_folder())
        return self._place / str(next(self._numbers))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="prefetch", daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        """Body of the thread that alone deals with the process, which lives no longer than it."""
        process, under_way = FetcherProcess(self._limits), dict[int, _UnderWay]()
        try:
            while not self._stop.is_set():
                while self._new:
                    one = self._new.popleft()
                    under_way[one.request["id"]] = one
                    process.send(one.request)
                wait([self._woken, *([process.connection] if process.connection else [])], _POLL_S)
                while self._woken.poll():
                    self._woken.recv_bytes()
                if process.connection and not self._take_answers(process, under_way):
                    process.close()
                    for one in under_way.values():
                        self._end(one, self._late(one) if time.monotonic() >= one.until else None)
                    under_way.clear()
        except BaseException as error:  # whatever it is, it is raised where the files are needed
            self._failed(error)
            if not isinstance(error, Exception):
                raise
        finally:
            process.close()

    def _take_answers(self, process: FetcherProcess, under_way: dict[int, _UnderWay]) -> bool:
        """Pass on the answers that have come; False where no more will come of the process."""
        with suppress(EOFError, OSError):
            while (message := process.receive(0.0)) is not None:
                self._end(under_way.pop(message.pop("id")), Answer(**message))
            return all(time.monotonic() < one.until for one in under_way.values())
        return False

    def _late(self, one: _UnderWay) -> Answer:
        reason = f"{visible(one.request['uri'])} was not read after {self._limits.deadline_s:g} s"
        return Answer(code="deadline", reason=reason, error="deadline")

    def _end(self, one: _UnderWay, answer: Answer | None) -> None:
        """Note the end of a fetch, and pass on what came of it."""
        path, seconds = Path(one.request["file"]), time.monotonic() - one.began
        if answer is not None and answer.error == DISK_FULL:
            self._cache.clear()
            self._is_full = True
        if answer is not None and not answer.code and not path.is_file():  # fsspec fetches a folder without an error
            answer = Answer(code="io", reason=f"{visible(one.request['uri'])} is no file", error="io")
        whole = answer is not None and not answer.code
        size = path.stat().st_size if whole else 0
        with self._lock:
            self._fetching -= 1
            if whole:
                self._held[path] = size
                self._sizes = self._sizes[0] + 1, self._sizes[1] + size
                self._window = min(self._window + 1, self._most)
            elif answer is None or answer.error == DISK_FULL:
                self._window = self._readers
        if path.is_dir():
            path.rmdir()
        elif not whole:
            path.unlink(missing_ok=True)
        one.then(None if answer is None else Fetched(path, size, seconds, answer))
