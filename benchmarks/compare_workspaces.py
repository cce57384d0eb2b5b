"""Bitwise comparison of two workspaces that two versions of the code made from the same manifest.

    python -m benchmarks.compare_workspaces BEFORE AFTER

Every row of every table is looked up in the other workspace by its key (clip_id, for poses also track_id) and compared
column by column, by the bytes of its values: a NaN equals the same NaN, and 0.0 differs from -0.0. Folder names that
are fingerprints match any fingerprint, and RENAMED maps names of columns. Prints a table; the exit status is 1 where
rows, columns, their types, the order of rows or metadata about clips differ.
"""

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.common import table

RENAMED = {"skeleton": "pose"}  # words of column names (score_skeleton, fusion_only_skeleton+face), before -> after
FINGERPRINT = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")
# Metadata that name versions, options and times; all other keys must be equal.
PROVENANCE = {"code_version", "dataset", "decoder", "finished_at", "options", "pandas", "profile", "schema",
              "schema_version", "vdv.fingerprint", "vdv.manifest", "vdv.schema", "weights"}  # fmt: skip
Digests = dict[str, bytes]  # one row: column -> digest of its value


@dataclass(frozen=True)
class Kind:
    """Tables of one kind: where they lie, the columns that name a row (those there are), and those never compared."""

    glob: str
    key: tuple[str, ...] = ("clip_id",)
    not_compared: frozenset[str] = frozenset()
    sharded: bool = False  # a folder of shards is one table


KINDS = (
    Kind("clips/*/*.parquet", not_compared=frozenset({"signature", "uri"})),  # time of change and folder of the clips
    Kind("clips/*/endings/*/*.parquet", not_compared=frozenset({"decode_s"}), sharded=True),
    Kind("features/*/*/*/*.parquet", ("clip_id", "track_id"), sharded=True),
    Kind("datasets/*/clips.parquet"),
    Kind("datasets/*/faces.parquet", ("clip_id", "frame", "face")),
    Kind("runs/*/*.parquet"),  # scores, folds, held_out, embeddings
    Kind("uploads/*/scores.parquet"),
)


@dataclass
class Table:
    """One table of a workspace: the types of its columns, a digest of every value, and metadata that must be equal."""

    rows: dict[tuple, Digests] = field(default_factory=dict)  # in the table's order
    types: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, bytes] = field(default_factory=dict)  # file and key -> value
    provenance: dict[str, bytes] = field(default_factory=dict)  # key -> value in the last file


@dataclass
class Difference:
    """Outcome of comparing one table of both workspaces."""

    name: str
    compared: int = 0
    unequal: dict[tuple, list[str]] = field(default_factory=dict)  # key -> columns that differ
    notes: list[str] = field(default_factory=list)  # what else differs, in words
    not_compared: list[str] = field(default_factory=list)  # metadata that differ and may


def read_tables(workspace: Path) -> dict[str, Table]:
    """All tables of a workspace by their paths, fingerprints masked.

    Raises:
        ValueError: two tables have the same path but for fingerprints, or one key is there twice.
    """
    tables: dict[str, Table] = defaultdict(Table)
    folders: dict[str, str] = {}
    for kind in KINDS:
        for path in sorted(workspace.glob(kind.glob)):
            place = path.relative_to(workspace).as_posix()
            folder = place.rsplit("/", 1)[0] if kind.sharded else place
            name = FINGERPRINT.sub("*", folder)
            if folders.setdefault(name, folder) != folder:
                raise ValueError(f"{workspace} holds {folders[name]} and {folder}: compare workspaces built once each")
            _read_file(path, kind, tables[name])
    return dict(tables)


def _read_file(path: Path, kind: Kind, into: Table) -> None:
    file = pq.ParquetFile(path)
    content = file.read().combine_chunks()
    names = {column: _renamed(column) for column in content.schema.names if column not in kind.not_compared}
    into.types |= {name: str(content.schema.field(column).type) for column, name in names.items()}
    for key, value in (file.metadata.metadata or {}).items():
        if key.decode() in PROVENANCE:
            into.provenance[key.decode()] = value
        elif key != b"ARROW:schema":
            into.metadata[f"{key.decode()} of {FINGERPRINT.sub('*', path.name)}"] = value
    keys = list(zip(*(content[column].to_pylist() for column in kind.key if column in names), strict=True))
    values = {name: content[column].combine_chunks() for column, name in names.items()}
    for place, key in enumerate(keys):
        if key in into.rows:
            raise ValueError(f"{path}: {key} is there twice")
        into.rows[key] = {name: _digest(column.slice(place, 1)) for name, column in values.items()}


def _renamed(column: str) -> str:
    return "".join(RENAMED.get(word, word) for word in re.split(r"([_+])", column))


def _digest(value: pa.Array) -> bytes:
    """Digest of an array of one value; equal for equal bits only."""
    digest = blake2b(digest_size=16)
    for part in bits_of(value):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def bits_of(array: pa.Array) -> Iterator[bytes]:
    """What is null, lengths of lists, then the bytes of the leaves."""
    yield array.is_null().to_numpy(zero_copy_only=False).tobytes()
    if pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from bits_of(child)
    elif pa.types.is_nested(array.type):  # lists of any kind
        yield repr(pc.list_value_length(array).to_pylist()).encode()
        yield from bits_of(array.flatten())
    elif pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        yield from (item or b"" for item in array.to_pylist())
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        yield from (FINGERPRINT.sub("*", item or "").encode() for item in array.to_pylist())
    else:
        plain = array.drop_null()
        if pa.types.is_temporal(plain.type):
            plain = plain.cast(pa.int64())
        yield plain.to_numpy(zero_copy_only=False).tobytes()


def compare(before: Table, after: Table, name: str) -> Difference:
    found = Difference(name)
    shared = [key for key in before.rows if key in after.rows]
    found.compared = len(shared)
    columns = [column for column in before.types if column in after.types]
    for key in shared:
        unequal = [column for column in columns if before.rows[key].get(column) != after.rows[key].get(column)]
        if unequal:
            found.unequal[key] = unequal
    for side, rows, others in (("before", before, after), ("after", after, before)):
        if alone := [_shown(key) for key in rows.rows if key not in others.rows]:
            found.notes.append(f"only {side}: {len(alone)} rows, first {alone[0]}")
        found.notes += [f"only {side}: column {column}" for column in rows.types if column not in others.types]
        found.notes += [f"only {side}: metadata {key}" for key in rows.metadata if key not in others.metadata]
    if shared != [key for key in after.rows if key in before.rows]:
        found.notes.append("the rows are in another order")
    for column in columns:
        if before.types[column] != after.types[column]:
            found.notes.append(f"column {column} was {before.types[column]}, is {after.types[column]}")
    found.notes += [
        f"metadata differ: {key}"
        for key, value in before.metadata.items()
        if key in after.metadata and after.metadata[key] != value
    ]
    found.not_compared = sorted(
        key for key in before.provenance.keys() | after.provenance.keys()
        if before.provenance.get(key) != after.provenance.get(key)
    )  # fmt: skip
    return found


def compare_workspaces(before: Path, after: Path) -> list[Difference]:
    """Every table of either workspace; one that only one of them has is a difference, too."""
    left, right = read_tables(before), read_tables(after)
    differences = []
    for name in sorted(left.keys() | right.keys()):
        if name in left and name in right:
            differences.append(compare(left[name], right[name], name))
        else:
            differences.append(
                Difference(name, notes=[f"the table is there only {'before' if name in left else 'after'}"])
            )
    return differences


def _shown(key: Sequence[Any]) -> str:
    return "/".join(map(str, key))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rows", type=int, default=5, help="how many differing rows a table to name (default 5)")
    options = parser.parse_args(arguments)
    differences = compare_workspaces(options.before, options.after)
    print(table([[d.name, d.compared, len(d.unequal), len(d.notes)] for d in differences],
                ["what", "rows compared", "rows that differ", "other differences"]))  # fmt: skip
    for difference in differences:
        lines = [f"{_shown(key)} differs in {', '.join(columns)}" for key, columns in difference.unequal.items()]
        lines = lines[: options.rows] + [f"and {len(lines) - options.rows} rows more"] * (len(lines) > options.rows)
        for line in lines + difference.notes:
            print(f"{difference.name}: {line}")
        if difference.not_compared:
            print(f"{difference.name}: not compared, differ: {', '.join(difference.not_compared)}")
    if not differences:
        print("neither workspace holds a table")
    return int(not differences or any(d.unequal or d.notes for d in differences))


if __name__ == "__main__":
    sys.exit(main())
