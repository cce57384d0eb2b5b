"""The cache of fetched clips: bounded, shared by processes, and gone with the command that it belongs to."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from pipeline.access.fetch_cache import CacheFolder, FetchCache

URI, HASH = "s3://bucket/clip.mp4", "0" * 64


def written(path: Path, size: int = 4) -> Path:
    path.write_bytes(b"x" * size)
    return path


def kept_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != "used")


def test_a_clip_is_found_once_by_its_uri_and_content(tmp_path: Path) -> None:
    cache, (folder, clip) = FetchCache(str(tmp_path), 10), (tmp_path, tmp_path.parent / f"{tmp_path.name}-clip")
    assert cache.keep(written(clip), URI, HASH)
    assert not clip.exists()
    assert not cache.take(URI, "1" * 64, clip)
    assert not cache.take(f"{URI}?2", HASH, clip)
    assert cache.take(URI, HASH, clip)
    assert clip.read_bytes() == b"xxxx"
    assert not cache.take(URI, HASH, clip)
    assert kept_bytes(folder) == 0


def test_no_more_bytes_are_kept_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    cache, clip = FetchCache(str(tmp_path / "cache"), 10), tmp_path / "clip"
    assert [cache.keep(written(clip), f"{URI}?{number}", HASH) for number in range(4)] == [True, True, False, False]
    assert clip.exists()  # it is the caller's still
    assert cache.take(f"{URI}?1", HASH, clip)
    assert cache.keep(written(clip, 6), f"{URI}?4", HASH)
    assert not cache.keep(written(clip, 1), f"{URI}?5", HASH)
    cache.clear()
    assert kept_bytes(tmp_path / "cache") == 0
    assert cache.keep(written(clip, 10), URI, HASH)


def test_a_clip_that_is_there_already_is_not_counted_twice(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    cache, clip = FetchCache(str(tmp_path / "cache"), 10), tmp_path / "clip"
    assert [cache.keep(written(clip), URI, HASH) for _ in range(2)] == [True, False]
    assert cache.keep(written(clip, 6), f"{URI}?2", HASH)


def test_without_a_folder_or_with_one_that_is_gone_nothing_is_kept(tmp_path: Path) -> None:
    clip = written(tmp_path / "clip")
    for cache in (FetchCache("", 10), FetchCache(str(tmp_path), 0), FetchCache(str(tmp_path / "none"), 10)):
        assert not cache.keep(clip, URI, HASH)
        assert not cache.take(URI, HASH, tmp_path / "taken")
        cache.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


_together: Barrier


def _begin(barrier: Barrier) -> None:
    global _together
    _together = barrier


def keep_many(folder: str, place: str, number: int) -> int:
    cache = FetchCache(folder, 4000)
    _together.wait(60)
    return sum(cache.keep(written(Path(place, f"{number}")), f"{URI}?{number}-{clip}", HASH) for clip in range(600))


def test_processes_that_share_a_folder_keep_its_limit_together(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    context = multiprocessing.get_context("spawn")
    with context.Pool(3, _begin, (context.Barrier(3),)) as pool:
        kept = pool.starmap(keep_many, [(str(tmp_path / "cache"), str(tmp_path), n) for n in range(3)], chunksize=1)
    assert sum(kept) == 1000
    assert kept_bytes(tmp_path / "cache") == 4000


def test_a_commands_folder_goes_with_it_or_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = CacheFolder()
    assert FetchCache(folder.path, 10).keep(written(tmp_path / "clip"), URI, HASH)
    folder.close()
    assert list(tmp_path.iterdir()) == []
    run(tmp_path, "raise SystemExit(1)")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_kept_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert kept_bytes(left) == 4
    os.utime(left, (time.time() - 3600,) * 2)
    folder = CacheFolder()
    assert [str(path) for path in tmp_path.iterdir()] == [folder.path]
    folder.close()


def run(temporary: Path, end: str, code: int = 1) -> None:
    """Keep a clip in a process of its own that ends so."""
    program = f"""
import os, signal
from pathlib import Path
from pipeline.access.fetch_cache import CacheFolder, FetchCache
folder = CacheFolder()
clip = Path({str(temporary / "clip")!r})
clip.write_bytes(b"xxxx")
assert FetchCache(folder.path, 10).keep(clip, {URI!r}, {HASH!r})
{end}
"""
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(temporary)})
    assert done.returncode == code
