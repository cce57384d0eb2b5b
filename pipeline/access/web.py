"""Files on web servers: https of public addresses, and whatever the user allows, over redirects too.

fsspec's own filesystem connects to any address and follows any redirect. Here the address is looked at that is
connected to: a name that gives a public address once and a private one then (DNS rebinding) gains nothing.
"""

import errno
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any

import aiohttp
from yarl import URL

from pipeline.access.rules import check_uri, is_public, matches, refusal
from pipeline.core.errors import ClipError
from pipeline.core.text import visible

_STALL_S = 30.0  # without a byte, or a connection
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_CHUNK_BYTES = 2**18
_NOT_PUBLIC = "is no public address"
_STATED = ("ETag", "Content-MD5", "Digest", "Last-Modified")


class Web:
    """Web servers, as far as they may be asked. For use by one event loop.

    Args:
        patterns: of what may be read beyond the rules. A redirect is followed where its target may be read, too.
    """

    def __init__(self, patterns: Sequence[str]):
        self._patterns = patterns
        self._sessions: dict[bool, aiohttp.ClientSession] = {}  # by whether every address may be connected to

    async def info(self, url: str) -> dict[str, Any]:
        """What a server states of a file, under the names that fsspec uses: size, ETag, ...

        Raises:
            FileNotFoundError: no such file.
            ClipError: not_allowed or io.
        """
        stated: dict[str, Any] = {"size": None}
        for method in ("HEAD", "GET"):  # not every server answers the first, or gives the size in it
            try:
                async with self._answer(method, url) as answer:
                    _check_status(answer, url)
                    headers = answer.headers
                    stated |= {name: headers[name] for name in _STATED if headers.get(name)}
                    if headers.get("Content-Encoding", "") in ("", "identity"):
                        stated["size"] = answer.content_length
            except (ClipError, FileNotFoundError) as error:
                if method == "GET" or (isinstance(error, ClipError) and error.code == "not_allowed"):
                    raise
            if stated["size"] is not None:
                break
        return stated

    async def fetch(self, url: str, file: IO[bytes]) -> None:
        """Write a file of a server to `file`, as it comes.

        Raises:
            FileNotFoundError, ClipError: as of `info`.
            OSError: `file` cannot be written.
        """
        async with self._answer("GET", url) as answer:
            _check_status(answer, url)
            try:
                async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                    file.write(chunk)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _failure(url, error) from error

    @asynccontextmanager
    async def _answer(self, method: str, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer at the end of all redirects, each of which has to be allowed."""
        check_uri(url, self._patterns)
        at, allowed = URL(url), matches(url, self._patterns)
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                request = self._session(allowed).request(
                    method, at, allow_redirects=False, headers={"Accept-Encoding": "identity"}
                )
                answer = await request
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if _NOT_PUBLIC in str(error):
                    raise refusal(str(at), f"{at.host} {_NOT_PUBLIC}") from error
                raise _failure(str(at), error) from error
            async with answer:
                if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                    yield answer
                    return
                at = at.join(URL(answer.headers["Location"]))
                allowed = matches(str(at), self._patterns)
                if at.scheme not in ("http", "https") or (at.scheme == "http" and not allowed):
                    raise refusal(str(at), f"{visible(url)} redirects to it, and {at.scheme}:// is not read")
        raise ClipError("io", f"{visible(url)} redirects more than {_MOST_REDIRECTS} times")

    def _session(self, any_address: bool) -> aiohttp.ClientSession:
        if any_address not in self._sessions:
            connector = aiohttp.TCPConnector(socket_factory=None if any_address else _public_socket)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_STALL_S, sock_read=_STALL_S)
            self._sessions[any_address] = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._sessions[any_address]


def _public_socket(address: tuple) -> socket.socket:
    """A socket for the address that is about to be connected to; aiohttp asks for one each time.

    Raises:
        PermissionError: the address is not public.
    """
    family, kind, protocol, _, place = address
    if not is_public(place[0]):
        raise PermissionError(errno.EPERM, f"{place[0]} {_NOT_PUBLIC}")
    return socket.socket(family, kind, protocol)


def _check_status(answer: aiohttp.ClientResponse, url: str) -> None:
    if answer.status in _GONE:
        raise FileNotFoundError(url)
    if answer.status >= 300:
        raise ClipError("io", f"cannot read {visible(url)}: the server answers {answer.status} {answer.reason}")


def _failure(url: str, error: Exception) -> ClipError:
    return ClipError("io", f"cannot read {visible(url)}: {type(error).__name__}: {error}")
