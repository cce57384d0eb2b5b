"""Text that users wrote, compared and shown: which texts look alike, and what in a text cannot be seen."""

import re
import unicodedata

# Invisible, though Unicode counts them as letters, marks or symbols: fillers, variation selectors, the Braille blank.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_BLANKS = (  # those of str.strip, and characters without width
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
    "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
_HEX_ESCAPE = re.compile(r"\\(\\|x([0-9a-f]{2}))")


def quoted(text: str) -> str:
    r"""The text in quotes, as a message shows it: whatever cannot be seen is escaped.

    Escaped as `\u00a0` are control characters, blanks other than the space, and characters without width. In a text
    that is not in NFC every character beyond ASCII is, so that `cafe\u0301` and `café` differ.
    """
    shown = _HEX_ESCAPE.sub(lambda match: rf"\u00{match[2]}" if match[2] else match[0], repr(text))
    if unicodedata.is_normalized("NFC", text):
        return _INVISIBLE.sub(lambda match: _escaped(match[0]), shown)
    return "".join(character if character.isascii() else _escaped(character) for character in shown)


def visible(text: str) -> str:
    """The text as `quoted` shows it, without the quotes."""
    return quoted(text)[1:-1]


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def look_alike_key(text: str) -> str:
    """The same for texts that look alike to a person.

    They differ in no more than case, blanks, characters without width, leading zeros of a number, and in how Unicode
    writes a character (NFKC: composed or not, of full width or not, a ligature or its letters).
    """
    folded = text.casefold()
    if not text.isascii():
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        folded = "".join(c for c in _INVISIBLE.sub("", folded) if unicodedata.category(c) != "Cf")
    key = " ".join(folded.split())
    if key.isdecimal():  # in whatever script
        return "".join(str(unicodedata.decimal(digit)) for digit in key).lstrip("0") or "0"
    return key


def not_utf8(error: UnicodeDecodeError) -> str:
    """Where a text file is not UTF-8, and what to do, in words."""
    line = error.object.count(b"\n", 0, error.start) + 1
    byte = error.object[error.start]
    return f"line {line}, byte {error.start}: 0x{byte:02x} is not UTF-8; save the file as 'CSV UTF-8'"


def stripped(cell: str) -> str:
    """The cell without blanks around it, nor characters that have no width."""
    return cell.strip(_BLANKS)
