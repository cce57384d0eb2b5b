"""Folds: whole creators, every challenge spread, the same each time."""

import numpy as np
import pytest

from pipeline.dataset.folds import assign_folds


def creators(clips: int = 200, count: int = 60, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, count, clips), [f"dance{n}" for n in rng.integers(0, 4, clips)]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_no_creator_is_in_two_folds_and_every_clip_is_in_one(folds: int) -> None:
    groups, challenges = creators()
    fold_of = assign_folds(groups, challenges, folds)
    assert set(fold_of) == set(range(folds))
    assert all(len(set(fold_of[groups == group])) == 1 for group in set(groups))


def test_every_challenge_is_spread_over_the_folds() -> None:
    groups, challenges = creators()
    fold_of = assign_folds(groups, challenges, 5)
    for name in set(challenges):
        counts = np.bincount(fold_of[np.array(challenges) == name], minlength=5)
        assert counts.max() - counts.min() <= 3, counts


def test_a_seed_decides_the_folds() -> None:
    groups, challenges = creators()
    first, again, other = (assign_folds(groups, challenges, 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_fewer_creators_than_folds_make_fewer_folds() -> None:
    assert sorted(assign_folds([7, 7, 9], ["a", "b", "a"], 5).tolist()) == [0, 0, 1]
    assert assign_folds([4, 4], ["a", "a"], 3).tolist() == [0, 0]
    assert assign_folds([], [], 3).tolist() == []
