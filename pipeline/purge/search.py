"""Search of a workspace's files for ids and content hashes.

A word is a run of the characters that ids are made of. An id is in a text where it is a word of it, or the beginning of
one up to a dot, as in `a17.mp4`; a word that is the id of a clip that stays is none of it. Words of fewer than SHORT
characters are too common in running text and in bytes: they are looked for as whole fields and as names of files.
"""

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import storage

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
    shortest: int = SHORT  # characters of the shortest that is looked for in running text

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
        if len(stripped) >= self.shortest and (stripped in self.words or word in self.words):
            return stripped
        begins = (word[: match.start()] for match in _SUFFIX.finditer(word))
        return next((begin for begin in begins if begin in self.words), None)

    def _within(self, word: str) -> str | None:
        found = next((needle for needle in self._long if needle in word), None)
        if found and any(other in word for other in self.others if found in other):  # another clip's id, and a letter
            return None
        return found

    @cached_property
    def _long(self) -> list[str]:
        return sorted(word for word in self.words if len(word) > SHORT)

    @cached_property
    def _name(self) -> re.Pattern | None:
        long = sorted(name for name in self.names if len(name) >= self.shortest)
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


Hit = tuple[str, str]  # what was found; where in the file

UNREADABLE = "nobody knows what"  # what is in a file that cannot be read
_JSON_IN_PAGE = re.compile(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|[\"\\/bfnrt])")
_GZIP = b"\x1f\x8b"


def search_file(path: str, needles: Needles) -> Hit | None:
    """The first needle in a file's name or content; None: there is none, or the file is gone.

    Parquet is read by values and metadata, JSON, lines of JSON and a report's data by values, archives and compressed
    files by what is in them, all else as text or, where it is none, as bytes. Columns and tensors of numbers are passed
    over.
    """
    name = path.rsplit("/", 1)[-1]
    if found := needles.in_field(name):
        return found, "in its name"
    try:
        if name.endswith(".parquet"):
            with storage.opened(path) as file:
                return next(_in_parquet(file, needles), None)
        return _in_data(name, storage.read_bytes(path), needles)
    except FileNotFoundError:
        return None


def _in_data(name: str, data: bytes, needles: Needles) -> Hit | None:
    if data.startswith(_GZIP):
        try:
            return _in_data(name.removesuffix(".gz"), gzip.decompress(data), needles)
        except (OSError, EOFError) as error:
            return UNREADABLE, f"it is compressed, and broken: {error}"
    if zipfile.is_zipfile(io.BytesIO(data)):  # torch's checkpoints are
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inner = ((entry, _in_data(entry, archive.read(entry), needles)) for entry in archive.namelist())
            return next(((hit[0], f"{entry}: {hit[1]}") for entry, hit in inner if hit), None)
    kind = name[name.rfind(".") :]
    if kind == ".safetensors":
        data = data[8 : 8 + int.from_bytes(data[:8], "little")]
        kind = ".json"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _hit(needles.in_bytes(data), "in its bytes")
    if "\0" in text:
        return _hit(needles.in_bytes(data), "in its bytes")
    return _TEXTS.get(kind, _in_text)(text, needles)


def _in_text(text: str, needles: Needles) -> Hit | None:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := needles.in_text(line):
            return found, f"line {number}"
    return None


def _in_json(text: str, needles: Needles) -> Hit | None:
    try:
        return _hit(needles.in_value(json.loads(text)), "in a value")
    except ValueError:  # broken: what is left of it may be text as it stands, or as JSON escapes it
        return _in_text(text, needles) or _in_text(_ESCAPE.sub(_unescaped, text), needles)


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else " "


def _in_json_lines(text: str, needles: Needles) -> Hit | None:
    hits = ((_in_json(line, needles), number) for number, line in enumerate(text.splitlines(), start=1))
    return next(((hit[0], f"line {number}") for hit, number in hits if hit), None)


def _in_csv(text: str, needles: Needles) -> Hit | None:
    """Cells in quotes are fields, as spreadsheet_csv writes every text; what is left are numbers, or is as any text."""
    for cell in _QUOTED.finditer(text):
        if found := needles.in_field(cell[1].replace('""', '"').removeprefix("'")):
            return found, f"line {text.count(chr(10), 0, cell.start()) + 1}"
    return _in_text(_QUOTED.sub("", text), needles)


def _in_page(text: str, needles: Needles) -> Hit | None:
    for block in _JSON_IN_PAGE.findall(text):
        if hit := _in_json(block, needles):
            return hit[0], "in the page's data"
    return _in_text(_JSON_IN_PAGE.sub("", text), needles)


_TEXTS: dict[str, Callable[[str, Needles], Hit | None]] = {
    ".json": _in_json, ".jsonl": _in_json_lines, ".csv": _in_csv, ".html": _in_page,
}  # fmt: skip


def _in_parquet(file: object, needles: Needles) -> Iterator[Hit]:
    try:
        parquet = pq.ParquetFile(file)
        for key, value in (parquet.metadata.metadata or {}).items():
            if key != b"ARROW:schema":  # the schema as bytes, of which the fields' metadata are below
                yield from _hits(_of_metadata(value, needles), f"in its metadata {key.decode(errors='replace')}")
        for field in parquet.schema_arrow:
            for value in (field.metadata or {}).values():
                yield from _hits(_of_metadata(value, needles), f"in the metadata of column {field.name}")
            if _holds_text(field):
                for group in range(parquet.num_row_groups):
                    column = parquet.read_row_group(group, columns=[field.name], use_threads=False).column(0)
                    for chunk in column.chunks:
                        yield from _hits(_in_array(chunk, needles), f"in column {field.name}")
    except (pa.ArrowException, OSError) as error:
        yield UNREADABLE, f"it is no Parquet file that can be read: {str(error).splitlines()[0]}"


def _of_metadata(value: bytes, needles: Needles) -> str | None:
    hit = _in_json(value.decode(errors="replace"), needles)
    return hit[0] if hit else None


def _holds_text(field: pa.Field) -> bool:
    """Whether a column may hold an id: one of numbers does not, nor one whose bytes are numbers, as its dtype says."""
    if b"dtype" in (field.metadata or {}) and (field.metadata[b"dtype"] not in (b"string", b"jpeg")):
        return False
    return any(_is_text(kind) for kind in _leaves(field.type))


def _leaves(kind: pa.DataType) -> Iterator[pa.DataType]:
    if pa.types.is_dictionary(kind):
        yield kind.value_type
    elif pa.types.is_nested(kind):
        for at in range(kind.num_fields):
            yield from _leaves(kind.field(at).type)
    else:
        yield kind


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _in_array(array: pa.Array, needles: Needles) -> str | None:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _in_array(array.dictionary, needles)
    if pa.types.is_struct(kind):
        return next((found for part in array.flatten() if (found := _in_array(part, needles))), None)
    if pa.types.is_nested(kind):
        return _in_array(array.flatten(), needles)
    if not _is_text(kind):
        return None
    look = needles.in_field if pa.types.is_string(kind) or pa.types.is_large_string(kind) else needles.in_bytes
    return next((found for value in pc.unique(array).to_pylist() if value and (found := look(value))), None)


def _hit(found: str | None, where: str) -> Hit | None:
    return (found, where) if found else None


def _hits(found: str | None, where: str) -> Iterator[Hit]:
    if found:
        yield found, where
