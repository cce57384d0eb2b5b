"""Clips are found wherever they lie, and each gets the record that is its own."""

from pathlib import Path

import fsspec
import pytest

from pipeline.core.errors import ManifestError
from pipeline.ingest.exports.clip_files import ClipFile, by_id, by_name, find_clips, find_files, uri_of
from pipeline.ingest.exports.records import TABLE, Record
from pipeline.ingest.manifest import resolve_uri


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _files(*paths: str) -> list[ClipFile]:
    return [ClipFile(path, None) for path in paths]


def _records(**fields: str) -> list[Record]:
    return [Record(place, TABLE, {"File": name}) for place, name in fields.items()]


def test_a_folder_s_clips_are_those_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    _touch(tmp_path, "b.mp4", "a/c.WEBM", "b.info.json", "x.info.json", "b.jpg", "d.mp4.part", "._b.mp4", "notes.txt")
    found = find_clips(str(tmp_path))
    assert [(file.path, file.info) for file in found.files] == [
        (f"{tmp_path}/a/c.WEBM", None),
        (f"{tmp_path}/b.mp4", f"{tmp_path}/b.info.json"),
    ]
    assert found.lone_infos == (f"{tmp_path}/x.info.json",)


def test_a_glob_s_clips_have_their_info_though_it_does_not_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, "june/a.mp4", "june/a.info.json", "june/b.mov", "c.mp4", "c.info.json", "june/x.info.json")
    monkeypatch.chdir(tmp_path)
    assert find_clips("june/*.mp4").files == (ClipFile("june/a.mp4", "june/a.info.json"),)
    assert find_clips("*.mp4").files == (ClipFile("c.mp4", "c.info.json"),)
    assert find_clips("june/a*").lone_infos == ()  # of clips that were not asked for


def test_the_name_of_an_info_json_may_be_composed_otherwise_than_its_clip_s(tmp_path: Path) -> None:
    _touch(tmp_path, "cafe\u0301 💃.mp4", "caf\u00e9 💃.info.json")
    (file,) = find_clips(str(tmp_path)).files
    assert file.info == f"{tmp_path}/caf\u00e9 💃.info.json"
    assert file.name == "caf\u00e9 💃"


def test_clips_of_a_bucket_are_found_as_a_folder_and_by_a_glob() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/clips-of-a-bucket/a.mp4": b"", "/clips-of-a-bucket/a.info.json": b"{}"})
    expected = (ClipFile("memory:///clips-of-a-bucket/a.mp4", "memory:///clips-of-a-bucket/a.info.json"),)
    assert find_clips("memory:///clips-of-a-bucket").files == expected
    (found,) = find_clips("memory://clips-of-a-bucket/*.mp4").files
    assert found.path.endswith("clips-of-a-bucket/a.mp4")
    assert found.info == found.path.replace(".mp4", ".info.json")


@pytest.mark.parametrize(
    ("spec", "reason"), [("none", "no such folder"), ("a.mp4", "glob in quotes"), ("*.mov", "no clip")]
)
def test_where_no_clip_is_the_option_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, reason: str
) -> None:
    _touch(tmp_path, "a.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match=f"--clips .*{reason}"):
        find_clips(spec)


def test_records_are_found_by_file_and_glob(tmp_path: Path) -> None:
    _touch(tmp_path, "a.json", "b.json", "[x].json")
    assert find_files(f"{tmp_path}/a.json") == [f"{tmp_path}/a.json"]
    assert find_files(f"{tmp_path}/[x].json") == [f"{tmp_path}/[x].json"]
    assert find_files(f"{tmp_path}/?.json") == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    for spec in ("*.csv", ""):
        with pytest.raises(ManifestError, match="--about"):
            find_files(f"{tmp_path}/{spec}")


@pytest.mark.parametrize(
    ("clip", "manifest", "uri"),
    [
        ("clips/a.mp4", "june.csv", "clips/a.mp4"),
        ("/data/clips/a.mp4", "/data/june.csv", "clips/a.mp4"),
        ("file:///data/clips/a.mp4", "/data/june.csv", "clips/a.mp4"),
        ("/data/clips/a.mp4", "/data/manifests/june.csv", "/data/clips/a.mp4"),
        ("/data/clips/a.mp4", "/data/clip/june.csv", "/data/clips/a.mp4"),
        ("/data/ a.mp4", "/data/june.csv", "./ a.mp4"),
        ("s3://bucket/clips/a.mp4", "s3://bucket/june.csv", "clips/a.mp4"),
        ("s3://bucket/clips/a.mp4", "june.csv", "s3://bucket/clips/a.mp4"),
        ("/data/a.mp4", "s3://bucket/june.csv", "/data/a.mp4"),
    ],
)
def test_a_uri_is_relative_where_the_clip_lies_below_the_manifest_and_leads_to_the_clip(
    clip: str, manifest: str, uri: str
) -> None:
    assert uri_of(clip, manifest) == uri
    leads_to = resolve_uri(uri, manifest)
    assert leads_to.replace("/./", "/").endswith(clip.removeprefix("file://"))


def test_a_record_names_its_file_by_the_end_of_its_path() -> None:
    files = _files("clips/x/a.mp4", "clips/y/a.mp4", "clips/y/b.mp4", "clips/y/cafe\u0301.mp4")
    records = _records(one="x/a.mp4", two="clips\\y\\a.mp4", three="b.mp4", four="caf\u00e9.mp4", five="c.mp4", six="")
    problems: list[str] = []
    found = by_name(files, records, "File", problems)
    assert {path: [record.place for record in several] for path, several in found.items()} == {
        "clips/x/a.mp4": ["one"],
        "clips/y/a.mp4": ["two"],
        "clips/y/b.mp4": ["three"],
        "clips/y/cafe\u0301.mp4": ["four"],
    }
    assert not problems


def test_a_record_that_may_name_two_files_is_a_problem() -> None:
    problems: list[str] = []
    assert not by_name(_files("x/a.mp4", "y/a.mp4"), _records(one="a.mp4"), "File", problems)
    assert problems == ["one: field 'File': 'a.mp4' may be x/a.mp4 or y/a.mp4; write the folder, too"]


LONG, OTHER = "7137423965982673920", "7137423965982673921"


@pytest.mark.parametrize(
    ("name", "clip_id"),
    [
        ("x7.mp4", "x7"),
        ("Nice dance 💃 [x7].mp4", "x7"),
        (f"@user_{LONG}.mp4", LONG),
        (f"{LONG}-{LONG}.mp4", LONG),
        ("x7 [again].mp4", None),
        ("x77.mp4", None),
        (f"1{LONG}.mp4", None),
    ],
)
def test_a_file_is_of_the_clip_whose_id_its_name_is_or_holds(name: str, clip_id: str | None) -> None:
    records = {one: _records(**{one: ""}) for one in ("x7", LONG, OTHER)}
    problems: list[str] = []
    found = by_id(_files(f"clips/{name}"), records, problems)
    assert found == ({f"clips/{name}": records[clip_id]} if clip_id else {})
    assert not problems


def test_a_name_that_holds_the_ids_of_two_clips_is_a_problem() -> None:
    records = {one: _records(**{one: ""}) for one in (LONG, OTHER)}
    problems: list[str] = []
    assert not by_id(_files(f"{LONG}_{OTHER}.mp4"), records, problems)
    assert problems == [f"{LONG}_{OTHER}.mp4: its name holds the ids of {LONG} and {OTHER}; rename the file"]
