"""Every way to write a time that can be read is read right; the others are refused."""

from datetime import UTC, datetime

import pytest

from pipeline.ingest.upload_times import NO_UNIT, NOT_A_TIME, OUT_OF_RANGE, UploadTime, parse_time

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "moment", "unit"),
    [
        ("2024-06-30", datetime(2024, 6, 30), ""),
        ("20240630", datetime(2024, 6, 30), ""),
        ("20240630.0", datetime(2024, 6, 30), ""),  # a column of floats
        ("2024-W26-7", datetime(2024, 6, 30), ""),
        ("2024-06-30 18:00", datetime(2024, 6, 30, 18), ""),
        ("20240630T180000Z", datetime(2024, 6, 30, 18), ""),
        ("2024-06-30T18:00:00+02:00", datetime(2024, 6, 30, 16), ""),
        ("2024-06-30T18:00:00-0930", datetime(2024, 7, 1, 3, 30), ""),
        ("2024-06-30T18:00:00.123456789Z", datetime(2024, 6, 30, 18, 0, 0, 123456), ""),
        ("2005-01-01", datetime(2005, 1, 1), ""),
        ("2026-11-30T12:00", datetime(2026, 11, 30, 12), ""),
        ("1712120512", datetime(2024, 4, 3, 5, 1, 52), "seconds"),
        ("1712120512.0", datetime(2024, 4, 3, 5, 1, 52), "seconds"),
        ("1712120512.345", datetime(2024, 4, 3, 5, 1, 52, 345000), "seconds"),
        ("1712120512345", datetime(2024, 4, 3, 5, 1, 52, 345000), "milliseconds"),
        ("1712120512345.0", datetime(2024, 4, 3, 5, 1, 52, 345000), "milliseconds"),
        ("1712120512345678", datetime(2024, 4, 3, 5, 1, 52, 345678), "microseconds"),
        ("1712120512345678901", datetime(2024, 4, 3, 5, 1, 52, 345678), "nanoseconds"),
        ("1104537600", datetime(2005, 1, 1), "seconds"),
        ("1104537600000000000", datetime(2005, 1, 1), "nanoseconds"),
    ],
)
def test_a_time_is_read(cell: str, moment: datetime, unit: str) -> None:
    assert parse_time(cell, NOW) == UploadTime(moment.replace(tzinfo=UTC), unit)


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("2004-12-31T23:59:59", OUT_OF_RANGE),
        ("2005-01-01T00:30+01:00", OUT_OF_RANGE),
        ("2026-11-30T12:00:01", OUT_OF_RANGE),
        ("1712-12-05", OUT_OF_RANGE),
        ("0001-01-01T00:00+23:00", OUT_OF_RANGE),
        ("148108-07-06T14:00:27", OUT_OF_RANGE),
        ("-0044-03-15", OUT_OF_RANGE),
        ("0000-12-31", OUT_OF_RANGE),
        ("19991231", OUT_OF_RANGE),
        ("1104537599", NO_UNIT),
        ("0", NO_UNIT),
        ("-1712120512", NO_UNIT),
        ("45473.75", NO_UNIT),  # a spreadsheet's day
        ("202406301800", NO_UNIT),
        ("20240630180000", NO_UNIT),
        ("2024063011800", NO_UNIT),  # datetime.fromisoformat: 2024-06-30T18:00
        ("17121205123456789012", NO_UNIT),
        ("9" * 31, NOT_A_TIME),
        ("1.71212E+12", NOT_A_TIME),
        ("30.06.2024", NOT_A_TIME),
        ("06/30/2024", NOT_A_TIME),
        ("2024-02-30", NOT_A_TIME),
        ("2024-06-30x18:00", NOT_A_TIME),
        ("2024-06-30T25:00", NOT_A_TIME),
        ("2024-06-3018:00", NOT_A_TIME),
        ("２０２４-06-30", NOT_A_TIME),
        ("18:00", NOT_A_TIME),
        ("yesterday", NOT_A_TIME),
    ],
)
def test_what_is_no_time_an_upload_can_have_is_refused(cell: str, fault: str) -> None:
    assert parse_time(cell, NOW) == UploadTime(fault=fault)
