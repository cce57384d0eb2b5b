"""Labels are made from training clips alone, and no creator is on both sides."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import DataError
from pipeline.dataset.context import with_records
from pipeline.dataset.labels import LabelOptions, group_clips, make_labels

COLUMNS = {
    "creator_id": "string", "copies": "string", "likes": "Int64", "views": "Int64", "comments": "Int64",
    "shares": "Int64", "followers": "Int64", "creator_likes": "Int64", "creator_videos": "Int64", "split": "string",
}  # fmt: skip


def table(count: int = 60, seed: int = 0, **changed: object) -> pd.DataFrame:
    """Clips of two challenges; likes follow followers, age and a quality of the clip's own."""
    rng = np.random.default_rng(seed)
    followers = rng.lognormal(7, 2, count).astype(int)
    days = rng.uniform(0, 100, count)
    quality = rng.normal(0, 0.3, count)
    likes = np.exp(0.8 * np.log1p(followers) + 0.3 * np.log1p(days) + quality).astype(int)
    columns: dict = {
        "clip_id": [f"c{place}" for place in range(count)],
        "challenge": [("shuffle", "wave")[place % 2] for place in range(count)],
        "creator_id": [f"p{place // 2 % 20}" for place in range(count)],
        "copies": [None] * count,
        "uploaded_at": pd.Timestamp("2024-06-30", tz="UTC") - pd.to_timedelta(days, unit="D"),
        "likes": likes,
        "followers": followers,
        "split": None,
        "quality": quality,
    }
    unknown = dict.fromkeys(("views", "comments", "shares", "creator_likes", "creator_videos"))
    return with_records(pd.DataFrame(columns | unknown | changed).astype(COLUMNS))


def test_adjusting_takes_the_creators_reach_out_and_leaves_the_clips_own() -> None:
    clips = table(400)
    likes, adjusted = make_labels(clips, LabelOptions("likes")), make_labels(clips, LabelOptions("adjusted"))
    reach, quality = np.log1p(clips["followers"].astype(float)), clips["quality"]
    assert np.corrcoef(likes.label, reach)[0, 1] > 0.9
    assert abs(np.corrcoef(adjusted.label, reach)[0, 1]) < 0.1
    assert np.corrcoef(adjusted.label, quality)[0, 1] > 0.9
    assert np.corrcoef(likes.label, quality)[0, 1] < 0.5


@pytest.mark.parametrize("kind", ["likes", "adjusted"])
def test_a_test_clips_engagement_changes_no_training_label(kind: str) -> None:
    clips = table()
    before = make_labels(clips, LabelOptions(kind))
    test = before.split == "test"
    assert test.any()
    clips.loc[test, ["likes", "followers"]] = 10**9
    clips.loc[test, "uploaded_at"] = pd.Timestamp("2030-01-01", tz="UTC")
    after = make_labels(clips, LabelOptions(kind))
    np.testing.assert_array_equal(before.split, after.split)
    np.testing.assert_array_equal(before.label[~test], after.label[~test])
    np.testing.assert_array_equal(before.percentile[~test], after.percentile[~test])
    assert not np.array_equal(before.label[test], after.label[test])


def test_auto_adjusts_only_where_the_followers_of_clips_enough_are_known() -> None:
    assert make_labels(table(), LabelOptions()).kind == "adjusted"
    for known, kind in ((30, "adjusted"), (15, "likes"), (0, "likes")):
        followers = table()["followers"].where(np.arange(60) < known)
        labels = make_labels(table(followers=followers), LabelOptions(holdout=0))
        assert labels.kind == kind
        assert f"known of {known} of 60" in labels.reason
    few = make_labels(table(12), LabelOptions())
    assert few.kind == "likes"
    assert "needs 20" in few.reason


def test_clips_whose_followers_are_unknown_change_the_labels_bit_by_bit() -> None:
    clips, order = table(400, creator_id=None), np.random.default_rng(1).permutation(400)
    whole = make_labels(clips, LabelOptions(holdout=0))
    raw = make_labels(clips, LabelOptions("likes", holdout=0))
    before, told = whole, []
    for unknown in (0.05, 0.1, 0.15, 0.5, 0.9):
        known = order >= unknown * 400
        labels = make_labels(clips.assign(followers=clips["followers"].where(known)), LabelOptions(holdout=0))
        assert labels.kind == "adjusted"
        assert np.isfinite(labels.label).all()
        # What is known of a clip's creator is taken out, however little is known of others'.
        assert np.corrcoef(labels.label[known], whole.label[known])[0, 1] > 0.95
        reach = np.log1p(clips["followers"].astype(float))
        assert abs(np.corrcoef(labels.label[known], reach[known])[0, 1]) < 0.35
        assert abs(labels.label[known].mean() - labels.label[~known].mean()) < 0.1, "neither side is ahead"
        if unknown <= 0.15:
            assert np.corrcoef(labels.percentile, before.percentile)[0, 1] > 0.9
        told.append(np.corrcoef(labels.percentile, clips["quality"])[0, 1])
        before = labels
    assert told == sorted(told, reverse=True)
    assert told[-1] > np.corrcoef(raw.percentile, clips["quality"])[0, 1]


def famous(count: int = 600, creators: int = 30) -> pd.DataFrame:
    """Likes follow the creator's fame, which followers say nothing of, and a quality of the clip's own."""
    rng = np.random.default_rng(4)
    creator = rng.integers(0, creators, count)
    fame, quality = rng.normal(0, 1.5, creators)[creator], rng.normal(0, 0.5, count)
    likes = np.exp(5 + fame + quality).astype(int)
    return table(count, creator_id=[f"p{one}" for one in creator], likes=likes, quality=quality).assign(fame=fame)


def test_adjusting_takes_the_record_of_earlier_clips_out() -> None:
    clips = famous()
    labels = make_labels(clips, LabelOptions())
    assert "earlier clips" in labels.reason
    proven = (clips["earlier_clips"] >= 5).to_numpy(bool)
    earlier = clips["earlier_likes"].to_numpy(float)
    likes = np.log1p(clips["likes"].to_numpy(float))
    assert np.corrcoef(likes[proven], earlier[proven])[0, 1] > 0.9
    held = proven & (labels.split == "test")
    assert abs(np.corrcoef(labels.label[proven], earlier[proven])[0, 1]) < 0.1
    assert abs(np.corrcoef(labels.label[held], earlier[held])[0, 1]) < 0.3
    assert np.corrcoef(labels.label[proven], clips["quality"][proven])[0, 1] > 0.9


def test_adjusting_takes_the_likes_of_the_creators_videos_out() -> None:
    clips = famous().assign(uploaded_at=pd.NaT)  # no record
    videos = pd.Series(50, clips.index, dtype="Int64")
    total = (50 * np.exp(5 + clips["fame"].astype(float))).round().astype("Int64") + clips["likes"]
    labels = make_labels(with_records(clips.assign(creator_likes=total, creator_videos=videos)), LabelOptions())
    assert "likes per video" in labels.reason
    assert abs(np.corrcoef(labels.label, clips["fame"])[0, 1]) < 0.1
    assert np.corrcoef(labels.label, clips["quality"])[0, 1] > 0.9


def test_a_record_of_few_clips_or_of_few_creators_is_left_in_the_label() -> None:
    clips = famous()
    few = clips.assign(earlier_clips=clips["earlier_clips"].clip(upper=4))
    proven = clips["earlier_clips"] >= 5
    some = clips.assign(earlier_clips=clips["earlier_clips"].where(~proven | (proven.cumsum() < 40), 0))
    for changed in (few, some):
        labels = make_labels(changed, LabelOptions(holdout=0))
        assert labels.reason.endswith("taken out: followers, age and challenge")
        assert np.corrcoef(labels.label, clips["fame"])[0, 1] > 0.9


def test_clips_without_a_record_have_a_level_of_their_own() -> None:
    clips = famous()
    new = np.random.default_rng(5).random(len(clips)) < 0.3
    changed = clips.assign(earlier_clips=clips["earlier_clips"].mask(new, 0))
    label = make_labels(changed, LabelOptions(holdout=0)).label
    assert np.isfinite(label).all()
    proven = (changed["earlier_clips"] >= 5).to_numpy(bool)
    assert abs(label[proven].mean() - label[~proven].mean()) < 0.1


def test_percentiles_are_within_the_challenge() -> None:
    clips = table(likes=[(place % 2) * 1000 + place for place in range(60)])
    labels = make_labels(clips, LabelOptions("likes", holdout=0))
    for name in ("shuffle", "wave"):
        percentiles = labels.percentile[clips["challenge"] == name]
        assert percentiles.mean() == pytest.approx(0.5)
        assert (np.diff(percentiles) > 0).all()


def test_a_challenge_without_training_clips_is_ranked_by_itself() -> None:
    split = ["test" if place % 2 else "train" for place in range(60)]
    labels = make_labels(table(split=split, creator_id=None), LabelOptions("adjusted"))
    assert np.isfinite(labels.percentile).all()


def test_clips_without_engagement_get_no_label_and_no_side() -> None:
    likes = table()["likes"].where(np.arange(60) > 9)
    labels = make_labels(table(likes=likes), LabelOptions())
    assert np.isnan(labels.label[:10]).all()
    assert set(labels.split[:10]) == {"unlabelled"}
    assert "unlabelled" not in set(labels.split[10:])


def test_bigger_creators_can_be_left_out() -> None:
    clips = table()
    labels = make_labels(clips, LabelOptions(max_followers=1000))
    assert np.array_equal(np.isnan(labels.label), clips["followers"] > 1000)


def test_another_engagement_column_can_be_the_label() -> None:
    clips = table(views=list(range(60)))
    labels = make_labels(clips, LabelOptions("views"))
    np.testing.assert_allclose(labels.label, np.log1p(np.arange(60)))
    with pytest.raises(DataError, match="virality"):
        LabelOptions("virality")


def test_no_creator_and_no_copy_is_on_both_sides() -> None:
    clips = table(copies=[f"c{place % 45}" for place in range(60)])
    labels = make_labels(clips, LabelOptions())
    groups = group_clips(clips["creator_id"], clips["copies"], clips.index)
    for group in set(groups):
        assert len(set(labels.split[groups == group])) == 1


def test_copies_chain_creators_together() -> None:
    creators, copies = pd.Series(["a", "b", "b", None, None]), pd.Series(["x", "x", "y", "y", None])
    groups = group_clips(creators, copies, creators.index)
    assert len(set(groups[:4])) == 1
    assert groups[4] != groups[0]


def test_creators_whose_ids_look_alike_are_never_on_both_sides() -> None:
    creators = pd.Series(["anna", "Anna", "an\u00adna", "00123", "123", "ana", None])
    groups = group_clips(creators, pd.Series([None] * 7), creators.index)
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 4
    split = ["test" if place < 10 else "train" for place in range(60)]
    apart = [f"p{place}" for place in range(60)]
    with pytest.raises(DataError, match=r"c3 \(test\) and c30 \(train\).*look alike \(anna, Anna\) count as one"):
        make_labels(
            table(split=split, creator_id=[*apart[:3], "anna", *apart[4:30], "Anna", *apart[31:]]), LabelOptions()
        )


def test_about_a_fifth_of_each_challenge_is_held_out() -> None:
    clips = table(200, creator_id=None)
    labels = make_labels(clips, LabelOptions())
    for name in ("shuffle", "wave"):
        assert (labels.split[clips["challenge"] == name] == "test").sum() == 20


def test_holding_out_depends_on_names_and_seed_not_on_the_order_of_rows() -> None:
    clips = table(100, creator_id=None)
    split = dict(zip(clips["clip_id"], make_labels(clips, LabelOptions()).split, strict=True))
    shuffled = clips.sample(frac=1, random_state=1).reset_index(drop=True)
    again = dict(zip(shuffled["clip_id"], make_labels(shuffled, LabelOptions()).split, strict=True))
    assert split == again
    assert split != dict(zip(clips["clip_id"], make_labels(clips, LabelOptions(seed=1)).split, strict=True))


def test_the_smallest_challenges_keep_two_clips_to_train_on() -> None:
    labels = make_labels(table(8, creator_id=None), LabelOptions())
    for challenge in (0, 1):
        assert (labels.split[challenge::2] == "train").sum() == 3
    assert (make_labels(table(4, creator_id=None), LabelOptions()).split == "train").all()


def test_a_given_split_is_taken() -> None:
    split = ["test" if place < 10 else "val" if place < 14 else "train" for place in range(60)]
    labels = make_labels(table(split=split, creator_id=None), LabelOptions())
    assert labels.split.tolist() == split


def test_a_clip_that_the_given_split_leaves_open_follows_its_creator() -> None:
    split: list = ["test" if place % 40 < 2 else None for place in range(60)]
    split[40] = None
    labels = make_labels(table(split=split), LabelOptions())
    assert labels.split[40] == "test"
    assert labels.split[2] == "train"


@pytest.mark.parametrize("shared", ["creator_id", "copies"])
def test_a_given_split_with_a_leak_is_refused_by_name(shared: str) -> None:
    split = ["test" if place < 10 else "train" for place in range(60)]
    columns: dict[str, Any] = {"creator_id": [f"p{place}" for place in range(60)], "copies": [None] * 60}
    columns[shared][3] = columns[shared][30] = "the same"
    with pytest.raises(DataError, match=r"c3 \(test\) and c30 \(train\)"):
        make_labels(table(split=split, **columns), LabelOptions())
