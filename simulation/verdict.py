"""What a run on a simulated world could have reached."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.core import storage
from pipeline.dataset.assemble import read_table
from pipeline.dataset.labels import TEST
from pipeline.runs.files import FOLDS, SCORES
from simulation.ceiling import mean_spearman
from simulation.truth import read_clips_truth


def ceiling_of_run(worlds: Sequence[str], run: str) -> float:
    """Mean Spearman within a challenge of the best possible predictor, on the clips that the run is judged by.

    It knows what a clip shows, as the model may; where the label still holds followers and age (`likes`), it knows
    less than all of the label, as the model does.

    Args:
        worlds: folders with a truth.
        run: path of the run's folder.
    """
    truth = pd.concat([read_clips_truth(Path(world)) for world in worlds])
    folds = storage.join(run, FOLDS)
    if storage.exists(folds):
        said = read_table(folds)
    else:
        said = read_table(storage.join(run, SCORES))
        said = said[said["split"] == TEST]
    said = said[said["score"].notna()].merge(truth[["clip_id", "content"]], on="clip_id")
    return mean_spearman(said["content"], said["label"], said["challenge"])
