"""Main program of a process that asks for files elsewhere and fetches them: it can be killed, and is bounded.

Started by pipeline.access.remote_files as `python -P -m pipeline.access.fetcher <json>`. Requests come and answers go
as JSON messages on a connection, in any order. The kernel bounds its memory, and the size of every file that it writes.

    requests   {"id": n, "op": "info" | "list" | "fetch", "uri": ..., "deadline_s": ...}      end of file: exit
               "file" of a fetch is the path that its bytes go to; without one they go to the file given at the start
    answers    {"ready": true}, then {"id": n, "result": ...} or {"id": n, "code": ..., "reason": ..., "error": ...}
"""

import asyncio
import errno
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import fsspec.config

from pipeline.access.requests import AT_ONCE, DISK_FULL, MOST_FETCHES, is_looped, is_web
from pipeline.access.rules import check_uri, scheme
from pipeline.core import storage
from pipeline.core.child_processes import die_with_parent
from pipeline.core.errors import ClipError, WorkspaceError
from pipeline.core.memory import limit_memory
from pipeline.core.text import visible


class Fetcher:
    """Requests under way.

    Args:
        file: descriptor of the file that fetched bytes go to, where a request names none.
    """

    def __init__(self, connection: Connection, patterns: list[str], file: int):
        self._connection, self._patterns = connection, patterns
        # Opened anew by this name, it is written from its start; the descriptor shares its place with other processes.
        self._file = f"/proc/self/fd/{file}"
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._tasks: set[asyncio.Task] = set()
        self._web: Any = None

    async def serve(self) -> None:
        """Answer requests until the parent is gone."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            while True:
                try:
                    request = json.loads(self._connection.recv_bytes())
                except (EOFError, OSError):
                    os._exit(0)  # not sys.exit: requests that hang must not hold the process up
                loop.call_soon_threadsafe(self._begin, request)

        Thread(target=read, daemon=True).start()
        await asyncio.Event().wait()

    def _begin(self, request: dict) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._tasks.add(task)  # the loop itself keeps none
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: dict) -> None:
        uri, stuck = request["uri"], False
        try:
            check_uri(uri, self._patterns)
            async with asyncio.timeout(request["deadline_s"]):
                answer = {"result": await self._work(request["op"], uri, request.get("file", self._file))}
        except BaseException as error:  # noqa: BLE001 (a filesystem raises its own library's errors)
            stuck = isinstance(error, TimeoutError) and not is_looped(request["op"], uri)
            answer = _failed(uri, error, request["deadline_s"])
        self._connection.send_bytes(json.dumps({"id": request["id"], **answer}).encode())
        if stuck:
            os._exit(0)  # its thread would go on, and nothing else ends it

    async def _work(self, op: str, uri: str, file: str) -> Any:
        if is_web(uri):
            return await self._ask_web(op, uri, file)
        if is_looped(op, uri):
            filesystem, inner = storage.remote(uri, asynchronous=True)
            return await filesystem._get_file(inner, file)
        work: dict[str, Callable[[str], Any]] = {"info": _info, "list": _infos, "fetch": partial(_fetch, file=file)}
        return await asyncio.get_running_loop().run_in_executor(self._threads, work[op], uri)

    async def _ask_web(self, op: str, uri: str, file: str) -> Any:
        if self._web is None:
            from pipeline.access.web import Web  # aiohttp: not there where nothing but local files was asked for

            self._web = Web(self._patterns)
        if op == "info":
            return await self._web.info(uri)
        with open(file, "wb") as opened:
            return await self._web.fetch(uri, opened)


def _fetch(uri: str, file: str) -> None:
    if scheme(uri) == "file":
        with open(storage.local_path(uri), "rb") as source, open(file, "wb") as target:
            shutil.copyfileobj(source, target)
    else:
        filesystem, inner = storage.remote(uri)
        filesystem.get_file(inner, file)


def _info(uri: str) -> dict[str, Any]:
    return _plain(storage.info(uri))


def _infos(folder: str) -> dict[str, dict[str, Any]]:
    return {name: _plain(info) for name, info in storage.infos(folder).items()}


def _plain(info: dict[str, Any]) -> dict[str, Any]:
    """The texts and numbers of a filesystem's info; times as seconds."""
    seconds = {name: value.timestamp() for name, value in info.items() if isinstance(value, datetime)}
    return {name: value for name, value in info.items() if isinstance(value, str | int | float)} | seconds


def _failed(uri: str, error: BaseException, deadline_s: float) -> dict[str, str]:
    """Answer to a request that failed: a code of CLIP_CODES, the reason, and the name of the error itself."""
    cause = error.__cause__ if isinstance(error, WorkspaceError) and error.__cause__ else error
    shown, name = visible(uri), type(cause).__name__
    if isinstance(cause, ClipError):
        return {"code": cause.code, "reason": cause.reason, "error": cause.code}
    if isinstance(cause, FileNotFoundError):
        return {"code": "missing", "reason": f"no file at {shown}", "error": name}
    if isinstance(cause, MemoryError):
        return {"code": "memory", "reason": f"reading {shown} went over the memory limit", "error": name}
    if error is cause and isinstance(cause, TimeoutError):
        return {"code": "deadline", "reason": f"{shown} was not read after {deadline_s:g} s", "error": "deadline"}
    if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0] / 2**20
        return {"code": "oversized", "reason": f"{shown} holds more than {limit:g} MiB", "error": "oversized"}
    error_name = DISK_FULL if isinstance(cause, OSError) and cause.errno in storage.DISK_FULL else name
    return {"code": "io", "reason": f"cannot read {shown}: {name}: {cause}", "error": error_name}


def _allow_connections() -> None:
    """Have s3fs open a connection for each request under way; botocore's own limit is 10."""
    options = fsspec.config.conf.setdefault("s3", {}).setdefault("config_kwargs", {})
    options.setdefault("max_pool_connections", MOST_FETCHES)


def main() -> None:
    setting = json.loads(sys.argv[1])
    die_with_parent(setting["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle, which ends this process
    limit_memory(setting["memory_limit_mb"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (setting["fetch_limit_mb"] * 2**20,) * 2)
    _allow_connections()
    connection = Connection(setting["connection"])
    connection.send_bytes(json.dumps({"ready": True}).encode())
    asyncio.run(Fetcher(connection, setting["allow_uri"], setting["file"]).serve())


if __name__ == "__main__":
    main()
