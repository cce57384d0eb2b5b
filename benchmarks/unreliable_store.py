"""An S3 server (moto) behind a proxy that delays requests, refuses some, breaks off others, or is gone for good."""

import asyncio
import logging
import random
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

KEY = "hostile"  # id and secret
GONE = ("refusing", "failing", "silent")  # ways to be gone
_HOST = "127.0.0.1"
_TROUBLES = ("500", "503", "cut before", "cut after", "cut within")  # before and after the store did as it was asked
_OF_A_CONNECTION = {"connection", "content-length", "expect", "host", "keep-alive", "transfer-encoding"}
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>on purpose</Message></Error>'


class UnreliableStore:
    """A proxy in a thread of its own. Its attributes may be changed while it runs.

    delay_s: added to every request. share: of the requests that meet one of _TROUBLES. gone: "", or one of GONE.
    """

    def __init__(self, store: str, seed: int = 0):
        self.delay_s, self.share, self.gone = 0.0, 0.0, ""
        self.troubles: Counter[str] = Counter()
        self.requests = 0
        self.asked: Counter[tuple[str, str]] = Counter()  # requests by method and path
        self._store, self._rng = store, random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"http://{_HOST}:{self._port}"

    def __enter__(self) -> "UnreliableStore":
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, 0).start()
        self._port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests += 1
        self.asked[request.method, request.path] += 1
        await asyncio.sleep(self.delay_s)
        while self.gone == "silent":
            await asyncio.sleep(0.1)
        trouble = {"refusing": "cut before", "failing": "503"}.get(self.gone, "")
        if not trouble and self._rng.random() < self.share:
            trouble = self._rng.choice(_TROUBLES)
            self.troubles[trouble] += 1
        if trouble in ("500", "503"):
            code = {"500": "InternalError", "503": "SlowDown"}[trouble]
            return web.Response(status=int(trouble), text=_ERROR.format(code), content_type="application/xml")
        if trouble == "cut before":
            return _cut(request)
        answer = await self._forward(request, body)
        if trouble == "cut after":
            return _cut(request)
        if trouble == "cut within" and isinstance(answer.body, bytes):
            half = web.StreamResponse(status=answer.status, headers=answer.headers)
            await half.prepare(request)
            await half.write(answer.body[: len(answer.body) // 2])
            return _cut(request)
        return answer

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _OF_A_CONNECTION}
        url = URL(f"{self._store}{request.raw_path}", encoded=True)
        async with self._session.request(request.method, url, headers=kept, data=body, allow_redirects=False) as found:
            content = await found.read()
            headers = {name: value for name, value in found.headers.items() if name.lower() not in _OF_A_CONNECTION}
            if request.method == "HEAD" and "Content-Length" in found.headers:
                headers["Content-Length"] = found.headers["Content-Length"]
            elif content:
                headers["Content-Length"] = str(len(content))
            return web.Response(status=found.status, headers=headers, body=content)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of an empty S3 server in this process."""
    from moto.server import ThreadedMotoServer  # a second

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line a request
    server = ThreadedMotoServer(ip_address=_HOST, port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def environment(address: str) -> dict[str, str]:
    """The variables by which users name a store and their rights to it."""
    return {
        "AWS_ENDPOINT_URL_S3": address, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }  # fmt: skip
