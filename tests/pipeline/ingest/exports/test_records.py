"""Files as other programs write them, read into records whose cells are the text that stands there."""

import json
from pathlib import Path

import pytest

from pipeline.core.errors import ManifestError
from pipeline.ingest.exports.records import JSON, TABLE, YT_DLP, Record, read_records


def _read(path: Path, content: str | bytes) -> tuple[list[Record], str, list[str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems: list[str] = []
    records, words = read_records(str(path), problems)
    return records, words, problems


def _fields(path: Path, content: str | bytes) -> list[dict[str, str]]:
    records, _, problems = _read(path, content)
    assert not problems
    return [record.fields for record in records]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"id,Likes\n1,5\n", "commas, UTF-8"),
        (b"id;Likes\r\n1;5\r\n", "semicolons, UTF-8"),
        (b"id\tLikes\n1\t5\n", "tabs, UTF-8"),
        (b"id|Likes\n1|5\n", "bars, UTF-8"),
        (b"\xef\xbb\xbfid;Likes\n1;5\n", "semicolons, UTF-8"),
        ("id\tLikes\n1\t5\n".encode("utf-16"), "tabs, UTF-16"),
        ("\ufeffid,Likes\n1,5\n".encode("utf-16-be"), "commas, UTF-16"),
        (b"sep=;\nid;Likes\n1;5\n", "semicolons, UTF-8"),
        (b"\n id , Likes \n\n 1 ,\xc2\xa05\n,\n", "commas, UTF-8"),
        (b"id,Likes,\n1,5,\n", "commas, UTF-8"),
    ],
)
def test_a_table_is_read_whatever_its_separator_and_encoding(tmp_path: Path, content: bytes, words: str) -> None:
    records, found, problems = _read(tmp_path / "a.csv", content)
    assert [record.fields for record in records] == [{"id": "1", "Likes": "5"}]
    assert found == f"CSV, separated by {words}"
    assert not problems
    assert records[0].kind == TABLE


def test_rows_are_named_by_the_line_on_which_they_begin(tmp_path: Path) -> None:
    records, _, _ = _read(tmp_path / "a.csv", 'sep=,\nid,text\n1,"two\r\nlines"\n2,"💃 cafe\u0301"\n')
    assert [record.place for record in records] == [f"{tmp_path}/a.csv:3", f"{tmp_path}/a.csv:5"]
    assert [record.fields["text"] for record in records] == ["two\nlines", "💃 cafe\u0301"]


def test_rows_of_another_length_are_all_named(tmp_path: Path) -> None:
    records, _, problems = _read(tmp_path / "a.csv", "id,likes,\n1,5,\n2,1,234,\n3,4,x\n")
    assert len(records) == 1
    assert [problem.partition(": ")[0] for problem in problems] == [f"{tmp_path}/a.csv:3", f"{tmp_path}/a.csv:4"]
    assert "has 4 cells, the header has 3" in problems[0]
    assert "without a name" in problems[1]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xlsx", b"PK", r"export it as CSV"),
        ("a.pdf", b"", r"must end in \.csv"),
        ("a.csv", b"", r"is empty"),
        ("a.csv", b"id,id\n1,2\n", r":1: column 'id' is there twice"),
        ("a.csv", b"id,likes\n1,5\nZo\xeb,2\n", r"a\.csv: line 3, byte 15: 0xeb is not UTF-8"),
        ("a.csv", "id,likes\n".encode("utf-16-le"), r"UTF-16 without a BOM"),
        ("a.csv", "id,likes\n1,5\n".encode("utf-16")[:-1], r"a\.csv: is UTF-16 and cut short"),
        ("a.csv", b'id,likes\n"1,5\n', r"check the quotes"),
        ("a.csv", b"a;b,c;d,e\n", r"commas or semicolons"),
        ("a.json", b'{"id": 1', r"is no JSON"),
        ("a.json", b"[" * 100_000, r"too deeply nested"),
        ("a.jsonl", b"", r"is no JSON"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        _read(tmp_path / name, content)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.csv: no such file"):
        read_records(f"{tmp_path}/none.csv", [])


VIDEO = '{"id": 7137423965982673920, "like_count": 5, "hashtag_names": ["Renegade", "dance"], "is_stem_verified": true}'
FIELDS = {
    "id": "7137423965982673920",
    "like_count": "5",
    "hashtag_names": "Renegade,dance",
    "is_stem_verified": "true",
}


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("one.json", VIDEO, [""]),
        ("array.json", f"[{VIDEO},\n{VIDEO}]", [":record 1", ":record 2"]),
        ("page.json", f'{{"data": {{"videos": [{VIDEO}], "cursor": 1}}, "error": {{}}}}', [":record 1"]),
        ("lines.jsonl", f"{VIDEO}\n\n{VIDEO}\n", [":1", ":3"]),
        ("lines.json", f"{VIDEO}\r\n{VIDEO}", [":1", ":2"]),
        ("pages.ndjson", f'{{"data": {{"videos": [{VIDEO}]}}}}\n{VIDEO}', [":1:record 1", ":2"]),
    ],
)
def test_json_is_read_in_the_shapes_in_which_people_keep_it(
    tmp_path: Path, name: str, content: str, places: list[str]
) -> None:
    records, _, problems = _read(tmp_path / name, content)
    assert not problems
    assert [record.place.removeprefix(f"{tmp_path}/{name}") for record in records] == places
    assert all(record.fields == FIELDS and record.kind == JSON for record in records)


def test_numbers_in_json_stand_as_they_are_written(tmp_path: Path) -> None:
    fields = _fields(tmp_path / "a.json", '{"a": 7.137E+18, "b": 120.0, "c": NaN, "d": null, "e": ' + "1" * 5000 + "}")
    assert fields == [{"a": "7.137E+18", "b": "120.0", "c": "NaN", "e": "1" * 5000}]


def test_fields_within_objects_are_named_by_both_and_lists_of_objects_left_out(tmp_path: Path) -> None:
    assert _fields(tmp_path / "a.json", '{"id": "1", "stats": {"diggCount": 3}, "list": [{"a": 1}]}') == [
        {"id": "1", "stats.diggCount": "3"}
    ]


def test_half_an_emoji_does_not_stop_a_file_from_being_written(tmp_path: Path) -> None:
    assert _fields(tmp_path / "a.json", r'{"id": "1", "text": "so \ud83d"}') == [{"id": "1", "text": "so \ufffd"}]


def test_lines_that_are_no_record_are_all_named(tmp_path: Path) -> None:
    records, _, problems = _read(tmp_path / "a.jsonl", f'{VIDEO}\n{{"id"\n7\n{VIDEO}\n')
    assert len(records) == 2
    assert [problem.partition(": ")[0] for problem in problems] == [f"{tmp_path}/a.jsonl:2", f"{tmp_path}/a.jsonl:3"]


def test_of_an_info_json_what_is_of_the_clip_is_kept_and_nothing_of_the_download(tmp_path: Path) -> None:
    info = {"id": "x", "extractor": "TikTok", "cookies": "secret", "formats": [{"url": "u"}], "url": "u", "tags": ["a"]}
    records, _, _ = _read(tmp_path / "x.info.json", json.dumps(info))
    assert [(record.kind, record.fields) for record in records] == [
        (YT_DLP, {"id": "x", "tags": "a", "extractor": "TikTok"})
    ]


def test_an_info_json_of_a_playlist_is_no_clip_s(tmp_path: Path) -> None:
    assert not _fields(tmp_path / "x.info.json", '{"_type": "playlist", "id": "x", "extractor": "tiktok:user"}')
