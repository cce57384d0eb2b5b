"""What a run on a simulated world could have reached."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.dataset import read_table
from pipeline.labels import TEST
from pipeline.simulation.ceiling import mean_spearman
from pipeline.simulation.truth import read_clips_truth


def ceiling_of_scores(worlds: Sequence[str], scores: str) -> float:
    """Mean Spearman within a challenge of the best possible predictor, on the test clips of a run that have a score.

    It knows what a clip shows, as the model may; where the label still holds followers and age (`likes`), it knows
    less than all of the label, as the model does.

    Args:
        worlds: folders with a truth.
        scores: path of the run's scores.parquet.
    """
    truth = pd.concat([read_clips_truth(Path(world)) for world in worlds])
    said = read_table(scores)
    said = said[(said["split"] == TEST) & said["score"].notna()].merge(truth[["clip_id", "content"]], on="clip_id")
    return mean_spearman(said["content"], said["label"], said["challenge"])
