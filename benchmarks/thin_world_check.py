"""How far a thin world scores as an extracted one: the same clips, labels and folds, cross-validated on both.

    python -m benchmarks.thin_world_check --measured WORLD --thin F       # both of the same seed and number of clips

Prints the Spearman of the score and of each modality, out of fold, from whole films (WORLD, benchmarks.world) and from
a few pictures and made skeletons (F, benchmarks.thin_world), and their difference with its 95 % interval over creators.
Trainings are kept beside the workspaces: an interrupted check goes on.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import save, table
from benchmarks.world import checkpoint_folder, newest_dataset
from models.virality.config import VdvConfig
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.evaluation.tables import clips_of, on_one_scale
from pipeline.metrics.significance import PRIMARY, compare, draw_creators, estimate

LIMIT = 0.02  # a thin world stands for an extracted one where the score's Spearman differs by no more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, required=True)
    parser.add_argument("--measured-workspace", help="default: MEASURED-workspace")
    parser.add_argument("--thin", type=Path, required=True)
    parser.add_argument("--thin-workspace", help="default: THIN-workspace")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=VdvConfig().epochs, help="of the networks; for a quick look")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    workspaces = (
        options.measured_workspace or f"{options.measured}-workspace",
        options.thin_workspace or f"{options.thin}-workspace",
    )
    sides = []
    for workspace in workspaces:
        dataset = DatasetFolder(workspace, newest_dataset(workspace))
        sides.append(
            [
                cross_validate(
                    dataset, VdvConfig(seed=seed, epochs=options.epochs), torch.device("cpu"), options.folds,
                    checkpoints=checkpoint_folder(workspace), split_seed=0,
                )
                for seed in range(options.seeds)
            ]
        )  # fmt: skip
    whole, thin = sides
    if not whole[0][["clip_id", "label"]].equals(thin[0][["clip_id", "label"]]):
        raise SystemExit("the two worlds are not of the same clips and likes")
    clips = clips_of(whole[0])
    draws = draw_creators(clips.group, 1000)
    rows = []
    for name in (column for column in whole[0] if column.startswith("score")):
        scores = [np.stack([on_one_scale(one, name) for one in side]) for side in sides]
        spearman = [estimate(clips, score, draws)[PRIMARY].value for score in scores]
        difference = compare(clips, scores[1], scores[0], draws).by_metric[PRIMARY]
        rows.append([name, *spearman, difference.value, difference.low, difference.high])
    print(table(rows, ["score", "whole films", "thin", "difference", "from", "to"]))
    off = abs(rows[0][3])
    print(f"the score differs by {off:.3f}; at most {LIMIT} is to be reached")
    names = ("score", "whole", "thin", "difference", "low", "high")
    rounded = [[row[0], *(round(float(value), 4) for value in row[1:])] for row in rows]
    about = {"clips": len(whole[0]), "folds": options.folds, "seeds": options.seeds, "epochs": options.epochs}
    save("thin-world", about | {"table": [dict(zip(names, row, strict=True)) for row in rounded]})


if __name__ == "__main__":
    main()
