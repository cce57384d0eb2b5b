"""Files elsewhere: read beside, within a deadline and limits, and only where they may be read."""

import gzip
import os
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks.unreliable_store import UnreliableStore
from pipeline.access.remote_files import RemoteFiles
from pipeline.access.requests import Answer, Request
from pipeline.core.options import DecodeLimits
from tests.support.web_server import WebServer, web_server

MIB = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "clip").write_bytes(b"content")
    with web_server(tmp_path / "www") as server:
        yield server


def ask(uri: str, *allowed: str, deadline_s: float = 20.0) -> Answer:
    with RemoteFiles(DecodeLimits(allow_uri=allowed)) as files:
        ((_, answer),) = files.ask([Request("info", uri, deadline_s)])
    return answer


def fetched(uri: str, *allowed: str, deadline_s: float = 20.0, fetch_limit_mb: int = 16) -> tuple[Answer, bytes]:
    with tempfile.TemporaryFile() as file:
        file.write(b"what was there before")
        file.flush()
        limits = DecodeLimits(allow_uri=allowed, fetch_limit_mb=fetch_limit_mb, memory_limit_mb=512)
        with RemoteFiles(limits, file.fileno()) as files:
            answer = files.fetch(uri, deadline_s)
        assert answer is not None
        return answer, os.pread(file.fileno(), 64 * MIB, 0)


def test_what_a_server_states_of_a_file_is_told(server: WebServer) -> None:
    answer = ask(f"{server.url}/clip", "http://127.0.0.1:*")
    assert (answer.code, answer.result["size"]) == ("", 7)
    assert ask(f"{server.url}/none", "http://127.0.0.1:*").code == "missing"
    refused = ask(f"{server.url}/refused", "http://127.0.0.1:*")
    assert (refused.code, "403" in refused.reason) == ("io", True)


def test_a_fetched_file_is_the_servers(server: WebServer) -> None:
    assert fetched(f"{server.url}/clip", "http://127.0.0.1:*") == (Answer(), b"content")
    assert fetched(f"{server.url}/to/{server.url}/clip", "http://127.0.0.1:*") == (Answer(), b"content")
    assert fetched(f"{server.url}/none", "http://127.0.0.1:*")[0].code == "missing"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_no_address_of_this_machine_is_connected_to(server: WebServer, scheme: str, host: str) -> None:
    uri = f"{scheme}://{host}:{server.server_port}/clip"
    assert [ask(uri).code, fetched(uri)[0].code] == ["not_allowed", "not_allowed"]
    assert server.connections == 0


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/clip", "https://127.0.0.1:{port}/clip", "file:///etc/passwd"]
)
def test_a_redirect_leads_only_to_where_one_may_read(server: WebServer, target: str) -> None:
    target = target.format(port=server.server_port)
    answer, content = fetched(f"{server.url}/to/{target}", f"{server.url}/to/*")
    assert (answer.code, content) == ("not_allowed", b"")
    assert target in answer.reason
    assert set(server.asked) == {f"/to/{target}"}


def test_a_server_that_redirects_in_circles_ends_with_a_code(server: WebServer) -> None:
    answer = ask(f"{server.url}/to//to//to/", "*")
    assert answer.code == "io"


@pytest.mark.parametrize(("path", "code"), [("stall", "deadline"), ("drip", "deadline"), ("endless", "oversized")])
def test_a_stream_that_stalls_or_never_ends_ends_with_a_code(server: WebServer, path: str, code: str) -> None:
    start = time.monotonic()
    answer, content = fetched(f"{server.url}/{path}", "*", deadline_s=20.0 if code == "oversized" else 1.5)
    assert answer.code == code
    assert len(content) <= 16 * MIB
    assert time.monotonic() - start < 15


def test_one_that_stalls_costs_itself_only(server: WebServer) -> None:
    requests = [Request("info", f"{server.url}/{name}", 2.0) for name in ("stall", "clip", "stall/2", "clip?2")]
    start = time.monotonic()
    with RemoteFiles(DecodeLimits(allow_uri=("*",))) as files:
        answers = {request.uri.removeprefix(server.url): answer.code for request, answer in files.ask(requests)}
    assert answers == {"/stall": "deadline", "/stall/2": "deadline", "/clip": "", "/clip?2": ""}
    assert time.monotonic() - start < 12


def fetchers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # one that was killed ends meanwhile
            if "pipeline.access.fetcher" in child.cmdline():
                found.append(child)
    return found


def test_a_process_that_dies_is_replaced_and_what_it_was_at_asked_again(server: WebServer) -> None:
    requests = [Request("info", f"{server.url}/{name}", 6.0) for name in ("stall", "clip", "clip?2")]
    with RemoteFiles(DecodeLimits(allow_uri=("*",))) as files:
        answers = files.ask(requests)
        found = dict([next(answers), next(answers)])
        (process,) = fetchers()
        process.kill()
        found |= dict(answers)
    assert [found[request].code for request in requests] == ["crash", "", ""]


def test_what_stops_is_not_waited_for(server: WebServer) -> None:
    stop = threading.Event()
    threading.Timer(3.0, stop.set).start()
    start = time.monotonic()
    with RemoteFiles(DecodeLimits(allow_uri=("*",)), stopped=stop.is_set) as files:
        assert list(files.ask([Request("info", f"{server.url}/stall", 60.0)])) == []
    assert time.monotonic() - start < 10


def bomb(path: Path) -> None:
    """A tar of a gibibyte of zeros, a megabyte large."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar, tempfile.TemporaryFile() as zeros:
        zeros.truncate(256 * MIB)
        entry = tarfile.TarInfo("clip")
        entry.size = 256 * MIB
        tar.addfile(entry, zeros)


def test_a_bomb_in_an_archive_is_not_unpacked_beyond_the_limit(tmp_path: Path) -> None:
    bomb(tmp_path / "a.tar.gz")
    assert (tmp_path / "a.tar.gz").stat().st_size < 2 * MIB
    answer, content = fetched(f"tar://clip::file://{tmp_path}/a.tar.gz", "tar://*", deadline_s=60)
    assert answer.code == "oversized"
    assert len(content) <= 16 * MIB


def test_a_bomb_in_memory_is_not_unpacked_beyond_the_limit(tmp_path: Path) -> None:
    lines = b'{"version": 1, "refs": {"clip": "' + b"0" * 700 * MIB + b'"}}'
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(lines, 1))
    answer, _ = fetched(f"reference://clip::file://{tmp_path}/a.json.gz", "*", deadline_s=60)
    assert answer.code in ("memory", "io")


def copies(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_caching_filesystems_leave_no_copies(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for cache in ("simplecache", "filecache", "blockcache"):
        answer, content = fetched(f"{cache}::{server.url}/clip", f"{cache}::*")
        assert (answer.code, content) == ("", b"content"), answer
        assert copies(tmp_path / "temporary") == []
    assert fetched(f"simplecache::{server.url}/endless", "*")[0].code == "oversized"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_pipe_is_read_where_it_is_allowed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            file.write(b"content")

    threading.Thread(target=write, args=(tmp_path / "pipe",), daemon=True).start()
    assert fetched(str(tmp_path / "pipe"), f"{tmp_path}/*") == (Answer(), b"content")
    assert fetched("/dev/zero", "/dev/*")[0].code == "oversized"


def test_a_store_that_falls_silent_costs_the_objects_asked_for_then(
    s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    fsspec.filesystem("s3").pipe_file(f"{s3}/clip", b"content")
    with UnreliableStore(s3_server) as proxy, tempfile.TemporaryFile() as file:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.address)
        with RemoteFiles(DecodeLimits(), file.fileno()) as files:
            answers = [files.fetch(f"{s3}/clip", 20.0)]
            before = fetchers()
            proxy.gone = "silent"
            answers.append(files.fetch(f"{s3}/clip", 1.5))
            proxy.gone = ""
            answers.append(files.fetch(f"{s3}/clip", 20.0))
            assert [answer.code for answer in answers if answer] == ["", "deadline", ""]
            assert fetchers() == before  # others that were under way went on


def test_an_object_is_fetched_as_it_is(s3: str) -> None:
    import fsspec

    fsspec.filesystem("s3").pipe_file(f"{s3}/clip", b"content")
    assert fetched(f"{s3}/clip") == (Answer(), b"content")
    assert fetched(f"{s3}/none")[0].code == "missing"
    fsspec.filesystem("s3").pipe_file(f"{s3}/large", b"0" * 2 * MIB)
    assert fetched(f"{s3}/large", fetch_limit_mb=1)[0].code == "oversized"
