"""The HTTP server: uvicorn, with bounds on what a connection may hold that it has not itself."""

import asyncio
import logging
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.core.errors import OptionError

HEAD_S = 10.0  # for a request's first line and headers; between two requests; to take what is left of a refused body
MOST_CONNECTIONS = 512  # a descriptor each; more are closed as they come
_GRACE_S = 15.0  # to send an answer


class BoundedProtocol(H11Protocol):
    """A connection that is closed where its client keeps it without using it."""

    _timer: asyncio.TimerHandle | None = None
    _seen: object = None  # the request under way

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        self._bound(HEAD_S)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not self._seen and not self.cycle.response_complete:
            self._seen = self.cycle
            self._bound(float(self.config.timeout_graceful_shutdown or 0))

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        if self.cycle is not None:  # of a body that is no HTTP: what the app answers would be a second answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        self._bound(HEAD_S)
        super().on_response_complete()  # which may begin the next request

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _bound(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.transport.abort)


class Server(uvicorn.Server):
    """A server that listens at its address from the beginning, and answers once `serve_until_stopped` is called.

    SIGTERM and SIGINT end it when all that it has taken is answered; a second one at once.

    Args:
        request_s: the longest that a request may take by the bounds of the app.

    Raises:
        OptionError: the address cannot be listened at.
    """

    def __init__(self, host: str, port: int, request_s: float):
        self._socket = _bind(host, port)
        self._request_s = request_s
        self._failed = False

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def serve_until_stopped(self, app: ASGIApp) -> bool:
        """Answer requests; whether it was stopped by a signal, and not by `fail`."""
        bound: Any = BoundedProtocol  # the annotation knows uvicorn's own only
        config = uvicorn.Config(
            app, http=bound, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=round(self._request_s + _GRACE_S),
        )  # fmt: skip
        super().__init__(config)
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a warning for each request that is none
        self.run(sockets=[self._socket])
        return not self._failed

    def fail(self) -> None:
        """End the server as a signal would, from any thread."""
        self._failed = True
        self.should_exit = True


def _bind(host: str, port: int) -> socket.socket:
    try:
        (family, _, _, _, place), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        raise OptionError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}; give another --host or --port"
        ) from error
    return listener
