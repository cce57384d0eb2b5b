"""What a power cut leaves: a file is on disk before its name is, and the name before it is said to be written."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import storage


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Calls that reach the disk, in order; each is done as well. Nothing but a power cut would show them otherwise."""
    done: list[tuple] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        done.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size))

    def replaced(source: Any, target: Any) -> None:
        replace(source, target)
        done.append(("replace", str(source), str(target)))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return done


def test_a_file_is_flushed_then_named_and_then_its_folder_is_flushed(tmp_path: Path, steps: list[tuple]) -> None:
    target = tmp_path / "folder" / "file.bin"
    storage.write_bytes(str(target), b"x" * 1000)
    (flushed, staged, size), named, folder = (step for step in steps if str(tmp_path) in step[1])
    assert (flushed, size, named) == ("fsync", 1000, ("replace", staged, str(target)))
    assert Path(staged).parent == target.parent
    assert folder[:2] == ("fsync", str(target.parent))
