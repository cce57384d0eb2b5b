"""Comparison of the model with everything that it must beat, on a simulated world that nothing was trained on.

    python -m benchmarks.models --folder FOLDER --workers 2           # renders and extracts 256 clips where missing
    python -m benchmarks.models --folder FOLDER --workers 2 --ablations
    python -m benchmarks.models --folder FOLDER --workers 2 --world benchmarks/worlds/unequal.toml

Five folds by creator, the same for every seed. Prints the table of docs/evaluation.md (each modality alone, other
fusions, predictors without a network; of the default world, also the model on permuted labels) and the coverage of the
scores' intervals; with --ablations, the table of the model without one of its ideas at a time. Trainings are kept
beside the workspace: an interrupted benchmark goes on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace

import pandas as pd
import torch

from benchmarks.common import save, table
from benchmarks.world import ExtractedWorld, add_world_options, checkpoint_folder, extracted_world, ranking
from benchmarks.world_checks import hidden_modalities
from models.device import resolve_device
from models.virality.config import VdvConfig
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation import ablations, tables
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.metrics.significance import PRIMARY
from pipeline.scoring.intervals import coverage
from simulation.render import read_options
from simulation.truth import read_clips_truth

# Columns of the cross-validation that the fused score must beat.
MUST_BEAT = ("score_pose", "score_appearance", "score_face", "score_scene", "baseline_boosting_means",
             "baseline_ridge_all", "baseline_trees_all", "fusion_networks", "fusion_mean",
             "fusion_concatenation")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_world_options(parser)
    parser.add_argument("--seeds", type=int, default=3, help="trainings, of the same folds")
    parser.add_argument("--ablations", action="store_true", help="variants of the model instead of its baselines")
    parser.add_argument("--variants", nargs="+", default=[], help="of the ablations, these alone")
    options = parser.parse_args()
    world = extracted_world(options)
    trainer = Trainer(world, options)
    about = {"world": asdict(read_options(world.folder)), "profile": options.profile, "folds": options.folds,
             "seeds": options.seeds}  # fmt: skip
    if options.ablations:
        results, name = compare_ablations(trainer, options.seeds, options.variants), "ablations"
    else:
        results, name = compare_model(trainer, options.seeds, permuted=not options.world), "models"
    save(f"{name}-{options.world.stem}" if options.world else name, about | results)


class Trainer:
    """Cross-validates configurations on one world, each once."""

    def __init__(self, world: ExtractedWorld, options: argparse.Namespace):
        self.world = world
        self._device: torch.device = resolve_device(options.device)
        self._folds, self._workers = options.folds, options.workers
        self._checkpoints = checkpoint_folder(world.workspace)

    def cross_validate(
        self, config: VdvConfig, name: str, baselines: bool = False, permuted: bool = False
    ) -> pd.DataFrame:
        def progress(done: int, folds: int) -> None:
            print(f"{name}, seed {config.seed}: fold {done} of {folds}", flush=True)

        return cross_validate(
            DatasetFolder(self.world.workspace, self.world.dataset), config, self._device, self._folds, self._workers,
            progress, baselines=baselines, permuted=permuted, checkpoints=self._checkpoints, split_seed=0,
        )  # fmt: skip


def compare_model(trainer: Trainer, seeds: int, permuted: bool) -> dict:
    trainings = [
        trainer.cross_validate(VdvConfig(seed=seed), "the model and its baselines", baselines=True, permuted=permuted)
        for seed in range(seeds)
    ]
    world = trainer.world
    best = ranking(trainings[0], world.folder, world.workspace, world.dataset)["best_possible"]
    rows = tables.comparison_table(*trainings)
    print(tables.as_text(rows).markdown())
    print(f"the best possible predictor reaches {best:.3f} on these clips and labels")
    missed = not_beaten(rows)
    print(f"not beaten for sure: {', '.join(missed) or 'none of those that must be'}")
    coverages = [coverage(scores) for scores in trainings]
    print(table(
        [[seed, one["level"], one["share"], " to ".join(f"{end:.3f}" for end in one["share_95"]), one["by_creator"],
          one["mean_width"]] for seed, one in enumerate(coverages)],
        ["seed", "level", "clips within their interval", "95 %", "mean over creators", "mean width"],
    ))  # fmt: skip
    results = {"best_possible": best, "table": tables.as_json(rows), "not_beaten": missed, "coverage": coverages}
    truth = read_clips_truth(world.folder)
    if truth["hidden"].any():
        hidden = hidden_modalities(pd.concat(trainings), truth)
        print(table(hidden.to_numpy().tolist(), hidden.columns.tolist()))
        results["hidden"] = hidden.to_dict("records")
    return results


def not_beaten(rows: Sequence[tables.Row]) -> list[str]:
    """Titles of those in MUST_BEAT over which the interval of the model's lead does not lie above 0."""
    by_column = {row.predictor.column: row for row in rows}
    return [
        by_column[name].predictor.title
        for name in MUST_BEAT
        if not (difference := by_column[name].difference) or not difference.by_metric[PRIMARY].low > 0
    ]


def compare_ablations(trainer: Trainer, seeds: int, names: Sequence[str]) -> dict:
    chosen = ablations.choose_variants(VdvConfig(), names)
    configs = {ablations.DEFAULT: VdvConfig()} | {variant.name: variant.config for variant in chosen}
    trainings = {
        name: [trainer.cross_validate(replace(config, seed=seed), name) for seed in range(seeds)]
        for name, config in configs.items()
    }
    result = ablations.ablation_table(chosen, trainings)
    print(ablations.as_text(result).markdown())
    return {"table": result.astype(object).where(result.notna(), None).to_dict("records")}


if __name__ == "__main__":
    main()
