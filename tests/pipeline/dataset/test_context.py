"""A creator's record is made of earlier clips alone, and totals are counted without the clip's own likes."""

import numpy as np
import pandas as pd
import pytest

from models.virality.config import CONTEXT_NUMBERS
from pipeline.dataset.context import RECORDS, ContextUnits, context_numbers, number, record, with_records

FIRST = pd.Timestamp("2024-06-01", tz="UTC")


def table(**columns: object) -> pd.DataFrame:
    """Six clips: three of anna's and two of ben's, a day apart, and one of nobody's."""
    whole = {
        "clip_id": [f"c{place}" for place in range(6)],
        "creator_id": ["anna", "ben", "anna", "anna", "ben", None],
        "uploaded_at": [FIRST + pd.Timedelta(days=day) for day in (0, 1, 2, 3, 4, 5)],
        "likes": [10, 1000, 100, 5, 7, 8],
        "followers": [100, 2000, 100, 100, None, None],
        "creator_likes": None,
        "creator_videos": None,
        "duration_s": [8.0, 9.0, 10.0, 11.0, None, 12.0],
    } | columns
    counts = dict.fromkeys(("likes", "followers", "creator_likes", "creator_videos"), "Int64")
    return pd.DataFrame(whole).astype({"creator_id": "string", **counts})


def records(**columns: object) -> pd.DataFrame:
    return with_records(table(**columns))[[*RECORDS]].astype("float64")


def test_the_record_is_the_mean_of_the_creators_earlier_clips() -> None:
    found = records()
    np.testing.assert_array_equal(found["earlier_clips"], [0, 0, 1, 2, 1, np.nan])
    expected = [np.nan, np.nan, np.log(11), (np.log(11) + np.log(101)) / 2, np.log(1001), np.nan]
    np.testing.assert_allclose(found["earlier_likes"], expected)


def test_a_clips_own_likes_and_those_of_later_clips_change_no_record() -> None:
    before = records()
    likes = table()["likes"].tolist()
    for place in range(6):
        after = records(likes=[10**6 if at == place else value for at, value in enumerate(likes)])
        pd.testing.assert_frame_equal(after[: place + 1], before[: place + 1])
    assert not records(likes=[10**6, *likes[1:]])[3:].equals(before[3:])  # an earlier clip's likes do


def test_clips_of_one_moment_are_not_earlier_than_one_another() -> None:
    at = table()["uploaded_at"].tolist()
    found = records(uploaded_at=[at[0], at[1], at[0], at[0] + pd.Timedelta(1, "us"), *at[4:]])
    np.testing.assert_array_equal(found["earlier_clips"], [0, 0, 0, 2, 1, np.nan])


def test_what_is_not_known_gives_no_record_and_is_in_nobodys() -> None:
    found = records(uploaded_at=[None, *table()["uploaded_at"][1:]], likes=[10, None, 100, 5, 7, 8])
    np.testing.assert_array_equal(found["earlier_clips"], [np.nan, 0, 0, 1, 0, np.nan])
    np.testing.assert_allclose(found["earlier_likes"][3], np.log(101))


def test_a_record_is_the_same_in_any_order_of_the_clips() -> None:
    shuffled = table().sample(frac=1, random_state=3)
    found = with_records(shuffled).sort_index()[[*RECORDS]].astype("float64")
    pd.testing.assert_frame_equal(found, records())


def test_new_clips_have_the_record_of_clips_elsewhere_each_counted_once() -> None:
    new = table().iloc[[3]].assign(likes=pd.NA).reset_index(drop=True)
    found = with_records(new, table())
    assert found["earlier_clips"].tolist() == [2]
    assert found["earlier_likes"].tolist() == pytest.approx([(np.log(11) + np.log(101)) / 2])
    assert len(found) == 1


def test_totals_counted_with_the_clips_likes_are_taken_without_them() -> None:
    found = records(creator_likes=[40, 1007, 115, 115, 1007, 8], creator_videos=[4, 2, 3, 3, 2, 1])
    np.testing.assert_allclose(found["likes_a_video"][:5], [10, 7, 7.5, 55, 1000])
    assert np.isnan(found["likes_a_video"][5]), "of an only clip nothing is left but its own likes"
    # Totals of the upload's moment: some clips have more likes than all before them.
    earlier = records(creator_likes=[40, 0, 10, 110, 1000, 0], creator_videos=[4, 0, 1, 2, 1, 0])
    np.testing.assert_allclose(earlier["likes_a_video"], [10, np.nan, 10, 55, 1000, np.nan])


def test_a_record_counts_for_the_less_the_fewer_clips_it_is_of() -> None:
    clips = with_records(table())
    units = ContextUnits.of(clips)
    found = record(clips, units)
    usual = np.log1p(number(clips["likes"])).mean()
    assert units.usual_likes == pytest.approx(usual)
    assert found[4] == pytest.approx((np.log(1001) - usual) / 2)
    assert found[3] == pytest.approx((np.log(11) + np.log(101) - 2 * usual) / 3)
    assert np.isnan(found[[0, 1, 5]]).all()


def test_context_numbers_say_what_is_not_known() -> None:
    clips = with_records(table())
    columns = context_numbers(clips, ContextUnits.of(clips[:4]))
    values, unknown = columns[:, : len(CONTEXT_NUMBERS)], columns[:, len(CONTEXT_NUMBERS) :]
    np.testing.assert_array_equal(np.isnan(values), unknown == 1)
    assert unknown[:, CONTEXT_NUMBERS.index("likes_a_video")].all()
    np.testing.assert_array_equal(unknown[:, CONTEXT_NUMBERS.index("followers")], [0, 0, 0, 0, 1, 1])
    # Ages are counted from the last clip trained on; later ones are new.
    np.testing.assert_allclose(values[:, CONTEXT_NUMBERS.index("age")], np.log1p([3, 2, 1, 0, 0, 0]))
