"""A manifest is made of what people have, is read without a problem, or is not written at all."""

import json
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from pipeline.core.errors import ManifestError, OptionError
from pipeline.ingest.exports.cells import ABBREVIATED, MISSING, NO_OFFSET
from pipeline.ingest.exports.plan import ManifestPlan, write_manifest
from pipeline.ingest.make_manifest import ManifestOptions, plan_manifest
from pipeline.ingest.manifest import read_manifests

LONG = 7137423965982673920


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with an empty folder `clips`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    return tmp_path


def _clips(*names: str) -> None:
    for name in names:
        path = Path("clips", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _info(stem: str, clip_id: str, **fields: object) -> None:
    """A clip with its info.json, as yt-dlp names and fills them for TikTok."""
    _clips(f"{stem}.mp4")
    about = {
        "id": clip_id,
        "extractor": "TikTok",
        "uploader_id": "6974687867511718913",
        "timestamp": 1694000000,
        "like_count": 12,
        "description": "so much fun #Renegade 💃",
        "formats": [{"url": "https://example.org/signed"}],
        **fields,
    }
    Path("clips", f"{stem}.info.json").write_text(json.dumps(about))


def _plan(manifest: str = "june.csv", clips: str = "clips", **options: Any) -> ManifestPlan:
    return plan_manifest(ManifestOptions.of(clips, manifest, **options))


def _made(manifest: str = "june.csv", **options: Any) -> pd.DataFrame:
    """The rows as the pipeline reads them back."""
    assert write_manifest(_plan(manifest, **options))
    (batch,) = read_manifests(manifest)
    return batch.rows.set_index("clip_id")


def _problems(**options: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        _plan(**options)
    head, *problems = str(caught.value).splitlines()
    assert head.endswith("nothing was written")
    return problems


def _listed(plan: ManifestPlan) -> dict[str, list[str]]:
    return {what: places for what, places in plan.listed.items() if places}


# --- yt-dlp


def test_clips_with_their_info_become_a_manifest(folder: Path) -> None:
    _info(f"Nice one [{LONG}]", str(LONG), repost_count=3, channel_follower_count=99)
    _info("deep/x7", "x7", like_count=None, timestamp=None, upload_date="20230906")
    rows = _made(challenge_from="hashtag:renegade,savage")
    first = rows.loc[str(LONG)]
    assert first["uri"] == f"{folder}/clips/Nice one [{LONG}].mp4"
    assert (first["challenge"], first["creator_id"]) == ("renegade", "6974687867511718913")
    assert (first["likes"], first["shares"], first["followers"]) == (12, 3, 99)
    assert first["uploaded_at"] == pd.Timestamp("2023-09-06T11:33:20Z")
    assert pd.isna(rows.loc["x7", "likes"])


def test_what_is_no_column_is_kept_in_columns_of_the_user_s_own_and_nothing_of_the_download() -> None:
    _info(
        "a", "a", title="=HYPERLINK(1)", track="Lottery", cookies="secret", description="two\r\nlines, @all #renegade"
    )
    _made(challenge_from="hashtag:renegade")
    table = pd.read_csv("june.csv", dtype=str)
    assert [name for name in table.columns if name.startswith("x_")] == [
        "x_title", "x_description", "x_track", "x_extractor",
    ]  # fmt: skip
    assert table.loc[0, "x_track"] == "Lottery"
    assert table.loc[0, "x_title"] == "'=HYPERLINK(1)"
    assert table.loc[0, "x_description"] == "two\nlines,' @all #renegade"
    assert "secret" not in Path("june.csv").read_text()


def test_clips_and_records_that_are_left_out_are_listed() -> None:
    _info("a", "a")
    _info("b", "b", description="#other")
    _info("c", "c", description="#renegade #savage")
    _clips("d.mp4", "lone.info.json")
    plan = _plan(challenge_from="hashtag:renegade,savage")
    assert [row["clip_id"] for row in plan.rows] == ["a"]
    assert (plan.files, plan.records) == (4, 3)
    assert _listed(plan) == {
        "info.json without a clip": ["clips/lone.info.json"],
        "clips with none of the hashtags, left out": ["clips/b.info.json"],
        "clips with several of the hashtags (renegade, savage), left out": ["clips/c.info.json"],
        "files without a record, left out": ["clips/d.mp4"],
    }


def test_with_a_challenge_for_all_files_without_a_record_are_in_too() -> None:
    _info("a", "a")
    _clips("d.mp4")
    rows = _made(challenge="renegade")
    assert rows["challenge"].tolist() == ["renegade", "renegade"]
    assert pd.isna(rows.loc["d", "likes"])


def test_a_folder_of_clips_alone_becomes_a_manifest() -> None:
    _clips("a.mp4", "b.webm")
    assert _made(challenge="renegade").index.tolist() == ["a", "b"]


def test_two_files_of_one_clip_are_refused() -> None:
    _info("a", "a")
    _clips("a.webm", "x/b.mp4", "y/b.mp4")
    assert _problems(challenge="renegade") == [
        "clips/a.webm: is of the clip a, and so is clips/a.mp4; take one of the files out",
        "clips/y/b.mp4: is of the clip b, and so is clips/x/b.mp4; take one of the files out",
    ]


def test_a_file_whose_name_can_be_no_id_needs_a_record() -> None:
    _clips("dance 💃.mp4")
    (problem,) = _problems(challenge="renegade")
    assert problem.startswith("clips/dance 💃.mp4: no record says its id, and as one its name must be 1-128 of")


def test_a_file_whose_name_is_not_utf_8_is_named_in_escapes() -> None:
    Path("clips/zo\udceb.mp4").touch()
    Path("clips/zo\udceb.info.json").write_text('{"id": "a", "extractor": "TikTok"}')
    assert _problems(challenge="renegade") == [
        r"clips/zo\udceb.mp4: its name holds control characters, or is not UTF-8; rename the file"
    ]


# --- tables and the Research API


def test_a_table_of_a_spreadsheet_is_read_with_its_columns_mapped() -> None:
    _clips("a.mp4", "b.mp4", "c.mp4")
    text = (
        "Video ID;Likes;Views;Creator followers;Author;Posted;Dance;Note\n"
        "a;12.3K;1,234;1.2M;00123;2026-05-01T10:00:00+02:00;Renegade;💃\n"
        "b;-;;NaN;cafe\u0301;2026-05-01 10:00;Renegade;\n"
        "z;1;1;1;1;1694000000;Renegade;\n"
    )
    Path("june.txt").write_bytes(text.encode("utf-16"))
    options: dict[str, Any] = {
        "about": ["june.txt"],
        "mapping": ["followers=Creator followers,uploaded_at=Posted,challenge=Dance"],
    }
    rows = _made(**options)
    assert rows["likes"].tolist() == [12300, pd.NA]
    assert rows.loc["a", ["views", "followers", "creator_id", "challenge"]].tolist() == [
        1234, 1200000, "00123", "Renegade",
    ]  # fmt: skip
    assert rows.loc["a", "uploaded_at"] == pd.Timestamp("2026-05-01T08:00:00Z")
    assert rows.loc["b", "creator_id"] == "caf\u00e9"
    plan = _plan(**options)
    assert _listed(plan) == {
        "records without a file": ["june.txt:4"],
        "files without a record, left out": ["clips/c.mp4"],
    }
    assert plan.notes == {
        ("likes", ABBREVIATED): ["12.3K"],
        ("followers", ABBREVIATED): ["1.2M"],
        ("likes", MISSING): ["-"],
        ("followers", MISSING): ["NaN"],
        ("uploaded_at", NO_OFFSET): ["2026-05-01 10:00"],
    }
    assert {column.name: (column.source, column.filled, column.examples) for column in plan.columns} == {
        "clip_id": ("Video ID", 2, ("a", "b")),
        "uri": ("the files' names", 2, ("clips/a.mp4", "clips/b.mp4")),
        "challenge": ("Dance (--map)", 2, ("Renegade",)),
        "creator_id": ("Author", 2, ("00123", "caf\u00e9")),
        "uploaded_at": ("Posted (--map)", 2, ("2026-05-01 08:00:00+00:00", "2026-05-01 10:00:00+00:00")),
        "likes": ("Likes", 1, ("12300",)),
        "views": ("Views", 1, ("1234",)),
        "followers": ("Creator followers (--map)", 1, ("1200000",)),
        "x_Note": ("Note", 1, ("💃",)),
    }


def test_a_dump_of_the_research_api_is_matched_by_the_ids_in_the_files_names() -> None:
    _clips(f"@zoe_{LONG}.mp4", f"{LONG + 1}.mp4")
    videos = [
        {"id": LONG + at, "create_time": 1694000000, "username": "zoe", "like_count": 5, "music_id": LONG,
         "hashtag_names": ["savage"], "video_description": "x"}
        for at in range(3)
    ]  # fmt: skip
    Path("videos.json").write_text(json.dumps({"data": {"videos": videos}, "error": {"code": "ok"}}))
    rows = _made("june.parquet", about=["videos.json"], challenge_from="hashtag:savage")
    assert rows.index.tolist() == [str(LONG + 1), str(LONG)]
    assert rows["likes"].tolist() == [5, 5]
    assert rows["uploaded_at"].tolist() == [pd.Timestamp("2023-09-06T11:33:20Z")] * 2
    assert _made("sounds.csv", about=["videos.json"], challenge_from="music")["challenge"].tolist() == [str(LONG)] * 2
    assert _problems_of_none(about=["videos.json"], challenge_from="music:5").startswith("none of 2 clips")


def _problems_of_none(**options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        _plan(**options)
    return str(caught.value)


def test_every_cell_that_is_in_the_way_is_named_and_nothing_is_written() -> None:
    _clips("a.mp4", "b.mp4", "c.mp4")
    Path("june.csv").write_text(
        "id;likes;views;uploaded_at;username\n"
        "a;12,3 тыс.;1.234;01/02/2026;nan\n"
        "b;1;2;1694;zoe\n"
        "c;1;2\n"
        ";1;2;;\n"
        "7.3E+18;1;2;;\n"
    )
    problems = _problems(manifest="out.csv", about=["june.csv"], challenge="renegade")
    assert [problem.partition(" : ")[0] for problem in problems] == [
        "june.csv:4: has 3 cells, the header has 5; quote cells that hold a separator",
        "june.csv:5: field 'id' (clip_id): value ''",
        "june.csv:6: field 'id' (clip_id): value '7.3E+18'",
        "june.csv:2: field 'username' (creator_id): value 'nan'",
        "june.csv:2: field 'uploaded_at' (uploaded_at): value '01/02/2026'",
        "june.csv:2: field 'likes' (likes): value '12,3 тыс.'",
        "june.csv:2: field 'views' (views): value '1.234'",
        "june.csv:3: field 'uploaded_at' (uploaded_at): value '1694'",
    ]
    assert "as text" in problems[2]
    assert not Path("out.csv").exists()


def test_a_record_twice_is_read_once_and_another_of_the_same_clip_refused() -> None:
    _clips("a.mp4", "b.mp4")
    Path("june.csv").write_text("id,likes\na,1\na,1\n")
    plan = _plan(manifest="out.csv", about=["june.csv"], challenge="x")
    assert _listed(plan)["records that are there twice, read once"] == ["june.csv:3"]
    Path("july.csv").write_text("id,likes\na,2\n")
    (problem,) = _problems(manifest="out.csv", about=["june.csv", "july.csv"], challenge="x")
    assert problem == "july.csv:2: is of the same clip as june.csv:2, and differs in 'likes'; keep one of them"
    Path("july.csv").write_text("id\na\n")
    assert _problems(manifest="out.csv", about=["june.csv", "july.csv"], challenge="x") == [problem]


def test_removed_clips_and_splits_are_taken_over() -> None:
    _clips("a.mp4", "b.mp4", "c.mp4")
    Path("june.csv").write_text("id,removed,split\na,TRUE,\nb,no,Train\nc,,\n")
    assert write_manifest(_plan("out.csv", about=["june.csv"], challenge="x"))
    (batch,) = read_manifests("out.csv")
    assert batch.removed == ("a",)
    assert batch.rows["split"].tolist() == ["train", pd.NA]
    Path("july.csv").write_text("id,removed,split\na,gone,dev\n")
    assert _problems(manifest="july.parquet", about=["july.csv"], challenge="x") == [
        "july.csv:2: field 'split' (split): value 'dev' : must be train, val or test",
        "july.csv:2: field 'removed' (removed): value 'gone' : must be true, yes, 1, 1.0, false, no, 0 or 0.0",
    ]


@pytest.mark.parametrize("rows", ["", "z,1\n"])
def test_records_of_none_of_the_clips_are_no_manifest(rows: str) -> None:
    _clips("a.mp4")
    Path("june.csv").write_text(f"id,likes\n{rows}")
    with pytest.raises(ManifestError, match="name the files by the clips' ids"):
        _plan("out.csv", about=["june.csv"], challenge="x")


def test_files_may_be_named_by_a_column() -> None:
    _clips("one.mp4", "two.mp4")
    Path("june.csv").write_text("id,File,likes\na,clips/one.mp4,1\nb,two.mp4,2\nc,three.mp4,3\n")
    rows = _made("out.csv", about=["june.csv"], challenge="x")
    assert [Path(uri).name for uri in rows["uri"]] == ["one.mp4", "two.mp4"]
    assert rows.index.tolist() == ["a", "b"]


def test_ids_that_a_spreadsheet_has_cut_off_are_refused() -> None:
    _clips("713742396598267392.mp4", "713742396598268417.mp4", "713742396598269118.mp4")
    Path("june.csv").write_text("id\n713742396598267000\n713742396598268000\n713742396598269000\n")
    (problem,) = _problems(manifest="out.csv", about=["june.csv"], challenge="x")
    assert problem.startswith("june.csv:2: clip_id: value '713742396598267000' : is a rounded")


def test_challenges_that_look_alike_are_refused() -> None:
    _clips("a.mp4", "b.mp4")
    Path("june.csv").write_text("id,challenge\na,Renegade\nb,renegade\n")
    (problem,) = _problems(manifest="out.csv", about=["june.csv"])
    assert problem == (
        "june.csv:3: challenge 'renegade' looks like 'Renegade' at june.csv:2; write one of them everywhere"
    )


def test_many_problems_are_counted_and_the_first_shown() -> None:
    _clips(*(f"c{at}.mp4" for at in range(60)))
    Path("june.csv").write_text("id,likes\n" + "".join(f"c{at},many\n" for at in range(60)))
    problems = _problems(manifest="out.csv", about=["june.csv"], challenge="x")
    assert len(problems) == 51
    assert problems[-1] == "... and 10 more"


@pytest.mark.parametrize(
    ("header", "options", "reason"),
    [
        ("Number,likes", {"challenge": "x"}, "--map clip_id=FIELD, of 'Number', 'likes'"),
        ("id,likes", {}, "give --challenge NAME"),
        ("id,likes", {"challenge_from": "music"}, "--map music_id=FIELD, of 'id', 'likes'"),
    ],
)
def test_what_nobody_can_know_is_asked_for(header: str, options: dict, reason: str) -> None:
    _clips("a.mp4")
    Path("june.csv").write_text(f"{header}\na,1\n")
    with pytest.raises(ManifestError, match=reason):
        _plan("out.csv", about=["june.csv"], **options)


# --- the file


def test_a_file_that_is_there_is_not_overwritten_and_an_equal_one_left_alone() -> None:
    _clips("a.mp4")
    for name in ("june.csv", "june.parquet"):
        assert write_manifest(_plan(name, challenge="x"))
        assert not write_manifest(_plan(name, challenge="x"))
        before = Path(name).read_bytes()
        with pytest.raises(ManifestError, match="give another name, or remove it"):
            write_manifest(_plan(name, challenge="y"))
        assert Path(name).read_bytes() == before


def test_a_manifest_in_a_bucket_is_of_the_bucket_s_clips() -> None:
    memory = fsspec.filesystem("memory")
    about = json.dumps({"id": "a", "extractor": "TikTok", "like_count": 5}).encode()
    memory.pipe({"/made/clips/a.mp4": b"", "/made/clips/a.info.json": about})
    (row,) = (
        _made("memory://made/june.csv", clips="memory://made/clips", challenge="x").reset_index().to_dict("records")
    )
    assert (row["clip_id"], row["likes"]) == ("a", 5)
    assert memory.exists(row["uri"])


@pytest.mark.parametrize("name", ["june.txt", "june", "ju ne.csv", "folder/"])
def test_a_manifest_that_could_not_be_read_is_not_begun(name: str) -> None:
    with pytest.raises(OptionError, match="--manifest"):
        ManifestOptions.of("clips", name)
