"""What a score is worth: intervals that hold for creators never seen, and a map that never falls."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import pipeline.scoring.intervals as intervals
from pipeline.runs.run import RUN_SCHEMA, Run
from pipeline.scoring.intervals import calibrate, coverage, coverage_of_run, creator_quantile, read_unseen
from tests.support.whole_files import write_json, write_table


def unseen(creators: int = 40, folds: int = 3, skill: float = 0.6, offset: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Clips of two challenges, 1 to 12 a creator, which share most of their luck; scores differ by `offset`."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(creators), rng.integers(1, 13, creators))
    seen = rng.normal(size=len(group))
    luck = 0.8 * rng.normal(size=creators)[group] + 0.6 * rng.normal(size=len(group))
    challenge = rng.integers(0, 2, len(group))
    return pd.DataFrame(
        {
            "clip_id": [f"c{place}" for place in range(len(group))],
            "challenge": np.array(["shuffle", "wave"])[challenge],
            "group": group, "fold": group % folds, "score": seen + offset * challenge,
            "percentile": norm.cdf(skill * seen + np.sqrt(1 - skill**2) * luck),
        }
    )  # fmt: skip


def expected(calibration: Any, scores: Sequence[float], challenge: str = "shuffle") -> Any:
    return calibration.expect(pd.Series([challenge] * len(scores)), pd.Series(scores, dtype=float))


def test_the_bound_counts_creators_and_keeps_a_place_for_the_new_one() -> None:
    errors, group = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1, 2, 3, 4])
    assert creator_quantile(errors, group, 0.6) == 0.3  # 3 of 5, the fifth being the new creator
    assert creator_quantile(errors, group, 0.8) == 0.4
    assert creator_quantile(errors, group, 0.81) == np.inf
    assert creator_quantile(np.array([*errors, np.nan]), np.array([*group, 5]), 0.8) == 0.4


def test_a_creator_of_many_clips_counts_as_one() -> None:
    errors = np.concatenate([np.linspace(0.01, 0.09, 9), np.full(500, 0.9)])
    group = np.concatenate([np.arange(9), np.full(500, 9)])
    assert creator_quantile(errors, group, 0.8) == pytest.approx(0.09)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_a_clip_of_a_new_creator_is_within_its_interval_as_often_as_promised(level: float) -> None:
    held = []
    for seed in range(60):
        calibration = calibrate(unseen(30, seed=seed), level)
        new = unseen(30, seed=1000 + seed)
        ends = calibration.expect(new["challenge"], new["score"])
        inside = (new["percentile"] >= ends["low"]) & (new["percentile"] <= ends["high"])
        held.append(inside.groupby(new["group"]).mean().mean())
    assert level - 0.02 < np.mean(held) < level + 0.08


def test_measured_coverage_is_what_new_creators_will_find_and_has_its_interval() -> None:
    measured = [coverage(unseen(60, seed=seed)) for seed in range(20)]
    assert 0.78 < np.mean([result["by_creator"] for result in measured]) < 0.86
    for result in measured:
        low, high = result["share_95"]
        assert 0 < low < result["share"] < high < 1
        assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / result["clips"]), rel=0.2)
        assert result["creators"] == 60
        assert 0.3 < result["mean_width"] < 0.9


def test_a_fold_is_covered_by_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    calibrated = intervals.calibrate

    def watched(unseen: Any, level: Any) -> Any:
        used.append(set(unseen["fold"]))
        return calibrated(unseen, level)

    monkeypatch.setattr(intervals, "calibrate", watched)
    coverage(unseen())
    assert used == [{1, 2}, {0, 2}, {0, 1}]


def test_each_error_is_that_of_a_map_that_was_fitted_without_the_clips_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "creator_quantile", lambda errors, group, level: float(np.nanmean(errors)))
    learned_by_heart = unseen(20, folds=20, skill=0.0)  # no score says anything: only a map's own clips look near it
    assert calibrate(learned_by_heart).half_width > (learned_by_heart["percentile"] - 0.5).abs().mean()


def test_more_is_expected_of_higher_scores_and_nothing_beyond_the_ends() -> None:
    result = expected(calibrate(unseen()), [-9.0, -1.0, 0.0, 1.0, 9.0])
    assert (np.diff(result["expected_percentile"]) >= 0).all()
    assert result["expected_percentile"].iloc[-1] - result["expected_percentile"].iloc[0] > 0.3
    assert result.min().min() >= 0
    assert result.max().max() <= 1
    assert (result["low"] <= result["expected_percentile"]).all()
    assert (result["expected_percentile"] <= result["high"]).all()


def test_a_challenge_that_is_scored_high_as_a_whole_is_not_expected_to_do_better() -> None:
    calibration = calibrate(unseen(200, offset=2.0))
    for above in (-1.0, 0.0, 1.0):
        low, high = expected(calibration, [above], "shuffle"), expected(calibration, [above + 2.0], "wave")
        truth = norm.cdf(0.6 * above / np.sqrt(1 + 0.8**2))
        assert low["expected_percentile"][0] == pytest.approx(truth, abs=0.07)
        assert high["expected_percentile"][0] == pytest.approx(truth, abs=0.07)


def test_three_creators_say_nothing_about_a_fourth_at_80_percent() -> None:
    result = expected(calibrate(unseen(3)), [0.0])
    assert result[["low", "high"]].to_numpy().tolist() == [[0.0, 1.0]]
    assert result["expected_percentile"].notna().all()


def test_nothing_is_said_without_a_score_or_of_a_challenge_that_is_not_known() -> None:
    calibration = calibrate(unseen())
    assert expected(calibration, [np.nan]).isna().all().all()
    assert expected(calibration, [0.0], "elsewhere").isna().all().all()
    assert expected(calibrate(unseen().iloc[:0]), [0.0]).isna().all().all()
    with pytest.raises(ValueError, match="level 1"):
        calibrate(unseen(), 1.0)


def test_clips_that_were_abstained_on_change_nothing() -> None:
    table = unseen()
    silent = table.assign(score=np.nan, percentile=0.0, group=table["group"] + 1000)
    plain, more = calibrate(table), calibrate(pd.concat([table, silent], ignore_index=True))
    assert more.half_width == plain.half_width
    assert more.centre == plain.centre
    assert coverage(pd.concat([table, silent], ignore_index=True)) == coverage(table)


def test_without_folds_creators_are_dealt_into_parts() -> None:
    result = coverage(unseen(60).drop(columns="fold"))
    assert 0.65 < result["by_creator"] < 0.95
    assert result["creators"] == 60


def test_what_cannot_be_measured_is_null_and_says_why() -> None:
    result = coverage(unseen(1))
    assert (result["clips"], result["share"], result["share_95"]) == (0, None, None)
    assert "two creators" in result["reason"]
    json.dumps(result, allow_nan=False)


def test_folds_by_creator_are_used_where_there_are_and_else_what_the_fusion_learned_from(tmp_path: Path) -> None:
    run = tmp_path / "runs/one"
    run.mkdir(parents=True)
    write_table(run / "held_out.parquet", unseen(12).drop(columns="fold"))
    write_json(run / "run.json", {"schema": RUN_SCHEMA, "interval_level": 0.7})
    assert read_unseen(Run(str(tmp_path), "runs/one"))[1] == "held_out"
    write_json(run / "folds.json", {"protocol": "kfold", "clips": 0, "reason": "one creator"})
    assert read_unseen(Run(str(tmp_path), "runs/one"))[1] == "held_out"
    write_table(run / "folds.parquet", unseen(50))
    for protocol, source in (("leave-challenge-out", "held_out"), ("kfold", "folds")):
        write_json(run / "folds.json", {"protocol": protocol, "clips": 9})
        result, named = read_unseen(Run(str(tmp_path), "runs/one"))
        assert named == source
        assert result["group"].nunique() == {"held_out": 12, "folds": 50}[source]
    result = coverage_of_run(Run(str(tmp_path), "runs/one"))
    assert (result["from"], result["level"], result["creators"]) == ("folds", 0.7, 50)
