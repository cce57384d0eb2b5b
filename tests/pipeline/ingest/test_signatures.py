"""Signatures tell changed files from unchanged ones without reading them."""

import os
import time
from pathlib import Path

import fsspec
import pytest

from pipeline.core import storage
from pipeline.core.options import DecodeLimits
from pipeline.ingest.signatures import clip_signatures, file_signature
from tests.support.web_server import web_server

LIMITS = DecodeLimits()


def signature(uri: str, *allowed: str) -> str:
    return clip_signatures([uri], DecodeLimits(allow_uri=allowed))[0]


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


def test_a_remote_signature_is_the_same_whether_listed_or_asked_for(s3: str) -> None:
    uris = [f"{s3}/clips/{at:03d}" for at in range(70)]
    fsspec.filesystem("s3").pipe({uri: uri.encode() for uri in uris[1:]})
    listed = clip_signatures(uris, LIMITS)
    assert listed[0] == "missing"
    assert "missing" not in listed[1:]
    assert clip_signatures(uris[:3], LIMITS) == listed[:3]
    assert [file_signature(uri) for uri in uris[:3]] == listed[:3]
    storage.write_bytes(uris[5], b"other")
    assert [at for at, now in enumerate(clip_signatures(uris, LIMITS)) if now != listed[at]] == [5]


def test_many_clips_of_one_remote_folder_cost_one_listing(s3: str, caplog: pytest.LogCaptureFixture) -> None:
    filesystem = fsspec.filesystem("s3")
    filesystem.pipe({f"{s3}/clips/{at:03d}": b"x" for at in range(70)})
    with caplog.at_level("INFO", logger="werkzeug"):
        caplog.clear()
        signatures = clip_signatures([f"{s3}/clips/{at:03d}" for at in range(70)], LIMITS)
    assert "missing" not in signatures
    requests = [record.getMessage() for record in caplog.records if record.name == "werkzeug"]
    assert len(requests) == 1, requests


def test_a_store_that_does_not_answer_is_unreachable_and_not_missing() -> None:
    assert signature("s4://bucket/a", "s4://*") == "unreachable:ValueError"


def test_a_uri_that_is_none_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"123")
    good = str(tmp_path / "clip")
    for uri in ("https://[x/a.mp4", "https://[", "https://ex\uff03ample.com/a.mp4"):
        before, found, after = clip_signatures([good, uri, good], LIMITS)
        assert found.startswith("unreachable:"), uri
        assert before == after == signature(good)


def test_what_may_not_be_read_is_not_looked_at(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with web_server(tmp_path) as server:
        for uri in (f"{server.url}/clip", f"simplecache::{server.url}/clip", str(tmp_path / "pipe"), "/dev/zero"):
            assert signature(uri) == "not_allowed"
        assert server.connections == 0
    assert signature(f"{tmp_path}/pipe", f"{tmp_path}/*").startswith("0-")


def test_a_server_that_stalls_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"content")
    with web_server(tmp_path) as stalling, web_server(tmp_path) as server:
        uris = [f"{stalling.url}/stall/{at}" for at in range(300)] + [f"{server.url}/{at}" for at in range(40)]
        signatures = clip_signatures([*uris, f"{server.url}/clip"], DecodeLimits(allow_uri=("*",)), info_s=3.0)
        assert stalling.asked.total() < 60  # it is not asked for every clip, nor for any three times
    assert set(signatures[:300]) == {"unreachable:deadline"}
    assert signatures[300:] == ["missing"] * 40 + ["7"]


def test_what_fails_once_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"content")
    with web_server(tmp_path) as server:
        assert signature(f"{server.url}/later/clip", "*") == "7"
        assert signature(f"{server.url}/refused", "*") == "unreachable:io"
        assert server.asked["/later/clip"] == 3  # HEAD, GET, and HEAD again


def test_ten_thousand_local_signatures_take_half_a_second(tmp_path: Path) -> None:
    uris = [str(tmp_path / f"{at}.mp4") for at in range(10_000)]
    for uri in uris:
        Path(uri).touch()
    start = time.process_time()
    signatures = clip_signatures(uris, LIMITS)
    assert time.process_time() - start < 0.5
    assert "missing" not in signatures
