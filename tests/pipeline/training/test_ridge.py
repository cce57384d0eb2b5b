"""Ridge regressions in closed form, and backfitting by them."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from models.virality.masked import FEATURE_LIMIT
from pipeline.dataset.folds import assign_folds
from pipeline.training.ridge import (
    ClipStatistics,
    FoldAssignment,
    backfit,
    centre_within,
    fit_ridge,
    normal_score,
    out_of_fold_scores,
    percentile_rank,
    residual_percentile,
    stacking_coefficients,
)

CLIPS = 240


def world(seed: int = 0, modalities: int = 3, width: int = 12) -> dict:
    """Each modality's first two statistics decide its part of the label, the rest are noise; challenges differ much."""
    rng = np.random.default_rng(seed)
    statistics = rng.normal(size=(modalities, CLIPS, width)).astype(np.float32)
    parts = statistics[:, :, 0] + 0.5 * statistics[:, :, 1]
    challenge = np.array([f"dance{n % 4}" for n in range(CLIPS)])
    statistics[:, :, 2] += 30 * (np.arange(CLIPS) % 4)  # differs between challenges, decides nothing within one
    group = np.arange(CLIPS) // 3
    label = parts.sum(0) + rng.normal(0, 0.5, CLIPS) + 5 * (np.arange(CLIPS) % 4)
    return {
        "statistics": {
            f"modality{n}": ClipStatistics(statistics[n], np.ones(CLIPS, bool), FEATURE_LIMIT)
            for n in range(modalities)
        },
        "parts": parts,
        "challenge": challenge,
        "group": group,
        "percentile": percentile_rank(label, challenge),
        "fold_of": assign_folds(group, challenge.tolist(), 3, 0),
    }


def folds(known: dict) -> FoldAssignment:
    return FoldAssignment(np.arange(CLIPS), known["challenge"], known["group"], known["fold_of"], 0)


def backfitted(known: dict, rounds: int = 3) -> dict[str, np.ndarray]:
    return backfit(known["statistics"], folds(known), known["percentile"], rounds)


def test_a_ridge_finds_the_statistics_that_decide_and_leaves_the_rest() -> None:
    known = world(modalities=1)
    ridge = fit_ridge(
        known["statistics"]["modality0"].values,
        normal_score(known["percentile"]),
        known["challenge"],
        known["group"],
        0,
        FEATURE_LIMIT,
    )
    assert ridge.coefficients[0] > 1.5 * ridge.coefficients[1] > 0
    assert np.abs(ridge.coefficients[2:]).max() < 0.2 * ridge.coefficients[0]
    fresh = world(seed=1, modalities=1)
    scores = centre_within(ridge(fresh["statistics"]["modality0"].values)[:, None], fresh["challenge"])[:, 0]
    assert spearmanr(scores, fresh["parts"][0]).statistic > 0.95


def test_a_ridge_of_more_statistics_than_clips_learns_too_and_one_of_noise_predicts_next_to_nothing() -> None:
    known, rng = world(modalities=1), np.random.default_rng(5)
    many = np.concatenate([known["statistics"]["modality0"].values, rng.normal(size=(CLIPS, 400))], 1).astype(
        np.float32
    )
    target = normal_score(known["percentile"])
    wide = fit_ridge(many, target, known["challenge"], known["group"], 0, FEATURE_LIMIT)
    assert np.abs(wide.coefficients).argmax() == 0
    noise = fit_ridge(many[:, 12:], target, known["challenge"], known["group"], 0, FEATURE_LIMIT)
    fresh = rng.normal(size=(CLIPS, 400)).astype(np.float32)
    assert noise(fresh).std() < 0.3 * target.std()


def test_constant_statistics_and_outliers_do_no_harm() -> None:
    known = world(modalities=1)
    statistics = known["statistics"]["modality0"].values.copy()
    statistics[:, 5] = 7.0
    ridge = fit_ridge(
        statistics, normal_score(known["percentile"]), known["challenge"], known["group"], 0, FEATURE_LIMIT
    )
    assert ridge.coefficients[5] == 0
    wild = statistics[:2].copy()
    wild[:, 0] = [10.0, 1e9]
    scores = ridge(wild)
    assert np.isfinite(scores).all()
    assert abs(scores[1] - scores[0]) <= 2 * FEATURE_LIMIT * abs(ridge.coefficients[0])
    narrow = fit_ridge(statistics, normal_score(known["percentile"]), known["challenge"], known["group"], 0, 1.0)
    assert abs(narrow(wild)[1]) < np.abs(narrow.coefficients).sum()


def test_an_unknown_statistic_counts_as_the_mean_of_the_known_ones() -> None:
    known = world(modalities=1)
    statistics = known["statistics"]["modality0"].values.copy()
    about = (normal_score(known["percentile"]), known["challenge"], known["group"], 0, FEATURE_LIMIT)
    whole = fit_ridge(statistics, *about)
    # A statistic known of no clip has no weight, and one known of some is learned from these.
    gone = statistics.copy()
    gone[:, 3] = np.nan
    gone[::3, 0] = np.nan
    ridge = fit_ridge(gone, *about)
    assert ridge.coefficients[3] == 0
    assert ridge.mean[0] == pytest.approx(np.delete(statistics[:, 0], np.s_[::3]).mean(), abs=1e-5)
    assert ridge.coefficients[0] > 0.6 * whole.coefficients[0]
    filled = np.where(np.isnan(gone), ridge.mean.astype(np.float32), gone)
    np.testing.assert_allclose(ridge(gone), ridge(filled), atol=1e-5)


def test_creators_are_not_memorised() -> None:
    """Statistics that only say who dances predict clips of creators seen, and nobody else's."""
    rng = np.random.default_rng(2)
    group = np.arange(CLIPS) // 8
    liked = rng.normal(size=group.max() + 1)[group]
    who = rng.normal(size=(group.max() + 1, 60)).astype(np.float32)[group]
    challenge = np.array(["dance"] * CLIPS)
    target = normal_score(percentile_rank(liked + rng.normal(0, 0.1, CLIPS), challenge))
    assert fit_ridge(who, target, challenge, group, 0, FEATURE_LIMIT)(who).std() < 0.3
    alone = fit_ridge(
        who, target, challenge, np.arange(CLIPS), 0, FEATURE_LIMIT
    )  # as if each clip had a creator of its own
    assert alone(who).std() > 0.8


def test_backfitting_gives_each_modality_its_own_part_of_the_label() -> None:
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
def test_a_modality_alone_and_without_rounds_learns_the_label_itself(modalities: int, rounds: int) -> None:
    known = world(modalities=modalities)
    assert all(np.array_equal(target, known["percentile"]) for target in backfitted(known, rounds).values())


def test_where_a_modality_is_absent_the_others_learn_all_of_the_label() -> None:
    known = world(modalities=2)
    absent = np.arange(CLIPS) % 2 == 0
    statistics = known["statistics"]
    known["statistics"] = {
        "modality0": ClipStatistics(statistics["modality0"].values, ~absent, FEATURE_LIMIT),
        "modality1": statistics["modality1"],
    }
    target = backfitted(known)["modality1"]
    assert spearmanr(target[absent], known["percentile"][absent]).statistic > 0.9
    assert spearmanr(target[~absent], known["percentile"][~absent]).statistic < 0.8


def test_an_out_of_fold_score_is_by_a_ridge_that_did_not_see_the_fold() -> None:
    known = world(modalities=1)
    statistics, of_clips = known["statistics"]["modality0"], folds(known)
    scores = out_of_fold_scores(statistics, of_clips, known["percentile"])
    changed = known["percentile"].copy()
    mine = known["fold_of"] == 1
    changed[mine] = changed[mine][::-1]
    again = out_of_fold_scores(statistics, of_clips, changed)
    for name in np.unique(known["challenge"]):  # the fold's order stays; centre and spread are those of all folds
        some = mine & (known["challenge"] == name)
        assert (scores[some].argsort() == again[some].argsort()).all()
    assert not np.allclose(scores[~mine], again[~mine])


def test_what_a_ridge_leaves_does_not_correlate_with_its_scores() -> None:
    known = world(modalities=1)
    statistics, of_clips = known["statistics"]["modality0"], folds(known)
    residual = residual_percentile(statistics, of_clips, known["percentile"])
    scores = out_of_fold_scores(statistics, of_clips, known["percentile"])
    assert abs(spearmanr(residual, scores).statistic) < 0.15
    assert spearmanr(known["percentile"], scores).statistic > 0.7


def test_stacking_weighs_predictors_by_what_they_add_and_none_below_0() -> None:
    rng = np.random.default_rng(0)
    challenge = np.array(["dance"] * CLIPS)
    truth = rng.normal(size=CLIPS)
    design = np.stack([truth + rng.normal(0, 0.5, CLIPS), rng.normal(size=CLIPS), -truth], 1)
    weights = stacking_coefficients(design, truth, challenge)
    assert weights[0] > 0.6
    assert (weights[1:] < 0.1).all()
    assert (weights >= 0).all()
    assert not stacking_coefficients(design[:4], truth[:4], challenge[:4]).any()
