"""Ablations: each variant lacks one idea, all are evaluated on the run's folds, and differences are to the run."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.virality.config import VdvConfig
from models.virality.vdv import build_encoder
from pipeline.core.errors import DataError, OptionError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.ablations import Variant, ablation_table, as_text, choose_variants, run_ablations, variants
from pipeline.evaluation.evaluate import cross_validate_run, evaluate_run
from pipeline.metrics.ranking import METRICS
from pipeline.modalities.registry import find_modality
from pipeline.runs.run import Run
from pipeline.runs.train import train_fusion
from pipeline.scoring.scores import score_clips
from tests.pipeline.evaluation.test_tables import predictions
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.learnable_world import make_batch, speed_decides
from tests.support.whole_files import read_json

SPECS = {
    name: find_modality(name).input_spec(width)
    for name, width in (
        ("pose", None),
        ("appearance", 24),
        ("face", 8),
        ("scene", 16),
        ("audio", 20),
        ("synchrony", None),
    )
}


def test_every_variant_differs_from_the_run_in_what_it_says_and_can_be_built() -> None:
    config = VdvConfig()
    chosen = variants(config)
    assert len({variant.name for variant in chosen}) == len({variant.title for variant in chosen}) == len(chosen) > 10
    for variant in chosen:
        changed = [name for name, value in asdict(config).items() if asdict(variant.config)[name] != value]
        assert len(changed) == 1 or variant.name == "no_augmentation", changed
        for modality in variant.modalities:
            build_encoder(variant.config, SPECS[modality])


def test_a_run_without_a_modality_has_no_variants_of_it() -> None:
    names = {variant.name for variant in variants(VdvConfig(modalities=("scene",)))}
    assert "plain_tcn" in names
    assert not names & {"st_gcn", "no_pyramid", "no_levels"}
    assert "plain_tcn" not in {variant.name for variant in variants(VdvConfig(relations_after=()))}


def test_a_worse_variant_is_found_worse_and_the_table_says_by_how_much() -> None:
    default = predictions()
    rng = np.random.default_rng(9)
    worse = default.assign(score=rng.normal(size=len(default)), score_pose=rng.normal(size=len(default)))
    chosen = [
        Variant("broken", "noise for a skeleton", VdvConfig(), ("pose",)),
        Variant("same", "nothing", VdvConfig(), ()),
    ]
    table = ablation_table(chosen, {"default": [default], "broken": [worse], "same": [default]}, 200, 200)
    rows = table[table["metric"] == "spearman"].set_index(["variant", "predictor"])
    assert set(rows.index) == {
        ("default", "fused"), ("default", "pose"), ("default", "face"), ("broken", "fused"), ("broken", "pose"),
        ("same", "fused"),
    }  # fmt: skip
    for predictor in ("fused", "pose"):
        entry = rows.loc[("broken", predictor)]
        assert entry["difference"] == pytest.approx(entry["value"] - rows.loc[("default", predictor), "value"])
        assert entry["difference_low"] < entry["difference"] < entry["difference_high"] < 0
        assert entry["p_holm"] < 0.05
    assert rows.loc[("same", "fused"), "difference"] == 0
    assert rows.loc[("same", "fused"), "p_holm"] == 1
    assert table.loc[table["metric"] != "spearman", "p"].isna().all()
    text = as_text(table).markdown()
    assert text.count("noise for a skeleton") == 2
    assert text.index("fused score") < text.index("score of pose")
    assert "one seed" in text
    assert "sd" not in text
    assert table[["spread", "difference_spread"]].isna().all().all()


def test_trainings_of_several_seeds_give_their_mean_and_how_far_they_lie_apart() -> None:
    default = predictions()
    rng = np.random.default_rng(4)

    def noisier(frame: pd.DataFrame, noise: float) -> pd.DataFrame:
        return frame.assign(score=frame["score"] + noise * rng.normal(size=len(frame)))

    run = [default, noisier(default, 0.1), noisier(default, 0.2)]
    weak = [noisier(one, 2) for one in run]
    chosen = [Variant("weak", "noise", VdvConfig(), ())]
    table = ablation_table(chosen, {"default": run, "weak": weak}, 200, 200)
    rows = table.query("predictor == 'fused'").set_index(["variant", "metric"])
    alone = [
        ablation_table(chosen, {"default": [one], "weak": [other]}, 10, 10)
        .query("predictor == 'fused'")
        .set_index(["variant", "metric"])
        for one, other in zip(run, weak, strict=True)
    ]
    for metric in METRICS:
        values, differences = ([one.loc[("weak", metric), name] for one in alone] for name in ("value", "difference"))
        entry = rows.loc[("weak", metric)]
        assert entry["value"] == pytest.approx(np.mean(values))
        assert entry["spread"] == pytest.approx(np.std(values, ddof=1))
        assert entry["difference"] == pytest.approx(np.mean(differences))
        assert entry["difference_spread"] == pytest.approx(np.std(differences, ddof=1))
    assert rows.loc[("weak", "spearman"), "p"] < 0.05
    assert set(table["seeds"]) == {3}
    text = as_text(table)
    markdown = text.markdown()
    assert "3 seeds each" in markdown
    assert markdown.count("| sd of 3 seeds |") == 2
    assert f"| {rows.loc[('weak', 'spearman'), 'spread']:.3f} |" in markdown
    assert {len(row) for _, rows in text.sections for row in rows} == {len(text.header)}


def test_variants_that_other_clips_judged_are_not_compared() -> None:
    default = predictions()
    other = default.assign(fold=(default["fold"] + 1) % 3)
    with pytest.raises(DataError, match="other folds"):
        ablation_table([Variant("v", "v", VdvConfig(), ())], {"default": [default], "v": [default, other]}, 10, 10)
    with pytest.raises(DataError, match="default was judged on other folds"):
        ablation_table([], {"default": [default, other]}, 10, 10)


def test_some_of_the_ablations_can_be_chosen_and_a_name_that_is_none_is_refused() -> None:
    config = VdvConfig(modalities=("scene",))
    assert [variant.name for variant in choose_variants(config, ["no_huber", "lstm"])] == ["lstm", "no_huber"]
    assert choose_variants(config, []) == variants(config)
    with pytest.raises(OptionError, match=r"names no_hubre, st_gcn; this run has plain_tcn, .*no_huber"):
        choose_variants(config, ["no_hubre", "lstm", "st_gcn"])


def test_a_run_is_trained_judged_and_taken_apart(tmp_path: Path) -> None:
    """Some variants only; which there are is tested above."""
    workspace = str(tmp_path / "ws")
    assemble(
        DatasetFolder(workspace, "datasets/one"),
        [make_batch(tmp_path / "ws", speed_decides(16), modalities=("pose", "scene"))],
    )
    config = replace(ONE_EPOCH, ensemble=2)
    train_fusion(DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"), config, CPU)
    cross_validate_run(DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"), CPU, "kfold", 2)
    score_clips(DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"), CPU)
    evaluate_run(DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"))
    folder = tmp_path / "ws/runs/one"
    metrics = json.loads((folder / "metrics.json").read_text())["folds"]
    assert (metrics["protocol"], metrics["folds"], metrics["clips"]) == ("kfold", 2, 16)
    assert set(metrics["predictors"]) == {"fused", "pose", "scene"}
    assert {row["name"] for row in metrics["table"]} >= {"score", "baseline_trees_pose", "fusion_mean", "chance"}
    assert "\\toprule" in (folder / "table.tex").read_text()
    assert "ExtraTrees" in (folder / "table.md").read_text()

    calls: list[tuple[int, int]] = []
    folders = DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one")
    run_ablations(*folders, CPU, progress=lambda *at: calls.append(at),
                  names=["mean_pool", "no_huber"])  # fmt: skip
    assert calls == [(done, 4) for done in (0, 1, 2, 2, 3, 4)], "each variant begins where the one before it ended"
    table = pd.read_parquet(folder / "ablations.parquet")
    assert set(table["variant"]) == {"default", "mean_pool", "no_huber"}
    fused = table[(table["predictor"] == "fused") & (table["metric"] == "spearman")].set_index("variant")
    default = metrics["predictors"]["fused"]["mean"]["spearman"]
    assert fused.loc["default", "value"] == pytest.approx(default)
    assert "detectable" in (folder / "ablations.md").read_text().lower()
    about = read_json(folder / "ablations.json")
    assert set(about.pop("files")) == {"ablations.md", "ablations.tex"}
    assert about == {"seeds": 1, "variants": ["mean_pool", "no_huber"], "all": False}

    # The run's own training is the first seed's; only the other seed's is new.
    calls.clear()
    folders = DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one")
    run_ablations(*folders, CPU, progress=lambda *at: calls.append(at), seeds=2,
                  names=["no_huber"])  # fmt: skip
    assert calls == [(done, 6) for done in (0, 1, 2, 2, 3, 4, 4, 5, 6)]
    several = pd.read_parquet(folder / "ablations.parquet")
    again = several[(several["predictor"] == "scene") & (several["metric"] == "spearman")].set_index("variant")
    default = metrics["predictors"]["scene"]["mean"]["spearman"]
    other = 2 * again.loc["default", "value"] - default
    assert abs(other - default) > 1e-3
    assert again.loc["default", "spread"] == pytest.approx(np.std([default, other], ddof=1))
    assert json.loads((folder / "ablations.json").read_text())["seeds"] == 2


def test_a_run_that_no_folds_judged_cannot_be_taken_apart(tmp_path: Path) -> None:
    workspace = str(tmp_path / "ws")
    clips = [replace(clip, creator="ann") for clip in speed_decides(6)]
    assemble(DatasetFolder(workspace, "datasets/one"), [make_batch(tmp_path / "ws", clips, modalities=("scene",))])
    train_fusion(
        DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"), replace(ONE_EPOCH, ensemble=2), CPU
    )
    cross_validate_run(DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"), CPU, "kfold", 2)
    score_clips(DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"), CPU)
    evaluate_run(DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"))
    entry = json.loads((tmp_path / "ws/runs/one/metrics.json").read_text())["folds"]
    assert entry["clips"] == 0
    assert "at least two" in entry["reason"]
    assert not (tmp_path / "ws/runs/one/folds.parquet").exists()
    with pytest.raises(DataError, match="not judged by folds"):
        run_ablations(DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one"), CPU)
