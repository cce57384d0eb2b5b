"""Manifests as tools write them: each type of column and each spelling is read exactly, or refused by cell."""

import io
import logging
import unicodedata
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import ManifestError
from pipeline.ingest.manifest import Batch, read_manifests

AS_TEXT = "export the column from its source as text (pandas: read it with dtype=str; a spreadsheet: format it as text)"
IDS = ("clip_id", "challenge", "creator_id")  # in the order in which they are told
MOMENT = pd.Timestamp("2024-04-03T05:01:52Z")
SECONDS = int(MOMENT.timestamp())
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def parquet(path: Path, replace: tuple[bytes, bytes] | None = None, **columns: Any) -> str:
    """A manifest with these columns, and what else it needs. replace: bytes of the file, and those in their place."""
    rows = len(next(iter(columns.values())))
    needed = {"clip_id": [f"c{row}" for row in range(rows)], "uri": ["u"] * rows, "challenge": ["x"] * rows}
    buffer = io.BytesIO()
    pq.write_table(pa.table({**needed, **columns}), buffer, compression="none")
    path.write_bytes(buffer.getvalue().replace(*replace) if replace else buffer.getvalue())
    return str(path)


def csv(path: Path, column: str, *cells: str) -> str:
    """The same as CSV, of one column."""
    columns = {name: [f"{name[0]}{row}" for row in range(len(cells))] for name in ("clip_id", "uri")}
    pd.DataFrame(columns | {"challenge": "x"} | {column: cells}).to_csv(path, index=False)
    return str(path)


def read(path: str) -> Batch:
    (batch,) = read_manifests(path)
    return batch


def problems(path: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifests(path)
    return [line.removeprefix(f"{path}:").strip() for line in str(caught.value).splitlines()[1:]]


def invalid_utf8(kind: pa.DataType, *values: bytes | None) -> pa.Array:
    """Bytes that are declared text."""
    return pa.array(values, pa.large_binary() if kind == pa.large_string() else pa.binary()).view(kind)


UUIDS = [uuid.UUID(int=1), uuid.UUID(int=2)]
LONG = [Decimal("1003.00"), Decimal("7137423965982672123")]
EXACT: dict[str, tuple[Any, list[str]]] = {  # a column, and its ids
    "text": (pa.array(["00123", " 7137423965982672123 "]), ["00123", "7137423965982672123"]),
    "large text": (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
    "text view": (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
    "bytes": (pa.array([b"a", b"b"]), ["a", "b"]),
    "bytes of one length": (pa.array([b"aa", b"bb"], pa.binary(2)), ["aa", "bb"]),
    "UUID": (pa.array([value.bytes for value in UUIDS], pa.uuid()), [str(value) for value in UUIDS]),
    "int8": (pa.array([-1, 5], pa.int8()), ["-1", "5"]),
    "int64": (pa.array([2**53 + 1, 2**63 - 1]), ["9007199254740993", "9223372036854775807"]),
    "uint64": (pa.array([1, 2**64 - 1], pa.uint64()), ["1", "18446744073709551615"]),
    "float64": (pa.array([1003.0, 2.0**53 - 1]), ["1003", "9007199254740991"]),
    "float32": (pa.array([1003.0, 2.0**24 - 1], pa.float32()), ["1003", "16777215"]),
    "float16": (pa.array([1003.0, 2.0**11 - 1], pa.float16()), ["1003", "2047"]),
    "decimal": (pa.array(LONG, pa.decimal128(21, 2)), ["1003", "7137423965982672123"]),
    "large decimal": (
        pa.array([Decimal(7 * 10**40 + 3), Decimal(5)], pa.decimal256(42, 0)),
        [f"{7 * 10**40 + 3}", "5"],
    ),
    "dictionary of text": (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
    "dictionary of numbers": (pa.array([7, 5]).dictionary_encode(), ["7", "5"]),
    "categorical": (pd.Categorical(["b", "a"]), ["b", "a"]),
    "floats as text": (pa.array(["1003.0", "5.0"]), ["1003", "5"]),
}


@pytest.mark.parametrize("kind", EXACT)
def test_ids_of_every_kind_of_column_are_exact(tmp_path: Path, kind: str) -> None:
    values, ids = EXACT[kind]
    rows = read(parquet(tmp_path / "m.parquet", **dict.fromkeys(IDS, values))).rows
    assert [rows[column].tolist() for column in IDS] == [ids] * 3


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (["00123", " 7137423965982672123 "], ["00123", "7137423965982672123"]),
        (["1003.0", "9007199254740991.0"], ["1003", "9007199254740991"]),
        (["1003.00", f"{7 * 10**40 + 3}"], ["1003", f"{7 * 10**40 + 3}"]),
        (["cafe\u0301", "-1"], ["café", "-1"]),
    ],
)
def test_ids_of_a_csv_are_those_of_the_parquet_file(tmp_path: Path, cells: list[str], ids: list[str]) -> None:
    assert read(csv(tmp_path / "m.csv", "creator_id", *cells)).rows["creator_id"].tolist() == ids
    assert read(parquet(tmp_path / "m.parquet", creator_id=cells)).rows["creator_id"].tolist() == ids


ROUNDED = f"is a rounded floating-point number, its last digits are lost; {AS_TEXT}"
NOT_WHOLE = f"must be text or a whole number; {AS_TEXT}"
NOT_UTF8 = "is not UTF-8; export the column as text in UTF-8"
BAD_CELLS: dict[str, tuple[Any, str, str]] = {  # a column, its second value as shown, and what is wrong with it
    "float64": (pa.array([1.0, 7137423965982672123.0]), "'7137423965982671872.0'", ROUNDED),
    "float32": (pa.array([1.0, 16777217.0], pa.float32()), "'16777216.0'", ROUNDED),
    "float16": (pa.array([1.0, 2049.0], pa.float16()), "'2048.0'", ROUNDED),
    "printed float": (pa.array(["a", "7.137E+18"]), "'7.137E+18'", ROUNDED),
    "fraction": (pa.array([1.0, 1.5]), "'1.5'", NOT_WHOLE),
    "infinite": (pa.array([1.0, float("inf")]), "'inf'", NOT_WHOLE),
    "fraction of a decimal": (pa.array([Decimal("1.0"), Decimal("1.5")]), "'1.5'", NOT_WHOLE),
    "no UTF-8": (invalid_utf8(pa.string(), b"a", b"\xff\xfe"), r"b'\xff\xfe'", NOT_UTF8),
    "no UTF-8, long": (invalid_utf8(pa.large_string(), b"a", b"\xff" * 99), "b'" + r"\xff" * 17 + "...'", NOT_UTF8),
    "no UTF-8, bytes": (pa.array([b"a", b"\xff\xfe"]), r"b'\xff\xfe'", NOT_UTF8),
}
BAD_TYPES = {
    "bool": pa.array([True, False]),
    "list<element: string>": pa.array([["a"], ["b"]]),
    "struct<a: int64>": pa.array([{"a": 1}, {"a": 2}]),
    "map<string, int64 ('NAME')>": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "date32[day]": pa.array([19000, 19001], pa.date32()),
    "timestamp[us]": pa.array([0, 1], pa.timestamp("us")),
}


@pytest.mark.parametrize("kind", BAD_CELLS)
def test_what_is_no_exact_id_is_refused_with_the_cell_and_the_way_out(tmp_path: Path, kind: str) -> None:
    values, shown, rule = BAD_CELLS[kind]
    found = problems(parquet(tmp_path / "m.parquet", **dict.fromkeys(IDS, values)))
    assert found == [f"row 2: column {column!r}: value {shown} : {rule}" for column in IDS]


@pytest.mark.parametrize("kind", BAD_TYPES)
def test_a_column_that_cannot_hold_ids_is_refused_once(tmp_path: Path, kind: str) -> None:
    found = problems(parquet(tmp_path / "m.parquet", **dict.fromkeys(IDS, BAD_TYPES[kind])))
    rule = "must be text or whole numbers; export it as text"
    assert found == [f"column {column!r} : is of the type {kind.replace('NAME', column)}; {rule}" for column in IDS]


@pytest.mark.parametrize("cell", ["7.137E+18", "7137423965982672123.0"])
@pytest.mark.parametrize("column", IDS)
def test_a_csv_s_id_without_all_its_digits_is_refused(tmp_path: Path, column: str, cell: str) -> None:
    (problem,) = problems(csv(tmp_path / "m.csv", column, "a", cell))
    assert problem == f"3: column {column!r}: value {cell!r} : {ROUNDED}"


@pytest.mark.parametrize("cell", ["9" * 5000, "9" * 5000 + ".0"])
def test_an_id_longer_than_python_s_integers_is_refused_like_any_long_one(tmp_path: Path, cell: str) -> None:
    (problem,) = problems(csv(tmp_path / "m.csv", "challenge", "a", cell))
    assert problem.endswith(f"value '{'9' * 57}...' : must be one line of at most 200 characters")


def test_the_largest_float_is_refused_as_a_float(tmp_path: Path) -> None:
    (problem,) = problems(parquet(tmp_path / "m.parquet", creator_id=[1.0, 1.7976931348623157e308]))
    assert problem.endswith(ROUNDED)


def test_ids_that_a_spreadsheet_filled_with_zeros_are_refused_in_the_file_that_has_them(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", "creator_id", "7137423965982670000", "7137423965982672123")
    path = tmp_path / "b.parquet"
    parquet(path, creator_id=["u1", "7137423965982670000", "7237423965982670000"], clip_id=["p", "q", "r"])
    (problem,) = problems(str(tmp_path))
    assert problem.startswith(f"{path}:row 2: column 'creator_id': value '7137423965982670000' : is a rounded")
    assert problem.endswith("every long id of the column is zeros from the 16th digit on")


def test_a_creator_is_one_with_and_without_gaps_in_the_column(tmp_path: Path) -> None:
    """Pandas makes floats of a column of numbers as soon as a cell is empty."""
    pd.DataFrame({"clip_id": ["a", "b"], "uri": "u", "challenge": "x", "creator_id": [1003, 5]}).to_csv(
        tmp_path / "a.csv"
    )
    pd.read_csv(tmp_path / "a.csv", index_col=0).to_csv(tmp_path / "a.csv", index=False)
    gaps = pd.DataFrame({"clip_id": ["c", "d"], "uri": "u", "challenge": "x", "creator_id": [1003, None]})
    gaps.to_csv(tmp_path / "b.csv", index=False)
    gaps.assign(clip_id=["e", "f"]).to_parquet(tmp_path / "c.parquet")
    assert "1003.0" in (tmp_path / "b.csv").read_text()
    creators = pd.concat([batch.rows for batch in read_manifests(str(tmp_path))]).set_index("clip_id")["creator_id"]
    assert creators.dropna().to_dict() == {"a": "1003", "b": "5", "c": "1003", "e": "1003"}


def test_a_clip_id_in_two_spellings_is_there_twice(tmp_path: Path) -> None:
    (problem,) = problems(csv(tmp_path / "m.csv", "clip_id", "1003.0", "1003"))
    assert problem == (
        f"3: column 'clip_id': value '1003' : must be there once; it is also at {tmp_path}/m.csv:2, as '1003.0'"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("anna", "Anna"),
        ("00123", "123"),
        ("anna b", "anna  b"),
        ("anna b", "anna\u00a0b"),
        ("anna", "an\u200bna"),
        ("１２３", "123"),
        ("strasse", "Straße"),
    ],
)
def test_challenges_that_look_alike_are_refused_and_creators_kept_apart_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one: str, other: str
) -> None:
    shown = one.encode("ascii", "backslashreplace").decode() if "\u200b" in one or "\u00a0" in one else one
    alike = other.replace("\u200b", r"\u200b").replace("\u00a0", r"\u00a0")
    path = csv(tmp_path / "m.csv", "challenge", one, one, other)
    (problem,) = problems(path)
    assert problem.startswith(f"4: column 'challenge': value '{alike}' : looks like '{shown}' at {path}:2; write one")

    path = csv(tmp_path / "m.csv", "creator_id", one, one, other)
    with caplog.at_level(logging.WARNING):
        assert read(path).rows["creator_id"].tolist() == [one, one, other]
    (warning,) = caplog.messages
    assert warning.startswith(
        f"warning: {path}:4: column 'creator_id': value '{alike}' : looks like '{shown}' at {path}:2"
    )


def test_look_alikes_are_found_across_files_and_among_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    csv(tmp_path / "a.csv", "creator_id", "anna", "bob")
    parquet(tmp_path / "b.parquet", clip_id=["C0", "d"], creator_id=["Anna", "Bob"])
    with caplog.at_level(logging.WARNING):
        read_manifests(str(tmp_path))
    assert [message.split(" : ")[0].replace(f"{tmp_path}/", "") for message in caplog.messages] == [
        "warning: b.parquet:row 1: column 'clip_id': value 'C0'",
        "warning: b.parquet:row 1: column 'creator_id': value 'Anna'",
        "warning: b.parquet:row 2: column 'creator_id': value 'Bob'",
    ]


def test_composed_and_decomposed_spellings_are_one_id_and_neither_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spellings = [unicodedata.normalize(form, "Zoë 한") for form in ("NFC", "NFD")]
    assert spellings[0] != spellings[1]
    for column in ("challenge", "creator_id"):
        assert read(csv(tmp_path / "m.csv", column, *spellings)).rows[column].tolist() == [spellings[0]] * 2
    assert not caplog.messages


def test_blanks_and_invisible_characters_around_a_cell_do_not_count(tmp_path: Path) -> None:
    cells = ["anna", "\ufeffanna", "anna\u200b", "\u00a0\u200eanna\u3000", "\u200b", "\u2060 \ufeff"]
    creators = read(csv(tmp_path / "m.csv", "creator_id", *cells)).rows["creator_id"]
    assert creators.fillna("").tolist() == ["anna"] * 4 + ["", ""]


def test_a_message_shows_what_cannot_be_seen(tmp_path: Path) -> None:
    (problem,) = problems(csv(tmp_path / "m.csv", "likes", "1\u00a0000"))
    assert r"value '1\u00a0000' : must be a whole number" in problem
    (problem,) = problems(csv(tmp_path / "m.csv", "clip_id", "cafe\u0301"))
    assert r"value 'cafe\u0301' : must be 1-128 of" in problem
    (problem,) = problems(csv(tmp_path / "m.csv", "li\u200bkes", "1"))
    assert r"column 'li\u200bkes' : is not known; did you mean 'likes'?" in problem


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30", "Mars/Phobos"])
def test_timestamps_of_every_unit_and_zone_are_read(tmp_path: Path, unit: str, zone: str | None) -> None:
    """With a zone the stored number is UTC, whatever the zone: also where nobody knows it."""
    values = pa.array([SECONDS * UNITS[unit], None], pa.int64()).cast(pa.timestamp(unit, tz=zone))
    uploaded = read(parquet(tmp_path / "m.parquet", uploaded_at=values)).rows["uploaded_at"]
    assert uploaded[0] == MOMENT
    assert pd.isna(uploaded[1])


NUMBERS: dict[str, Any] = {
    "integers": lambda number: pa.array([number, None], pa.int64()),
    "floats": lambda number: pa.array([float(number), None]),
    "decimals": lambda number: pa.array([Decimal(number), None], pa.decimal128(25, 2)),
    "text": lambda number: pa.array([str(number), None]),
    "text of floats": lambda number: pa.array([f"{number}.0", ""]),
    "dictionary": lambda number: pa.array([number, None], pa.int64()).dictionary_encode(),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_since_1970_are_read_by_their_range(tmp_path: Path, kind: str, unit: str) -> None:
    values = NUMBERS[kind](SECONDS * UNITS[unit])
    from_parquet = read(parquet(tmp_path / "m.parquet", uploaded_at=values)).rows["uploaded_at"]
    cells = [str(value) if value is not None else "" for value in values.to_pylist()]
    if kind == "floats":
        cells[0] = f"{SECONDS * UNITS[unit]}.0"
    from_csv = read(csv(tmp_path / "m.csv", "uploaded_at", *cells)).rows["uploaded_at"]
    assert from_parquet[0] == from_csv[0] == MOMENT
    assert pd.isna(from_parquet[1])
    assert pd.isna(from_csv[1])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([SECONDS, 2**52], pa.timestamp("s")), "'142715360-12-06T03:48:16.000' : must be from 2005-01-01 on"),
        (
            pa.array([SECONDS * 10**6, -(2**62)], pa.timestamp("us")),
            "'-144169-06-28T09:59:32.612096' : must be from 2005",
        ),
        (pa.array([SECONDS * 10**9, 2**62], pa.timestamp("ns")), "'2116-02-20T23:53:38.427387904' : must be from 2005"),
        (
            pa.array([SECONDS * 1000, 0], pa.timestamp("ms", "UTC")),
            "'1970-01-01T00:00:00.000Z' : must be from 2005-01-01",
        ),
        (pa.array([19816, 2**30], pa.int32()).cast(pa.date32()), "'2941775-04-07' : must be from 2005-01-01 on"),
        (pa.array([19816, 1], pa.int32()).cast(pa.date32()), "'1970-01-02' : must be from 2005-01-01 on"),
        (pa.array([SECONDS, 1]), "'1' : is no time between 2005-01-01 and now in seconds, milliseconds"),
        (pa.array([None, float(SECONDS)], pa.float32()), "'1712120576.0' : is a rounded floating-point number"),
        (
            pa.array([SECONDS, SECONDS * 1000, SECONDS]),
            "'1712120512000' : is in milliseconds, but most of the file's are",
        ),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_its_cell(tmp_path: Path, values: pa.Array, shown: str) -> None:
    (problem,) = problems(parquet(tmp_path / "m.parquet", uploaded_at=values))
    assert problem.startswith(f"row 2: column 'uploaded_at': value {shown}")


def test_files_may_have_units_and_offsets_of_their_own(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", "uploaded_at", str(SECONDS), "2024-04-03T07:01:52+02:00", "2024-04-03T05:01:52")
    parquet(tmp_path / "b.parquet", clip_id=["x"], uploaded_at=[SECONDS * 1000])
    times = pd.concat([batch.rows for batch in read_manifests(str(tmp_path))])["uploaded_at"]
    assert times.tolist() == [MOMENT] * 4


@pytest.mark.parametrize("kind", [pa.time32("s"), pa.duration("s"), pa.list_(pa.int64())])
def test_a_column_of_no_times_is_refused_as_a_whole(tmp_path: Path, kind: pa.DataType) -> None:
    values = pa.array([[5], [6]] if pa.types.is_list(kind) else [5, 6], kind)
    (problem,) = problems(parquet(tmp_path / "m.parquet", uploaded_at=values))
    assert problem.startswith("column 'uploaded_at' : is of the type ")
    assert problem.endswith("must be times, numbers or text; export it as text")


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**53 + 1, None], pa.int64()),
        pa.array([Decimal(2**53 + 1), None], pa.decimal128(20, 2)),
        pa.array([str(2**53 + 1), None]),
        pa.array([f"{2**53 + 1}.0", None]),
        pa.array([2**53 + 1, None], pa.uint64()).dictionary_encode(),
    ],
)
def test_counts_are_exact_beyond_what_a_float_holds(tmp_path: Path, values: pa.Array) -> None:
    likes = read(parquet(tmp_path / "m.parquet", likes=values)).rows["likes"]
    assert likes.tolist() == [9007199254740993, pd.NA]


def test_a_count_that_is_no_number_is_refused_and_one_of_floats_is_read(tmp_path: Path) -> None:
    path = parquet(tmp_path / "m.parquet", likes=[True, False], views=[120.0, np.nan], shares=[1.5, 2.0])
    of_likes, of_shares = problems(path)
    assert of_likes.startswith("column 'likes' : is of the type bool; must be text or whole numbers")
    assert of_shares.startswith("row 1: column 'shares': value '1.5' : must be a whole number")


def test_a_column_without_values_may_be_of_any_type(tmp_path: Path) -> None:
    columns = {
        "creator_id": pa.array([None, None], pa.bool_()),
        "uploaded_at": pa.array([None, None], pa.list_(pa.int64())),
        "split": pa.array([float("nan"), None]),
        "likes": pa.array([None, None], pa.null()),
    }
    assert read(parquet(tmp_path / "m.parquet", **columns)).rows[[*columns]].isna().all(axis=None)


def test_a_name_and_a_category_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    texts, damage = pa.array(["b", "QQQQQ", "b"]), (b"QQQQQ", b"QQ\xffQQ")
    (problem,) = problems(parquet(tmp_path / "m.parquet", damage, creator_id=texts.dictionary_encode()))
    assert problem.startswith(r"row 2: column 'creator_id': value b'QQ\xffQQ' : is not UTF-8")
    narrow = texts.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string()))  # pandas' own
    (problem,) = problems(parquet(tmp_path / "m.parquet", damage, challenge=narrow))  # pyarrow does not say which row
    assert problem == "column 'challenge' : cannot be read: Invalid UTF8 payload; write the file anew"
    (problem,) = problems(parquet(tmp_path / "m.parquet", (b"x_QQQ", b"x_\xffQQ"), x_QQQ=[1]))
    assert problem == r"has a column whose name is not UTF-8, b'x_\xffQQ'; rename it"


def test_the_manifests_that_failed_end_as_their_table_says(dance_clips: Path) -> None:
    uploads = dance_clips.parent / "uploads"
    first, second = problems(str(uploads / "id_as_float.parquet"))
    assert first.startswith(
        "row 1: column 'clip_id': value '7137423965982673920.0' : is a rounded floating-point number"
    )
    assert AS_TEXT in first
    assert second.startswith("row 2: ")
    assert read(str(uploads / "epoch_ms.csv")).rows["uploaded_at"].tolist() == [
        pd.Timestamp("2024-04-03T05:01:52.345Z")
    ]
