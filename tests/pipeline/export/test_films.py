"""Films of exported clips: copied from disks and from elsewhere, by the rules of who may read what, or counted."""

import hashlib
from pathlib import Path

import pytest

from pipeline.core.options import DecodeLimits
from pipeline.export.films import Film, FilmReader, film_counts
from tests.support.web_server import web_server


def film(uri: str, content: bytes) -> Film:
    return Film("clip", uri, hashlib.sha256(content).hexdigest())


def copied(one: Film, target: Path, *allowed: str) -> dict[str, str]:
    """Copies a film; why there is none."""
    with FilmReader({"clip": one}, DecodeLimits(allow_uri=allowed)) as films:
        assert films.copy("clip", target) == target.exists()
    return films.missing


def test_a_film_elsewhere_is_fetched_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    with web_server(tmp_path / "www") as server:
        (tmp_path / "www/a.mp4").write_bytes(b"film")
        one, target = film(f"{server.url}/a.mp4", b"film"), tmp_path / "copy"
        assert copied(one, target) == {"clip": "not_allowed"}
        assert copied(one, target, f"{server.url}/*") == {}
        assert target.read_bytes() == b"film"
        assert copied(film(f"{server.url}/b.mp4", b""), tmp_path / "other", f"{server.url}/*") == {"clip": "missing"}


def test_a_film_that_is_not_the_one_described_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"another")
    assert copied(film(str(tmp_path / "a.mp4"), b"film"), tmp_path / "copy") == {"clip": "changed"}


def test_a_clip_that_no_manifest_names_has_no_film(tmp_path: Path) -> None:
    with FilmReader({}, DecodeLimits()) as films:
        assert not films.copy("gone", tmp_path / "copy")
    assert film_counts(films.missing.values()) == {"missing": 1}


@pytest.mark.parametrize(
    ("uri", "suffix"),
    [
        ("a.MOV", ".mov"),
        ("s3://b/a.webm", ".webm"),
        ("https://c.org/a.mp4?t=x.y", ".mp4"),
        ("/films/a.b c", ".mp4"),
        ("https://c.org/a.json", ".mp4"),
        ("/films/a.npz", ".mp4"),
    ],
)
def test_a_film_keeps_its_ending(uri: str, suffix: str) -> None:
    assert film(uri, b"").suffix == suffix
