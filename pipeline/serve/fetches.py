"""Clips elsewhere, fetched for requests by the process that fetches them for commands."""

import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from pipeline.access.prefetch import Fetched, Prefetch
from pipeline.access.requests import DISK_FULL, Answer
from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits
from pipeline.core.text import visible

_TRIES = 2


class Fetches:
    """Files under way and files that requests hold. Whoever made this closes it.

    Args:
        most: files under way or held at a time.
    """

    def __init__(self, limits: DecodeLimits, most: int):
        self._limits, self._most = limits, most
        self._lock = threading.Lock()  # guards all below
        self._prefetch: Prefetch | None = None
        self._broken: list[Prefetch] = []  # whose process could not be started
        self._count = 0
        self._under_way: set[Future[tuple[str, Callable[[], None]]]] = set()

    def fetch(self, uri: str) -> "Future[tuple[str, Callable[[], None]]] | None":
        """A file's path, and the function that removes it, once it is here; None: too many are under way.

        The future raises ClipError, or OSError where the disk is full. Where it is cancelled, the file is removed as
        soon as it has come.
        """
        with self._lock:
            if self._count >= self._most:
                return None
            self._count += 1
            outcome: Future[tuple[str, Callable[[], None]]] = Future()
            self._under_way.add(outcome)
        self._begin(uri, outcome, _TRIES)
        return outcome

    def close(self) -> None:
        """End the process, and remove the files."""
        with self._lock:
            to_close = [*self._broken, *([self._prefetch] if self._prefetch else [])]
            self._broken, self._prefetch = [], None
        for prefetch in to_close:
            prefetch.close()

    def _begin(self, uri: str, outcome: Future, tries: int) -> None:
        with self._lock:
            if self._prefetch is None:
                self._prefetch = Prefetch(self._limits, 1, self._fail)
            prefetch = self._prefetch
        prefetch.begin(uri, partial(self._fetched, prefetch, uri, outcome, tries))

    def _fetched(self, prefetch: Prefetch, uri: str, outcome: Future, tries: int, fetched: Fetched | None) -> None:
        """In the thread of `prefetch`."""
        if fetched is None and tries > 1 and not outcome.cancelled():
            self._begin(uri, outcome, tries - 1)
            return
        answer = fetched.answer if fetched else Answer(code="crash", reason=f"reading {visible(uri)} ended its process")
        with self._lock:
            self._under_way.discard(outcome)
        if not outcome.set_running_or_notify_cancel() or fetched is None or answer.code:
            if fetched is not None and not answer.code:
                prefetch.give_back(fetched)
            self._let_go()
            if not outcome.cancelled():
                full = answer.error == DISK_FULL
                error = OSError(errno.ENOSPC, answer.reason) if full else ClipError(answer.code, answer.reason)
                outcome.set_exception(error)
            return

        def release() -> None:
            prefetch.give_back(fetched)
            self._let_go()

        outcome.set_result((str(fetched.path), release))

    def _let_go(self) -> None:
        with self._lock:
            self._count -= 1

    def _fail(self, error: BaseException) -> None:
        """The process cannot be started: in its thread, which ends."""
        with self._lock:
            if self._prefetch is not None:
                self._broken.append(self._prefetch)
            self._prefetch = None
            lost, self._under_way = self._under_way, set()
            self._count -= len(lost)
        for outcome in lost:
            if outcome.set_running_or_notify_cancel():
                outcome.set_exception(error)
