"""Files elsewhere, asked for and fetched by a process beside this one: whatever a server does, this one goes on."""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from pipeline.access.fetcher_process import GRACE_S, FetcherProcess
from pipeline.access.requests import AT_ONCE, Answer, Request
from pipeline.access.rules import scheme
from pipeline.core.options import DecodeLimits
from pipeline.core.text import visible

_POLL_S = 0.2  # how soon `stopped` is noticed


class RemoteFiles:
    """Files elsewhere, read by a process that is started with the first request. Whoever made this closes it.

    Args:
        file: descriptor of the file that fetched bytes go to; -1: none are fetched.
        stopped: asked several times a second; when it says so, no further answer comes.
    """

    def __init__(self, limits: DecodeLimits, file: int = -1, stopped: Callable[[], bool] = lambda: False):
        self._file, self._stopped = file, stopped
        self._process = FetcherProcess(limits, file)

    def __enter__(self) -> "RemoteFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answers in any order, each within its request's deadline and a little more.

        A request that ends the process costs itself only: those that were under way with it are made again, one by
        one.

        Args:
            requests: pulled as answers come.

        Raises:
            FetcherError: the process cannot be started.
        """
        more, alone = iter(requests), deque[Request]()
        under_way: dict[int, tuple[Request, float]] = {}
        numbers = itertools.count()
        while not self._stopped():
            begun: Iterable[Request]
            if alone:
                begun = [] if under_way else [alone.popleft()]
            else:
                begun = itertools.islice(more, AT_ONCE - len(under_way))
            for request in begun:
                number = next(numbers)
                under_way[number] = request, time.monotonic() + request.deadline_s + GRACE_S
                self._process.send({"id": number, **vars(request)})
            if not under_way:
                return
            message = self._receive(min(until for _, until in under_way.values()))
            if message is not None:
                request, _ = under_way.pop(message.pop("id"))
                yield request, Answer(**message)
            elif len(under_way) > 1:
                alone.extend(request for request, _ in under_way.values())
                under_way.clear()
            elif under_way and not self._stopped():
                ((request, until),) = under_way.values()
                under_way.clear()
                yield request, _lost(request, time.monotonic() >= until)

    def fetch(self, uri: str, deadline_s: float) -> Answer | None:
        """Fetch one file into `file`, in place of what was there; None where `stopped`."""
        os.ftruncate(self._file, 0)
        answers = [answer for _, answer in self.ask([Request("fetch", uri, deadline_s)])]
        if scheme(uri) == "chain":
            self.close()  # with the copies that caching filesystems keep
        return answers[0] if answers else None

    def close(self) -> None:
        """End the process, and remove what it kept on disk."""
        self._process.close()

    def _receive(self, until: float) -> dict | None:
        """The process's next message; None, and no process, where it died, or none came in time, or all is stopped."""
        with suppress(EOFError, OSError):
            while not self._stopped() and (left := until - time.monotonic()) > 0:
                if (message := self._process.receive(min(left, _POLL_S))) is not None:
                    return message
        self.close()
        return None


def _lost(request: Request, late: bool) -> Answer:
    """Answer to a request that the process did not live to answer."""
    if late:
        reason = f"{visible(request.uri)} was not read after {request.deadline_s:g} s"
        return Answer(code="deadline", reason=reason, error="deadline")
    return Answer(code="crash", reason=f"reading {visible(request.uri)} ended its process", error="crash")
