"""Manifest files: read, checked and typed before any work starts. data_manifest/README.md has the format for users."""

import glob
import os
import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import fsspec
import pandas as pd
import pandera.pandas as pa

from pipeline.core import storage
from pipeline.core.errors import ManifestError, WorkspaceError
from pipeline.ingest.manifest_files import COLUMNS, COUNTS, REQUIRED, ManifestFile, Problem, read_file

SPLITS = ("train", "val", "test")
MAX_PROBLEMS = 50  # listed in one message; more would scroll the first ones away

_SUFFIXES = (".csv", ".parquet")
_BATCH_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_TEXT = r"[^\x00-\x1f\x7f]{1,200}"
_COUNT = r"[0-9]{1,18}(\.0+)?"  # 18 digits fit an int64; pandas writes whole numbers beside gaps as 120.0
_TRUE, _FALSE = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")


@dataclass(frozen=True)
class Batch:
    """A checked manifest file.

    rows: one row a clip that is not removed, in the file's order; every column of COLUMNS but `removed`, whether or not
    the file has it: clip_id, uri (absolute path or URL), challenge, creator_id, split: string; uploaded_at:
    datetime64[us, UTC]; COUNTS: Int64; missing is NA. `line` (Int64) is the file's line, for Parquet the row from 1.
    """

    name: str  # the file's name without its ending; unique over the manifests read together
    path: str
    content_hash: str  # sha256 of the file's bytes, hex
    rows: pd.DataFrame = field(compare=False, repr=False)
    removed: tuple[str, ...]  # clip_ids with removed=true; they are in nothing else


def read_manifests(spec: str) -> tuple[Batch, ...]:
    """The batches of the manifests that `spec` names, sorted by path, with every row checked.

    spec: a file, a folder (every *.csv and *.parquet directly in it) or a glob; local, or any fsspec URL.

    Raises:
        ManifestError: lists every problem of every file, one a line (the first 50, and how many more there are).
    """
    paths = _manifest_paths(spec)
    problems: list[Problem] = []
    files = [read_file(position, path) for position, path in enumerate(paths)]
    for file in files:
        problems += file.problems
    problems += _name_problems(files)
    cells = pd.concat([file.cells.assign(file=file.position) for file in files], ignore_index=True)
    problems += _cell_problems(files, cells)
    if problems:
        raise ManifestError(_message(files, problems))
    typed = _typed(cells)
    typed["uri"] = [resolve_uri(uri, paths[file]) for uri, file in zip(typed["uri"], cells["file"], strict=True)]
    typed["uri"] = typed["uri"].astype("string")
    batches = []
    for file in files:
        typed_rows = typed[cells["file"] == file.position]
        removed = typed_rows["removed"]
        rows = typed_rows[~removed].drop(columns="removed").reset_index(drop=True)
        batches.append(Batch(file.name, file.path, file.content_hash, rows, tuple(typed_rows["clip_id"][removed])))
    return tuple(batches)


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
        return [os.path.join(path, name) for name in os.listdir(path) if _is_manifest(name)]
    if os.path.exists(path):
        return [_manifest_file(path)]
    if glob.has_magic(path):
        return [match for match in glob.glob(path, recursive=True) if _is_manifest(match) and os.path.isfile(match)]
    raise ManifestError(f"{spec}: no such file or folder; check the path (it starts at {os.getcwd()})")


def _remote_paths(spec: str) -> list[str]:
    filesystem, inner = storage.remote(spec)
    if glob.has_magic(inner):
        return [filesystem.unstrip_protocol(match) for match in filesystem.glob(inner) if _is_manifest(match)]
    if inner.lower().endswith(_SUFFIXES):
        return [spec]
    names = [name for name in storage.listing(spec, recursive=False) if _is_manifest(name)]
    if not names and storage.exists(spec) and not filesystem.isdir(inner):
        return [_manifest_file(spec)]
    return [storage.join(spec, name) for name in names]


def _is_manifest(path: str) -> bool:
    return path.lower().endswith(_SUFFIXES) and not os.path.basename(path).startswith(".")


def _manifest_file(path: str) -> str:
    if path.lower().endswith(_SUFFIXES):
        return path
    raise ManifestError(f"{path}: a manifest's name ends in .csv or .parquet; rename it, or save it as one of them")


def _name_problems(files: list[ManifestFile]) -> Iterable[Problem]:
    seen: dict[str, str] = {}
    for file in files:
        if not _BATCH_NAME.fullmatch(file.name):
            text = f"the name {file.name!r} : must be 1-128 of A-Z a-z 0-9 . _ -; rename the file"
            yield Problem(file.position, 0, 0, text)
        if file.name in seen:
            text = f"{seen[file.name]} has the name {file.name!r} too, and folders are named by it; rename one of them"
            yield Problem(file.position, 0, 0, text)
        seen.setdefault(file.name, file.path)


# --- text cells to typed rows


def _matches(pattern: str, rule: str) -> pa.Check:
    return pa.Check(lambda cells: cells.str.fullmatch(pattern), error=rule)


def _is_time(cells: pd.Series) -> pd.Series:
    return cells.map(lambda cell: _time(cell) is not None).astype(bool)


def _time(cell: str) -> datetime | None:
    """An ISO 8601 time in UTC, which it is taken for where it has no offset. None where the cell is no ISO 8601."""
    try:
        moment = datetime.fromisoformat(cell)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


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
        _matches(r"[A-Za-z0-9._-]{1,128}", "must be 1-128 of A-Z a-z 0-9 . _ -"),
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
            error="needs a package that is not installed: for s3:// pip install 'vdv[s3]', for gs:// 'vdv[gcs]'",
        ),
    ],
    "challenge": [_matches(_TEXT, "must be one line of at most 200 characters")],
    "creator_id": [_matches(_TEXT, "must be one line of at most 200 characters")],
    "uploaded_at": [pa.Check(_is_time, error="must be ISO 8601, like 2024-06-30 or 2024-06-30T18:00:00+02:00")],
    **{name: [_matches(_COUNT, "must be a whole number >= 0 (of at most 18 digits)")] for name in COUNTS},
    "split": [pa.Check.isin(SPLITS, error=f"must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")],
    "removed": [
        pa.Check(lambda cells: cells.str.lower().isin((*_TRUE, *_FALSE)), error="must be true or false"),
    ],
}
_SCHEMA = pa.DataFrameSchema(
    {name: pa.Column("string", checks, nullable=name not in REQUIRED) for name, checks in _RULES.items()}
)


def _cell_problems(files: list[ManifestFile], cells: pd.DataFrame) -> list[Problem]:
    """Every cell that breaks a rule, by Pandera in one pass over all files."""
    try:
        _SCHEMA.validate(cells, lazy=True)
    except pa.errors.SchemaErrors as errors:
        failures = errors.failure_cases
    else:
        return []
    file_of, line_of = cells["file"].tolist(), cells["line"].tolist()
    first: dict[str, int] = {}  # row of each clip_id's first use
    for at, clip_id in enumerate(cells["clip_id"]):
        first.setdefault(clip_id, at)
    problems = []
    for column, rule, at in zip(failures["column"], failures["check"], failures["index"], strict=True):
        if at is None:  # a rule that cannot be run at all is a bug
            raise RuntimeError(f"the rule {rule!r} of column {column!r} failed to run: {failures['failure_case'][0]}")
        file, value = files[file_of[at]], cells[column].array[at]
        if column in file.missing_columns:
            continue
        if rule == "unique":
            other = first[value]
            rule = f"must be there once; it is also at {_place(files[file_of[other]], line_of[other])}"
        elif rule == "not_nullable":
            rule, value = "must not be empty", ""
        text = f"column {column!r}: value {_shortened(value)!r} : {rule}"
        problems.append(Problem(file.position, line_of[at], COLUMNS.index(column), text))
    return problems


def _typed(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells that obey every rule, in the types that `Batch.rows` has."""
    typed = cells[[*COLUMNS]].copy()
    for name in COUNTS:
        typed[name] = cells[name].str.replace(r"\.0+$", "", regex=True).astype("Int64")
    times = [None if pd.isna(cell) else _time(cell) for cell in cells["uploaded_at"]]
    typed["uploaded_at"] = pd.Series(times, index=cells.index, dtype="datetime64[us, UTC]")
    typed["removed"] = cells["removed"].str.lower().isin(_TRUE).fillna(False).astype(bool)
    typed["line"] = cells["line"].astype("Int64")
    return typed


# --- the message


def _shortened(value: str) -> str:
    return value if len(value) <= 60 else value[:57] + "..."


def _place(file: ManifestFile, line: int) -> str:
    if not line:
        return file.path
    return f"{file.path}:{line}" if file.is_csv else f"{file.path}:row {line}"


def _message(files: list[ManifestFile], problems: list[Problem]) -> str:
    ordered = sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
    lines = [f"{_place(files[problem.file], problem.line)}: {problem.text}" for problem in ordered[:MAX_PROBLEMS]]
    if len(ordered) > MAX_PROBLEMS:
        lines.append(f"... and {len(ordered) - MAX_PROBLEMS} more")
    count = f"{len(ordered)} problem{'s' if len(ordered) > 1 else ''}"
    return f"{count} in the manifest{'s' if len(files) > 1 else ''}; nothing was done\n" + "\n".join(lines)
