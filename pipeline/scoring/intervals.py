"""Expected percentile of a clip within its challenge, from its score, with an interval that holds for new creators.

The interval is conformal: as wide as the errors on clips whose creators the model had not seen. A creator's clips
are alike, so a creator counts once, however many clips there are: hierarchical conformal prediction (Lee, Barber and
Willett, "Distribution-free inference with hierarchical data", 2023, arXiv 2306.06342). Available packages count clips
(MAPIE's groups divide cross-validation only). The errors are those of the folds' models, the interval is put around
another, which learned from all training clips: what Barber et al. ("Predictive inference with the jackknife+", 2021)
call K-fold CV. That has no guarantee of its own, so `coverage` measures it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression

from pipeline.dataset.folds import assign_folds
from pipeline.runs.run import FOLDS, FOLDS_ABOUT, HELD_OUT, INTERVAL_LEVEL, RUN, Run

_PARTS = 5  # groups of creators that take the folds' place where the clips come from one fold


@dataclass(frozen=True)
class Calibration:
    """Map of one run's scores to expected percentiles and intervals."""

    half_width: float  # of the interval, in percentiles 0..1; 1: there are too few creators
    centre: Mapping[str, float]  # by challenge: the mean score of its clips, every creator with the same weight
    score: np.ndarray  # float64 [S] ascending, less the centre: knots of the map, linear between them
    percentile: np.ndarray  # float64 [S] 0..1, never falling

    def expect(self, challenge: pd.Series, score: pd.Series) -> pd.DataFrame:
        """Expected percentile and interval of clips with these scores, indexed as `score`.

        Returns:
            expected_percentile, low, high: float64, 0..1, NaN where there is no score or the challenge is unknown.
        """
        above = score.astype("float64") - challenge.map(self.centre).astype("float64")
        expected = np.interp(above, self.score, self.percentile) if len(self.score) else np.full(len(above), np.nan)
        ends = {"low": expected - self.half_width, "high": expected + self.half_width}
        columns = {"expected_percentile": expected} | {name: np.clip(end, 0, 1) for name, end in ends.items()}
        return pd.DataFrame(columns, index=score.index)


def calibrate(unseen: pd.DataFrame, level: float = INTERVAL_LEVEL) -> Calibration:
    """Calibration on clips that the models did not see.

    An isotonic regression of the percentile on the score less the challenge's centre, for a model's scores of a whole
    challenge may all be high or low. The half width is a quantile of the absolute errors; of each clip it is the error
    of a map that was fitted without the clip's fold (its creator, where there is one fold).

    Args:
        unseen: one row a clip: challenge; group (int, one a creator); percentile 0..1 of the label; score of a model
            that did not see the creator (NaN: abstained, left out); fold (which model; without it, all of one).
        level: above 0, below 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} must be above 0 and below 1")
    unseen, part = _with_parts(unseen)
    errors = pd.Series(np.nan, index=unseen.index)
    for at in np.unique(part):
        tested = unseen[part == at]
        expected = _fit(unseen[part != at], 1.0).expect(tested["challenge"], tested["score"])
        errors[tested.index] = (tested["percentile"] - expected["expected_percentile"]).abs()
    half_width = creator_quantile(errors.to_numpy(float), unseen["group"].to_numpy(), level)
    return _fit(unseen, min(half_width, 1.0))


def creator_quantile(errors: np.ndarray, group: np.ndarray, level: float) -> float:
    """Smallest bound on the error of a new creator's clip that holds with probability `level`; inf: there is none.

    Each of K creators weighs 1 / (K + 1), shared among the clips; the last 1 / (K + 1) is the new creator's, whose
    error counts as infinite (Lee et al. 2023, split conformal for hierarchical data).

    errors: float64 [N], at least 0; NaN is left out. group: int [N].
    """
    group, errors = group[~np.isnan(errors)], errors[~np.isnan(errors)]
    creators, at, clips = np.unique(group, return_inverse=True, return_counts=True)
    weight = 1 / (len(creators) + 1) / clips[at]
    order = np.argsort(errors)
    # Sums of equal shares miss round levels by the last bit.
    enough = np.flatnonzero(np.cumsum(weight[order]) >= level - 1e-12)
    return float(errors[order][enough[0]]) if len(enough) else float("inf")


def expected_without_fold(unseen: pd.DataFrame, level: float) -> pd.DataFrame:
    """`Calibration.expect` of each scored and labelled clip, calibrated on the other folds alone; fold after fold.

    Where there is one fold, five groups of creators take the folds' place: on the clips that it was fitted to, a map is
    always calibrated.
    """
    unseen, part = _with_parts(unseen)
    expected = [pd.DataFrame(columns=["expected_percentile", "low", "high"], dtype=float)] if unseen.empty else []
    for at in np.unique(part):
        tested = unseen[part == at]
        expected.append(calibrate(unseen[part != at], level).expect(tested["challenge"], tested["score"]))
    return pd.concat(expected)


def coverage(unseen: pd.DataFrame, level: float = INTERVAL_LEVEL) -> dict:
    """Coverage of the intervals of `expected_without_fold`. unseen: as `calibrate` takes it.

    Returns:
        level; clips and creators counted; share of the clips within their interval and share_95, its exact binomial
        interval (Clopper and Pearson 1934; clips as if independent); by_creator, the mean over creators, which is what
        the level promises; mean_width, 0..1. Where nothing can be measured the numbers are None, and `reason` says why.
    """
    ends = expected_without_fold(unseen, level).dropna()
    result: dict = {"level": level, "clips": len(ends), "creators": 0}
    if ends.empty:
        nothing = dict.fromkeys(("share", "share_95", "by_creator", "mean_width"))
        return result | nothing | {"reason": "no challenge has clips of two creators that were held out"}
    percentile, group = unseen["percentile"].loc[ends.index], unseen["group"].loc[ends.index]
    held = (percentile >= ends["low"]) & (percentile <= ends["high"])
    bounds = binomtest(int(held.sum()), len(held)).proportion_ci(0.95, method="exact")
    return result | {
        "creators": int(group.nunique()),
        "share": float(held.mean()),
        "share_95": [float(bounds.low), float(bounds.high)],
        "by_creator": float(held.groupby(group).mean().mean()),
        "mean_width": float((ends["high"] - ends["low"]).mean()),
    }


def coverage_of_run(run_folder: Run) -> dict:
    """`coverage` at the run's level, and `from`: the source of its clips (`read_unseen`)."""
    unseen, source = read_unseen(run_folder)
    run = run_folder.read_json(RUN)
    return coverage(unseen, run["interval_level"]) | {"from": source}


def read_unseen(run_folder: Run) -> tuple[pd.DataFrame, str]:
    """The run's clips with scores of models that did not see them, as `calibrate` takes them, with clip_id; the source.

    Source `folds`: folds.parquet, where there are folds by creator (other protocols test few clips, or challenges that
    the fold's model never saw). Else `held_out`: scores by the joint model without the clip's creator; variances and
    slopes were estimated with it, so they are slightly too good.
    """
    if run_folder.has(FOLDS_ABOUT):
        folds = run_folder.read_json(FOLDS_ABOUT)
        if folds["protocol"] == "kfold" and folds["clips"]:
            return run_folder.read_table(FOLDS), "folds"
    return run_folder.read_table(HELD_OUT), "held_out"


def _fit(unseen: pd.DataFrame, half_width: float) -> Calibration:
    weight = 1 / unseen.groupby("group")["group"].transform("size")
    total = (unseen["score"] * weight).groupby(unseen["challenge"]).sum()
    centre = total / weight.groupby(unseen["challenge"]).sum()
    scores, percentiles = np.zeros(0), np.zeros(0)
    if len(unseen):
        above = unseen["score"] - unseen["challenge"].map(centre)
        isotonic = IsotonicRegression(y_min=0, y_max=1).fit(above, unseen["percentile"], sample_weight=weight)
        scores, percentiles = isotonic.X_thresholds_, isotonic.y_thresholds_
    centres = {str(name): float(value) for name, value in centre.items()}
    return Calibration(half_width, centres, scores, percentiles)


def _with_parts(unseen: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The clips with score and label, and their folds, int [N]; where there is one, groups of creators."""
    unseen = unseen[unseen["score"].notna() & unseen["percentile"].notna()]
    if "fold" in unseen and unseen["fold"].nunique() > 1:
        return unseen, unseen["fold"].to_numpy()
    return unseen, assign_folds(unseen["group"].to_numpy(), unseen["challenge"].tolist(), _PARTS)
