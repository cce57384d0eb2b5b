"""Folds of the learning curve: everyone is judged by the same clips, and nobody by a model that knows them."""

import numpy as np
import pandas as pd

from benchmarks.learning_curve import TESTED, nested_folds

CLIPS = 1600


def clips() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "creator_id": [f"u{number}" for number in rng.integers(0, 500, CLIPS)],
            "copies": pd.array([None] * CLIPS, dtype="string"),
            "label": np.where(rng.random(CLIPS) < 0.05, np.nan, 1.0),
            "status": np.where(rng.random(CLIPS) < 0.05, "failed", "ok"),
        }
    )


def test_all_sizes_are_judged_by_the_same_clips_of_creators_that_none_trains_on() -> None:
    table = clips()
    folds = nested_folds(table, (96, 256), 2)
    creators = table["creator_id"].to_numpy()
    assert [fold.name for fold in folds] == [f"deal {deal}, {size} clips" for deal in (0, 1) for size in (96, 256)]
    for fold in folds:
        np.testing.assert_array_equal(fold.test, folds[0].test)
        assert not set(creators[fold.train]) & set(creators[fold.test])
        used = table.iloc[np.concatenate([fold.train, fold.test])]
        assert used["label"].notna().all()
        assert (used["status"] == "ok").all()
    assert TESTED <= len(folds[0].test) < TESTED + 20


def test_a_deal_trains_on_ever_more_clips_and_another_deal_on_others() -> None:
    small, large, other, _ = nested_folds(clips(), (96, 256), 2)
    assert set(small.train) < set(large.train)
    assert 96 <= len(small.train) < 110
    assert 256 <= len(large.train) < 270
    assert len(set(small.train) & set(other.train)) < 48


def test_a_size_that_there_are_not_clips_enough_for_takes_all() -> None:
    (fold,) = nested_folds(clips(), (4096,), 1)
    usable = clips().query("status == 'ok'")["label"].notna().sum()
    assert len(fold.train) + len(fold.test) == usable
