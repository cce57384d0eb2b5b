"""Ceiling of the ranking: the best correlation that any predictor of a simulated world's likes could reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.dataset.context import with_records
from pipeline.dataset.labels import ENGAGEMENT, TEST, LabelOptions, make_labels
from pipeline.runs.run import FOLDS, SCORES, Run
from simulation.truth import read_clips_truth


@dataclass(frozen=True)
class Ceilings:
    """Spearman within a challenge, averaged over challenges."""

    likes: float  # raw likes, by a predictor that knows all terms but the creator's effect and the noise
    likes_by_content: float  # raw likes, by a predictor that knows all that the clips show, and nothing else
    adjusted: float  # likes with followers, age and challenge taken out (the label `adjusted`), by what the clips show


def ceilings(truth: pd.DataFrame, manifest: pd.DataFrame) -> Ceilings:
    """Ceilings on the clips that a world's truth and manifest have in common.

    Args:
        truth: from simulation.truth.read_clips_truth.
        manifest: the world's manifest, with clip_id, likes, followers and uploaded_at.
    """
    joined = truth.merge(manifest[["clip_id", "likes", "followers", "uploaded_at"]], on="clip_id", validate="1:1")
    label = adjusted_label(joined)
    challenge = joined["challenge"]
    return Ceilings(
        likes=mean_spearman(joined["expected"], joined["likes"], challenge),
        likes_by_content=mean_spearman(joined["content"], joined["likes"], challenge),
        adjusted=mean_spearman(joined["content"], label, challenge),
    )


def ceiling_of_run(worlds: Sequence[str], run: Run) -> float:
    """Mean Spearman within a challenge of the best possible predictor, on the clips that the run is evaluated on.

    The predictor knows what a clip shows, as the model may; where the label still holds followers and age (`likes`), it
    knows less than all of the label, as the model does.

    worlds: folders with a truth.
    """
    truth = pd.concat([read_clips_truth(Path(world)) for world in worlds])
    if run.has(FOLDS):
        scores = run.read_table(FOLDS)
    else:
        scores = run.read_table(SCORES)
        scores = scores[scores["split"] == TEST]
    scores = scores[scores["score"].notna()].merge(truth[["clip_id", "content"]], on="clip_id")
    return mean_spearman(scores["content"], scores["label"], scores["challenge"])


def adjusted_label(clips: pd.DataFrame) -> np.ndarray:
    """The pipeline's own label `adjusted`, fitted on all of these clips: float64 [clips]."""
    whole = clips.reset_index(drop=True).reindex(columns=["clip_id", "challenge", "creator_id", "copies",
        "uploaded_at", "followers", "creator_likes", "creator_videos", "split", *ENGAGEMENT])  # fmt: skip
    return make_labels(with_records(whole), LabelOptions("adjusted", holdout=0)).label


def mean_spearman(predicted: pd.Series | np.ndarray, label: pd.Series | np.ndarray, challenge: pd.Series) -> float:
    """Mean over challenges of Spearman's rho; challenges where it is undefined are left out, NaN where all are."""
    table = pd.DataFrame({"p": np.asarray(predicted, float), "l": np.asarray(label, float), "c": np.asarray(challenge)})
    correlations = [
        float(stats.spearmanr(group["p"], group["l"]).statistic)
        for _, group in table.dropna().groupby("c")
        if group["p"].nunique() > 1 and group["l"].nunique() > 1
    ]
    return float(np.mean(correlations)) if correlations else float("nan")
