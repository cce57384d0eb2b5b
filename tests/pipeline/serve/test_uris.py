"""Clients choose among uris that were allowed, and never what the service may reach."""

import pytest

from pipeline.core.errors import ClipError
from pipeline.serve.uris import check_asked, trusted

PATTERNS = ("https://media.example.org/*", "/data/clips/*", "s3://uploads/*")


@pytest.mark.parametrize("uri", ["https://media.example.org/a.mp4", "/data/clips/june/a.mp4", "s3://uploads/a.mp4"])
def test_what_matches_a_pattern_may_be_asked_for(uri: str) -> None:
    check_asked(uri, PATTERNS)


@pytest.mark.parametrize(
    "uri",
    [
        "https://media.example.org.evil.example/a.mp4", "HTTPS://media.example.org/a.mp4", "http://media.example.org/a",
        "/etc/passwd", "file:///etc/passwd", "s3://secrets/a.mp4", "/data/clips/../../etc/passwd",
        "/data/clips/%2e%2e/%2E%2E/etc/passwd", "https://media.example.org/a/../../b", "/data/clips/./a",
        "simplecache::https://media.example.org/a.mp4", "/data/clips/a\\..\\b",
    ],
)  # fmt: skip
def test_nothing_else_may_be_asked_for(uri: str) -> None:
    with pytest.raises(ClipError) as refused:
        check_asked(uri, PATTERNS)
    assert refused.value.code == "not_allowed"


def test_nothing_may_be_asked_for_without_a_pattern() -> None:
    with pytest.raises(ClipError):
        check_asked("https://media.example.org/a.mp4", ())


def test_only_a_pattern_that_names_its_host_lets_private_addresses_and_http_through() -> None:
    named = ("http://media.intern/*", "http://127.0.0.1:8000/clips/*")
    wide = ("https://*", "http://*/clips", "https://media.example.org*", "*", "/data/*", "https://media-?.example/*")
    assert trusted((*named, *wide)) == named
