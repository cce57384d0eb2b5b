"""Cells of exports: counts, times and ids, read where there is one reading, and refused where there are two."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.core.errors import ManifestError
from pipeline.ingest.ids import canonical_id, has_lost_digits
from pipeline.ingest.manifest_files import LOST_DIGITS
from pipeline.ingest.upload_times import parse_time

# What is remarkable about a cell that was read; the summary counts them.
MISSING = "read as missing"
ABBREVIATED = "abbreviated, so rounded at their source"
NO_OFFSET = "without an offset, read as UTC"

NOT_A_COUNT = "must be a whole number >= 0, like 1234, 1,234 or 12.3K"
TWO_READINGS = "may be a decimal or have its thousands separated; write the whole number, without separators"
LOOKS_MISSING = "looks like a missing value; leave the cell empty, or write the id in another way"
NO_COUNT_LEFT = f"is a rounded floating-point number; {NOT_A_COUNT}"

_MISSING_WORDS = {"-", "–", "—", "nan", "null", "none", "n/a", "na", "#n/a"}
_DIGITS = 18  # fit an int64, as the manifest's rule is
_COUNT = re.compile(r"([0-9]+)(\.0{1,2})?")  # pandas writes whole numbers beside gaps as 120.0, spreadsheets 120.00
# One kind of separator throughout: comma, apostrophe, or one of the blanks that French and Swiss exports have.
_GROUPED = re.compile(r"[0-9]{1,3}([,'’ \u00a0\u2009\u202f])[0-9]{3}(?:\1[0-9]{3})*(\.0{1,2})?")
# No small m and b: m is a thousand in some countries, a million in others.
_SHORT = re.compile(r"([0-9]{1,6})(?:[.,]([0-9]{1,2}))?[ \u00a0\u202f]?([kKMB])")
_UNITS = {"k": 3, "m": 6, "b": 9}
_UNSURE = re.compile(r"[0-9]{1,3}(\.[0-9]{3})+|[0-9]{1,3}([.,][0-9]{3})+[ \u00a0\u202f]?[kKMB]")  # 1.234, 1,234K
_EXPONENT = re.compile(r"[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+")
_TIME_WITH_OFFSET = re.compile(r".*[Tt ].*([Zz]|[+-][0-9:]+)")


@dataclass(frozen=True)
class Reading:
    """A cell's value, None where it is missing, and what is remarkable about it (one of the notes above, or "")."""

    value: int | str | datetime | None
    note: str = ""


def read_count(cell: str) -> Reading:
    """A count. Raises ManifestError, with the rule that the cell breaks."""
    if (missing := _missing(cell)) is not None:
        return missing
    if short := _SHORT.fullmatch(cell):
        whole, decimals, unit = short.groups(default="")
        return Reading(int(whole + decimals) * 10 ** (_UNITS[unit.lower()] - len(decimals)), ABBREVIATED)
    if _UNSURE.fullmatch(cell):
        raise ManifestError(TWO_READINGS)
    if not _COUNT.fullmatch(cell) and not _GROUPED.fullmatch(cell):
        raise ManifestError(NO_COUNT_LEFT if _EXPONENT.fullmatch(cell) else NOT_A_COUNT)
    digits = re.sub(r"[^0-9]", "", cell.partition(".")[0])
    if len(digits) > _DIGITS:
        raise ManifestError(f"has more than {_DIGITS} digits; {NOT_A_COUNT}")
    return Reading(int(digits))


def read_time(cell: str, now: datetime) -> Reading:
    """A time in UTC: what a manifest takes, also with a blank before the offset, UTC or GMT.

    Raises:
        ManifestError: the rule that the cell breaks; days like 01/02/2026 are of two readings.
    """
    if (missing := _missing(cell)) is not None:
        return missing
    written = re.sub(r"\s*(UTC|GMT)$", "Z", cell)
    written = re.sub(r"\s+(?=[+-][0-9]{2}:?[0-9]{2}$)", "", written)
    read = parse_time(written, now)
    if read.moment is None:
        raise ManifestError(read.fault)
    has_offset = read.unit or _TIME_WITH_OFFSET.fullmatch(written)
    return Reading(read.moment, "" if has_offset else NO_OFFSET)


def read_id(cell: str, pattern: str, rule: str) -> Reading:
    """An id in its one spelling (pipeline.ingest.ids). Raises ManifestError, with the rule that the cell breaks.

    `nan` and `-` are refused, not missing: a creator may have such a name, and many clips would become one creator's.
    """
    if not cell:
        return Reading(None)
    if cell.casefold() in _MISSING_WORDS:
        raise ManifestError(LOOKS_MISSING)
    if has_lost_digits(cell):
        raise ManifestError(LOST_DIGITS)
    text = canonical_id(cell)
    if not re.fullmatch(pattern, text):
        raise ManifestError(rule)
    return Reading(text)


def read_word(cell: str, words: Sequence[str]) -> Reading:
    """One of a few words, in lower case. Raises ManifestError, with the words, where it is another."""
    if cell.casefold() not in (*words, ""):
        raise ManifestError(f"must be {', '.join(words[:-1])} or {words[-1]}")
    return Reading(cell.casefold() or None)


def _missing(cell: str) -> Reading | None:
    if not cell:
        return Reading(None)
    return Reading(None, MISSING) if cell.casefold() in _MISSING_WORDS else None
