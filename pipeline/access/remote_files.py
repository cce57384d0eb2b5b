"""Files elsewhere, asked for and fetched by a process beside this one: whatever a server does, this one goes on."""

import itertools
import json
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any, Literal

from pipeline.access.rules import scheme
from pipeline.core import storage
from pipeline.core.errors import VdvError
from pipeline.core.import_path import module_command, module_environment
from pipeline.core.options import DecodeLimits
from pipeline.core.text import visible

AT_ONCE = 16  # requests under way at a time
_START_S = 120.0  # imports on a busy machine with a cold disk
_POLL_S = 0.2  # how soon `stopped` is noticed
_GRACE_S = 5.0  # beyond a request's deadline, which the process keeps by itself as long as it can


class FetcherError(VdvError):
    """The process that reads files elsewhere cannot be started; no clip is the cause."""

    code = "fetcher"


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


class RemoteFiles:
    """A process that reads files elsewhere, started with the first request. Whoever made it closes it.

    What it keeps on disk (fsspec's caching filesystems do) lies in a folder of its own, and goes with it.

    Args:
        file: descriptor of the file that fetched bytes go to; -1: none are fetched.
        stopped: asked several times a second; when it says so, no further answer comes.
    """

    def __init__(self, limits: DecodeLimits, file: int = -1, stopped: Callable[[], bool] = lambda: False):
        self._limits, self._file, self._stopped = limits, file, stopped
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None
        self._folder = ExitStack()

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
                under_way[number] = request, time.monotonic() + request.deadline_s + _GRACE_S
                self._send({"id": number, **vars(request)})
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
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._folder.close()

    def _send(self, message: dict) -> None:
        if self._connection is None:
            self._start()
        with suppress(ConnectionError):  # the process has died: `_receive` finds out
            assert self._connection is not None
            self._connection.send_bytes(json.dumps(message).encode())

    def _receive(self, until: float) -> dict | None:
        """The process's next message; None, and no process, where it died, or none came in time, or all is stopped."""
        assert self._connection is not None
        with suppress(EOFError, OSError):
            while not self._stopped() and (left := until - time.monotonic()) > 0:
                if self._connection.poll(min(left, _POLL_S)):
                    return json.loads(self._connection.recv_bytes())
        self.close()
        return None

    def _start(self) -> None:
        folder = self._folder.enter_context(storage.temporary_folder())
        connection, far_end = Pipe()
        setting = {
            "parent": os.getpid(), "connection": far_end.fileno(), "file": self._file,
            "memory_limit_mb": self._limits.memory_limit_mb, "fetch_limit_mb": self._limits.fetch_limit_mb,
            "allow_uri": list(self._limits.allow_uri),
        }  # fmt: skip
        handles = [far_end.fileno(), *([self._file] if self._file >= 0 else [])]
        printed = folder / "stderr"
        with far_end, open(printed, "wb") as stderr:
            self._process = subprocess.Popen(
                module_command("pipeline.access.fetcher", json.dumps(setting)),
                pass_fds=handles, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                env={**module_environment(), "TMPDIR": str(folder)},
            )  # fmt: skip
        self._connection = connection
        try:
            if connection.poll(_START_S) and json.loads(connection.recv_bytes()):
                return
        except (EOFError, OSError):
            pass
        error = (printed.read_text(errors="replace").splitlines() or ["it printed nothing"])[-1]
        self.close()
        raise FetcherError(f"the process that reads remote files does not start ({error}); is vdv installed whole?")


def _lost(request: Request, late: bool) -> Answer:
    """Answer to a request that the process did not live to answer."""
    if late:
        reason = f"{visible(request.uri)} was not read after {request.deadline_s:g} s"
        return Answer(code="deadline", reason=reason, error="deadline")
    return Answer(code="crash", reason=f"reading {visible(request.uri)} ended its process", error="crash")
