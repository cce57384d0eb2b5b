"""Calibration curve: expected against actual percentiles, of creators that the models never saw."""

import numpy as np
import pandas as pd

from pipeline.scoring.intervals import expected_without_fold

BINS = 10
CLIPS = 16  # a bin at least: the mean of fewer is too uncertain


def calibration(unseen: pd.DataFrame, level: float) -> list[dict]:
    """Bins of about as many clips each, by expected percentile: `expected` and `actual` mean percentile, `n`.

    unseen: as intervals.calibrate takes it.
    """
    expected = expected_without_fold(unseen, level)["expected_percentile"]
    known = expected.reindex(unseen.index).dropna().sort_values(kind="stable")
    bins = min(BINS, len(known) // CLIPS)
    return [
        {
            "expected": float(known.loc[rows].mean()),
            "actual": float(unseen.loc[rows, "percentile"].mean()),
            "n": len(rows),
        }
        for rows in (np.array_split(known.index.to_numpy(), bins) if bins else [])
    ]
