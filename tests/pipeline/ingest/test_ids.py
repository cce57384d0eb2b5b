"""Ids have one spelling, and none that has lost digits passes."""

import pytest

from pipeline.ingest.ids import canonical_id, has_lost_digits, look_alikes, spreadsheet_zeros


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1003", "1003"),
        ("1003.0", "1003"),
        ("1003.000", "1003"),
        ("0.0", "0"),
        ("-0.0", "0"),
        ("-5.0", "-5"),
        ("9007199254740991.0", "9007199254740991"),
        ("9007199254740992.0", "9007199254740992.0"),  # refused: 9007199254740993 is written so, too
        ("00123", "00123"),
        ("00123.0", "00123.0"),
        ("1003.5", "1003.5"),
        ("1003.", "1003."),
        ("v1.0", "v1.0"),
        ("7137423965982672123", "7137423965982672123"),
        ("cafe\u0301", "café"),
        ("Anna", "Anna"),
        ("１２３", "１２３"),
    ],
)
def test_an_id_has_one_spelling(text: str, canonical: str) -> None:
    assert canonical_id(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "7.137E+18",  # a spreadsheet
        "7,137E+18",  # a German one
        "7E+18",
        "7.137423965982674e+18",  # pandas
        "7.137423965982674E18",  # Java, Spark
        "-7.137E+18",
        "7137423965982673920.0",
        "9007199254740992.0",
        "-9007199254740992.0",
    ],
)
def test_a_large_float_has_lost_digits(text: str) -> None:
    assert has_lost_digits(text)


@pytest.mark.parametrize(
    "text",
    ["7137423965982672123", "9007199254740991.0", "12e4567", "7e12", "1e-5", "1.5", "e+18", "a7.1E+18", "UC_1.E+1"],
)
def test_what_only_resembles_a_large_float_is_an_id(text: str) -> None:
    assert not has_lost_digits(text)


@pytest.mark.parametrize(
    ("ids", "place"),
    [
        (["a", "7137423965982670000", None, "7137423965982680000"], 1),
        (["7137423965982670000"], None),  # one in 10,000 ends so
        (["7137423965982670000", "7137423965982672123", "7137423965982680000"], None),
        (["1000", "2000", "3000"], None),
        ([], None),
    ],
)
def test_long_ids_that_all_end_in_zeros_come_from_a_spreadsheet(ids: list[str | None], place: int | None) -> None:
    assert spreadsheet_zeros(ids) == place


def test_look_alikes_are_named_once_a_spelling_with_the_commonest_of_them() -> None:
    ids = ["Anna", "bob", "anna", None, "anna", "ANNA", "Anna\u200b", "ANNA"]
    assert look_alikes(ids) == [(0, 2), (5, 2), (6, 2)]
    assert look_alikes(["a", "A"]) == [(1, 0)]
    assert look_alikes(["a", "b", None, "a"]) == []
