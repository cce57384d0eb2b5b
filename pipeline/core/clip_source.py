"""A clip's bytes, held by an open file: what was hashed is what is decoded, whatever happens to the file's name."""

import hashlib
import io
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from pipeline.core.errors import ClipError
from pipeline.core.text import visible

_CLOCK_TICK_NS = 20_000_000  # of a filesystem's times: two changes within one look like one


class Source:
    """An open file that holds a clip.

    Attributes:
        uri: of the clip, for messages.
        name: path of a local file, which may be another file's by now: it is never opened.
        size_bytes: at the start.
    """

    def __init__(self, descriptor: int, uri: str, name: str = ""):
        """descriptor: of an open file; closed with this object.

        Raises:
            ClipError: empty.
        """
        weakref.finalize(self, os.close, descriptor)
        self._descriptor, self.uri, self.name = descriptor, uri, name
        self._changed_at = self._last_change()
        self.size_bytes = os.fstat(descriptor).st_size
        if self.size_bytes == 0:
            raise ClipError("empty", f"{visible(uri)} holds 0 bytes")

    def open(self) -> io.BufferedReader:
        """The file, to be read from its start, independently of others who read it."""
        return io.BufferedReader(_Reader(self), 1 << 16)

    @property
    def path(self) -> str:
        """A path that leads to the open file, for code that takes paths only."""
        return f"/proc/self/fd/{self._descriptor}"

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes, as they were when this was first asked for; hex. Raises: ClipError io."""
        return self._hash()

    @contextmanager
    def unchanged(self, sha256: str = "") -> Iterator[None]:
        """Hold the file to its content for as long as the block lasts, whatever else ends the block.

        sha256: what it must be; empty: what it is.

        Raises:
            ClipError: changed, or io where it cannot be read.
        """
        if sha256 and self.sha256 != sha256:
            raise ClipError("changed", f"{visible(self.uri)} is not the file any more that was described before")
        before = self.sha256
        try:
            yield
        finally:
            if self._last_change() != self._changed_at and self._hash() != before:
                raise ClipError("changed", f"{visible(self.uri)} was written to while it was read")

    def _hash(self) -> str:
        try:
            with self.open() as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ClipError("io", f"cannot read {visible(self.uri)}: {error.strerror}") from error

    def _last_change(self) -> tuple[int, ...]:
        """What differs after a change of the file, be it of its bytes or of its names alone."""
        status = os.fstat(self._descriptor)
        recent = abs(time.time_ns() - status.st_ctime_ns) < _CLOCK_TICK_NS
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, time.monotonic_ns() if recent else 0


class _Reader(io.RawIOBase):
    """Keeps the source open, and its own place in it."""

    def __init__(self, source: Source):
        self.name, self._source, self._at = source.name, source, 0  # FFmpeg takes a hint from a name's ending

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._source._descriptor, [buffer], self._at)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = (os.fstat(self._source._descriptor).st_size if start is None else start) + offset
        return self._at
