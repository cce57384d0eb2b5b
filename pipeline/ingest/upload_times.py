"""Upload times, written as ISO 8601 or as a number since 1970, read as times in UTC."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

OLDEST = datetime(2005, 1, 1, tzinfo=UTC)  # the first site for uploads like these opened in that year
LATEST_AHEAD = timedelta(days=1)  # clocks differ, and a day without an offset may be one of the far east

NOT_A_TIME = (
    "must be ISO 8601, like 2024-06-30 or 2024-06-30T18:00:00+02:00, or a number of seconds, milliseconds, microseconds"
    " or nanoseconds since 1970"
)
OUT_OF_RANGE = f"must be from {OLDEST:%Y-%m-%d} on and not in the future; correct it, or leave the cell empty"
NO_UNIT = (
    f"is no time between {OLDEST:%Y-%m-%d} and now in seconds, milliseconds, microseconds or nanoseconds since 1970;"
    " write ISO 8601, like 2024-06-30T18:00:00+02:00"
)

# From OLDEST to today a unit's numbers differ by a factor of less than 2, two units' by 1000: one fits at the most.
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}  # in a second

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"(-?[0-9]{1,30})(\.[0-9]{1,30})?")
_DAY = re.compile(r"[0-9]{8}(?=(\.0+)?$)")  # 20240630, or 20240630.0 of a column of floats
# datetime.fromisoformat takes any character between day and time: 1712120512345 would be 23:45 on a day of 1712.
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-?W[0-9]{2}(-?[0-9])?)([Tt ][0-9:.,]+([Zz]|[+-][0-9:.]+)?)?"
)
_FAR_YEAR = re.compile(r"(0000|-[0-9]+|[0-9]{5,})-[0-9]{2}-[0-9]{2}([Tt ].*)?")


@dataclass(frozen=True)
class UploadTime:
    """A cell of `uploaded_at`, read; either `moment` or `fault` is there."""

    moment: datetime | None = None  # in UTC, to the microsecond
    unit: str = ""  # a key of UNITS; of ISO 8601 empty
    fault: str = ""


def parse_time(cell: str, now: datetime) -> UploadTime:
    """The time that a cell states. ISO 8601 without an offset is UTC; of a number the range says the unit.

    now: uploads more than a day later are refused.
    """
    day = _DAY.match(cell)
    number = None if day else _NUMBER.fullmatch(cell)
    if number:
        return _from_number(Decimal(cell), now)
    moment = iso_time(day[0] if day else cell)
    if moment is None:
        return UploadTime(fault=OUT_OF_RANGE if _FAR_YEAR.fullmatch(cell) else NOT_A_TIME)
    return UploadTime(moment) if OLDEST <= moment <= now + LATEST_AHEAD else UploadTime(fault=OUT_OF_RANGE)


def _from_number(number: Decimal, now: datetime) -> UploadTime:
    oldest, latest = ((moment - _EPOCH).total_seconds() for moment in (OLDEST, now + LATEST_AHEAD))
    for unit, in_a_second in UNITS.items():
        if oldest <= number / in_a_second <= latest:
            return UploadTime(_EPOCH + timedelta(microseconds=int(number * 10**6 / in_a_second)), unit)
    return UploadTime(fault=NO_UNIT)


def iso_time(text: str) -> datetime | None:
    """The time in UTC of an ISO 8601 day (its first second) or time, UTC without an offset; None: it is neither."""
    if not _ISO.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:  # 0001-01-01 east of Greenwich
        return datetime.min.replace(tzinfo=UTC)
    except ValueError:
        return None
