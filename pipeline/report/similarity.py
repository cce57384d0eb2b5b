"""Visual similarity of clips, small enough for the page: each clip's embeddings as a few whole numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

SIZE = 16  # numbers a clip at most
CLEARLY = 0.2  # of a challenge's clips that a better one stands above ours: closer ranks are the score's noise
_LARGEST = 127  # of int8
_ROWS = 512  # compared at once


def projected(embeddings: Mapping[str, np.ndarray]) -> np.ndarray:
    """int8 [N, E] whose cosines are about those of the modalities' embeddings side by side; 0 where a clip has none.

    The first SIZE principal directions, without the mean taken out once more, for that would change the cosines. Each
    row is scaled by itself to fill the numbers.

    embeddings: by modality float32 [N, D], NaN rows where the clip lacks the modality (pipeline.scoring.embeddings).
    """
    if not embeddings:
        return np.zeros((0, 0), np.int8)
    rows = np.nan_to_num(np.concatenate(list(embeddings.values()), axis=1)).astype(np.float64)
    # Of the small square matrix: the same directions as by SVD of the tall one, in a fraction of the time.
    values, directions = np.linalg.eigh(rows.T @ rows)
    kept = np.argsort(values)[::-1][:SIZE]
    small = rows @ directions[:, kept[values[kept] > 1e-9 * max(values.max(initial=0), 1e-9)]]
    largest = np.abs(small).max(1, keepdims=True, initial=0)
    scaled = np.divide(small, largest, out=np.zeros_like(small), where=largest > 1e-6)
    return np.round(scaled * _LARGEST).astype(np.int8)


def nearest_better(vectors: np.ndarray, challenge: np.ndarray, percentile: pd.Series) -> np.ndarray:
    """int64 [N]: the most similar clip among the clearly better ranked ones of the challenge; -1: none.

    vectors: [N, E] as `projected` gives them. percentile: [N] 0..1 of the score within the challenge; NaN: no score.
    """
    nearest = np.full(len(vectors), -1, np.int64)
    place = percentile.to_numpy(float, na_value=np.nan)
    size = np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    unit = vectors / np.maximum(size, 1e-9)
    for name in np.unique(challenge):
        members = np.flatnonzero((challenge == name) & np.isfinite(place))
        for first in range(0, len(members), _ROWS):
            rows = members[first : first + _ROWS]
            similarity = unit[rows] @ unit[members].T
            similarity[place[members][None, :] < place[rows][:, None] + CLEARLY] = -np.inf
            best = similarity.argmax(1)
            exists = np.isfinite(similarity[np.arange(len(rows)), best])
            nearest[rows[exists]] = members[best[exists]]
    return nearest
