"""Which field of an export each column is made of."""

import pytest

from pipeline.core.errors import ManifestError, OptionError
from pipeline.ingest.exports.columns import choose_fields, parse_map
from pipeline.ingest.exports.records import JSON, TABLE, YT_DLP, Record


def _records(kind: str, *fields: dict[str, str]) -> list[Record]:
    return [Record(f"a:{at}", kind, cells) for at, cells in enumerate(fields, start=2)]


def test_a_map_may_stand_in_one_option_or_several_and_names_may_hold_commas() -> None:
    assert parse_map(["likes=Likes, total,followers=Creator followers", 'views="Views"', "shares="]) == {
        "likes": "Likes, total",
        "followers": "Creator followers",
        "views": "Views",
        "shares": "",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lkies=Likes", "did you mean likes"),
        ("zzz=Likes", "the columns are clip_id"),
        ("likes", "write COLUMN=FIELD"),
        ("likes=A,likes=B", "two fields"),
    ],
)
def test_a_map_that_cannot_be_is_refused(text: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        parse_map([text])


def test_fields_of_the_research_api_are_found() -> None:
    names = (
        "id", "create_time", "username", "like_count", "view_count", "comment_count", "share_count", "music_id",
        "hashtag_names", "region_code", "video_description",
    )  # fmt: skip
    assert choose_fields(_records(JSON, dict.fromkeys(names, "1")), {}) == {
        "clip_id": "id",
        "creator_id": "username",
        "uploaded_at": "create_time",
        "likes": "like_count",
        "views": "view_count",
        "comments": "comment_count",
        "shares": "share_count",
        "hashtags": "hashtag_names",
        "description": "video_description",
        "music_id": "music_id",
    }


def test_of_an_info_json_the_id_and_the_moment_are_preferred() -> None:
    names = ("uploader", "channel_id", "uploader_id", "upload_date", "timestamp", "repost_count", "id")
    chosen = choose_fields(_records(YT_DLP, dict.fromkeys(names, "1")), {})
    assert chosen == {
        "clip_id": "id",
        "creator_id": "uploader_id",
        "uploaded_at": "timestamp",
        "shares": "repost_count",
    }


def test_one_field_serves_all_clips_that_which_most_of_them_have() -> None:
    records = _records(YT_DLP, {"uploader_id": "1", "channel_id": "a"}, {"uploader_id": "", "channel_id": "b"})
    assert choose_fields(records, {}) == {"creator_id": "channel_id"}


def test_columns_of_tables_are_found_in_any_case_and_a_map_goes_first() -> None:
    records = _records(TABLE, {"Video ID": "1", "LIKES": "2", "Fans": "3", "views": "4"})
    assert choose_fields(records, {"followers": "Fans", "views": ""}) == {
        "clip_id": "Video ID",
        "likes": "LIKES",
        "followers": "Fans",
    }


def test_where_two_fields_could_be_a_column_all_such_are_asked_for() -> None:
    records = _records(TABLE, {"id": "1", "Video ID": "1", "Likes": "2", "like_count": "3", "views": "", "plays": "4"})
    with pytest.raises(ManifestError) as caught:
        choose_fields(records, {})
    _, first, second = str(caught.value).splitlines()
    assert first.startswith("clip_id: there are fields 'Video ID', 'id'")
    assert second.endswith("--map likes='Likes' or --map likes='like_count'")
    assert choose_fields(records, {"clip_id": "id", "likes": "Likes"})["views"] == "plays"  # an empty one is none


def test_a_mapped_field_that_no_record_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(ManifestError, match="no record has a field 'Like'; did you mean 'Likes'"):
        choose_fields(_records(TABLE, {"id": "1", "Likes": "2"}), {"likes": "Like"})


def test_sources_of_two_kinds_are_not_mixed() -> None:
    with pytest.raises(ManifestError, match="make a manifest of each"):
        choose_fields(_records(TABLE, {"id": "1"}) + _records(YT_DLP, {"id": "1"}), {})
