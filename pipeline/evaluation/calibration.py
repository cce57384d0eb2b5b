"""Whether clips end up where they are expected: expected against actual percentiles, of creators never seen."""

import numpy as np
import pandas as pd

from pipeline.dataset.folds import deal_folds
from pipeline.scoring.intervals import calibrate

BINS = 10
CLIPS = 16  # a bin at least: a mean of fewer says nothing
_PARTS = 5  # that creators are dealt into where the clips were not judged by folds


def calibration(judged: pd.DataFrame, level: float) -> list[dict]:
    """Bins of about as many clips each, by what was expected of them: `expected` and `actual` mean percentile, `n`.

    A clip is expected to be where the score of a model that did not see it stands, on a map that was fitted without
    its fold (without its creator, where there is one fold): on its own clips an isotonic map is always calibrated.
    """
    judged = judged[judged["score"].notna() & judged["percentile"].notna()]
    if judged.empty:
        return []
    if "fold" in judged and judged["fold"].nunique() > 1:
        part = judged["fold"].to_numpy()
    else:
        part = deal_folds(judged["group"].to_numpy(), judged["challenge"].tolist(), _PARTS)
    expected = pd.Series(np.nan, index=judged.index)
    for at in np.unique(part):
        tested = judged[part == at]
        said = calibrate(judged[part != at], level).expect(tested["challenge"], tested["score"])
        expected[tested.index] = said["expected_percentile"]
    known = expected.dropna().sort_values(kind="stable")
    bins = min(BINS, len(known) // CLIPS)
    return [
        {
            "expected": float(known.loc[rows].mean()),
            "actual": float(judged.loc[rows, "percentile"].mean()),
            "n": len(rows),
        }
        for rows in (np.array_split(known.index.to_numpy(), bins) if bins else [])
    ]
