"""Locks between commands that work on one workspace at once."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from pipeline.core import storage
from pipeline.core.fingerprint import fingerprint

LOCKS = ".locks"  # a workspace's folder of empty files, one a piece of work


@contextmanager
def exclusive(workspace: str, work: str, wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Let one process at a time do a piece of work in a local workspace; the others wait.

    The lock is the system's (flock) and goes with its process, however that ends. A thread that holds it may take it
    once more. Object stores have none, nor have some network file systems: there the block runs at once.

    Args:
        work: names the piece of work, by what it makes.
        wait: called once, before another process is waited for.

    Raises:
        WorkspaceError: the workspace cannot be written.
    """
    if not storage.is_local(workspace):
        yield
        return
    folder = storage.local_path(workspace) / LOCKS
    lock = _lock(folder / f"{fingerprint(work)}.lock")
    is_held = True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock, wait)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP):  # no flock
            raise storage.workspace_error("write", str(folder), error) from error
        is_held = False
    try:
        yield
    finally:
        if is_held:
            lock.release()


def wait_for_others(workspace: str, wait: Callable[[], None] | None = None) -> None:
    """Return once every piece of work that other processes hold now has ended, whatever it is; it holds none itself.

    What they begin meanwhile is not waited for. In an object store, where nobody can be seen, it returns at once.
    wait: called once for each that is waited for.
    """
    if not storage.is_local(workspace):
        return
    for path in sorted((storage.local_path(workspace) / LOCKS).glob("*.lock")):
        lock = _lock(path)
        try:
            _acquire(lock, wait)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP):  # no flock
                raise storage.workspace_error("write", str(path), error) from error
        else:
            lock.release()


def _lock(path: Path) -> BaseFileLock:
    # Locks of filelock's other kind are files that outlive a process that is killed.
    return FileLock(path, is_singleton=True, fallback_to_soft=False)


def _acquire(lock: BaseFileLock, wait: Callable[[], None] | None) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if wait:
            wait()
        lock.acquire()
