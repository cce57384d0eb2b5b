"""Reading of one manifest file, CSV or Parquet, into text cells, and the problems of its header and rows."""

import csv
import difflib
import hashlib
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from pipeline.core import storage
from pipeline.core.errors import ManifestError, WorkspaceError
from pipeline.core.text import not_utf8, quoted, stripped

IDS = ("clip_id", "challenge", "creator_id")
REQUIRED = ("clip_id", "uri", "challenge")
COUNTS = ("likes", "views", "comments", "shares", "followers", "creator_likes", "creator_videos")
COLUMNS = (*REQUIRED, "creator_id", "uploaded_at", *COUNTS, "split", "removed")
USER_PREFIX = "x_"  # of columns of the user's own, which are not read

SUFFIXES = (".csv", ".parquet")
BATCH_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")  # a file's name without its ending

AS_TEXT = "export the column from its source as text (pandas: read it with dtype=str; a spreadsheet: format it as text)"
LOST_DIGITS = f"is a rounded floating-point number, its last digits are lost; {AS_TEXT}"

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # what DataFrame.to_parquet adds after a filter or a sort
_TEXTS = (
    pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view, pyarrow.types.is_binary,
    pyarrow.types.is_large_binary, pyarrow.types.is_binary_view, pyarrow.types.is_fixed_size_binary,
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a manifest."""

    file: int  # position among the files read
    line: int  # 0: the file as a whole
    column: int  # position in COLUMNS
    text: str


@dataclass
class ManifestFile:
    """One manifest file as text cells, and the problems met in reading it."""

    position: int
    path: str
    name: str
    content_hash: str
    cells: pd.DataFrame  # string columns of COLUMNS, and `line`
    unread_columns: frozenset[str]  # required ones that are missing, and refused ones; reported once, not for every row
    problems: list[Problem]

    def refuse_cell(self, name: str, line: int, shown: str, rule: str) -> None:
        """Add the problem that a column's cell breaks a rule."""
        text = f"column {name!r}: value {shown} : {rule}"
        self.problems.append(Problem(self.position, line, COLUMNS.index(name), text))

    def refuse_column(self, name: str, rule: str) -> None:
        """Add the problem that a column breaks a rule; none of its cells is looked at."""
        self.problems.append(Problem(self.position, 0, COLUMNS.index(name), f"column {name!r} : {rule}"))
        self.unread_columns |= {name}

    @property
    def is_csv(self) -> bool:
        return self.path.lower().endswith(".csv")


def read_file(position: int, path: str) -> ManifestFile:
    name = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    file = ManifestFile(position, path, name, "", _cells({}, []), frozenset(REQUIRED), [])
    try:
        data = storage.read_bytes(path)
    except (FileNotFoundError, WorkspaceError) as error:
        reason = "no such file; check the path" if isinstance(error, FileNotFoundError) else str(error)
        file.problems.append(Problem(position, 0, 0, reason))
        return file
    file.content_hash = hashlib.sha256(data).hexdigest()
    try:
        if file.is_csv:
            _read_csv(file, data)
        else:
            _read_parquet(file, data)
    except ManifestError as error:
        file.problems.append(Problem(position, 0, 0, str(error)))
        return file
    if not len(file.cells) and not file.problems:
        text = f"has a header but no rows; add one row a clip, with at least {', '.join(REQUIRED)}"
        file.problems.append(Problem(position, 0, 0, text))
    return file


def _read_csv(file: ManifestFile, data: bytes) -> None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(not_utf8(error)) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    values: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for record in reader:
            line, start = start, reader.line_num + 1  # a record may span lines: it is named by its first
            if not any(map(stripped, record)):
                continue
            if header is None:
                header = [stripped(cell) for cell in record]
            elif len(record) == len(header):
                values.append(record)
                lines.append(line)
            else:
                text = f"has {len(record)} cells, the header has {len(header)}; quote cells that hold commas"
                file.problems.append(Problem(file.position, line, 0, text))
    except csv.Error as error:
        text = f"{error} (row from line {start}); check the quotes"
        file.problems.append(Problem(file.position, reader.line_num, 0, text))
    if header is None:
        raise ManifestError(f"is empty; its first line must name the columns: {','.join(REQUIRED)}")
    if len(header) == 1 and re.search(r"[;\t]", header[0]):
        raise ManifestError("columns are not separated by commas; save the file as comma-separated CSV")
    _check_header(file, header)
    columns = {name: [record[at] for record in values] for at, name in enumerate(header) if name in COLUMNS}
    file.cells = _cells(columns, lines)


def _read_parquet(file: ManifestFile, data: bytes) -> None:
    try:
        source = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        header = [name for name in source.schema_arrow.names if not _PANDAS_INDEX.fullmatch(name)]
        _check_header(file, header)
    except UnicodeDecodeError as error:
        raise ManifestError(f"has a column whose name is not UTF-8, {error.object!r}; rename it") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise ManifestError(f"is no readable Parquet file: {error}") from error
    columns = {}
    for name in (name for name in COLUMNS if header.count(name) == 1):
        try:
            columns[name] = _parquet_cells(file, name, source.read(columns=[name]).column(name))
        except (pyarrow.ArrowException, OSError) as error:
            file.refuse_column(name, f"cannot be read: {error}; write the file anew")
    file.cells = _cells(columns, range(1, source.metadata.num_rows + 1))


# --- Parquet values as the text that a CSV would hold; one set of rules then serves both


def _parquet_cells(file: ManifestFile, name: str, column: pyarrow.ChunkedArray) -> list[str | None]:
    """Texts of a column's values, None where missing; values that have none become problems of the file."""
    kind, types = column.type, pyarrow.types
    if types.is_dictionary(kind):
        return _parquet_cells(file, name, column.cast(kind.value_type))
    if column.null_count == len(column):
        return [None] * len(column)
    if any(is_kind(kind) for is_kind in _TEXTS):
        return _decoded(file, name, column.cast(pyarrow.large_binary()).to_pylist())
    if types.is_floating(kind) or types.is_decimal(kind):
        digits = {16: 11, 32: 24}.get(kind.bit_width) if types.is_floating(kind) else None
        return _numbers(file, name, column.to_pylist(), exact_below=2**digits if digits else math.inf)
    if types.is_integer(kind) or isinstance(kind, pyarrow.UuidType) or (types.is_boolean(kind) and name == "removed"):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if (types.is_date32(kind) or types.is_timestamp(kind)) and name == "uploaded_at":
        return _times(column)
    wanted = {"uploaded_at": "times, numbers or text", "removed": "true and false, or text"}
    must_be = wanted.get(name, "text or whole numbers")
    file.refuse_column(name, f"is of the type {kind}; must be {must_be}; export it as text")
    return [None] * len(column)


def _decoded(file: ManifestFile, name: str, values: list[bytes | None]) -> list[str | None]:
    texts: list[str | None] = []
    for row, value in enumerate(values, start=1):
        text = None
        try:
            text = None if value is None else value.decode()
        except UnicodeDecodeError as error:
            shown = error.object if len(error.object) <= 20 else error.object[:17] + b"..."
            file.refuse_cell(name, row, repr(shown), "is not UTF-8; export the column as text in UTF-8")
        texts.append(text)
    return texts


def _numbers(file: ManifestFile, name: str, values: list, exact_below: float) -> list[str | None]:
    """Texts of floats and decimals; an id has to be a whole number.

    exact_below: from here on a float of less than 64 bits has lost digits, which spoils an id or a time. Those of a
    float64 can be told from its text, as in a CSV; and to a time they are less than a microsecond.
    """
    texts: list[str | None] = []
    for row, value in enumerate(values, start=1):
        if value is None or value != value:  # NaN is pandas' missing
            texts.append(None)
            continue
        texts.append(text := _number(value))
        if name in IDS and not (math.isfinite(value) and value == int(value)):
            file.refuse_cell(name, row, quoted(text), f"must be text or a whole number; {AS_TEXT}")
        elif name in (*IDS, "uploaded_at") and abs(value) >= exact_below:
            file.refuse_cell(name, row, quoted(text), LOST_DIGITS)
    return texts


def _number(value: float | Decimal) -> str:
    """A number without an exponent; a whole float ends in `.0`, a whole decimal, which is exact, does not."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return f"{int(value)}.0" if isinstance(value, float) else str(int(value))
    return format(Decimal(repr(value)) if isinstance(value, float) else value, "f")


def _times(column: pyarrow.ChunkedArray) -> list[str | None]:
    """ISO 8601 of dates and timestamps, of any year. Those with a time zone are in UTC, whatever the zone's name."""
    kind = column.type
    is_date = pyarrow.types.is_date32(kind)
    unit: Any = "D" if is_date else kind.unit
    zone = "Z" if not is_date and kind.tz else ""
    ticks = column.cast(pyarrow.int32() if is_date else pyarrow.int64()).to_pylist()
    return [None if tick is None else f"{np.datetime64(tick, unit)}{zone}" for tick in ticks]


def _check_header(file: ManifestFile, header: list[str]) -> None:
    """Add a problem for each unknown, doubled and missing column."""
    for at, name in enumerate(header, start=1):
        text = ""
        if not name:
            text = f"column {at} has no name; name it, or remove the column (and commas at the lines' ends)"
        elif header.index(name) < at - 1:
            text = f"column {quoted(name)} : is there twice; remove or rename one"
        elif name not in COLUMNS and not name.startswith(USER_PREFIX):
            near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(COLUMNS)};"
            text = f"column {quoted(name)} : is not known; {hint} Columns of your own start with {USER_PREFIX!r}"
        if text:
            file.problems.append(Problem(file.position, 1 if file.is_csv else 0, 0, text))
    file.unread_columns = frozenset(REQUIRED) - frozenset(header)
    for name in REQUIRED:
        if name in file.unread_columns:
            text = f"column {name!r} : is missing; every manifest has {', '.join(REQUIRED)}"
            file.problems.append(Problem(file.position, 1 if file.is_csv else 0, 0, text))


def _cells(columns: dict[str, list], lines: Iterable[int]) -> pd.DataFrame:
    """All of COLUMNS as strings without blanks around them, NA where the file has no cell, and `line`."""
    line = pd.Series(list(lines), dtype="int64")
    frame = {}
    for name in COLUMNS:
        values = columns.get(name) or [None] * len(line)
        frame[name] = pd.array([(stripped(value) or None) if value else None for value in values], dtype="string")
    return pd.DataFrame({**frame, "line": line})
