"""Clips that the service is given the uri of: what is fetched, what is refused, and who waits."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import FILM, Served
from tests.support.web_server import WebServer


class TestUris:
    """Clips that the service fetches."""

    @pytest.fixture
    def films(self, tmp_path: Path) -> Iterator[WebServer]:
        folder = tmp_path / "web"
        folder.mkdir()
        (folder / "a.mp4").write_bytes(FILM)
        (folder / "large.mp4").write_bytes(bytes(2**20 + 1))
        server = WebServer(folder)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.stopping.set()
        server.shutdown()
        thread.join()

    def asked(self, served: Served, uri: str) -> Any:
        reply = served.post(json.dumps({"uri": uri, "challenge": "wave"}).encode(), "application/json")
        return reply.status, reply.content.get("code")

    def test_what_is_allowed_is_fetched_and_forgotten_and_nothing_else_is_asked_for(
        self, tmp_path: Path, films: WebServer
    ) -> None:
        (tmp_path / "scratch").mkdir()
        local = tmp_path / "web"
        words = ("--allow-uri", f"{films.url}/*", "--allow-uri", "https://*", "--allow-uri", f"{local}/*")
        with closing(Served(tmp_path / "scratch", *words)) as served:
            assert self.asked(served, f"{films.url}/a.mp4") == (200, "")
            assert self.asked(served, f"{local}/a.mp4") == (200, "")
            assert served.scorer.films == [FILM, FILM]
            assert self.asked(served, f"{films.url}/large.mp4") == (413, "oversized")
            assert self.asked(served, f"{films.url}/missing.mp4") == (422, "missing")
            elsewhere = f"http://localhost:{films.server_port}/a.mp4"
            assert self.asked(served, f"{films.url}/to/{elsewhere}") == (403, "not_allowed")
            before = films.connections
            for uri in (elsewhere, "/etc/hostname", f"{films.url}/../a.mp4",
                        f"https://127.0.0.1:{films.server_port}/a.mp4", "ftp://example.org/a"):  # fmt: skip
                assert self.asked(served, uri) == (403, "not_allowed"), uri
            assert films.connections == before
            assert (local / "a.mp4").exists()
            assert served.fetches._count == 0

    def test_servers_that_do_not_answer_keep_no_film_out(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            words = ("--allow-uri", f"{address}/*", "--answer-s", "2")
            with closing(Served(tmp_path, *words)) as served, ThreadPoolExecutor(2) as threads:
                asked = [threads.submit(self.asked, served, f"{address}/a") for _ in range(served.options.queue)]
                while served.fetches._count < served.options.queue:
                    time.sleep(0.01)
                assert served.post(FILM).status == 200
                assert self.asked(served, f"{address}/a") == (503, "full")
                assert [future.result() for future in asked] == [(504, "answer_deadline")] * served.options.queue
