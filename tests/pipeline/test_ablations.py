"""Ablations: each variant lacks one idea, all are judged on the run's folds, and differences are to the run."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.config import VdvConfig
from models.vdv import build_encoder
from pipeline.ablations import Variant, ablation_table, printed, run_ablations, variants
from pipeline.dataset import assemble
from pipeline.errors import DataError
from pipeline.evaluate import evaluate_run, judge_training
from pipeline.score import score_clips
from pipeline.train import train_fusion
from tests.pipeline.learnable_world import make_batch, speed_decides
from tests.pipeline.test_tables import judged
from tests.pipeline.test_training import CPU, ONE_EPOCH

WIDTHS = {"appearance": 24, "face": 8, "scene": 16}


def test_every_variant_differs_from_the_run_in_what_it_says_and_can_be_built():
    config = VdvConfig()
    chosen = variants(config)
    assert len({variant.name for variant in chosen}) == len({variant.what for variant in chosen}) == len(chosen) > 12
    for variant in chosen:
        changed = [name for name, value in asdict(config).items() if asdict(variant.config)[name] != value]
        assert len(changed) == 1 or variant.name == "no_augmentation", changed
        for cue in variant.cues:
            build_encoder(cue, variant.config, WIDTHS)


def test_a_run_without_a_cue_has_no_variants_of_it():
    names = {variant.name for variant in variants(VdvConfig(modalities=("scene",)))}
    assert "plain_tcn" in names
    assert not names & {"st_gcn", "no_pyramid", "no_levels", "mean_fusion", "no_backfitting"}
    assert "plain_tcn" not in {variant.name for variant in variants(VdvConfig(relations_after=()))}


def test_a_worse_variant_is_found_worse_and_the_table_says_by_how_much():
    default = judged()
    rng = np.random.default_rng(9)
    worse = default.assign(score=rng.normal(size=len(default)), score_skeleton=rng.normal(size=len(default)))
    chosen = [
        Variant("broken", "noise for a skeleton", VdvConfig(), ("skeleton",)),
        Variant("same", "nothing", VdvConfig(), ()),
    ]
    table = ablation_table(default, chosen, {"broken": worse, "same": default}, 200, 200)
    rows = table[table["metric"] == "spearman"].set_index(["variant", "predictor"])
    assert set(rows.index) == {
        ("default", "fused"), ("default", "skeleton"), ("default", "face"), ("broken", "fused"), ("broken", "skeleton"),
        ("same", "fused"),
    }  # fmt: skip
    for predictor in ("fused", "skeleton"):
        found = rows.loc[("broken", predictor)]
        assert found["difference"] == pytest.approx(found["value"] - rows.loc[("default", predictor), "value"])
        assert found["difference_low"] < found["difference"] < found["difference_high"] < 0
        assert found["p_holm"] < 0.05
    assert rows.loc[("same", "fused"), "difference"] == 0
    assert rows.loc[("same", "fused"), "p_holm"] == 1
    assert table.loc[table["metric"] != "spearman", "p"].isna().all()
    text = printed(table).markdown()
    assert text.count("noise for a skeleton") == 2
    assert text.index("fused score") < text.index("score of skeleton")


def test_variants_that_other_clips_judged_are_not_compared():
    default = judged()
    other = default.assign(fold=(default["fold"] + 1) % 3)
    with pytest.raises(DataError, match="other folds"):
        ablation_table(default, [Variant("v", "v", VdvConfig(), ())], {"v": other}, 10, 10)


def test_a_run_is_trained_judged_and_taken_apart(tmp_path: Path, monkeypatch):
    """Two variants only; which there are is tested above."""
    workspace = str(tmp_path / "ws")
    assemble(workspace, [make_batch(tmp_path / "ws", speed_decides(16), modalities=("pose", "scene"))], "datasets/one")
    config = replace(ONE_EPOCH, inner_folds=2)
    train_fusion(workspace, "datasets/one", "runs/one", config, CPU)
    judge_training(workspace, "datasets/one", "runs/one", CPU, "kfold", 2)
    score_clips(workspace, "datasets/one", "runs/one", CPU)
    evaluate_run(workspace, "datasets/one", "runs/one")
    folder = tmp_path / "ws/runs/one"
    metrics = json.loads((folder / "metrics.json").read_text())["folds"]
    assert (metrics["protocol"], metrics["folds"], metrics["clips"]) == ("kfold", 2, 16)
    assert set(metrics["predictors"]) == {"fused", "skeleton", "scene"}
    assert {row["name"] for row in metrics["table"]} >= {"score", "baseline_trees_pose", "fusion_mean", "chance"}
    assert "\\toprule" in (folder / "table.tex").read_text()
    assert "ExtraTrees" in (folder / "table.md").read_text()

    monkeypatch.setattr("pipeline.ablations.variants", lambda config: variants(config)[-2:])
    told: list[tuple[int, int]] = []
    run_ablations(workspace, "datasets/one", "runs/one", CPU, progress=lambda *at: told.append(at))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    table = pd.read_parquet(folder / "ablations.parquet")
    assert set(table["variant"]) == {"default", "reliability_fusion", "mean_fusion"}
    fused = table[(table["predictor"] == "fused") & (table["metric"] == "spearman")].set_index("variant")
    default = metrics["predictors"]["fused"]["mean"]["spearman"]
    assert fused.loc["default", "value"] == pytest.approx(default)
    # The same encoders, so what the table of rivals has of these fusions is what training them anew gives.
    rivals = {row["name"]: row["spearman"][0] for row in metrics["table"]}
    assert fused.loc["mean_fusion", "value"] == pytest.approx(rivals["fusion_mean"])
    assert fused.loc["reliability_fusion", "value"] == pytest.approx(rivals["fusion_reliability"])
    assert "detectable" in (folder / "ablations.md").read_text().lower()


def test_a_run_that_no_folds_judged_cannot_be_taken_apart(tmp_path: Path):
    workspace = str(tmp_path / "ws")
    clips = [replace(clip, creator="ann") for clip in speed_decides(6)]
    assemble(workspace, [make_batch(tmp_path / "ws", clips, modalities=("scene",))], "datasets/one")
    train_fusion(workspace, "datasets/one", "runs/one", replace(ONE_EPOCH, inner_folds=2), CPU)
    judge_training(workspace, "datasets/one", "runs/one", CPU, "kfold", 2)
    score_clips(workspace, "datasets/one", "runs/one", CPU)
    evaluate_run(workspace, "datasets/one", "runs/one")
    found = json.loads((tmp_path / "ws/runs/one/metrics.json").read_text())["folds"]
    assert found["clips"] == 0
    assert "at least two" in found["reason"]
    assert not (tmp_path / "ws/runs/one/folds.parquet").exists()
    with pytest.raises(DataError, match="not judged by folds"):
        run_ablations(workspace, "datasets/one", "runs/one", CPU)
