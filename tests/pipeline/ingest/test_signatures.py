"""Signatures tell changed files from unchanged ones without reading them."""

import os
import time
from pathlib import Path

import fsspec
import pytest

from pipeline.core import storage
from pipeline.ingest.signatures import file_signatures


def signature(uri: str) -> str:
    return file_signatures([uri])[0]


def test_a_local_signature_changes_with_size_and_time_and_says_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "clip"
    assert signature(str(file)) == "missing"
    file.write_bytes(b"123")
    before = signature(str(file))
    assert signature(f"file://{file}") == before
    assert signature(f"{file}/below") == "missing"
    os.utime(file, ns=(5, 5))
    touched = signature(str(file))
    file.write_bytes(b"1234")
    os.utime(file, ns=(5, 5))
    assert len({before, touched, signature(str(file))}) == 3


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_remote_signature_is_the_same_whether_listed_or_asked_for(kind: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(kind)
    uris = [f"{store}/clips/{at:03d}" for at in range(70)]
    for uri in uris[1:]:
        storage.write_bytes(uri, uri.encode())
    listed = file_signatures(uris)
    assert listed[0] == "missing"
    assert "missing" not in listed[1:]
    assert [signature(uri) for uri in uris[:3]] == listed[:3]
    storage.write_bytes(uris[5], b"other")
    assert [at for at, now in enumerate(file_signatures(uris)) if now != listed[at]] == [5]


def test_many_clips_of_one_remote_folder_cost_one_listing(s3: str, caplog: pytest.LogCaptureFixture) -> None:
    filesystem = fsspec.filesystem("s3")
    filesystem.pipe({f"{s3}/clips/{at:03d}": b"x" for at in range(70)})
    with caplog.at_level("INFO", logger="werkzeug"):
        caplog.clear()
        signatures = file_signatures([f"{s3}/clips/{at:03d}" for at in range(70)])
    assert "missing" not in signatures
    requests = [record.getMessage() for record in caplog.records if record.name == "werkzeug"]
    assert len(requests) == 1, requests


def test_a_store_that_does_not_answer_is_unreachable_and_not_missing() -> None:
    assert signature("s4://bucket/a") == "unreachable:ValueError"


def test_ten_thousand_local_signatures_take_half_a_second(tmp_path: Path) -> None:
    uris = [str(tmp_path / f"{at}.mp4") for at in range(10_000)]
    for uri in uris:
        Path(uri).touch()
    start = time.process_time()
    signatures = file_signatures(uris)
    assert time.process_time() - start < 0.5
    assert "missing" not in signatures
