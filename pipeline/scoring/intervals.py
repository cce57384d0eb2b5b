"""From a score to the percentile expected of a clip within its challenge, with an interval that holds for new creators.

The interval is conformal: as wide as the errors on clips that neither encoders nor fusion had seen. A creator's clips
are alike, so a creator counts once, however many clips there are: hierarchical conformal prediction (Lee, Barber and
Willett, "Distribution-free inference with hierarchical data", 2023, arXiv 2306.06342). Packages at hand count clips
(MAPIE's groups divide cross-validation only). The errors are those of the folds' models, the interval is put around
another, which learned from all training clips: what Barber et al. ("Predictive inference with the jackknife+", 2021)
call K-fold CV. That has no guarantee of its own, so `coverage` measures what it is worth.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression

from pipeline.core import storage
from pipeline.dataset.assemble import read_table
from pipeline.dataset.folds import deal_folds
from pipeline.runs.files import FOLDS, FOLDS_ABOUT, HELD_OUT, RUN

LEVEL = 0.8  # share of new creators' clips that an interval is to hold
_PARTS = 5  # that creators are dealt into where the clips come from one fold


@dataclass(frozen=True)
class Calibration:
    """How one run's scores are read."""

    level: float
    half_width: float  # of the interval, in percentiles 0..1; 1: too few creators to say anything
    centre: Mapping[str, float]  # by challenge: the mean score of its clips, a creator counting once
    score: np.ndarray  # float64 [S] ascending, above the centre: the corners of the map, straight between them
    percentile: np.ndarray  # float64 [S] 0..1, never falling
    clips: int  # that it was made from
    creators: int

    def expect(self, challenge: pd.Series, score: pd.Series) -> pd.DataFrame:
        """What is to be expected of clips with these scores; indexed as they are.

        Returns:
            expected_percentile, low, high: float64, 0..1, NaN where there is no score or the challenge is not known.
        """
        above = score.astype("float64") - challenge.map(self.centre).astype("float64")
        expected = np.interp(above, self.score, self.percentile) if len(self.score) else np.full(len(above), np.nan)
        ends = {"low": expected - self.half_width, "high": expected + self.half_width}
        found = {"expected_percentile": expected} | {name: np.clip(end, 0, 1) for name, end in ends.items()}
        return pd.DataFrame(found, index=score.index)


def calibrate(judged: pd.DataFrame, level: float = LEVEL) -> Calibration:
    """Reads off clips held out what a score is worth.

    An isotonic regression of the percentile on the score above the challenge's centre, for a model's scores of a whole
    challenge may all be high or low. The half width is a quantile of the absolute errors; of each clip it is the error
    of a map that was fitted without the clip's fold (its creator, where there is one fold).

    Args:
        judged: one row a clip: challenge; group (int, one a creator); percentile 0..1 of the label; score of a model
            that did not see the creator (NaN: abstained, left out); fold (which model; without it, all of one).
        level: above 0, below 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} must be above 0 and below 1")
    judged, part = _with_parts(judged)
    errors = pd.Series(np.nan, index=judged.index)
    for at in np.unique(part):
        tested = judged[part == at]
        fitted = _fit(judged[part != at], level, 1.0)
        errors[tested.index] = (tested["percentile"] - _expected(fitted, tested)).abs()
    half_width = quantile_by_creator(errors.to_numpy(float), judged["group"].to_numpy(), level)
    return _fit(judged, level, min(half_width, 1.0))


def quantile_by_creator(errors: np.ndarray, group: np.ndarray, level: float) -> float:
    """The smallest bound that a clip of a new creator stays within with a chance of `level`; inf: no error does.

    Each of K creators weighs 1 / (K + 1), shared among the clips; the last 1 / (K + 1) is the new creator's and counts
    as infinite (Lee et al. 2023, split conformal for hierarchical data).

    errors: float64 [N], at least 0, NaN is left out. group: int [N].
    """
    group, errors = group[~np.isnan(errors)], errors[~np.isnan(errors)]
    creators, at, clips = np.unique(group, return_inverse=True, return_counts=True)
    weight = 1 / (len(creators) + 1) / clips[at]
    order = np.argsort(errors)
    # Sums of equal shares miss round levels by the last bit.
    enough = np.flatnonzero(np.cumsum(weight[order]) >= level - 1e-12)
    return float(errors[order][enough[0]]) if len(enough) else float("inf")


def coverage(judged: pd.DataFrame, level: float = LEVEL) -> dict:
    """How often the interval holds: each fold's clips, with intervals calibrated on the other folds alone.

    Where there is one fold, the creators dealt into five parts take the folds' place.

    Returns:
        level; clips and creators looked at; share of the clips within their interval and share_95, its exact binomial
        interval (Clopper and Pearson 1934; clips as if independent); by_creator, the mean over creators, which is what
        the level promises; mean_width, 0..1. Where nothing can be measured the numbers are None, and `reason` says why.
    """
    judged, part = _with_parts(judged)
    found = []
    for at in np.unique(part):
        tested = judged[part == at]
        found.append(calibrate(judged[part != at], level).expect(tested["challenge"], tested["score"]))
    ends = pd.concat(found).dropna() if found else pd.DataFrame()
    result: dict = {"level": level, "clips": len(ends), "creators": 0}
    if ends.empty:
        nothing = dict.fromkeys(("share", "share_95", "by_creator", "mean_width"))
        return result | nothing | {"reason": "no challenge has clips of two creators that were held out"}
    percentile, group = judged["percentile"].loc[ends.index], judged["group"].loc[ends.index]
    held = (percentile >= ends["low"]) & (percentile <= ends["high"])
    bounds = binomtest(int(held.sum()), len(held)).proportion_ci(0.95, method="exact")
    return result | {
        "creators": int(group.nunique()),
        "share": float(held.mean()),
        "share_95": [float(bounds.low), float(bounds.high)],
        "by_creator": float(held.groupby(group).mean().mean()),
        "mean_width": float((ends["high"] - ends["low"]).mean()),
    }


def coverage_of_run(workspace: str, run_dir: str) -> dict:
    """`coverage` at the run's level, and `from`: where its clips come from, see `read_judged`."""
    judged, source = read_judged(workspace, run_dir)
    run = json.loads(storage.read_bytes(storage.join(workspace, run_dir, RUN)))
    return coverage(judged, run["interval_level"]) | {"from": source}


def read_judged(workspace: str, run_dir: str) -> tuple[pd.DataFrame, str]:
    """The run's clips that were scored unseen, as `calibrate` takes them, with clip_id; and where they come from.

    `folds`: folds.parquet, where there are folds by creator (of other protocols few clips are judged, or challenges
    that the fold's model never saw). Else `held_out`: what the fusion was trained on, scores of encoders that did not
    see the clip; the fusion did, so they flatter it a little.
    """
    about = storage.join(workspace, run_dir, FOLDS_ABOUT)
    if storage.exists(about):
        said = json.loads(storage.read_bytes(about))
        if said["protocol"] == "kfold" and said["clips"]:
            return read_table(storage.join(workspace, run_dir, FOLDS)), "folds"
    return read_table(storage.join(workspace, run_dir, HELD_OUT)), "held_out"


def _fit(judged: pd.DataFrame, level: float, half_width: float) -> Calibration:
    weight = 1 / judged.groupby("group")["group"].transform("size")
    total = (judged["score"] * weight).groupby(judged["challenge"]).sum()
    centre = total / weight.groupby(judged["challenge"]).sum()
    scores, percentiles = np.zeros(0), np.zeros(0)
    if len(judged):
        above = judged["score"] - judged["challenge"].map(centre)
        isotonic = IsotonicRegression(y_min=0, y_max=1).fit(above, judged["percentile"], sample_weight=weight)
        scores, percentiles = isotonic.X_thresholds_, isotonic.y_thresholds_
    centres = {str(name): float(value) for name, value in centre.items()}
    return Calibration(level, half_width, centres, scores, percentiles, len(judged), judged["group"].nunique())


def _expected(fitted: Calibration, judged: pd.DataFrame) -> pd.Series:
    return fitted.expect(judged["challenge"], judged["score"])["expected_percentile"]


def _with_parts(judged: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The clips that can be learned from, and int [N] their folds; where there is one, creators dealt into parts."""
    judged = judged[judged["score"].notna() & judged["percentile"].notna()]
    if "fold" in judged and judged["fold"].nunique() > 1:
        return judged, judged["fold"].to_numpy()
    return judged, deal_folds(judged["group"].to_numpy(), judged["challenge"].tolist(), _PARTS)
