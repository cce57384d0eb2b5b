"""Ids of clips, creators and challenges as text: one spelling each, and no digit lost on the way."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pipeline.core.text import look_alike_key

# Of a clip's id, and of a creator's or a challenge's: the pattern, and the rule in words.
CLIP_ID = (r"[A-Za-z0-9._-]{1,128}", "must be 1-128 of A-Z a-z 0-9 . _ -")
NAME = (r"[^\x00-\x1f\x7f]{1,200}", "must be one line of at most 200 characters")

EXACT_BELOW = 2**53  # a float64 holds every whole number below

# As spreadsheets, pandas, Java and Spark print a large float: 7.137E+18, 7.137423965982674e+18, 7.137E18. With neither
# a sign nor a point it may be an id: 12e4567.
_EXPONENT = re.compile(r"-?[0-9]([.,][0-9]+[eE]\+?|[eE]\+)[0-9]+")
_WHOLE_FLOAT = re.compile(r"(-?(?:0|[1-9][0-9]{0,308}))\.0+")  # the largest float64 has 309 digits
_SPREADSHEET_DIGITS = 15  # of a number that a spreadsheet keeps; it writes zeros for the others
_CERTAIN_ZEROS = 8  # so many in a row are no chance: 1 in 10^8


def canonical_id(text: str) -> str:
    """The id in NFC; `1003.0`, which is what is left of `1003` in a column of floats, is `1003` again."""
    if (match := _WHOLE_FLOAT.fullmatch(text)) and abs(int(match[1])) < EXACT_BELOW:
        return str(int(match[1]))
    return unicodedata.normalize("NFC", text)


def has_lost_digits(text: str) -> bool:
    """Whether a text is what a float too large for its digits prints, so that nobody knows the id that it was."""
    match = _WHOLE_FLOAT.fullmatch(text)
    return bool(_EXPONENT.fullmatch(text)) or (match is not None and abs(int(match[1])) >= EXACT_BELOW)


def spreadsheet_zeros(ids: Sequence[str | None]) -> int | None:
    """Place of the first id of more than 15 digits, where all such end in zeros from the 16th on; None elsewhere.

    Some ids end so by themselves: there have to be zeros enough.
    """
    places = [
        place
        for place, text in enumerate(ids)
        if text and len(text) > _SPREADSHEET_DIGITS and text.isascii() and text.isdigit()
    ]
    ends = "".join(str(ids[place])[_SPREADSHEET_DIGITS:] for place in places)
    return places[0] if len(ends) >= _CERTAIN_ZEROS and not ends.strip("0") else None


def look_alikes(ids: Sequence[str | None]) -> list[tuple[int, int]]:
    """Places of ids that look like others and are not: (first of a spelling, first of the commonest like it)."""
    counts = Counter(text for text in ids if text is not None)
    spellings: dict[str, list[str]] = {}
    for text in counts:
        spellings.setdefault(look_alike_key(text), []).append(text)
    alike = [texts for texts in spellings.values() if len(texts) > 1]
    wanted = {text for texts in alike for text in texts}
    first: dict[str, int] = {}
    for place, spelling in enumerate(ids):
        if spelling in wanted:
            first.setdefault(str(spelling), place)
    pairs = []
    for texts in alike:
        common = max(texts, key=lambda text: counts[text])  # the first of those that are as common
        pairs += [(first[text], first[common]) for text in texts if text != common]
    return pairs
