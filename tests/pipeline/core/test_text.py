"""What cannot be seen is escaped in messages; what looks alike has one key."""

import unicodedata

import pytest

from pipeline.core.text import look_alike_key, quoted, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("anna", "'anna'"),
        ("it's", '"it\'s"'),
        ("café 東京 نص", "'café 東京 نص'"),
        ("cafe\u0301", r"'cafe\u0301'"),
        (unicodedata.normalize("NFD", "한"), r"'\u1112\u1161\u11ab'"),
        ("\u212b", r"'\u212b'"),  # the Ångström sign, which NFC makes an Å
        ("नमस्ते", "'नमस्ते'"),  # its marks belong to it
        ("a\u00a0b", r"'a\u00a0b'"),
        ("a\u3000b\u2009c", r"'a\u3000b\u2009c'"),
        ("a\u200bb\u200d\u2060\ufeff", r"'a\u200bb\u200d\u2060\ufeff'"),
        ("\u3164\u2800❤\ufe0f", r"'\u3164\u2800❤\ufe0f'"),
        ("a\tb\r\n\x00\x1b\x7f\x85", r"'a\tb\r\n\u0000\u001b\u007f\u0085'"),
        ("\u202eabc\U000e0041", r"'\u202eabc\U000e0041'"),
        (r"C:\x41\u00a0", r"'C:\\x41\\u00a0'"),  # what was written so is no escape
    ],
)
def test_what_cannot_be_seen_is_escaped_and_all_else_is_as_written(text: str, shown: str) -> None:
    assert quoted(text) == shown
    assert visible(text) == shown[1:-1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna", "anna"),
        ("STRASSE", "straße"),
        ("café", "cafe\u0301"),
        ("anna b", "anna  b"),
        ("anna b", "anna\u00a0b"),
        ("anna", "an\u200bna\ufeff"),
        ("anna", "anna\ufe0f"),
        ("123", "１２３"),
        ("123", "00123"),
        ("123", "١٢٣"),
        ("0", "000"),
        ("ﬁt", "fit"),
        ("②", "2"),
    ],
)
def test_texts_that_look_alike_have_one_key(one: str, other: str) -> None:
    assert look_alike_key(one) == look_alike_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("anna", "ana"), ("café", "cafe"), ("1.0", "10"), ("a0123", "a123"), ("a-b", "a_b"), ("一", "二"), ("-1", "1")],
)
def test_texts_that_differ_to_the_eye_have_two_keys(one: str, other: str) -> None:
    assert look_alike_key(one) != look_alike_key(other)
