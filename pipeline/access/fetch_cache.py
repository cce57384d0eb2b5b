"""Cache of fetched clips, on this machine's disk, between the ingest of a batch and its extraction.

All of a batch is ingested before its extraction begins, so a cache that drops its oldest clips would be swept empty by
a batch that is larger before any of them is used. This one fills until its bound, keeps what it has until it is
decoded, once, and leaves the rest to be fetched again. A clip is found by its uri and the hash of its content: an
object that was replaced has another.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError

log = logging.getLogger(__name__)

_USED = "used"  # file in the folder: bytes of all clips in it, as text; its lock is that of the cache
_LEFT_FREE = 0.1  # share of the disk that the cache leaves to others


class FetchCache:
    """Clips that were fetched and are still to be decoded. Processes that use one folder share the cache.

    Whatever its disk does costs the cache and no clip: then nothing is kept, and nothing found.

    Args:
        folder: that belongs to the cache; whoever made it removes it. Empty: nothing is kept.
        limit_bytes: of all clips together.
    """

    def __init__(self, folder: str, limit_bytes: int):
        self._folder, self._limit_bytes = Path(folder), limit_bytes if folder else 0

    def keep(self, path: Path, uri: str, content_hash: str) -> bool:
        """Move a file into the cache; False, and the file is left, where it has no room or has the clip already."""
        if not self._limit_bytes:
            return False
        entry = self._entry(uri, content_hash)
        try:
            with self._used() as used:
                size = path.stat().st_size
                if used[0] + size > self._limit_bytes or _is_crowded(self._folder) or entry.exists():
                    return False
                path.rename(entry)
                used[0] += size
        except OSError as error:
            log.warning(f"vdv: a fetched clip is not kept until it is decoded: {error}")
            return False
        return True

    def take(self, uri: str, content_hash: str, to: Path) -> bool:
        """Move a clip out of the cache, to a file that only the caller knows; False where it is not in the cache."""
        if not self._limit_bytes:
            return False
        try:
            with self._used() as used:
                self._entry(uri, content_hash).rename(to)
                used[0] -= to.stat().st_size
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning(f"vdv: a clip that was fetched before is fetched again: {error}")
            return False
        return True

    def clear(self) -> None:
        """Give up all clips, as when the disk is full."""
        if not self._limit_bytes:
            return
        try:
            with self._used() as used:
                for entry in self._folder.iterdir():
                    if entry.name != _USED:
                        entry.unlink(missing_ok=True)
                used[0] = 0
        except OSError as error:
            log.warning(f"vdv: fetched clips are not removed from a full disk: {error}")

    def _entry(self, uri: str, content_hash: str) -> Path:
        return self._folder / f"{content_hash}-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"

    @contextmanager
    def _used(self) -> Iterator[list[int]]:
        """The bytes of all clips, held against other processes; as the block leaves them they are written down."""
        descriptor = os.open(self._folder / _USED, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = int(os.pread(descriptor, 32, 0) or b"0")
            used = [before]
            try:
                yield used
            finally:
                if used[0] != before:  # of one length, so that no write needs room that the first did not
                    os.pwrite(descriptor, f"{used[0]:020d}".encode(), 0)
        finally:
            os.close(descriptor)


class CacheFolder:
    """A folder for the cache of one command, until it is closed or this process ends.

    That of a process that was killed is removed by the next that makes one.

    Attributes:
        path: empty where there is no room for a folder, so that nothing is kept.
    """

    def __init__(self) -> None:
        folder = ExitStack()
        try:
            self.path = str(folder.enter_context(storage.temporary_folder()))
        except WorkspaceError as error:
            log.warning(f"vdv: {error}; fetched clips are not kept until they are decoded")
            self.path = ""
        self._end = weakref.finalize(self, _close, folder, os.getpid())

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        self._end()


def _close(folder: ExitStack, owner: int) -> None:
    if os.getpid() == owner:  # and not in a process that was forked from it
        folder.close()


def _is_crowded(folder: Path) -> bool:
    usage = shutil.disk_usage(folder)
    return usage.free < _LEFT_FREE * usage.total
