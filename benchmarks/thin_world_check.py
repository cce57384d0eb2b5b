"""How far a thin world scores as an extracted one: the same clips, labels and folds, cross-validated on both.

    python -m benchmarks.thin_world_check --measured WORLD --thin F       # both of the same seed and number of clips

Prints the Spearman of the score and of each modality, out of fold, from whole films (WORLD, benchmarks.world) and from
a few pictures and made skeletons (F, benchmarks.thin_world), and their difference with its 95 % interval over creators:
with the label, and with what it holds of the clip (the score with all of the content, a modality with its own term),
which is the finer test, for the likes' noise is the same in both worlds and favours one of them by chance. Trainings
are kept beside the workspaces: an interrupted check goes on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.common import save, table
from benchmarks.world import checkpoint_folder, newest_dataset
from models.virality.config import VdvConfig
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.evaluation.tables import clips_of, on_one_scale
from pipeline.metrics.significance import PRIMARY, RESAMPLES, compare, draw_creators, estimate
from simulation.truth import read_clips_truth

SCORE = "score"
# By modality: the column of the truth that its score should follow.
TERMS = {"pose": "likes_skill", "appearance": "likes_look", "face": "likes_expression", "scene": "likes_scene"}
LIMIT = 0.02  # a thin world stands for an extracted one where the score's Spearman differs by no more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, required=True)
    parser.add_argument("--measured-workspace", help="default: MEASURED-workspace")
    parser.add_argument("--thin", type=Path, required=True)
    parser.add_argument("--thin-workspace", help="default: THIN-workspace")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=None, help="of the networks; for a quick look")
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
    if not sides[0][0][["clip_id", "label"]].equals(sides[1][0][["clip_id", "label"]]):
        raise SystemExit("the two worlds are not of the same clips and likes")
    rows = differences(sides[0], sides[1], read_clips_truth(options.measured))
    print(table([list(row.values()) for row in rows], list(rows[0])))
    off = max(abs(row["difference"]) for row in rows if row["score"] == SCORE)
    print(f"the score differs by {off:.3f} at most; {LIMIT} is not to be passed")
    about = {"clips": len(sides[0][0]), "folds": options.folds, "seeds": options.seeds, "epochs": options.epochs}
    save("thin-world", about | {"table": rows})


def differences(whole: Sequence[pd.DataFrame], thin: Sequence[pd.DataFrame], truth: pd.DataFrame) -> list[dict]:
    """Rows of the table. whole, thin: frames of cross_validate, of as many trainings; truth: simulation.truth's."""
    labelled = clips_of(whole[0])
    draws = draw_creators(labelled.group, RESAMPLES)
    truth = truth.set_index("clip_id").loc[whole[0]["clip_id"]]
    rows = []
    for name in (SCORE, *(f"{SCORE}_{modality}" for modality in TERMS)):
        shown = TERMS.get(name.removeprefix(f"{SCORE}_"), "content")
        clear = replace(labelled, label=truth[shown].to_numpy(float))
        scores = [np.stack([on_one_scale(one, name) for one in side]) for side in (whole, thin)]
        for clips, of in ((labelled, "label"), (clear, shown)):
            spearman = [estimate(clips, score, draws)[PRIMARY].value for score in scores]
            gap = compare(clips, scores[1], scores[0], draws).by_metric[PRIMARY]
            values = dict(zip(("whole", "thin", "difference", "low", "high"),
                              (*spearman, gap.value, gap.low, gap.high), strict=True))  # fmt: skip
            rows.append({"score": name, "of": of, **{key: round(float(value), 4) for key, value in values.items()}})
    return rows


if __name__ == "__main__":
    main()
