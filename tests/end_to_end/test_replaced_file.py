"""A clip's file that is replaced by another of its size and time, between being described and being decoded."""

import hashlib
import os
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.tiny_clips import render_clip, tiny_world
from tests.end_to_end.workspaces import luigi, run

OPTIONS = ("--manifest", "tiny.csv", "--modalities", "scene")


def put_in_place(clip: Path) -> None:
    other = render_clip(clip.with_suffix(".new.mp4"), seed=99, frames=6)
    before = clip.stat()
    assert other.stat().st_size < before.st_size + 4000
    pad = before.st_size - other.stat().st_size
    with open(other, "ab") as file:
        file.write(pad.to_bytes(4) + b"free" + bytes(pad - 8))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, clip)


def hashes(folder: Path) -> dict[str, str]:
    newest = max((folder / "workspace/clips/tiny").glob("*-*.parquet"))
    table = pq.read_table(newest, columns=["clip_id", "content_hash"])
    return dict(zip(*table.to_pydict().values(), strict=True))


def test_it_ends_as_changed_and_is_looked_at_anew_when_asked_for(tmp_path: Path) -> None:
    tiny_world(tmp_path, 3)
    clip = tmp_path / "clips/clip001.mp4"
    with open(clip, "ab") as file:
        file.write((8000).to_bytes(4) + b"free" + bytes(7992))
    assert luigi(["--module", "tasks", "IngestBatch", "--manifest", "tiny.csv"], tmp_path).code == 0
    before = hashes(tmp_path)
    put_in_place(clip)
    now = hashlib.sha256(clip.read_bytes()).hexdigest()

    first = run("ExtractBatch", tmp_path, *OPTIONS)
    assert first.code == 0, first.output
    assert "2 ok, 0 partial, 1 failed" in first.output
    assert "changed" in first.output
    assert "--retry-failed" in first.output
    assert hashes(tmp_path) == before

    again = run("ExtractBatch", tmp_path, *OPTIONS, "--retry-failed")
    assert "3 ok, 0 partial, 0 failed" in again.output, again.output
    assert hashes(tmp_path) == before | {"clip001": now}
