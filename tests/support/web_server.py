"""A web server for tests: of files, and of the ways in which servers misbehave."""

import functools
import http.server
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote


class WebServer(http.server.ThreadingHTTPServer):
    """A server of a folder's files, and beside them of these.

    /stall: no answer; /drip: a byte a tenth of a second, for ever; /endless: bytes as fast as they are taken, for ever;
    /to/<url>: a redirect; /later/<file>: the first two answers are errors; /refused: 403; /slow/<file>: the file, after
    a tenth of a second.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        self.asked: Counter[str] = Counter()  # requests by path
        self.fetched: Counter[str] = Counter()  # those of them for the file itself
        self.slow, self.most_slow = 0, 0  # answers under way below /slow/, and how many there were at once
        self.lock = threading.Lock()
        self.connections = 0
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> Any:
        request = super().get_request()
        self.connections += 1
        return request

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: that clients hang up is what is tested."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: WebServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        if not self._misbehave():
            super().do_HEAD()

    def do_GET(self) -> None:
        self.server.fetched[self.path] += 1
        if not self._misbehave():
            super().do_GET()

    def _misbehave(self) -> bool:
        self.server.asked[self.path] += 1
        kind = self.path.split("/")[1]
        if kind == "stall":
            self.server.stopping.wait(60)
        elif kind in ("drip", "endless"):
            self._headers(200)
            while not self.server.stopping.is_set():
                self.wfile.write(b"x" if kind == "drip" else b"x" * 2**20)
                time.sleep(0.1 if kind == "drip" else 0)
        elif kind == "to":
            self._headers(302, Location=unquote(self.path.removeprefix("/to/")))
        elif kind == "refused" or (kind == "later" and self.server.asked[self.path] <= 2):
            self._headers(403)
        else:
            if kind == "slow":
                self._wait()
            self.path = self.path.replace("/later/", "/").replace("/slow/", "/")
            return False
        self.close_connection = True
        return True

    def _wait(self) -> None:
        with self.server.lock:
            self.server.slow += 1
            self.server.most_slow = max(self.server.most_slow, self.server.slow)
        time.sleep(0.1)
        with self.server.lock:
            self.server.slow -= 1

    def _headers(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    """A server of a folder, for as long as the block runs."""
    with WebServer(folder) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
