"""An id is found where it stands by itself or names a file, and not within other words."""

import pytest

from pipeline.purge.search import Needles

HASH = "0123456789abcdef" * 4
NEEDLES = Needles(frozenset({"clip017", "b", "clip018.x", HASH}), frozenset({"Zoë, of Rye"}), {"clip017.2", "b.old"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("clip017", "clip017"),
        ("compared with clip017, clip020", "clip017"),
        ("/clips/clip017.mp4", "clip017"),
        ("clip017.info.json", "clip017"),
        ("it is clip017.", "clip017"),
        ("clip018.x.mp4", "clip018.x"),
        ("clip018", None),
        ("clip0177", None),
        ("my-clip017", None),
        ("clip017.2", None),  # another clip's id
        ("/clips/clip017.2.mp4", None),
        ("clip017.25", None),  # a number
        (f"sha256 {HASH}", HASH),
        ("by Zoë, of Rye:", "Zoë, of Rye"),
        ("by Zoë, of Ryegate", None),
    ],
)
def test_words_of_running_text(text: str, found: str | None) -> None:
    assert NEEDLES.in_text(text) == found
    assert NEEDLES.in_field(text) == found


def test_a_short_id_is_looked_for_as_a_whole_field_and_as_the_name_of_a_file() -> None:
    assert NEEDLES.in_text("a or b") is None
    assert NEEDLES.in_text("see clips/b.mp4") == "b"
    assert NEEDLES.in_field("b") == "b"
    assert NEEDLES.in_field("b.old") is None


def test_values_of_json_are_fields_and_so_are_its_keys() -> None:
    assert NEEDLES.in_value({"a": [1, {"clips": ["x", "b"]}]}) == "b"
    assert NEEDLES.in_value({"skipped": {"b": "corrupt"}}) == "b"
    assert NEEDLES.in_value({"a": [1, None, 2.5, "c"]}) is None


def test_in_bytes_an_id_is_found_though_letters_stand_beside_it() -> None:
    assert NEEDLES.in_bytes(b"\x00X\x07\x00\x00\x00clip017q\x01") == "clip017"
    assert NEEDLES.in_bytes(b"\x00clip017\x01") == "clip017"
    assert NEEDLES.in_bytes(b"\x00clip016q\x01\xff b \x00") is None
