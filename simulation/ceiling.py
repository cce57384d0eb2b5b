"""How well anybody could rank a world's clips: what is left when all but chance is known."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.dataset.labels import ENGAGEMENT, LabelOptions, make_labels


@dataclass(frozen=True)
class Ceilings:
    """Spearman within a challenge, averaged over challenges."""

    likes: float  # raw likes, by one who knows all terms but the creator's effect and the noise
    likes_by_content: float  # raw likes, by one who knows all that the clips show, and nothing else
    adjusted: float  # likes with followers, age and challenge taken out (the label `adjusted`), by what the clips show


def ceilings(truth: pd.DataFrame, manifest: pd.DataFrame) -> Ceilings:
    """Of the clips that a world's truth and manifest both have.

    Args:
        truth: as simulation.truth.read_clips_truth gives it.
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


def adjusted_label(clips: pd.DataFrame) -> np.ndarray:
    """float64 [clips]: the pipeline's own label `adjusted`, fitted on all clips given."""
    whole = clips.reset_index(drop=True).reindex(columns=["clip_id", "challenge", "creator_id", "copies",
        "uploaded_at", "followers", "split", *ENGAGEMENT])  # fmt: skip
    return make_labels(whole, LabelOptions("adjusted", holdout=0)).label


def mean_spearman(predicted: pd.Series | np.ndarray, label: pd.Series | np.ndarray, challenge: pd.Series) -> float:
    """Mean over challenges of Spearman's rho; challenges where it is not defined are left out, NaN where all are."""
    table = pd.DataFrame({"p": np.asarray(predicted, float), "l": np.asarray(label, float), "c": np.asarray(challenge)})
    table = table.dropna()
    found = [
        float(stats.spearmanr(group["p"], group["l"]).statistic)
        for _, group in table.groupby("c")
        if group["p"].nunique() > 1 and group["l"].nunique() > 1
    ]
    return float(np.mean(found)) if found else float("nan")
