"""A manifest made of exports: the plan, all of it in memory, and the file, whole or not at all."""

import csv
import io
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow
import pyarrow.parquet

from pipeline.core import storage
from pipeline.core.errors import ManifestError
from pipeline.files.spreadsheets import without_formula
from pipeline.ingest.manifest_files import COLUMNS, COUNTS


@dataclass(frozen=True)
class ColumnMade:
    name: str
    source: str  # its field, in words
    filled: int
    examples: tuple[str, ...]


@dataclass
class ManifestPlan:
    """A manifest in the making, and what there is to say about it."""

    path: str
    files: int = 0
    records: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)  # column -> str, int, datetime or None
    columns: tuple[ColumnMade, ...] = ()
    formats: Counter[str] = field(default_factory=Counter)  # of the sources, in words
    problems: list[str] = field(default_factory=list)  # with any, it is not written
    listed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # what they are -> files, records
    notes: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))  # column, note -> cells


def write_manifest(plan: ManifestPlan) -> bool:
    """Write the planned manifest; False: it is there already, equal byte for byte.

    Raises:
        ManifestError: another file is there; it is not overwritten.
    """
    content = _parquet(plan) if plan.path.lower().endswith(".parquet") else _csv(plan)
    if storage.exists(plan.path):
        if storage.read_bytes(plan.path) == content:
            return False
        raise ManifestError(f"{plan.path} is there already, with other content; give another name, or remove it first")
    storage.write_bytes(plan.path, content)
    return True


def _csv(plan: ManifestPlan) -> bytes:
    """UTF-8. A spreadsheet may open it: columns that are not read get a ' before what could be a formula."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    names = [column.name for column in plan.columns]
    writer.writerow(names)
    for row in plan.rows:
        cells = [_text(row.get(name)) for name in names]
        writer.writerow(
            without_formula(cell) if name not in COLUMNS else cell for name, cell in zip(names, cells, strict=True)
        )
    return file.getvalue().encode()


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _parquet(plan: ManifestPlan) -> bytes:
    kinds = {"uploaded_at": pyarrow.timestamp("us", "UTC"), **dict.fromkeys(COUNTS, pyarrow.int64())}
    names = [column.name for column in plan.columns]
    columns = {
        name: pyarrow.array([row.get(name) for row in plan.rows], kinds.get(name, pyarrow.string())) for name in names
    }
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue().to_pybytes()
