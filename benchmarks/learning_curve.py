"""How the model and everything that it must beat grow with the clips, on a thin world (benchmarks.thin_world).

    python -m benchmarks.learning_curve --folder F --workers 2                   # F: 4,608 clips, made beforehand
    python -m benchmarks.learning_curve --folder F --sizes 96 256 --deals 3

About 512 clips of creators drawn once are judged by trainings on the clips of others: of each deal 96, then 256, 1,024
and 4,096, each with those before among them. Prints a table a size, means over the deals, with the score's lead over
each predictor (95 % interval: bootstrap over the judged creators). Likes are adjusted as the largest training adjusts
them.
Trainings are kept beside the workspace: an interrupted benchmark goes on.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import save, table
from benchmarks.models import MUST_BEAT, not_beaten
from benchmarks.world import checkpoint_folder, newest_dataset
from models.device import resolve_device
from models.virality.config import VdvConfig
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation import tables
from pipeline.evaluation.cross_validation import score_folds
from pipeline.evaluation.protocol import Fold, clip_groups
from pipeline.metrics.significance import PRIMARY
from simulation.render import read_options

TESTED = 512  # clips, about
SIZES = (96, 256, 1024, 4096)
# A size is lost where a rival is ahead for sure, or the mean of the lead is below this.
LEAST_LEAD = -0.005


def nested_folds(clips: pd.DataFrame, sizes: Sequence[int], deals: int) -> list[Fold]:
    """Folds by deal, then size, of the same tested clips; those of a deal train on ever more clips.

    clips: as DatasetFolder.read_clips gives it. A size that there are not clips enough for takes all.
    """
    groups = clip_groups(clips)
    usable = (clips["label"].notna() & (clips["status"] != "failed")).to_numpy(bool)

    def rows_of(order: np.ndarray, count: int) -> np.ndarray:
        """Rows of the first groups of an order that hold so many usable clips."""
        held = np.cumsum([int(usable[groups == group].sum()) for group in order])
        chosen = order[: int(np.searchsorted(held, count)) + 1]
        return np.flatnonzero(usable & np.isin(groups, chosen))

    everyone = np.unique(groups[usable])
    tested = rows_of(np.random.default_rng(0).permutation(everyone), TESTED)
    others = np.setdiff1d(everyone, groups[tested])
    return [
        Fold(f"deal {deal}, {size} clips", rows_of(np.random.default_rng(deal + 1).permutation(others), size), tested)
        for deal in range(deals)
        for size in sizes
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of the thin world")
    parser.add_argument("--workspace", help="default: FOLDER-workspace")
    parser.add_argument("--dataset", help="in the workspace, relative; default: the newest")
    parser.add_argument("--name", default="default", help="of the world, in the results")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--deals", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    options = parser.parse_args()
    workspace = options.workspace or f"{options.folder}-workspace"
    dataset = DatasetFolder(workspace, options.dataset or newest_dataset(workspace))
    sizes = sorted(options.sizes)
    folds = nested_folds(dataset.read_clips(), sizes, options.deals)
    start = time.perf_counter()

    def progress(done: int, of: int) -> None:
        print(f"{done} of {of} trainings, {time.perf_counter() - start:.0f} s", flush=True)

    frames = score_folds(
        dataset, folds, VdvConfig(), resolve_device(options.device), options.workers, progress, baselines=True,
        checkpoints=checkpoint_folder(workspace),
    )  # fmt: skip
    results = {}
    for place, size in enumerate(sizes):
        judged = [frame.assign(label=frames[len(sizes) - 1]["label"]) for frame in frames[place :: len(sizes)]]
        results[f"{options.name}, {size} clips, {options.deals} deals"] = evaluate_size(
            judged, [len(fold.train) for fold in folds[place :: len(sizes)]]
        )
    save("learning-curve", {f"world {options.name}": asdict(read_options(options.folder)), **results}, keep_others=True)


def evaluate_size(trainings: Sequence[pd.DataFrame], trained: Sequence[int]) -> dict:
    """Table of trainings of one size; prints it."""
    rows = tables.comparison_table(*trainings)
    shown = []
    for row in rows:
        if row.predictor.column in ("score", *MUST_BEAT, "fusion_statistics", "fusion_no_gates"):
            lead = row.difference.by_metric[PRIMARY] if row.difference else None
            text = tables.estimate_text(lead.value, lead.low, lead.high, sign=True) if lead else ""
            shown.append([row.predictor.title, row.metrics[PRIMARY].value, text])
    print(f"{np.mean(trained):.0f} clips", table(shown, ["", "Spearman", "the model's lead (95 %)"]), sep="\n")
    behind = {
        row.predictor.title: round(lead.value, 4)
        for row in rows
        if row.difference
        for lead in [row.difference.by_metric[PRIMARY]]
        if lead.high < 0 or lead.value < LEAST_LEAD
    }
    print(f"behind: {behind or 'no row of its table'}; not ahead for sure of: {', '.join(not_beaten(rows)) or 'none'}")
    return {
        "trained": list(trained), "tested": len(trainings[0]), "table": tables.as_json(rows), "behind": behind,
        "not_beaten": not_beaten(rows),
    }  # fmt: skip


if __name__ == "__main__":
    main()
