"""Downloads published weights, with pooch: a file is in the cache whole and verified, or not at all."""

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
    expected,
    how_to_place,
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
    """Weights that are at hand, downloaded where need be.

    Args:
        cache: see `weights.cache_folder`.
        progress: a bar on stderr, where that is a terminal.
        backoff_s: wait before the second try; doubled for every further one (there are 4).

    Raises:
        WeightsError: no network, an HTTP error, or four wrong downloads: says the URL and where to put the file by
            hand. Nothing is left in the cache then.
    """
    entry = published(weights)
    if entry:
        download(entry, cache_folder(cache), progress=progress, backoff_s=backoff_s)
    return resolve(weights, cache)


def download(entry: Published, folder: Path, *, progress: bool = True, backoff_s: float = 1.0) -> Path:
    """The file of `entry` in `folder`, downloaded unless it is there. Raises what `fetch` does."""
    path = folder / entry.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, progress):
            if path.is_file():
                verify(entry, path)
                return path
            # Only one process at a time is in here, so what is left of a download is of one that was killed.
            for left in folder.glob(f"{_PART}*"):
                shutil.rmtree(left)
            _try_often(entry, path, progress, backoff_s)
    except OSError as error:
        raise WeightsError(
            f"{entry.name} cannot be written to {folder}: {error.strerror or error}. Choose another folder with "
            f"--weights-cache or $VDV_WEIGHTS"
        ) from error
    return path


@contextmanager
def _alone(folder: Path, progress: bool) -> Iterator[None]:
    """Holds the folder's lock, which the kernel gives back even when the process is killed."""
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


def _try_often(entry: Published, path: Path, progress: bool, backoff_s: float) -> None:
    import requests

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _try_once(entry, path, progress)
            return
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            failure: Exception = error
            reason, again = f"the server answers with status {status}", status in _RETRIED_STATUS
        except requests.RequestException as error:
            failure, reason, again = error, _reason(error), True
        except _WrongFileError as error:
            failure, reason, again = error, str(error), True
        if not again or attempt == _ATTEMPTS:
            tries = f" (tried {attempt} times)" if attempt > 1 else ""
            raise WeightsError(
                f"{entry.name} could not be fetched{tries}: {reason}.\nTry again later; {how_to_place(entry, path)}"
            ) from failure
        if progress:
            print(f"{entry.file_name}: {reason}; trying again", file=sys.stderr)
        time.sleep(backoff_s * 2 ** (attempt - 1))


class _WrongFileError(Exception):
    """What came is not the published file."""


def _try_once(entry: Published, path: Path, progress: bool) -> None:
    import pooch

    with tempfile.TemporaryDirectory(prefix=_PART, dir=path.parent) as part:
        target = Path(part) / entry.file_name
        # A total that the server's answer replaces: without one, pooch takes the bar for no bar.
        total = entry.size or 1
        with tqdm(desc=entry.name, total=total, unit="B", unit_scale=True, disable=None if progress else True) as bar:
            get = pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=_CHUNK,
                timeout=_TIMEOUT_S,
                headers={"Accept-Encoding": "identity", "User-Agent": "vdv"},
            )
            get(entry.url, str(target), None)
        with target.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not entry.accepts(digest):
                size = target.stat().st_size
                raise _WrongFileError(
                    f"what came ({size} bytes) has the sha256 {digest}, which should {expected(entry)}"
                )
            os.fsync(file.fileno())
        os.replace(target, path)


def _reason(error: Exception) -> str:
    """The innermost cause of a requests error: the outer ones repeat it with object addresses."""
    seen: BaseException = error
    while isinstance(inner := seen.__cause__ or seen.__context__, BaseException):
        seen = inner
    return f"{type(error).__name__} ({seen})"
