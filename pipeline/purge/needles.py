"""Ids and content hashes as they are looked for in text, in fields and in bytes.

A word is a run of the characters that ids are made of. An id is in a text where it is a word of it, or the beginning of
one up to a dot, as in `a17.mp4`; a word that is the id of a clip that stays is none of it. Words of fewer than SHORT
characters are too common in running text and in bytes: they are looked for as whole fields and as names of files.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

SHORT = 6  # characters; also of the shortest word that is looked for in bytes

_WORD = re.compile(r"[A-Za-z0-9._-]+")
_WORD_IN_BYTES = re.compile(rb"[A-Za-z0-9._-]{%d,}" % SHORT)
_SUFFIX = re.compile(r"\.[A-Za-z]")  # where a name of a file goes on, and a number does not


@dataclass(frozen=True)
class Needles:
    """Texts that must not be there any more."""

    words: frozenset[str]  # ids of clips, sha256 in hex: of the characters A-Z a-z 0-9 . _ -
    names: frozenset[str] = frozenset()  # ids of creators: any characters
    others: Collection[str] = frozenset()  # ids of clips that stay

    def in_field(self, text: str) -> str | None:
        """The first needle in a text that is one value of a file; None: there is none."""
        if text in self.words or text in self.names:
            return text
        return self.in_text(text)

    def in_text(self, text: str) -> str | None:
        """The first needle in running text."""
        for match in _WORD.finditer(text):
            if found := self._of_word(match[0]):
                return found
        found_name = self._name.search(text) if self._name else None
        return found_name[0] if found_name else None

    def in_bytes(self, data: bytes) -> str | None:
        """The first needle in bytes that are no text, be it within a word: what stands beside it may look like one."""
        for match in _WORD_IN_BYTES.finditer(data):
            word = match[0].decode()
            if found := self._of_word(word) or (None if word in self.others else self._within(word)):
                return found
        return None

    def in_value(self, value: object) -> str | None:
        """The first needle in what JSON holds, keys included."""
        return next((found for text in _texts(value) if (found := self.in_field(text))), None)

    def _of_word(self, word: str) -> str | None:
        stripped = word.strip(".")
        if word in self.others or stripped in self.others:
            return None
        if len(stripped) >= SHORT and (stripped in self.words or word in self.words):
            return stripped
        begins = (word[: match.start()] for match in _SUFFIX.finditer(word))
        return next((begin for begin in begins if begin in self.words), None)

    def _within(self, word: str) -> str | None:
        return next((needle for needle in self._long if needle in word), None)

    @cached_property
    def _long(self) -> list[str]:
        return sorted(word for word in self.words if len(word) > SHORT)

    @cached_property
    def _name(self) -> re.Pattern | None:
        long = sorted(name for name in self.names if len(name) >= SHORT)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, long))})(?!\w)") if long else None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
