"""Lines in closed form, and backfitting by them."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from models.virality.masked import FEATURE_LIMIT
from pipeline.dataset.folds import deal_folds
from pipeline.training.ridge import (
    Dealt,
    Numbers,
    backfit,
    fit_line,
    judge,
    left_by_line,
    normal_score,
    place_within,
    stack,
    within,
)

CLIPS = 240


def world(seed: int = 0, modalities: int = 3, width: int = 12) -> dict:
    """Each modality's first two numbers tell its own part of the label, the rest are noise; challenges differ wildly."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(modalities, CLIPS, width)).astype(np.float32)
    parts = numbers[:, :, 0] + 0.5 * numbers[:, :, 1]
    challenge = np.array([f"dance{n % 4}" for n in range(CLIPS)])
    numbers[:, :, 2] += 30 * (np.arange(CLIPS) % 4)  # what tells challenges apart tells nothing within one
    group = np.arange(CLIPS) // 3
    label = parts.sum(0) + rng.normal(0, 0.5, CLIPS) + 5 * (np.arange(CLIPS) % 4)
    return {
        "numbers": {
            f"modality{n}": Numbers(numbers[n], np.ones(CLIPS, bool), FEATURE_LIMIT) for n in range(modalities)
        },
        "parts": parts,
        "challenge": challenge,
        "group": group,
        "percentile": place_within(label, challenge),
        "fold_of": deal_folds(group, challenge.tolist(), 3, 0),
    }


def dealt(known: dict) -> Dealt:
    return Dealt(np.arange(CLIPS), known["challenge"], known["group"], known["fold_of"], 0)


def backfitted(known: dict, rounds: int = 3) -> dict[str, np.ndarray]:
    return backfit(known["numbers"], dealt(known), known["percentile"], rounds)


def test_a_line_finds_what_tells_and_leaves_the_rest():
    known = world(modalities=1)
    line = fit_line(
        known["numbers"]["modality0"].values,
        normal_score(known["percentile"]),
        known["challenge"],
        known["group"],
        0,
        FEATURE_LIMIT,
    )
    assert line.slope[0] > 1.5 * line.slope[1] > 0
    assert np.abs(line.slope[2:]).max() < 0.2 * line.slope[0]
    fresh = world(seed=1, modalities=1)
    said = within(line(fresh["numbers"]["modality0"].values)[:, None], fresh["challenge"])[:, 0]
    assert spearmanr(said, fresh["parts"][0]).statistic > 0.95


def test_a_line_of_more_numbers_than_clips_learns_too_and_one_of_noise_says_next_to_nothing():
    known, rng = world(modalities=1), np.random.default_rng(5)
    many = np.concatenate([known["numbers"]["modality0"].values, rng.normal(size=(CLIPS, 400))], 1).astype(np.float32)
    target = normal_score(known["percentile"])
    wide = fit_line(many, target, known["challenge"], known["group"], 0, FEATURE_LIMIT)
    assert np.abs(wide.slope).argmax() == 0
    noise = fit_line(many[:, 12:], target, known["challenge"], known["group"], 0, FEATURE_LIMIT)
    fresh = rng.normal(size=(CLIPS, 400)).astype(np.float32)
    assert noise(fresh).std() < 0.3 * target.std()


def test_numbers_that_never_change_and_wild_ones_do_no_harm():
    known = world(modalities=1)
    numbers = known["numbers"]["modality0"].values.copy()
    numbers[:, 5] = 7.0
    line = fit_line(numbers, normal_score(known["percentile"]), known["challenge"], known["group"], 0, FEATURE_LIMIT)
    assert line.slope[5] == 0
    wild = numbers[:2].copy()
    wild[:, 0] = [10.0, 1e9]
    said = line(wild)
    assert np.isfinite(said).all()
    assert abs(said[1] - said[0]) <= 2 * FEATURE_LIMIT * abs(line.slope[0])
    narrow = fit_line(numbers, normal_score(known["percentile"]), known["challenge"], known["group"], 0, 1.0)
    assert abs(narrow(wild)[1]) < np.abs(narrow.slope).sum()


def test_a_number_that_is_not_known_counts_as_the_mean_of_those_that_are():
    known = world(modalities=1)
    numbers = known["numbers"]["modality0"].values.copy()
    about = (normal_score(known["percentile"]), known["challenge"], known["group"], 0, FEATURE_LIMIT)
    whole = fit_line(numbers, *about)
    # A number known of nobody tells nothing, and one known of some is learned from these.
    gone = numbers.copy()
    gone[:, 3] = np.nan
    gone[::3, 0] = np.nan
    line = fit_line(gone, *about)
    assert line.slope[3] == 0
    assert line.mean[0] == pytest.approx(np.delete(numbers[:, 0], np.s_[::3]).mean(), abs=1e-5)
    assert line.slope[0] > 0.6 * whole.slope[0]
    filled = np.where(np.isnan(gone), line.mean.astype(np.float32), gone)
    np.testing.assert_allclose(line(gone), line(filled), atol=1e-5)


def test_creators_are_not_learned_by_heart():
    """Numbers that only say who dances predict clips of creators seen, and nobody else's."""
    rng = np.random.default_rng(2)
    group = np.arange(CLIPS) // 8
    liked = rng.normal(size=group.max() + 1)[group]
    who = rng.normal(size=(group.max() + 1, 60)).astype(np.float32)[group]
    challenge = np.array(["dance"] * CLIPS)
    target = normal_score(place_within(liked + rng.normal(0, 0.1, CLIPS), challenge))
    assert fit_line(who, target, challenge, group, 0, FEATURE_LIMIT)(who).std() < 0.3
    alone = fit_line(
        who, target, challenge, np.arange(CLIPS), 0, FEATURE_LIMIT
    )  # as if each clip had a creator of its own
    assert alone(who).std() > 0.8


def test_backfitting_gives_each_modality_its_own_part_of_the_label():
    known = world()
    targets = backfitted(known)
    for place, (modality, target) in enumerate(targets.items()):
        own = spearmanr(target, known["parts"][place]).statistic
        assert own > 0.8
        assert own > spearmanr(known["percentile"], known["parts"][place]).statistic + 0.15
        for name in np.unique(known["challenge"]):
            rows = known["challenge"] == name
            np.testing.assert_allclose(np.sort(target[rows]), (np.arange(60) + 0.5) / 60, err_msg=modality)


@pytest.mark.parametrize(("modalities", "rounds"), [(3, 0), (1, 3)])
def test_a_modality_alone_and_without_rounds_learns_the_label_itself(modalities, rounds):
    known = world(modalities=modalities)
    assert all(np.array_equal(target, known["percentile"]) for target in backfitted(known, rounds).values())


def test_where_a_modality_is_absent_the_others_learn_all_of_the_label():
    known = world(modalities=2)
    absent = np.arange(CLIPS) % 2 == 0
    numbers = known["numbers"]
    known["numbers"] = {
        "modality0": Numbers(numbers["modality0"].values, ~absent, FEATURE_LIMIT),
        "modality1": numbers["modality1"],
    }
    target = backfitted(known)["modality1"]
    assert spearmanr(target[absent], known["percentile"][absent]).statistic > 0.9
    assert spearmanr(target[~absent], known["percentile"][~absent]).statistic < 0.8


def test_a_judgement_of_a_clip_is_by_a_line_that_did_not_see_its_fold():
    known = world(modalities=1)
    numbers, clips = known["numbers"]["modality0"], dealt(known)
    said = judge(numbers, clips, known["percentile"])
    changed = known["percentile"].copy()
    mine = known["fold_of"] == 1
    changed[mine] = changed[mine][::-1]
    again = judge(numbers, clips, changed)
    for name in np.unique(known["challenge"]):  # the fold's order stays; centre and spread are those of all folds
        some = mine & (known["challenge"] == name)
        assert (said[some].argsort() == again[some].argsort()).all()
    assert not np.allclose(said[~mine], again[~mine])


def test_what_a_line_leaves_does_not_go_with_it():
    known = world(modalities=1)
    numbers, clips = known["numbers"]["modality0"], dealt(known)
    left = left_by_line(numbers, clips, known["percentile"])
    said = judge(numbers, clips, known["percentile"])
    assert abs(spearmanr(left, said).statistic) < 0.15
    assert spearmanr(known["percentile"], said).statistic > 0.7


def test_the_stack_weighs_judges_by_what_they_add_and_none_below_nothing():
    rng = np.random.default_rng(0)
    challenge = np.array(["dance"] * CLIPS)
    truth = rng.normal(size=CLIPS)
    design = np.stack([truth + rng.normal(0, 0.5, CLIPS), rng.normal(size=CLIPS), -truth], 1)
    weights = stack(design, truth, challenge)
    assert weights[0] > 0.6
    assert (weights[1:] < 0.1).all()
    assert (weights >= 0).all()
    assert not stack(design[:4], truth[:4], challenge[:4]).any()
