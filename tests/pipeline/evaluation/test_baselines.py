"""Baselines without a network: they learn what their inputs hold, and from training clips alone."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.baselines import BaselineInputs, Ridge, baseline_scores, fit_and_predict, within_challenge
from pipeline.metrics.ranking import ranking_metrics

CLIPS = 120
CHALLENGE = np.array(["shuffle", "wave"])[np.arange(CLIPS) % 2]
GROUPS = np.arange(CLIPS) // 3
TRAIN, TEST = np.arange(90), np.arange(90, CLIPS)


def world(seed: int = 0) -> tuple[BaselineInputs, np.ndarray]:
    """The percentile is decided by the first mean and the product of two pose statistics; challenges lie apart."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(CLIPS, 8)) + 30 * (CHALLENGE == "wave")[:, None]
    pose = rng.normal(size=(CLIPS, 6))
    followers, age, duration = rng.normal(size=(3, CLIPS, 1))
    signal_of = (means[:, 0] - 30 * (CHALLENGE == "wave")) + 2 * np.abs(pose[:, 0])
    percentile = np.empty(CLIPS)
    for name in ("shuffle", "wave"):
        rows = np.equal(CHALLENGE, name)
        percentile[rows] = (np.argsort(np.argsort(signal_of[rows])) + 0.5) / rows.sum()
    context = np.concatenate([followers, age, duration], 1)
    return BaselineInputs(followers, duration, context, means.astype(np.float32), pose.astype(np.float32)), percentile


def skill(inputs: BaselineInputs, percentile: np.ndarray) -> dict[str, float]:
    scores = baseline_scores(inputs, percentile, GROUPS, CHALLENGE, TRAIN, TEST)
    assert scores.index.tolist() == TEST.tolist()
    return {name: ranking_metrics(scores[name].to_numpy(), percentile[TEST])["spearman"] for name in scores}


def test_each_baseline_finds_what_its_inputs_tell() -> None:
    scores = skill(*world())
    assert min(scores["ridge_means"], scores["boosting_means"], scores["trees_pose"]) > 0.25
    assert scores["trees_all"] > 0.6
    assert max(abs(scores[name]) for name in ("followers", "duration", "context")) < 0.5


def test_labels_of_test_clips_do_not_matter() -> None:
    inputs, percentile = world()
    other = percentile.copy()
    other[TEST] = 1 - other[TEST]
    first, again = (baseline_scores(inputs, labels, GROUPS, CHALLENGE, TRAIN, TEST) for labels in (percentile, other))
    assert first.equals(again)


def test_training_clips_without_a_label_are_left_out() -> None:
    inputs, percentile = world()
    percentile[:30] = np.nan
    assert np.isfinite(list(skill(inputs, percentile).values())).all()


def test_what_a_clip_lacks_counts_as_the_mean_of_its_challenge() -> None:
    inputs, percentile = world()
    inputs.pose[::4] = np.nan
    inputs.means[5] = np.nan
    scores = baseline_scores(inputs, percentile, GROUPS, CHALLENGE, TRAIN, TEST)
    assert scores.notna().all().all()
    design = within_challenge(inputs.pose, CHALLENGE, TRAIN)
    assert (design[::4] == 0).all()
    for name in ("shuffle", "wave"):
        assert design[:90][CHALLENGE[:90] == name].mean(0) == pytest.approx(0, abs=1e-6)


def test_a_challenge_that_nobody_trained_on_has_the_mean_of_all() -> None:
    columns = np.arange(6.0)[:, None]
    design = within_challenge(columns, np.array(["a", "a", "b", "b", "c", "c"]), np.array([0, 1, 2, 3]))
    assert design[4, 0] == pytest.approx((4 - 1.5) / 0.5)
    assert design[0, 0] == pytest.approx(-1)


def test_inputs_that_nobody_has_make_no_baseline() -> None:
    inputs, percentile = world()
    unknown = replace(inputs, followers=np.full((CLIPS, 1), np.nan), pose=np.zeros((CLIPS, 0), np.float32),
                      context=np.full((CLIPS, 3), np.nan), duration=np.full((CLIPS, 1), 4.0))  # fmt: skip
    scores = baseline_scores(unknown, percentile, GROUPS, CHALLENGE, TRAIN, TEST)
    assert set(scores) == {"ridge_means", "boosting_means"}


def test_ridges_penalty_is_chosen_by_what_there_is_to_find() -> None:
    rng = np.random.default_rng(1)
    _, percentile = world()
    noise = rng.normal(size=(CLIPS, 300))
    signal = np.concatenate([percentile[:, None] + 0.05 * rng.normal(size=(CLIPS, 1)), noise[:, :2]], 1)
    of_noise, of_signal = (
        fit_and_predict(Ridge(), columns, percentile, GROUPS, CHALLENGE, TRAIN, TEST) for columns in (noise, signal)
    )
    assert of_noise is not None
    assert of_signal is not None
    assert np.std(of_noise) < 0.4, "there is next to nothing to say"
    assert np.std(of_signal) > 0.7
    assert ranking_metrics(of_signal, percentile[TEST])["spearman"] > 0.9
