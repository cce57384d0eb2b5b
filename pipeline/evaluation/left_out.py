"""The ranking with and without the modalities that show people's looks: what differs between the two.

Both scores are out of fold, by the same encoders: the model's, and the joint model's fitted anew without the modalities
(other_fusions). Encoders are trained a modality at a time, so the second is what a run without them would say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.other_fusions import looks_left_out, only
from pipeline.evaluation.predictors import FUSION, SCORE
from pipeline.metrics.ranking import percentile_within, top_count

NAMED = 8  # clips that move most
_FAR = 0.9  # of the clips move by no more than `far_move`


@dataclass(frozen=True)
class Move:
    """A clip's percentile within its challenge, 0..1, by either score."""

    clip_id: str
    challenge: str
    before: float
    after: float


@dataclass(frozen=True)
class RankingChange:
    """Difference between the model's ranking and that without some modalities, on the clips that both score."""

    left_out: tuple[str, ...]
    column: str  # of folds.parquet
    clips: int
    unscored: int  # clips that nothing but these modalities tells of
    agreement: float  # Spearman of the two scores within a challenge, mean over challenges; NaN: none has one
    least_agreement: float  # of the challenge in which it is lowest
    top: int  # clips in the top tenth of their challenge by the model
    top_changed: int  # those of them that are not in it without the modalities
    median_move: float  # of a clip's percentile, 0..1
    far_move: float  # nine in ten clips move by no more
    moved: tuple[Move, ...]  # the furthest first


def ranking_changes(folds: pd.DataFrame, modalities: Sequence[str]) -> list[RankingChange]:
    """What the ranking is without the modalities that show looks, see other_fusions.looks_left_out.

    Args:
        folds: as cross_validate gives it. Without baselines, it has none of these scores, and the list is empty.
        modalities: the model's, in order.
    """
    columns = {left_out: f"{FUSION}{only(kept)}" for left_out, kept in looks_left_out(modalities).items()}
    return [_change(folds, left_out, column) for left_out, column in columns.items() if column in folds]


def _change(folds: pd.DataFrame, left_out: tuple[str, ...], column: str) -> RankingChange:
    both = folds[folds[SCORE].notna() & folds[column].notna()]
    scores = both[[SCORE, column]].astype("float64")
    places = percentile_within(scores, both["challenge"])
    moves = (places[column] - places[SCORE]).to_numpy(float)
    size = both.groupby("challenge")[SCORE].transform("size").map(top_count)
    ranks = scores.groupby(both["challenge"]).rank(method="first", ascending=False)
    in_top = ranks.le(size, axis=0)
    agreements = [
        of_challenge[SCORE].corr(of_challenge[column])  # of percentiles, which are ranks
        for _, of_challenge in places.groupby(both["challenge"])
        if len(of_challenge) > 1 and (of_challenge.nunique() > 1).all()
    ]
    furthest = np.argsort(-np.abs(moves), kind="stable")[:NAMED]
    return RankingChange(
        left_out,
        column,
        clips=len(both),
        unscored=int((folds[SCORE].notna() & folds[column].isna()).sum()),
        agreement=float(np.mean(agreements)) if agreements else np.nan,
        least_agreement=min(agreements, default=np.nan),
        top=int(in_top[SCORE].sum()),
        top_changed=int((in_top[SCORE] & ~in_top[column]).sum()),
        median_move=float(np.median(np.abs(moves))) if len(moves) else np.nan,
        far_move=float(np.quantile(np.abs(moves), _FAR)) if len(moves) else np.nan,
        moved=tuple(
            Move(str(both["clip_id"].iloc[at]), str(both["challenge"].iloc[at]), *places.iloc[at].astype(float))
            for at in furthest
            if moves[at]
        ),
    )
