"""Protocols: who trains and who is tested, and that nobody does both."""

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import DataError
from pipeline.dataset.context import with_records
from pipeline.dataset.labels import LabelOptions
from pipeline.evaluation.protocol import Fold, assert_apart, clip_groups, fold_labels, make_folds


def table(count: int = 60, creators: int = 30, seed: int = 0) -> pd.DataFrame:
    """Clips of creators who take part in several challenges; every tenth has no likes."""
    rng = np.random.default_rng(seed)
    likes = pd.array(
        np.where(np.arange(count) % 10 == 9, np.full(count, None), rng.integers(1, 1000, count)), dtype="Int64"
    )
    clips = pd.DataFrame(
        {
            "clip_id": [f"c{n}" for n in range(count)],
            "challenge": np.array(["shuffle", "wave", "hop"])[rng.integers(0, 3, count)],
            "creator_id": [f"creator{n}" for n in rng.integers(0, creators, count)],
            "copies": pd.array([None] * count, dtype="string"),
            "uploaded_at": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 300, count), "D"),
            "likes": likes, "views": pd.NA, "comments": pd.NA, "shares": pd.NA,
            "followers": pd.array(rng.integers(10, 10_000, count), dtype="Int64"),
            "creator_likes": pd.NA, "creator_videos": pd.NA,
            "label": likes.to_numpy(float, na_value=np.nan), "split": pd.array([None] * count, dtype="string"),
        }
    )  # fmt: skip
    return with_records(clips)


@pytest.mark.parametrize("protocol", ["kfold", "time", "leave-challenge-out"])
def test_no_creator_and_no_film_is_on_both_sides(protocol: str) -> None:
    clips = table()
    clips.loc[[3, 40], "copies"] = "c3"
    groups = clip_groups(clips)
    assert groups[3] == groups[40]
    folds = make_folds(clips, protocol, 4)
    for fold in folds:
        assert len(fold.train) > 5
        assert len(fold.test)
        assert not set(groups[fold.train]) & set(groups[fold.test])
        assert clips["label"].iloc[[*fold.train, *fold.test]].notna().all()


def test_by_creator_every_labelled_clip_is_judged_once() -> None:
    clips = table()
    folds = make_folds(clips, "kfold", 4, seed=3)
    tested = np.sort(np.concatenate([fold.test for fold in folds]))
    np.testing.assert_array_equal(tested, np.flatnonzero(clips["label"].notna()))


def test_in_time_nothing_later_teaches_and_creators_who_were_there_before_are_not_judged() -> None:
    clips = table()
    clips.loc[0, "uploaded_at"] = pd.NaT
    (fold,) = make_folds(clips, "time", 4)
    times = clips["uploaded_at"]
    assert times[fold.train].max() < times[fold.test].min()
    assert 0 not in {*fold.train, *fold.test}
    later = np.flatnonzero(clips["label"].notna() & (times > times[fold.train].max()))
    left_out = sorted(set(later) - set(fold.test))
    assert left_out, "this table has creators of both times"
    assert set(clips["creator_id"][left_out]) <= set(clips["creator_id"][fold.train])
    assert len(later) == pytest.approx(clips["label"].notna().sum() / 4, abs=1)


def test_clips_of_one_moment_are_on_one_side() -> None:
    clips = table(creators=60)
    clips["uploaded_at"] = pd.Timestamp("2024-01-01", tz="UTC")
    clips.loc[:49, "uploaded_at"] += pd.Timedelta(days=1)
    (fold,) = make_folds(clips, "time", 4)
    assert clips["uploaded_at"][fold.train].nunique() == clips["uploaded_at"][fold.test].nunique() == 1


def test_a_challenge_left_out_teaches_nothing_and_neither_do_its_dancers() -> None:
    clips = table()
    folds = make_folds(clips, "leave-challenge-out", 2)
    assert [fold.name for fold in folds] == ["hop", "shuffle", "wave"]
    for fold in folds:
        assert set(clips["challenge"][fold.test]) == {fold.name}
        assert fold.name not in set(clips["challenge"][fold.train])


@pytest.mark.parametrize(
    ("protocol", "change", "folds", "message"),
    [
        ("kfold", {}, 1, "at least 2"),
        ("kfold", {"creator_id": "ann"}, 3, "at least two"),
        ("time", {"uploaded_at": pd.NaT}, 3, "two upload times"),
        ("time", {"creator_id": "ann"}, 3, "none can be judged"),
        ("leave-challenge-out", {"challenge": "hop"}, 3, "two challenges"),
        ("leave-challenge-out", {"creator_id": "ann"}, 3, "two challenges"),
        ("bootstrap", {}, 3, "not one of kfold"),
    ],
)
def test_what_cannot_be_split_says_of_what_there_is_too_little(
    protocol: str, change: dict, folds: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make_folds(table().assign(**change), protocol, folds)


@pytest.mark.parametrize("shared", ["creator_id", "copies"])
def test_a_leak_is_an_error_that_names_clips(shared: str) -> None:
    clips = table().assign(creator_id=[f"creator{n}" for n in range(60)])
    clips.loc[[7, 11], shared] = "the same"
    with pytest.raises(DataError, match=r"c7 \(trained on\) and c11 \(tested\)"):
        assert_apart(clips, clip_groups(clips), np.array([1, 7]), np.array([11, 12]))
    with pytest.raises(DataError, match="on both sides"):
        fold_labels(clips, LabelOptions("likes"), Fold("torn", np.array([1, 2, 7]), np.array([11, 12])))


def test_labels_come_from_the_training_clips_and_what_is_left_out_has_none() -> None:
    clips = table(creators=60).assign(challenge="hop")
    fold = Fold("some", np.arange(0, 30), np.arange(30, 40))
    clips["creator_id"] = [f"creator{n}" for n in range(60)]
    found = fold_labels(clips, LabelOptions("adjusted"), fold)
    assert not np.isfinite(found.label[40:]).any()
    changed = clips.assign(likes=clips["likes"].where(clips.index < 30, clips["likes"] * 50))
    again = fold_labels(changed, LabelOptions("adjusted"), fold)
    np.testing.assert_array_equal(found.percentile[:30], again.percentile[:30])
    assert np.nanmean(again.label[30:40]) > np.nanmean(found.label[30:40]) + 1
