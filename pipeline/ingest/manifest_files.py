"""Reading of one manifest file, CSV or Parquet, into text cells, and the problems of its header and rows."""

import csv
import difflib
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow
import pyarrow.parquet

from pipeline.core import storage
from pipeline.core.errors import ManifestError, WorkspaceError

REQUIRED = ("clip_id", "uri", "challenge")
COUNTS = ("likes", "views", "comments", "shares", "followers")
COLUMNS = (*REQUIRED, "creator_id", "uploaded_at", *COUNTS, "split", "removed")
USER_PREFIX = "x_"  # of columns of the user's own, which are not read

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # what DataFrame.to_parquet adds after a filter or a sort


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
    missing_columns: frozenset[str]  # of the required ones; reported once, not for every row
    problems: list[Problem]

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
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"line {line}, byte {error.start}: 0x{data[error.start]:02x} is not UTF-8; save the file as 'CSV UTF-8'"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    values: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for record in reader:
            line, start = start, reader.line_num + 1  # a record may span lines: it is named by its first
            if not any(cell.strip() for cell in record):
                continue
            if header is None:
                header = [cell.strip() for cell in record]
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
        wanted = [name for name in COLUMNS if header.count(name) == 1]
        table = source.read(columns=wanted)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
        raise ManifestError(f"is no readable Parquet file: {error}") from error
    columns = {name: [_as_text(value) for value in table.column(name).to_pylist()] for name in wanted}
    file.cells = _cells(columns, range(1, table.num_rows + 1))


def _as_text(value: object) -> str | None:
    """A Parquet value as the text that a CSV would hold; one set of rules then serves both."""
    if value is None or value != value:  # NaN is pandas' missing
        return None
    if isinstance(value, datetime):  # dates come as datetime.date, which prints as ISO 8601 anyway
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return f"{int(value)}.0"  # str() turns to 1e+16
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return str(value)


def _check_header(file: ManifestFile, header: list[str]) -> None:
    """Add a problem for each unknown, doubled and missing column."""
    for at, name in enumerate(header, start=1):
        text = ""
        if not name:
            text = f"column {at} has no name; name it, or remove the column (and commas at the lines' ends)"
        elif header.index(name) < at - 1:
            text = f"column {name!r} : is there twice; remove or rename one"
        elif name not in COLUMNS and not name.startswith(USER_PREFIX):
            near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(COLUMNS)};"
            text = f"column {name!r} : is not known; {hint} Columns of your own start with {USER_PREFIX!r}"
        if text:
            file.problems.append(Problem(file.position, 1 if file.is_csv else 0, 0, text))
    file.missing_columns = frozenset(REQUIRED) - frozenset(header)
    for name in REQUIRED:
        if name in file.missing_columns:
            text = f"column {name!r} : is missing; every manifest has {', '.join(REQUIRED)}"
            file.problems.append(Problem(file.position, 1 if file.is_csv else 0, 0, text))


def _cells(columns: dict[str, list], lines: Iterable[int]) -> pd.DataFrame:
    """All of COLUMNS as strings without blanks around them, NA where the file has no cell, and `line`."""
    line = pd.Series(list(lines), dtype="int64")
    frame = {}
    for name in COLUMNS:
        values = columns.get(name) or [None] * len(line)
        frame[name] = pd.array([(value.strip() or None) if value else None for value in values], dtype="string")
    return pd.DataFrame({**frame, "line": line})
