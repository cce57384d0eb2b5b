"""Download of published weights, with pooch: a file is in the cache whole and verified, or not at all."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from models.errors import WeightsError
from models.weights.catalogue import (
    Published,
    Weights,
    cache_folder,
    digest_rule,
    placing_hint,
    published,
    resolve,
    verify,
)

_PART = ".part-"  # prefix of the folders that hold downloads under way
_ATTEMPTS = 4
_TIMEOUT_S = 30.0  # without a byte
_CHUNK = 1 << 18  # bytes; pooch's 1 KiB makes a gigabit line wait for Python
_RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)


def fetch(weights: str, cache: str | Path | None = None, *, progress: bool = True, backoff_s: float = 1.0) -> Weights:
    """Weights that can be loaded, downloaded if they are not in the cache.

    Args:
        cache: see `weights.cache_folder`.
        progress: a bar on stderr, where that is a terminal.
        backoff_s: wait before the second of 4 attempts; doubled for each further one.

    Raises:
        WeightsError: no network, an HTTP error, or four wrong downloads; gives the URL and where to put the file by
            hand. Nothing is then left in the cache.
    """
    entry = published(weights)
    if entry:
        download(entry, cache_folder(cache), progress=progress, backoff_s=backoff_s)
    return resolve(weights, cache)


def download(entry: Published, folder: Path, *, progress: bool = True, backoff_s: float = 1.0) -> Path:
    """The file of `entry` in `folder`, downloaded unless it exists. Raises what `fetch` does."""
    path = folder / entry.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, progress):
            if path.is_file():
                verify(entry, path)
                return path
            # Under the lock, a part of a download is left only by a process that was killed.
            for leftover in folder.glob(f"{_PART}*"):
                shutil.rmtree(leftover)
            _download_with_retries(entry, path, progress, backoff_s)
    except OSError as error:
        raise WeightsError(
            f"{entry.name} cannot be written to {folder}: {error.strerror or error}. Choose another folder with "
            f"--weights-cache or $VDV_WEIGHTS"
        ) from error
    return path


@contextmanager
def _locked(folder: Path, progress: bool) -> Iterator[None]:
    """Hold the folder's lock, which the kernel releases even when the process is killed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                print(f"another process is fetching weights into {folder}; waiting for it", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _download_with_retries(entry: Published, path: Path, progress: bool, backoff_s: float) -> None:
    import requests

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _download_once(entry, path, progress)
            return
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            failure: Exception = error
            reason, retry = f"the server answers with status {status}", status in _RETRIED_STATUS
        except requests.RequestException as error:
            failure, reason, retry = error, _reason(error), True
        except _WrongFileError as error:
            failure, reason, retry = error, str(error), True
        if not retry or attempt == _ATTEMPTS:
            tries = f" (tried {attempt} times)" if attempt > 1 else ""
            raise WeightsError(
                f"{entry.name} could not be fetched{tries}: {reason}.\nTry again later; {placing_hint(entry, path)}"
            ) from failure
        if progress:
            print(f"{entry.file_name}: {reason}; trying again", file=sys.stderr)
        time.sleep(backoff_s * 2 ** (attempt - 1))


class _WrongFileError(Exception):
    """The download is not the published file."""


def _download_once(entry: Published, path: Path, progress: bool) -> None:
    import pooch

    with tempfile.TemporaryDirectory(prefix=_PART, dir=path.parent) as part:
        target = Path(part) / entry.file_name
        # The server's answer replaces the total; without one, pooch treats the bar as none.
        total = entry.size or 1
        with tqdm(desc=entry.name, total=total, unit="B", unit_scale=True, disable=None if progress else True) as bar:
            downloader = pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=_CHUNK,
                timeout=_TIMEOUT_S,
                headers={"Accept-Encoding": "identity", "User-Agent": "vdv"},
            )
            downloader(entry.url, str(target), None)
        with target.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not entry.accepts(digest):
                size = target.stat().st_size
                raise _WrongFileError(
                    f"what came ({size} bytes) has the sha256 {digest}, which should {digest_rule(entry)}"
                )
            os.fsync(file.fileno())
        os.replace(target, path)


def _reason(error: Exception) -> str:
    """The innermost cause of a requests error: the outer ones repeat it with object addresses."""
    cause: BaseException = error
    while isinstance(inner := cause.__cause__ or cause.__context__, BaseException):
        cause = inner
    return f"{type(error).__name__} ({cause})"
