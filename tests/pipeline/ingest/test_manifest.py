"""The manifest's rules: each has a row that breaks it, and is named by file, line, column, value and rule."""

import os
import time
from datetime import datetime
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import storage
from pipeline.core.errors import ManifestError
from pipeline.ingest.manifest import COLUMNS, COUNTS, clip_batch, read_manifests, resolve_uri

HEADER = (
    "clip_id,uri,challenge,creator_id,uploaded_at,likes,views,comments,shares,followers,creator_likes,creator_videos,"
    "split,removed"
)
GOOD = "a,a.mp4,studio,c1,2024-06-30T18:00:00+02:00,120,5000,3,4,99,7000,12,train,false"


def _write(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return str(path)


def _problems(spec: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifests(spec)
    return str(caught.value).splitlines()[1:]


def test_a_good_row_comes_back_typed(tmp_path: Path) -> None:
    (batch,) = read_manifests(_write(tmp_path / "june.csv", HEADER, GOOD, "b,/abs/b.mp4,street,,,,,,,,,,,"))
    first, second = batch.rows.to_dict("records")
    assert batch.name == "june"
    assert first["uri"] == f"{tmp_path}/a.mp4"
    assert first["uploaded_at"] == pd.Timestamp("2024-06-30T16:00:00Z")
    assert [first[name] for name in COUNTS] == [120, 5000, 3, 4, 99, 7000, 12]
    assert (first["split"], first["creator_id"], first["line"]) == ("train", "c1", 2)
    assert second["uri"] == "/abs/b.mp4"
    assert all(pd.isna(second[name]) for name in (*COUNTS, "creator_id", "uploaded_at", "split"))
    assert [str(batch.rows.dtypes[name]) for name in ("clip_id", "likes")] == ["string", "Int64"]
    assert str(batch.rows.dtypes["uploaded_at"]) == "datetime64[us, UTC]"


def test_optional_columns_may_be_left_out_and_one_s_own_are_not_read(tmp_path: Path) -> None:
    (batch,) = read_manifests(_write(tmp_path / "m.csv", "x_note,challenge,uri,clip_id", "hi,studio,a.mp4,a"))
    assert batch.rows["likes"].isna().all()
    assert "x_note" not in batch.rows


def test_removed_clips_are_in_no_row(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.csv", "clip_id,uri,challenge,removed", "a,a,x,TRUE", "b,b,x,", "c,c,x,no", "d,d,x,1")
    (batch,) = read_manifests(path)
    assert batch.removed == ("a", "d")
    assert batch.rows["clip_id"].tolist() == ["b", "c"]


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("clip_id", "", "must not be empty"),
        ("clip_id", "a b", "must be 1-128 of"),
        ("clip_id", "é", "must be 1-128 of"),
        ("clip_id", "a/../b", "must be 1-128 of"),
        ("clip_id", "a" * 129, "must be 1-128 of"),
        ("uri", "", "must not be empty"),
        ("uri", "a\tb.mp4", "must be one line"),
        ("uri", "a" * 4097, "at most 4096"),
        ("uri", "s4://bucket/a.mp4", "fsspec knows"),
        ("challenge", "", "must not be empty"),
        ("challenge", "c" * 201, "at most 200"),
        ("creator_id", "c" * 201, "at most 200"),
        ("uploaded_at", "30.06.2024", "must be ISO 8601"),
        ("uploaded_at", "2024-02-30", "must be ISO 8601"),
        ("uploaded_at", "1712-12-05", "must be from 2005-01-01 on and not in the future"),
        ("uploaded_at", "17121205", "must be from 2005-01-01 on and not in the future"),
        ("uploaded_at", "171212051", "is no time between 2005-01-01 and now in seconds, milliseconds"),
        *((name, "12k", "must be a whole number >= 0") for name in COUNTS),
        ("likes", "-1", "must be a whole number >= 0"),
        ("likes", "1.5", "must be a whole number >= 0"),
        ("likes", "1e5", "must be a whole number >= 0"),
        ("likes", "1,000", "must be a whole number >= 0"),
        ("likes", "nan", "must be a whole number >= 0"),
        ("likes", "١٢", "must be a whole number >= 0"),
        ("likes", "1" * 19, "of at most 18 digits"),
        ("split", "training", "must be train, val or test"),
        ("removed", "maybe", "must be true or false"),
    ],
)
def test_a_bad_cell_is_named_by_line_column_value_and_rule(tmp_path: Path, column: str, value: str, rule: str) -> None:
    cells = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {"clip_id": "b", column: value}
    quoted = ",".join(f'"{cell}"' for cell in cells.values())
    path = _write(tmp_path / "june.csv", HEADER, GOOD, quoted)
    (problem,) = _problems(path)
    shown = value if len(value) <= 60 else value[:57] + "..."
    assert problem.startswith(f"{path}:3: column {column!r}: value {shown!r} : ")
    assert rule in problem


def test_every_problem_is_told_at_once_in_the_file_s_order(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.csv", "clip_id,uri,challenge,likes,lkies", "a,a,,-1,", "b,,x,,", "c,c,x", "d,d,x,q,")
    problems = _problems(path)
    assert [problem.removeprefix(path + ":").split(" : ")[0] for problem in problems] == [
        "1: column 'lkies'",
        "2: column 'challenge': value ''",
        "2: column 'likes': value '-1'",
        "3: column 'uri': value ''",
        "4: has 3 cells, the header has 5; quote cells that hold commas",
        "5: column 'likes': value 'q'",
    ]
    assert "did you mean 'likes'?" in problems[0]


def test_only_the_first_fifty_problems_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    problems = _problems(_write(tmp_path / "m.csv", "clip_id,uri,challenge", *(f"c{i},c{i}," for i in range(73))))
    assert len(problems) == 51
    assert problems[-1] == "... and 23 more"


def test_lines_are_the_file_s_own_also_after_quoted_newlines_and_blank_lines(tmp_path: Path) -> None:
    lines = [
        "clip_id,uri,challenge,x_text,likes",
        'a,a,x,"two',
        'lines",1',
        "",
        'b,b,x,"three',
        "",
        'lines",bad',
        "c,c,x,,-1",
    ]
    path = _write(tmp_path / "m.csv", *lines)
    assert [problem.split(": ")[0] for problem in _problems(path)] == [f"{path}:5", f"{path}:8"]
    windows = tmp_path / "w.csv"
    windows.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert [problem.split(": ")[0] for problem in _problems(str(windows))] == [f"{windows}:5", f"{windows}:8"]


def test_a_clip_id_used_twice_names_both_places(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.csv", "clip_id,uri,challenge", "a,a,x", "b,b,x", "a,c,x")
    two = _write(tmp_path / "two.csv", "clip_id,uri,challenge,removed", "c,c,x,", "b,d,x,true")
    assert _problems(str(tmp_path)) == [
        f"{one}:4: column 'clip_id': value 'a' : must be there once; it is also at {one}:2",
        f"{two}:3: column 'clip_id': value 'b' : must be there once; it is also at {one}:3",
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("clip_id,uri,challenge,Likes", "did you mean 'likes'?"),
        ("clip_id,uri,challenge,colour", "is not known; the columns are clip_id"),
        ("clip_id,uri,challenge,uri", "column 'uri' : is there twice"),
        ("clip_id,uri,challenge,", "column 4 has no name"),
    ],
)
def test_a_bad_header_is_told_once(tmp_path: Path, header: str, message: str) -> None:
    path = _write(tmp_path / "m.csv", header, "a,a,x,1", "b,b,x,2")
    (problem,) = _problems(path)
    assert problem.startswith(f"{path}:1: column ")
    assert message in problem


def test_a_missing_required_column_is_told_once_beside_the_rows_problems(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.csv", "clip_id,challenge,likes", "a,x,1", "b,x,-1")
    first, second = _problems(path)
    assert first.startswith(f"{path}:1: column 'uri' : is missing")
    assert second.startswith(f"{path}:3: column 'likes'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; its first line must name the columns: clip_id,uri,challenge"),
        (b"\n \n", "is empty"),
        (b"clip_id,uri,challenge\n", "has a header but no rows"),
        (b"clip_id;uri;challenge\na;b;c\n", "not separated by commas"),
        (b"clip_id,uri,challenge\na,b,caf\xe9\n", "line 2, byte 29: 0xe9 is not UTF-8; save the file as"),
        ("clip_id,uri,challenge\na,b,c\n".encode("utf-16"), "line 1, byte 0: 0xff is not UTF-8"),
        (b'clip_id,uri,challenge\na,b,c\nb,"b,c\n', "unexpected end of data (row from line 3); check the quotes"),
    ],
)
def test_a_file_that_is_no_manifest_says_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    (problem,) = _problems(str(path))
    assert message in problem


def test_pipes_devices_and_folders_are_not_read_as_manifests(tmp_path: Path) -> None:
    """Reading one may never end."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "full.csv").symlink_to("/dev/full")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "full.csv", "folder.csv"):
        folder = tmp_path / f"of-{name}"
        folder.mkdir()
        (tmp_path / name).rename(folder / name)
        for spec in (folder, folder / name) if name != "folder.csv" else (folder,):
            with pytest.raises(ManifestError, match=f"{name}: is no regular file"):
                read_manifests(str(spec))


def test_what_is_not_there_is_told_with_what_to_give_instead(tmp_path: Path) -> None:
    for spec, message in [
        (tmp_path / "none.csv", "no such file or folder; check the path"),
        (tmp_path, "no manifest there; give a .csv or .parquet file, a folder of them, or a glob"),
        (tmp_path / "*.csv", "no manifest there"),
        (_write(tmp_path / "clips.txt", "x"), "a manifest's name ends in .csv or .parquet"),
        ("memory://nothing/none.csv", "no such file; check the path"),
        ("memory://nothing", "no manifest there"),
        ("s4://bucket/m.csv", "check the s4:// at its start"),
    ]:
        with pytest.raises(ManifestError) as caught:
            read_manifests(str(spec))
        assert message in str(caught.value)


def test_a_folder_a_glob_and_a_file_give_their_manifests_in_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", ".hidden.csv", "notes.txt"):
        _write(tmp_path / name, "clip_id,uri,challenge", f"{name},u,x")
    (tmp_path / "deeper").mkdir()
    _write(tmp_path / "deeper" / "c.csv", "clip_id,uri,challenge", "c,u,x")
    assert [batch.name for batch in read_manifests(str(tmp_path))] == ["a", "b"]
    assert [batch.name for batch in read_manifests(f"{tmp_path}/*")] == ["a", "b"]
    assert [batch.name for batch in read_manifests(f"{tmp_path}/**/*.csv")] == ["a", "b", "c"]
    assert [batch.path for batch in read_manifests(f"file://{tmp_path}/b.csv")] == [f"{tmp_path}/b.csv"]


def test_two_files_of_one_name_and_a_name_with_blanks_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "june.csv", "clip_id,uri,challenge", "a,u,x")
    _write(tmp_path / "june 2.csv", "clip_id,uri,challenge", "b,u,x")
    pq.write_table(pa.table({"clip_id": ["c"], "uri": ["u"], "challenge": ["x"]}), tmp_path / "june.parquet")
    blank, twice = _problems(str(tmp_path))
    assert "'june 2' : must be 1-128 of" in blank
    assert twice.startswith(f"{tmp_path}/june.parquet: {tmp_path}/june.csv has the name 'june' too")


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_manifests_are_read_from_object_stores(kind: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(kind)
    for name in ("a", "b"):
        storage.write_bytes(f"{store}/in/{name}.csv", f"clip_id,uri,challenge\n{name},../clips/{name}.mp4,x\n".encode())
    storage.write_bytes(f"{store}/in/notes.txt", b"")
    for spec in (f"{store}/in", f"{store}/in/", f"{store}/in/*.csv"):
        batches = read_manifests(spec)
        assert [batch.name for batch in batches] == ["a", "b"]
        for batch in batches:
            (uri,) = batch.rows["uri"]
            assert fsspec.core.url_to_fs(uri)[1] == fsspec.core.url_to_fs(f"{store}/clips/{batch.name}.mp4")[1]
    assert [batch.path for batch in read_manifests(f"{store}/in/b.csv")] == [f"{store}/in/b.csv"]


def test_a_uri_starts_at_its_manifest_s_folder_unless_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("a/b.mp4", "in/m.csv") == f"{tmp_path}/in/a/b.mp4"
    assert resolve_uri("/a/b.mp4", "in/m.csv") == "/a/b.mp4"
    assert resolve_uri("s3://bucket/b.mp4", "in/m.csv") == "s3://bucket/b.mp4"
    assert resolve_uri("../b.mp4", "s3://bucket/in/m.csv") == "s3://bucket/b.mp4"


def test_parquet_gives_the_same_rows_as_csv(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "clip_id": ["a", "b", "c"],
            "uri": ["a.mp4", "b.mp4", "c.mp4"],
            "challenge": pd.Categorical(["x", "y", "x"]),
            "uploaded_at": [datetime(2024, 6, 30, 18), None, datetime(2024, 7, 1)],
            "likes": [120.0, float("nan"), 31000.0],
            "views": [1, 2, 3],
            "creator_likes": [10**12, None, 0],
            "creator_videos": pd.array([7, None, 1], dtype="Int64"),
            "removed": [False, True, False],
        }
    )
    frame[[True, True, True]].to_parquet(tmp_path / "p.parquet", index=True)
    _write(
        tmp_path / "c.csv",
        "clip_id,uri,challenge,uploaded_at,likes,views,creator_likes,creator_videos,removed",
        "a,a.mp4,x,2024-06-30 18:00,120,1,1000000000000,7,",
        "b,b.mp4,y,,,2,,,true",
        "c,c.mp4,x,2024-07-01,31000.0,3,0,1,0",
    )
    (from_parquet,), (from_csv,) = read_manifests(f"{tmp_path}/p.parquet"), read_manifests(f"{tmp_path}/c.csv")
    pd.testing.assert_frame_equal(from_parquet.rows.drop(columns="line"), from_csv.rows.drop(columns="line"))
    assert from_parquet.removed == from_csv.removed == ("b",)
    assert from_parquet.rows["line"].tolist() == [1, 3]


def test_parquet_problems_are_named_by_row(tmp_path: Path) -> None:
    path = f"{tmp_path}/p.parquet"
    columns = {"clip_id": ["a", "b", None], "uri": ["u"] * 3, "challenge": ["x"] * 3}
    pq.write_table(pa.table({**columns, "likes": [1.0, 2.5, 3.0], "split": ["val", None, "x"]}), path)
    assert [problem.split(": value")[0] for problem in _problems(path)] == [
        f"{path}:row 2: column 'likes'",
        f"{path}:row 3: column 'clip_id'",
        f"{path}:row 3: column 'split'",
    ]
    Path(path).write_bytes(b"PAR1 is not all there is to it")
    assert "is no readable Parquet file" in _problems(path)[0]


def test_the_content_hash_is_the_file_s_and_changes_with_it(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.csv", "clip_id,uri,challenge,likes", "a,a,x,1")
    (before,) = read_manifests(path)
    _write(tmp_path / "m.csv", "clip_id,uri,challenge,likes", "a,a,x,2")
    (after,) = read_manifests(path)
    assert before.content_hash != after.content_hash
    assert len(before.content_hash) == 64


def test_the_shared_manifest_of_real_clips_is_good(dance_clips: Path) -> None:
    (batch,) = read_manifests(str(dance_clips.parent / "dance.csv"))
    assert len(batch.rows) == 8
    assert all(Path(uri).is_file() for uri in batch.rows["uri"])


def test_the_page_for_users_shows_a_good_manifest_and_true_messages(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "data_manifest" / "README.md").read_text()
    (batch,) = read_manifests(_write(tmp_path / "shown.csv", page.split("```csv\n")[1].split("\n```")[0]))
    assert batch.rows["uri"].tolist() == [f"{tmp_path}/clips/x7f3.mp4", "s3://uploads/june/x7f4.mp4"]
    assert batch.removed == ("x7f5",)
    assert all(f"`{name}`" in page for name in COLUMNS)

    shown = page.split("problems in the manifest; nothing was done\n")[1].split("\n```")[0].splitlines()
    rows = [f"c{at},u,x," for at in range(2, 41)]
    rows[0], rows[15], rows[38] = "x7f3,u,x,", "b,u,x,12k", "x7f3,u,x,"
    path = _write(tmp_path / "june.csv", "clip_id,uri,challenge,likes", *rows)
    assert [problem.replace(f"{tmp_path}/", "") for problem in _problems(path)] == shown[1:]
    path = _write(tmp_path / "june.csv", "clip_id,uri,challenge,lkies", *rows)
    assert _problems(path)[0].replace(f"{tmp_path}/", "") == shown[0]


def test_ten_thousand_rows_are_checked_in_seconds(tmp_path: Path) -> None:
    rows = (GOOD.replace("a,a.mp4", f"c{i},c{i}.mp4", 1) for i in range(10_000))
    path = _write(tmp_path / "m.csv", HEADER, *rows)
    start = time.process_time()
    (batch,) = read_manifests(path)
    assert time.process_time() - start < 2
    assert len(batch.rows) == 10_000


def test_a_clip_that_is_in_no_file_is_read_by_the_same_rules(tmp_path: Path) -> None:
    cells = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {"uri": "/films/a.mp4", "removed": ""}
    path = _write(tmp_path / "m.csv", HEADER, ",".join(cells.values()))
    (batch,) = read_manifests(path)
    pd.testing.assert_frame_equal(clip_batch(cells).rows.assign(line=2).astype({"line": "Int64"}), batch.rows)
    with pytest.raises(ManifestError) as refused:
        clip_batch(cells | {"likes": "12k", "challenge": ""})
    assert str(refused.value).splitlines() == [
        "column 'challenge': value '' : must not be empty",
        "column 'likes': value '12k' : must be a whole number >= 0 (of at most 18 digits)",
    ]
