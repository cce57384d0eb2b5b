"""The process of pipeline.access.fetcher as its parent sees it: started with the first message, killed, replaced."""

import json
import os
import subprocess
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import VdvError
from pipeline.core.import_path import module_command, module_environment
from pipeline.core.options import DecodeLimits

_START_S = 120.0  # imports on a busy machine with a cold disk
GRACE_S = 5.0  # beyond a request's deadline, which the process keeps by itself as long as it can


class FetcherError(VdvError):
    """The process that reads files elsewhere cannot be started; no clip is the cause."""

    code = "fetcher"


class FetcherProcess:
    """A process that reads files elsewhere. Whoever made it closes it; it is used, and so started, by one thread.

    What it keeps on disk (fsspec's caching filesystems do) lies in a folder of its own, and goes with it.

    Args:
        file: descriptor of the file that fetched bytes go to, for requests that name none; -1: there are none.
    """

    def __init__(self, limits: DecodeLimits, file: int = -1):
        self._limits, self._file = limits, file
        self._process: subprocess.Popen | None = None
        self.connection: Connection | None = None  # None: it does not run
        self._folder = ExitStack()

    def send(self, message: dict[str, Any]) -> None:
        """Raises: FetcherError, where the process cannot be started."""
        if self.connection is None:
            self._start()
        with suppress(ConnectionError):  # the process has died: `receive` finds out
            assert self.connection is not None
            self.connection.send_bytes(json.dumps(message).encode())

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """The next message of the process, which runs; None: none came in time.

        Raises:
            EOFError, OSError: the process has died.
        """
        assert self.connection is not None
        return json.loads(self.connection.recv_bytes()) if self.connection.poll(timeout_s) else None

    def close(self) -> None:
        """End the process, and remove what it kept on disk. The next message starts another one."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._folder.close()

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
        self.connection = connection
        with suppress(EOFError, OSError):  # it has died: what it printed says why
            if self.receive(_START_S):
                return
        error = (printed.read_text(errors="replace").splitlines() or ["it printed nothing"])[-1]
        self.close()
        raise FetcherError(f"the process that reads remote files does not start ({error}); is vdv installed whole?")
