"""Cells as exports have them: those with one reading are read, those with two or none are refused."""

from datetime import UTC, datetime

import pytest

from pipeline.core.errors import ManifestError
from pipeline.ingest.exports.cells import ABBREVIATED, MISSING, NO_OFFSET, Reading, read_count, read_id, read_time
from pipeline.ingest.ids import CLIP_ID, NAME

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        ("0", 0),
        ("1694", 1694),
        ("007", 7),
        ("120.0", 120),
        ("120.00", 120),
        ("1,234", 1234),
        ("1,234,567", 1234567),
        ("1,234.00", 1234),
        ("1 234 567", 1234567),
        ("1\u00a0234", 1234),
        ("1\u202f234", 1234),
        ("1'234", 1234),
        ("1’234", 1234),
        ("999999999999999999", 999999999999999999),
    ],
)
def test_a_count_is_read(cell: str, count: int) -> None:
    assert read_count(cell) == Reading(count)


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        ("12.3K", 12_300),
        ("12,3K", 12_300),
        ("1.2M", 1_200_000),
        ("1.25M", 1_250_000),
        ("3B", 3_000_000_000),
        ("5k", 5_000),
        ("5 K", 5_000),
        ("5\u00a0K", 5_000),
    ],
)
def test_an_abbreviated_count_is_read_and_noted(cell: str, count: int) -> None:
    assert read_count(cell) == Reading(count, ABBREVIATED)


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("1.234", "may be a decimal"),
        ("1.234.567", "may be a decimal"),
        ("120.000", "may be a decimal"),
        ("1.234K", "may be a decimal"),
        ("1,234K", "may be a decimal"),
        ("1,234.567K", "whole number"),
        ("12,3 тыс.", "whole number"),
        ("1,2 Mio.", "whole number"),
        ("2 mil", "whole number"),
        ("1.2m", "whole number"),  # a thousand to some, a million to others
        ("12,34", "whole number"),
        ("12.5", "whole number"),
        ("1,23,456", "whole number"),
        ("1,234 567", "whole number"),
        ("1234,567", "whole number"),
        ("-1", "whole number"),
        ("+5", "whole number"),
        ("1e6", "rounded"),
        ("7.3E+18", "rounded"),
        ("7,3E+18", "rounded"),
        ("Infinity", "whole number"),
        ("true", "whole number"),
        ("15 %", "whole number"),
        ("١٢", "whole number"),
        ("9" * 19, "more than 18 digits"),
    ],
)
def test_a_count_of_two_readings_or_none_is_refused(cell: str, rule: str) -> None:
    with pytest.raises(ManifestError, match=rule):
        read_count(cell)


@pytest.mark.parametrize("cell", ["-", "–", "—", "NaN", "nan", "None", "null", "N/A", "NA", "#N/A"])
def test_words_for_nothing_are_missing_counts_and_times_and_noted(cell: str) -> None:
    assert read_count(cell) == read_time(cell, NOW) == Reading(None, MISSING)


def test_an_empty_cell_is_missing_without_a_word() -> None:
    assert read_count("") == read_time("", NOW) == read_id("", *NAME) == Reading(None)


@pytest.mark.parametrize(
    ("cell", "moment", "note"),
    [
        ("1694000000", datetime(2023, 9, 6, 11, 33, 20, tzinfo=UTC), ""),
        ("1694000000.0", datetime(2023, 9, 6, 11, 33, 20, tzinfo=UTC), ""),
        ("1694000000000", datetime(2023, 9, 6, 11, 33, 20, tzinfo=UTC), ""),
        ("2026-05-01T10:00:00+02:00", datetime(2026, 5, 1, 8, tzinfo=UTC), ""),
        ("2026-05-01 10:00:00 +0200", datetime(2026, 5, 1, 8, tzinfo=UTC), ""),
        ("2026-05-01 10:00:00-05:00", datetime(2026, 5, 1, 15, tzinfo=UTC), ""),
        ("2026-05-01 10:00:00 UTC", datetime(2026, 5, 1, 10, tzinfo=UTC), ""),
        ("2026-05-01T10:00:00.000Z", datetime(2026, 5, 1, 10, tzinfo=UTC), ""),
        ("2026-05-01 10:00", datetime(2026, 5, 1, 10, tzinfo=UTC), NO_OFFSET),
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC), NO_OFFSET),
        ("20260501", datetime(2026, 5, 1, tzinfo=UTC), NO_OFFSET),
    ],
)
def test_a_time_is_read_in_utc_and_noted_where_it_has_no_offset(cell: str, moment: datetime, note: str) -> None:
    assert read_time(cell, NOW) == Reading(moment, note)


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("01/02/2026", "ISO 8601"),
        ("30.06.2024", "ISO 8601"),
        ("6/30/2024 18:00", "ISO 8601"),
        ("yesterday", "ISO 8601"),
        ("1.694E+09", "ISO 8601"),
        ("2026-05-01 10:00 CET", "ISO 8601"),
        ("1694", "no time between"),
        ("0", "no time between"),
        ("45473.75", "no time between"),  # a spreadsheet's
        ("2026-12-24", "not in the future"),
    ],
)
def test_a_time_of_two_readings_or_none_is_refused(cell: str, rule: str) -> None:
    with pytest.raises(ManifestError, match=rule):
        read_time(cell, NOW)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("7137423965982673920", "7137423965982673920"),
        ("1003.0", "1003"),
        ("00123", "00123"),
        ("zoe\u0308", "zo\u00eb"),
        ("💃dancer", "💃dancer"),
    ],
)
def test_an_id_is_read_as_text_in_its_one_spelling(cell: str, text: str) -> None:
    assert read_id(cell, *NAME) == Reading(text)


@pytest.mark.parametrize("cell", ["7.3E+18", "7.137423965982674e+18", "7137423965982673920.0"])
def test_an_id_that_has_lost_digits_is_refused_with_how_to_export_it(cell: str) -> None:
    with pytest.raises(ManifestError, match=r"last digits are lost.*as text"):
        read_id(cell, *NAME)


@pytest.mark.parametrize(
    ("cell", "rule"),
    [("nan", "missing value"), ("-", "missing value"), ("a b", "must be 1-128"), ("💃", "must be 1-128")],
)
def test_what_may_be_no_id_is_refused(cell: str, rule: str) -> None:
    with pytest.raises(ManifestError, match=rule):
        read_id(cell, *CLIP_ID)
