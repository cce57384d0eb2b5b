"""Clients of the service: good ones, and such as wish it ill. Each ends within seconds, whatever the service does."""

import http.client
import json
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil

CLOSED = 0  # in place of a status: the service closed the connection
_PATIENCE_S = 1200.0  # of a good client


@dataclass(frozen=True)
class Reply:
    """An answer of the service."""

    status: int
    content: dict[str, Any]
    seconds: float


def connect(address: str, timeout_s: float = _PATIENCE_S) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)


def ask(address: str, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    """One request, as a client that does as it should sends it."""
    start = time.perf_counter()
    connection = connect(address)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        content = json.loads(reply.read() or b"{}")
        return Reply(reply.status, content, time.perf_counter() - start)
    finally:
        connection.close()


def score(address: str, clip: Path, challenge: str = "") -> Reply:
    """Ask for the score of a clip."""
    query = f"?challenge={quote(challenge)}" if challenge else ""
    return ask(address, "POST", f"/score{query}", clip.read_bytes(), content_type="video/mp4")


class Raw:
    """A connection on which anything may be sent."""

    def __init__(self, address: str, timeout_s: float = 60.0):
        parts = urlsplit(address)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout_s)

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """Whether the service still takes it."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def status(self) -> int:
        """Of the first answer; CLOSED where there is none."""
        with suppress(OSError):
            line = self._socket.makefile("rb").readline().split()
            if len(line) > 1:
                return int(line[1])
        return CLOSED


def _head(*lines: str, kind: str = "video/mp4") -> bytes:
    return "\r\n".join(["POST /score HTTP/1.1", "Host: x", f"Content-Type: {kind}", *lines, "", ""]).encode()


def _whole(address: str, body: bytes, kind: str = "video/mp4", *lines: str) -> int:
    with Raw(address) as raw:
        raw.send(_head(f"Content-Length: {len(body)}", *lines, kind=kind) + body)
        return raw.status()


def cut_off(address: str, clip: bytes) -> int:
    """A film without its end, and so without its index."""
    return _whole(address, clip[: len(clip) // 2])


def damaged(address: str, clip: bytes) -> int:
    """A film with a hundredth of its bytes changed."""
    data, rng = bytearray(clip), random.Random(len(clip))
    for _ in range(len(data) // 100):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return _whole(address, bytes(data))


def random_bytes(address: str, clip: bytes) -> int:
    return _whole(address, random.Random(1).randbytes(200_000))


def html(address: str, clip: bytes) -> int:
    return _whole(address, b"<!doctype html><script>alert(1)</script>" * 100)


def nothing(address: str, clip: bytes) -> int:
    return _whole(address, b"")


def compressed(address: str, clip: bytes) -> int:
    return _whole(address, b"\x1f\x8b" + bytes(1000), "video/mp4", "Content-Encoding: gzip")


def huge_by_its_word(address: str, clip: bytes) -> int:
    """A body of a terabyte, it says."""
    with Raw(address) as raw:
        raw.send(_head("Content-Length: 1000000000000") + clip)
        return raw.status()


def endless(address: str, clip: bytes) -> int:
    """Chunks for as long as they are taken, up to 2 GiB."""
    with Raw(address) as raw:
        raw.send(_head("Transfer-Encoding: chunked"))
        chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
        for _ in range(2048):
            if not raw.send(chunk):
                break
        return raw.status()


def slow(address: str, clip: bytes) -> int:
    """A byte every now and then, for as long as they are taken."""
    with Raw(address) as raw:
        raw.send(_head(f"Content-Length: {len(clip)}"))
        until = time.monotonic() + 30
        while time.monotonic() < until and raw.send(clip[:1]):
            time.sleep(0.25)
        return raw.status()


def stalled(address: str, clip: bytes) -> int:
    """A body that stops midway."""
    with Raw(address) as raw:
        raw.send(_head(f"Content-Length: {len(clip)}") + clip[: len(clip) // 2])
        return raw.status()


def silent(address: str, clip: bytes) -> int:
    """A connection on which nothing is sent."""
    with Raw(address) as raw:
        return raw.status()


def half_a_head(address: str, clip: bytes) -> int:
    with Raw(address) as raw:
        raw.send(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-")
        return raw.status()


def long_head(address: str, clip: bytes) -> int:
    return _whole(address, b"", "video/mp4", f"X-Filler: {'x' * 200_000}")


def no_http(address: str, clip: bytes) -> int:
    with Raw(address) as raw:
        raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n")
        return raw.status()


def gone_midway(address: str, clip: bytes) -> int:
    with Raw(address) as raw:
        raw.send(_head(f"Content-Length: {len(clip)}") + clip[: len(clip) // 2])
    return CLOSED


def gone_while_waiting(address: str, clip: bytes) -> int:
    """A film sent whole by somebody who does not wait for the score."""
    with Raw(address) as raw:
        raw.send(_head(f"Content-Length: {len(clip)}") + clip)
        time.sleep(0.05)
    return CLOSED


def longer_than_stated(address: str, clip: bytes) -> int:
    with Raw(address) as raw:
        raw.send(_head("Content-Length: 10") + clip)
        return raw.status()


def form_without_boundary(address: str, clip: bytes) -> int:
    return _whole(address, clip, "multipart/form-data")


def form_without_end(address: str, clip: bytes) -> int:
    body = b'--x\r\nContent-Disposition: form-data; name="clip"; filename="../../a"\r\n\r\n' + clip
    return _whole(address, body, "multipart/form-data; boundary=x")


def form_of_many_parts(address: str, clip: bytes) -> int:
    part = b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\na\r\n'
    return _whole(address, part * 2000 + b"--x--\r\n", "multipart/form-data; boundary=x")


def form_with_a_long_header(address: str, clip: bytes) -> int:
    return _whole(address, b"--x\r\nX: " + b"y" * 2**20, "multipart/form-data; boundary=x")


def deep_json(address: str, clip: bytes) -> int:
    return _whole(address, b"[" * 30_000, "application/json")


def long_json(address: str, clip: bytes) -> int:
    return _whole(address, b'{"uri": "' + b"x" * 10**6 + b'"}', "application/json")


def uri_of_a_file(address: str, clip: bytes) -> int:
    return _whole(address, b'{"uri": "file:///etc/passwd"}', "application/json")


def uri_of_the_cloud(address: str, clip: bytes) -> int:
    return _whole(address, b'{"uri": "http://169.254.169.254/latest/meta-data/"}', "application/json")


Hostile = Callable[[str, bytes], int]
# And the statuses that they may end with; a film with changed bytes may be as good as whole.
HOSTILE: dict[Hostile, tuple[int, ...]] = {
    cut_off: (422,), damaged: (200, 422), random_bytes: (422,), html: (422,), nothing: (422,), compressed: (415,),
    huge_by_its_word: (413,), endless: (413, 408, CLOSED), slow: (408, CLOSED), stalled: (408,), silent: (CLOSED,),
    half_a_head: (CLOSED,), long_head: (400,), no_http: (400,), gone_midway: (CLOSED,), gone_while_waiting: (CLOSED,),
    longer_than_stated: (422,), form_without_boundary: (400,), form_without_end: (400,), form_of_many_parts: (400,),
    form_with_a_long_header: (400,), deep_json: (400,), long_json: (413,), uri_of_a_file: (403,),
    uri_of_the_cloud: (403,),
}  # fmt: skip
BUSY = 503  # any of them may find the queue full


@dataclass(frozen=True)
class Held:
    """Things of the machine that a service holds."""

    descriptors: int
    processes: int
    files: int  # in its folder for temporary files

    @classmethod
    def by(cls, process: psutil.Process, folder: Path) -> "Held":
        files = sum(path.is_file() for path in folder.rglob("*"))
        return cls(process.num_fds(), len(process.children(recursive=True)), files)

    def is_within(self, most: "Held") -> bool:
        """Whether no number is above the other's."""
        return self.descriptors <= most.descriptors and self.processes <= most.processes and self.files <= most.files


def settled(process: psutil.Process, folder: Path, most: Held, seconds: float = 60.0) -> Held:
    """What the service holds as soon as that is no more than `most`, or after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        held = Held.by(process, folder)
        if held.is_within(most) or time.monotonic() > until:
            return held
        time.sleep(0.2)


def wait_for_address(log: Path, alive: Callable[[], bool], seconds: float = 300.0) -> str:
    """The address of a service, as soon as its log has it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and alive():
        lines = [line for line in log.read_text().splitlines() if " serving run " in line] if log.exists() else []
        if lines:
            return lines[0].rsplit(" ", 1)[1]
        time.sleep(0.05)
    raise RuntimeError(f"the service does not start: {log.read_text()[-2000:] if log.exists() else 'it wrote no log'}")
