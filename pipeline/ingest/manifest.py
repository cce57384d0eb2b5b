"""Manifest files: read, checked and typed before any work starts. data_manifest/README.md has the format for users."""

import glob
import logging
import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import fsspec
import pandas as pd
import pandera.pandas as pa

from pipeline.core import storage
from pipeline.core.errors import ManifestError, WorkspaceError
from pipeline.core.text import quoted, stripped, visible
from pipeline.ingest.ids import CLIP_ID, NAME, canonical_id, has_lost_digits, look_alikes, spreadsheet_zeros
from pipeline.ingest.manifest_files import (
    BATCH_NAME,
    COLUMNS,
    COUNTS,
    IDS,
    LOST_DIGITS,
    REQUIRED,
    SUFFIXES,
    ManifestFile,
    Problem,
    read_file,
)
from pipeline.ingest.upload_times import UploadTime, parse_time

SPLITS = ("train", "val", "test")
TRUE, FALSE = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")
MAX_PROBLEMS = 50  # listed in one message; more would scroll the first ones away

log = logging.getLogger(__name__)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_COUNT = r"[0-9]{1,18}(\.0+)?"  # 18 digits fit an int64; pandas writes whole numbers beside gaps as 120.0


@dataclass(frozen=True)
class Batch:
    """A checked manifest file.

    rows: one row a clip that is not removed, in the file's order; every column of COLUMNS but `removed`, whether or not
    the file has it: clip_id, challenge, creator_id (pipeline.ingest.ids.canonical_id), uri (absolute path or URL),
    split: string; uploaded_at: datetime64[us, UTC]; COUNTS: Int64; missing is NA. `line` (Int64) is the file's line,
    for Parquet the row from 1.
    """

    name: str  # the file's name without its ending; unique over the manifests read together
    path: str
    content_hash: str  # sha256 of the file's bytes, hex
    rows: pd.DataFrame = field(compare=False, repr=False)
    removed: tuple[str, ...]  # clip_ids with removed=true; they are in nothing else


def read_manifests(spec: str) -> tuple[Batch, ...]:
    """The batches of the manifests that `spec` names, sorted by path, with every row checked.

    Clips and creators whose ids look like another's are logged as warnings.

    spec: a file, a folder (every *.csv and *.parquet directly in it) or a glob; local, or any fsspec URL.

    Raises:
        ManifestError: lists every problem of every file, one a line (the first 50, and how many more there are).
    """
    files = [read_file(position, path) for position, path in enumerate(_manifest_paths(spec))]
    typed, problems, warnings = _checked(files)
    if problems:
        raise ManifestError(_message(files, problems))
    for warning in _listed(files, warnings):
        log.warning(f"warning: {warning}")
    batches = []
    for file in files:
        typed_rows = typed[typed["file"] == file.position].drop(columns="file")
        removed = typed_rows["removed"]
        rows = typed_rows[~removed].drop(columns="removed").reset_index(drop=True)
        batches.append(Batch(file.name, file.path, file.content_hash, rows, tuple(typed_rows["clip_id"][removed])))
    return tuple(batches)


def clip_batch(cells: Mapping[str, str]) -> Batch:
    """The batch of one clip that is in no manifest file, by the rules of manifests.

    cells: by column; REQUIRED are among them.

    Raises:
        ManifestError: what is wrong with which column, one a line.
    """
    row = {column: stripped(cells.get(column, "")) or None for column in COLUMNS}
    table = pd.DataFrame([row], dtype="string").assign(line=1)
    typed, problems, _ = _checked([ManifestFile(0, "", "clip", "", table, frozenset(), [])])
    if problems:
        raise ManifestError("\n".join(problem.text for problem in problems))
    return Batch("clip", "", "", typed.drop(columns=["file", "removed"]), ())


def _checked(files: list[ManifestFile]) -> tuple[pd.DataFrame, list[Problem], list[Problem]]:
    """Typed rows of all files with `file`, its position; problems, with which the rows are none; and warnings."""
    problems = [problem for file in files for problem in file.problems]
    problems += _name_problems(files)
    cells = pd.concat([file.cells.assign(file=file.position) for file in files], ignore_index=True)
    ids = cells.assign(**{name: cells[name].map(canonical_id, na_action="ignore").astype("string") for name in IDS})
    times = _times(cells["uploaded_at"])
    problems += _cell_problems(files, cells, ids)
    problems += _time_problems(files, cells, times)
    problems += _spreadsheet_problems(files, ids)
    problems += _look_alikes(files, cells, ids, ["challenge"])
    if problems:
        return cells[:0], problems, []
    warnings = list(_look_alikes(files, cells, ids, ["clip_id", "creator_id"]))
    typed = _typed(ids, times).assign(file=cells["file"])
    uris = [resolve_uri(uri, files[file].path) for uri, file in zip(typed["uri"], cells["file"], strict=True)]
    typed["uri"] = pd.array(uris, dtype="string")
    return typed, problems, warnings


def resolve_uri(uri: str, manifest_path: str) -> str:
    """A clip's uri as an absolute path or URL; relative paths start at the manifest's folder."""
    if _SCHEME.search(uri) or uri.startswith("/"):
        return uri
    if storage.is_local(manifest_path):
        return os.path.join(os.path.dirname(os.path.abspath(storage.local_path(manifest_path))), uri)
    scheme, inner = manifest_path.split("://", 1)
    return f"{scheme}://{posixpath.normpath(posixpath.join(posixpath.dirname(inner), uri))}"  # keys know no ".."


# --- which files


def _manifest_paths(spec: str) -> list[str]:
    try:
        paths = _local_paths(spec) if storage.is_local(spec) else _remote_paths(spec)
    except (OSError, WorkspaceError) as error:
        raise ManifestError(f"{spec}: cannot be read: {error}") from error
    if not paths:
        raise ManifestError(f"{spec}: no manifest there; give a .csv or .parquet file, a folder of them, or a glob")
    return sorted(paths)


def _local_paths(spec: str) -> list[str]:
    path = str(storage.local_path(spec))
    if os.path.isdir(path):
        paths = [os.path.join(path, name) for name in os.listdir(path) if _is_manifest(name)]
        return [_regular(found) for found in paths]
    if os.path.exists(path):
        return [_manifest_file(_regular(path))]
    if glob.has_magic(path):
        return [match for match in glob.glob(path, recursive=True) if _is_manifest(match) and os.path.isfile(match)]
    raise ManifestError(f"{visible(spec)}: no such file or folder; check the path (it starts at {os.getcwd()})")


def _regular(path: str) -> str:
    """The path. Raises ManifestError where it is a pipe, a device or a folder: reading one may never end."""
    if not os.path.isfile(path):
        raise ManifestError(f"{visible(path)}: is no regular file; take it out of the folder, or name another manifest")
    return path


def _remote_paths(spec: str) -> list[str]:
    filesystem, inner = storage.remote(spec)
    if glob.has_magic(inner):
        return [filesystem.unstrip_protocol(match) for match in filesystem.glob(inner) if _is_manifest(match)]
    if inner.lower().endswith(SUFFIXES):
        return [spec]
    names = [name for name in storage.listing(spec, recursive=False) if _is_manifest(name)]
    if not names and storage.exists(spec) and not filesystem.isdir(inner):
        return [_manifest_file(spec)]
    return [storage.join(spec, name) for name in names]


def _is_manifest(path: str) -> bool:
    return path.lower().endswith(SUFFIXES) and not os.path.basename(path).startswith(".")


def _manifest_file(path: str) -> str:
    if path.lower().endswith(SUFFIXES):
        return path
    raise ManifestError(f"{path}: a manifest's name ends in .csv or .parquet; rename it, or save it as one of them")


def _name_problems(files: list[ManifestFile]) -> Iterable[Problem]:
    seen: dict[str, str] = {}
    for file in files:
        if not BATCH_NAME.fullmatch(file.name):
            text = f"the name {quoted(file.name)} : must be 1-128 of A-Z a-z 0-9 . _ -; rename the file"
            yield Problem(file.position, 0, 0, text)
        if file.name in seen:
            text = f"{seen[file.name]} has the name {file.name!r} too, and folders are named by it; rename one of them"
            yield Problem(file.position, 0, 0, text)
        seen.setdefault(file.name, file.path)


# --- text cells to typed rows


def _matches(pattern: str, rule: str) -> pa.Check:
    return pa.Check(lambda cells: cells.str.fullmatch(pattern), error=rule)


def _id_checks(pattern: str, rule: str) -> list[pa.Check]:
    """The rule of an id, and that all of its digits are there; an id breaks one of them at the most."""
    return [
        pa.Check(lambda cells: cells.str.fullmatch(pattern) | _lost_digits(cells), error=rule),
        pa.Check(lambda cells: ~_lost_digits(cells), error=LOST_DIGITS),
    ]


def _lost_digits(cells: pd.Series) -> pd.Series:
    return cells.map(has_lost_digits).astype(bool)


def _uses_only(allowed: Callable[[str], bool]) -> Callable[[pd.Series], pd.Series]:
    return lambda uris: uris.map(lambda uri: all(map(allowed, _SCHEME.findall(uri)))).astype(bool)


_SCHEMES = frozenset(fsspec.available_protocols())


@cache
def _is_installed(scheme: str) -> bool:
    try:
        return scheme not in _SCHEMES or bool(fsspec.get_filesystem_class(scheme))
    except ImportError:
        return False


_RULES = {
    "clip_id": [
        *_id_checks(*CLIP_ID),
        pa.Check(lambda cells: ~cells.duplicated(), error="unique"),
    ],
    "uri": [
        _matches(r"[^\x00-\x1f\x7f]+", "must be one line, without control characters"),
        pa.Check(lambda cells: cells.str.len() <= 4096, error="must be of at most 4096 characters"),
        pa.Check(
            _uses_only(_SCHEMES.__contains__),
            error="must be a path, or a URL that fsspec knows (s3://, gs://, https://, ...)",
        ),
        pa.Check(
            _uses_only(_is_installed),
            error="needs a package that is not installed: pip install s3fs for s3://, gcsfs for gs:// (in vdv's"
            " checkout with -c constraints.txt)",
        ),
    ],
    "challenge": _id_checks(*NAME),
    "creator_id": _id_checks(*NAME),
    "uploaded_at": [],  # _time_problems
    **{name: [_matches(_COUNT, "must be a whole number >= 0 (of at most 18 digits)")] for name in COUNTS},
    "split": [pa.Check.isin(SPLITS, error=f"must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")],
    "removed": [
        pa.Check(lambda cells: cells.str.lower().isin((*TRUE, *FALSE)), error="must be true or false"),
    ],
}


@cache
def _schema(*columns: str) -> pa.DataFrameSchema:
    """Rules of these columns; to apply one takes milliseconds, however few the rows."""
    rules = {name: pa.Column("string", _RULES[name], nullable=name not in REQUIRED) for name in columns}
    return pa.DataFrameSchema(rules)


def _cell_problems(files: list[ManifestFile], cells: pd.DataFrame, ids: pd.DataFrame) -> list[Problem]:
    """Every cell that breaks a rule, by Pandera in one pass over all files.

    cells: as written, to be shown. ids: the same with each id in its one spelling, to be checked.
    """
    try:
        _schema(*(name for name in _RULES if name in REQUIRED or ids[name].notna().any())).validate(ids, lazy=True)
    except pa.errors.SchemaErrors as errors:
        failures = errors.failure_cases
    else:
        return []
    file_of, line_of = cells["file"].tolist(), cells["line"].tolist()
    known = {(problem.file, problem.line, problem.column) for file in files for problem in file.problems}
    first: dict[str, int] = {}  # row of each clip_id's first use
    for at, clip_id in enumerate(ids["clip_id"]):
        first.setdefault(clip_id, at)
    problems = []
    for column, rule, at in zip(failures["column"], failures["check"], failures["index"], strict=True):
        if at is None:  # a rule that cannot be run at all is a bug
            raise RuntimeError(f"the rule {rule!r} of column {column!r} failed to run: {failures['failure_case'][0]}")
        file, value = files[file_of[at]], cells[column].array[at]
        if column in file.unread_columns or (file.position, line_of[at], COLUMNS.index(column)) in known:
            continue
        if rule == "unique":
            other = first[ids[column].array[at]]
            rule = f"must be there once; it is also at {_place(files[file_of[other]], line_of[other])}"
            if (spelling := cells[column].array[other]) != value:
                rule += f", as {_shown(spelling)}"
        elif rule == "not_nullable":
            rule, value = "must not be empty", ""
        problems.append(_cell_problem(file, line_of[at], column, value, rule))
    return problems


def _cell_problem(file: ManifestFile, line: int, column: str, value: str, rule: str) -> Problem:
    return Problem(file.position, line, COLUMNS.index(column), f"column {column!r}: value {_shown(value)} : {rule}")


def _spreadsheet_problems(files: list[ManifestFile], ids: pd.DataFrame) -> Iterable[Problem]:
    for file in files:
        rows = ids[ids["file"] == file.position]
        for column in IDS:
            place = spreadsheet_zeros(_or_none(rows[column]))
            if place is not None:
                rule = f"{LOST_DIGITS}; every long id of the column is zeros from the 16th digit on"
                yield _cell_problem(file, rows["line"].iloc[place], column, rows[column].iloc[place], rule)


_ADVICE = {
    "clip_id": "they are kept as two clips; if they are one, take one of them out",
    "challenge": "write one of them everywhere, or names that differ in more than case, blanks and leading zeros",
    "creator_id": "they are kept as two creators, but never trained on the one and tested on the other; if they are one"
    " person, write one of them everywhere; if not, ids that differ in more than case, blanks and leading zeros say so",
}


def _look_alikes(
    files: list[ManifestFile], cells: pd.DataFrame, ids: pd.DataFrame, columns: Iterable[str]
) -> Iterable[Problem]:
    """The first cell of each spelling that looks like a commoner one, over all files."""
    for column in columns:
        for at, other in look_alikes(_or_none(ids[column])):
            place = _place(files[cells["file"].iloc[other]], cells["line"].iloc[other])
            rule = f"looks like {_shown(cells[column].iloc[other])} at {place}; {_ADVICE[column]}"
            file, line = files[cells["file"].iloc[at]], cells["line"].iloc[at]
            yield _cell_problem(file, line, column, cells[column].iloc[at], rule)


def _times(cells: pd.Series) -> list[UploadTime]:
    now = datetime.now(UTC)
    return [UploadTime() if cell is None else parse_time(cell, now) for cell in _or_none(cells)]


def _time_problems(files: list[ManifestFile], cells: pd.DataFrame, times: list[UploadTime]) -> Iterable[Problem]:
    """Cells that are no time, and numbers in another unit than most of their file's."""
    for file in files:
        places = [place for place, of_file in enumerate(cells["file"] == file.position) if of_file]
        units = Counter(times[place].unit for place in places if times[place].unit)
        unit = units.most_common(1)[0][0] if units else ""
        for place in places:
            rule = times[place].fault
            if times[place].unit not in ("", unit):
                rule = f"is in {times[place].unit}, but most of the file's are in {unit}; write one unit, or ISO 8601"
            if rule:
                yield _cell_problem(
                    file, cells["line"].iloc[place], "uploaded_at", cells["uploaded_at"].iloc[place], rule
                )


def _or_none(cells: pd.Series) -> list[str | None]:
    return cells.to_numpy(object, na_value=None).tolist()


def _typed(cells: pd.DataFrame, times: list[UploadTime]) -> pd.DataFrame:
    """Cells that obey every rule, in the types that `Batch.rows` has."""
    typed = cells[[*COLUMNS]].copy()
    for name in COUNTS:
        typed[name] = cells[name].str.replace(r"\.0+$", "", regex=True).astype("Int64")
    moments = [time.moment for time in times]
    typed["uploaded_at"] = pd.Series(moments, index=cells.index, dtype="datetime64[us, UTC]")
    typed["removed"] = cells["removed"].str.lower().isin(TRUE).fillna(False).astype(bool)
    typed["line"] = cells["line"].astype("Int64")
    return typed


# --- the message


def _shown(value: str) -> str:
    return quoted(value if len(value) <= 60 else value[:57] + "...")


def _place(file: ManifestFile, line: int) -> str:
    if not line:
        return file.path
    return f"{file.path}:{line}" if file.is_csv else f"{file.path}:row {line}"


def _message(files: list[ManifestFile], problems: list[Problem]) -> str:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    head = f"{count} in the manifest{'s' if len(files) > 1 else ''}; nothing was done"
    return "\n".join([head, *_listed(files, problems)])


def _listed(files: list[ManifestFile], problems: list[Problem]) -> list[str]:
    """Problems in the files' order, a line each; of many the first, and how many more there are."""
    ordered = sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
    lines = [f"{_place(files[problem.file], problem.line)}: {problem.text}" for problem in ordered[:MAX_PROBLEMS]]
    if len(ordered) > MAX_PROBLEMS:
        lines.append(f"... and {len(ordered) - MAX_PROBLEMS} more")
    return lines
