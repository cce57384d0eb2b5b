"""Which clips are asked for: one of three ways, and a list as people have them."""

from pathlib import Path

import pytest

from pipeline.core.errors import OptionError
from pipeline.purge.request import Request


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return tmp_path / "takedown.csv"


@pytest.mark.parametrize(
    "text",
    [
        "a17\na18\n",
        "clip_id\na17\na18\n",
        "\ufeffwhy,clip_id\nasked by mail,a17\n,a18\n\n",
        "a17 \n\na18\na17\n",
    ],
)
def test_a_list_is_of_one_id_a_line_or_has_a_column_clip_id(listed: Path, text: str) -> None:
    listed.write_text(text)
    assert Request.of((), (), str(listed)) == Request(clip_ids=("a17", "a18"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"id,why\na17,mail\n", "has several columns, and none is called clip_id"),
        (b"", "names no clip"),
        (b"clip_id\n", "names no clip"),
        (b"a17\n\xff\n", "is not UTF-8"),
        (b'clip_id\n"a17\n', "check the quotes"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(listed: Path, data: bytes, says: str) -> None:
    listed.write_bytes(data)
    with pytest.raises(OptionError, match=says):
        Request.of((), (), str(listed))


def test_a_list_that_is_not_there_is_named(listed: Path) -> None:
    with pytest.raises(OptionError, match=r"--list .*takedown\.csv: no such file"):
        Request.of((), (), str(listed))


def test_exactly_one_of_clips_creators_and_list_is_taken() -> None:
    with pytest.raises(OptionError, match="--clips and --creators are given"):
        Request.of(("a",), ("u1",), "")
    with pytest.raises(OptionError, match="none is given"):
        Request.of((), (), "")


def test_ids_are_taken_in_their_one_spelling() -> None:
    assert Request.of((), (" Zoe\u0308", "1003.0"), "").creators == ("Zo\u00eb", "1003")
