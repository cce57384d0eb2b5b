"""The table of a cross-validation: every predictor, compared with the model on the clips that both score."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.predictors import SECTIONS
from pipeline.evaluation.tables import Row, as_json, as_text, comparison_table, on_one_scale
from pipeline.metrics.ranking import METRICS
from pipeline.metrics.significance import PRIMARY, Difference


def predictions(creators: int = 40, each: int = 4, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(creators), each)
    count = len(group)
    label = rng.normal(size=creators)[group] + rng.normal(size=count)
    fold = group % 3
    own = np.array([1, 50, 0.01])[fold]  # the units of a fold's model that is not calibrated

    def noisy(noise: float) -> np.ndarray:
        return label + noise * rng.normal(size=count)

    return pd.DataFrame(
        {
            "clip_id": [f"c{n}" for n in range(count)], "challenge": np.array(["hop", "wave"])[np.arange(count) % 2],
            "group": group, "fold": fold, "label": label, "score": noisy(0.5), "score_pose": noisy(0.6),
            "score_face": np.where(np.arange(count) % 4 == 0, np.nan, noisy(2)),
            "baseline_followers": rng.normal(size=count), "baseline_trees_pose": noisy(3),
            "fusion_mean": noisy(1), "fusion_statistics": noisy(1), "fusion_concatenation": noisy(1) * own,
            "fusion_only_pose+face": noisy(0.5),
            "fusion_without_face": noisy(0.7), "label_permuted": rng.permutation(label), "permuted_ridge": noisy(9),
        }
    )  # fmt: skip


def difference_of(row: Row) -> Difference:
    assert row.difference is not None
    return row.difference


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.predictor.column: row for row in comparison_table(predictions(), resamples=200, permutations=200)}


def test_everybody_is_in_the_table_with_every_metric(rows: dict[str, Row]) -> None:
    predictors = [name for name in predictions() if name.startswith(("score", "baseline_", "fusion_", "permuted_"))]
    assert set(rows) == {*predictors, "chance"}
    for row in rows.values():
        assert set(row.metrics) == set(METRICS)
    sections = list(dict.fromkeys(row.predictor.section for row in rows.values()))
    assert sections[0] == "model"
    assert sections[-1] == "control"
    assert len(sections) == 8


def test_the_model_is_held_against_all_but_the_controls(rows: dict[str, Row]) -> None:
    for name, row in rows.items():
        assert (row.difference is None) == (name in ("score", "chance", "permuted_ridge"))
    assert difference_of(rows["baseline_trees_pose"]).by_metric[PRIMARY].low > 0
    assert rows["baseline_trees_pose"].p_holm < 0.05
    assert rows["fusion_only_pose+face"].p_holm > 0.05
    assert all(row.p_holm >= row.difference.p for row in rows.values() if row.difference)


def test_a_modality_that_clips_lack_is_compared_on_those_that_have_it(rows: dict[str, Row]) -> None:
    assert rows["score_face"].clips == difference_of(rows["score_face"]).clips == 120


def test_controls_are_judged_by_the_permuted_label(rows: dict[str, Row]) -> None:
    assert rows["permuted_ridge"].metrics[PRIMARY].low < 0 < rows["permuted_ridge"].metrics[PRIMARY].high
    assert rows["chance"].metrics["pairwise_accuracy"].value == 0.5
    assert rows["chance"].metrics["top_decile_precision"].value == pytest.approx(0.1)


def test_scores_that_are_not_calibrated_are_put_on_one_scale_and_others_stay_as_they_are() -> None:
    table = predictions()
    for name in ("score", "score_pose", "baseline_followers", "fusion_only_pose+face"):
        np.testing.assert_array_equal(on_one_scale(table, name), table[name])
    score = on_one_scale(table, "fusion_concatenation")
    assert pd.Series(score).groupby(table["fold"]).std().to_numpy() == pytest.approx(1)
    flat = table.assign(fusion_concatenation=table["fold"].astype(float))
    np.testing.assert_array_equal(on_one_scale(flat, "fusion_concatenation"), flat["fusion_concatenation"])


def test_json_markdown_and_latex_hold_the_same_rows(rows: dict[str, Row]) -> None:
    table = list(rows.values())
    entries = json.loads(json.dumps(as_json(table), allow_nan=False))
    assert [row["name"] for row in entries] == list(rows)
    assert [row["predictor_id"] for row in entries[:3]] == ["fused", "pose", "face"]
    assert [row["section_id"] for row in entries] == [row.predictor.section for row in table]
    assert {row["section_id"]: row["section"] for row in entries} == SECTIONS
    assert entries[0]["model_better_by"] is None
    assert entries[1]["model_better_by"]["p_holm"] == rows["score_pose"].p_holm
    assert entries[-1][PRIMARY] == [0.0, None, None]
    text = as_text(table)
    for written in (text.markdown(), text.latex()):
        assert "ExtraTrees on pose statistics" in written
        assert f"{rows['score'].metrics[PRIMARY].value:.3f}" in written
        assert "Detectable difference" in written
        assert "nan" not in written
    assert len({line.count("|") for line in text.markdown().splitlines() if line.startswith("|")}) == 1
    body = [line for line in text.latex().splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in body} == {len(text.header) - 1}
    assert not [line for line in body if "%" in line.replace("\\%", "")]


def test_one_modality_is_the_model() -> None:
    alone = predictions()[["clip_id", "challenge", "group", "fold", "label", "score"]]
    table = comparison_table(alone.assign(score_pose=alone["score"]), resamples=20, permutations=20)
    assert [row.predictor.column for row in table] == ["score", "chance"]


def test_where_nothing_can_be_compared_the_table_says_so() -> None:
    few = predictions(creators=2, each=1).assign(challenge=["hop", "wave"])
    table = comparison_table(few, resamples=20, permutations=20)
    assert math.isnan(table[0].metrics[PRIMARY].value)
    assert "–" in as_text(table).markdown()
    json.dumps(as_json(table), allow_nan=False)


def test_figures_of_several_trainings_are_their_mean() -> None:
    first = predictions()
    noise = np.random.default_rng(1).normal(size=len(first))
    other = first.assign(score=first["score"] + noise, permuted_ridge=noise, label_permuted=first["label"])
    alone, also, both = (
        {row.predictor.column: row for row in comparison_table(*trainings, resamples=50, permutations=50)}
        for trainings in ((first,), (other,), (first, other))
    )
    values = [table["score"].metrics[PRIMARY].value for table in (alone, also, both)]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2)
    assert both["score"].metrics[PRIMARY].spread == pytest.approx(np.std(values[:2], ddof=1))
    control = [table["permuted_ridge"].metrics[PRIMARY].value for table in (alone, also, both)]
    assert control[2] == pytest.approx((control[0] + control[1]) / 2)
    without = comparison_table(first, other.drop(columns="permuted_ridge"), resamples=50, permutations=50)
    still = {row.predictor.column: row for row in without}["permuted_ridge"].metrics[PRIMARY]
    assert (still.value, still.low, still.high) == dataclasses.astuple(alone["permuted_ridge"].metrics[PRIMARY])[:3]
    better = [difference_of(table["fusion_mean"]).by_metric[PRIMARY].value for table in (alone, also, both)]
    assert better[2] == pytest.approx((better[0] + better[1]) / 2)
