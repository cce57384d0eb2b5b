"""A workspace, a manifest and its clips on S3, as moto serves it: nothing is local but the code."""

import json
from pathlib import Path

import fsspec

from benchmarks.tiny_clips import tiny_world
from pipeline.modalities.registry import extracted_names
from tests.end_to_end.workspaces import run


def test_a_build_on_s3_is_whole_and_is_not_done_twice(tmp_path: Path, s3: str) -> None:
    tiny_world(tmp_path, 6)
    store = fsspec.filesystem("s3")
    store.put(str(tmp_path / "tiny.csv"), f"{s3}/manifests/tiny.csv")
    store.put(str(tmp_path / "clips"), f"{s3}/manifests/clips", recursive=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    options = ("--manifest", f"{s3}/manifests/tiny.csv", "--workspace", f"{s3}/workspace")

    first = run("BuildVDV", empty, *options)
    assert first.code == 0, first.output
    assert "6 ok" in first.output
    latest = json.loads(store.cat(f"{s3}/workspace/latest.json"))
    assert b"clip000" in store.cat(f"{s3}/workspace/{latest['report']}")
    made = store.find(f"{s3}/workspace")
    assert sum("/features/" in path and path.endswith(".parquet") for path in made) == len(extracted_names())

    again = run("BuildVDV", empty, *options)
    assert "nothing to do" in again.output
    assert store.find(f"{s3}/workspace") == made
    assert list(empty.iterdir()) == []
