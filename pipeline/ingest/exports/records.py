"""Records of clips as other programs export them: yt-dlp's info.json, JSON, JSON lines, CSV in whatever encoding.

Every value comes as the text that stands in the file, so that no digit of an id is lost.
"""

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import ManifestError
from pipeline.core.text import not_utf8, quoted, stripped, visible

TABLE, YT_DLP, JSON = "CSV", "yt-dlp's info.json", "JSON"  # kinds of records

_TABLES, _JSONS = (".csv", ".tsv", ".txt"), (".json", ".jsonl", ".ndjson")
_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Fields of an info.json that are kept, of https://github.com/yt-dlp/yt-dlp#output-template. The rest is of formats and
# the download: hundreds of fields, among them cookies and signed URLs.
YT_DLP_FIELDS = (
    "id", "title", "description", "uploader", "uploader_id", "uploader_url", "channel", "channel_id", "timestamp",
    "upload_date", "duration", "view_count", "like_count", "comment_count", "repost_count", "save_count",
    "channel_follower_count", "tags", "track", "artist", "artists", "album", "webpage_url", "extractor", "epoch",
)  # fmt: skip
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # of an emoji that was cut in two; no file can hold it


@dataclass(frozen=True)
class Record:
    """What a source says of one clip. place: june.csv:17, videos.jsonl:3, videos.json:record 3, clips/a.info.json."""

    place: str
    kind: str
    fields: dict[str, str]  # by the source's names, without blanks around; lists of texts have commas between


def read_records(path: str, problems: list[str]) -> tuple[list[Record], str]:
    """A file's records, and its format in words. Adds a line for each record that cannot be read to `problems`.

    Raises:
        ManifestError: the file as a whole cannot be read.
    """
    name, shown = path.lower(), visible(path)
    if name.endswith(_WORKBOOKS):
        raise ManifestError(
            f"{shown}: is a spreadsheet program's own file; format the columns of ids as text, export it as CSV"
            " (UTF-8), and give that"
        )
    if not name.endswith((*_TABLES, *_JSONS)):
        raise ManifestError(f"{shown}: must end in {', '.join((*_TABLES, *_JSONS))}; rename it, or export it as one")
    try:
        text, encoding = _decoded(shown, storage.read_bytes(path))
    except FileNotFoundError as error:
        raise ManifestError(f"{shown}: no such file; check the path") from error
    if name.endswith(_JSONS):
        return list(_json_records(shown, text, problems)), f"JSON, {encoding}"
    records, separator = _table_records(shown, text, problems)
    return records, f"CSV, separated by {_SEPARATORS.get(separator, quoted(separator))}, {encoding}"


def _decoded(path: str, data: bytes) -> tuple[str, str]:
    """A file's text, and the name of its encoding."""
    is_wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")  # what Excel calls Unicode text
    try:
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        wanted = "is UTF-16 and cut short; export it again" if is_wide else not_utf8(error)
        raise ManifestError(f"{path}: {wanted}") from error
    if "\0" in text:
        raise ManifestError(f"{path}: holds zero bytes, as UTF-16 without a BOM does; save it as UTF-8")
    return text, "UTF-16" if is_wide else "UTF-8"


def _clean(text: str) -> str:
    """A value as it is kept: one kind of line end, as CSV readers differ on the others, and no half characters."""
    return _HALF_CHARACTER.sub("\ufffd", stripped(text.replace("\r\n", "\n").replace("\r", "\n")))


# --- tables


def _table_records(path: str, text: str, problems: list[str]) -> tuple[list[Record], str]:
    lines_before = 0
    separator = ""
    if stated := re.match(r"sep=(.)\r?\n", text):  # for Excel
        separator, text, lines_before = stated[1], text[stated.end() :], 1
    separator = separator or _separator(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    records: list[Record] = []
    start = 1 + lines_before
    try:
        for row in reader:
            cells, place = [_clean(cell) for cell in row], f"{path}:{start}"
            start = reader.line_num + 1 + lines_before  # a record may span lines: it is named by its first
            if not any(cells):
                continue
            if not header:
                header = [unicodedata.normalize("NFC", cell) for cell in cells]
                _check_header(place, header)
            elif len(cells) != len(header):
                problems.append(
                    f"{place}: has {len(cells)} cells, the header has {len(header)}; quote cells that hold a separator"
                )
            elif unnamed := [cell for name, cell in zip(header, cells, strict=True) if cell and not name]:
                problems.append(f"{place}: {quoted(unnamed[0])} stands in a column without a name; name the column")
            else:
                fields = {name: cell for name, cell in zip(header, cells, strict=True) if name}
                records.append(Record(place, TABLE, fields))
    except csv.Error as error:
        raise ManifestError(f"{path}:{start}: {error}; check the quotes of this row") from error
    if not header:
        raise ManifestError(f"{path}: is empty; its first line must name the columns")
    return records, separator


def _check_header(place: str, header: list[str]) -> None:
    double = [name for name, count in Counter(filter(None, header)).items() if count > 1]
    if double:
        raise ManifestError(f"{place}: column {quoted(double[0])} is there twice; rename or remove one")


def _separator(path: str, text: str) -> str:
    """The separator by which the header has the most columns. Raises ManifestError where two give as many."""
    counts = {}
    for separator in _SEPARATORS:
        rows = csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=separator)
        counts[separator] = len(next(rows, []))
    most = max(counts.values())
    best = [separator for separator, count in counts.items() if count == most]
    if most > 1 and len(best) > 1:
        named = " or ".join(_SEPARATORS[separator] for separator in best)
        raise ManifestError(f"{path}: columns may be separated by {named}; quote the names in the header")
    return best[0]


# --- JSON


def _json_records(path: str, text: str, problems: list[str]) -> Iterator[Record]:
    """Of an array, an object, a page of TikTok's Research API, or one of these a line."""
    try:
        whole = _parsed(text)
    except ValueError as error:
        lines = [(at, line) for at, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if len(lines) < 2 or not _is_json(lines[0][1]):
            raise ManifestError(f"{path}: is no JSON: {error}; export it again") from error
    else:
        for place, value in _objects(path, whole):
            yield from _json_record(place, value, problems)
        return
    for at, line in lines:
        try:
            value = _parsed(line)
        except ValueError as error:
            problems.append(f"{path}:{at}: is no JSON: {error}; remove the line, or export it again")
            continue
        for place, found in _objects(f"{path}:{at}", value):
            yield from _json_record(place, found, problems)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError as error:
        raise ValueError("too deeply nested") from error


def _is_json(line: str) -> bool:
    try:
        _parsed(line)
    except ValueError:
        return False
    return True


def _objects(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each record's place and value. A response of the Research API holds its videos in data.videos.

    https://developers.tiktok.com/doc/research-api-specs-query-videos
    """
    if isinstance(value, dict):
        data = value.get("data", value)
        videos = data.get("videos") if isinstance(data, dict) else data
        if not isinstance(videos, list):
            yield place, value
            return
        value = videos
    if not isinstance(value, list):
        yield place, value
        return
    for at, one in enumerate(value, start=1):
        yield f"{place}:record {at}", one


def _json_record(place: str, value: Any, problems: list[str]) -> Iterator[Record]:
    if not isinstance(value, dict):
        problems.append(f"{place}: is {quoted(str(value)[:60])}, where a record with named fields should stand")
    elif value.get("_type") in (None, "video"):  # yt-dlp writes one of the playlist or channel, too: it is no clip
        is_yt_dlp = "extractor" in value or "extractor_key" in value
        if is_yt_dlp:
            value = {name: value[name] for name in YT_DLP_FIELDS if name in value}
        yield Record(place, YT_DLP if is_yt_dlp else JSON, dict(_flat(value, "")))


def _flat(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Fields as texts; those of an object within get `outer.inner` for a name, lists of objects are left out."""
    for key, inner in value.items():
        name = prefix + unicodedata.normalize("NFC", _clean(key))
        if isinstance(inner, dict):
            yield from _flat(inner, f"{name}.")
        elif isinstance(inner, list):
            if all(isinstance(one, str) for one in inner):
                yield name, ",".join(map(_clean, inner))
        elif inner is not None:
            yield name, _clean(inner) if isinstance(inner, str) else str(inner).lower()
