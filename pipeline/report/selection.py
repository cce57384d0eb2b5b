"""Clips that the page shows more of: the best and the worst of each challenge, and samples of the extraction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.metrics.ranking import percentile_within
from pipeline.report.run_contents import RunContents

EVIDENCE_CLIPS = 1000  # with evidence at most: the best and the worst of each challenge
CHECKS = 24  # samples of the extraction that the page shows
_DOUBTFUL = 12  # of them, clips whose extraction looks wrong; the others are drawn by chance


@dataclass(frozen=True)
class Selection:
    """Rows of the clips that more is shown of."""

    evidence: list[int]
    film: list[int]
    check: list[int]


def select_clips(contents: RunContents, films: int) -> Selection:
    """films: clips with pictures at most."""
    clips = contents.clips
    challenge, percentile = clips["challenge"].to_numpy(str), percentile_within(clips["score"], clips["challenge"])
    ends = ends_first(challenge, percentile)
    check = to_check(clips, contents.modalities, contents.run["seed"])
    decoded = set(np.flatnonzero(clips["status"] != "failed").tolist())
    pictured = list(dict.fromkeys([*check, *ends]))[:films]
    return Selection(ends[:EVIDENCE_CLIPS], [row for row in pictured if row in decoded], check)


def ends_first(challenge: np.ndarray, percentile: pd.Series) -> list[int]:
    """Rows of the clips that have a score: each challenge's best, then each one's worst, its second best, ..."""
    place = percentile.to_numpy(float, na_value=np.nan)
    by_challenge: list[list[int]] = []
    for name in np.unique(challenge):
        members = np.flatnonzero((challenge == name) & np.isfinite(place))
        ordered = members[np.argsort(-place[members], kind="stable")].tolist()
        by_challenge.append([ordered.pop(0 if turn % 2 == 0 else -1) for turn in range(len(ordered))])
    longest = max(map(len, by_challenge), default=0)
    return [rows[turn] for turn in range(longest) for rows in by_challenge if turn < len(rows)]


def to_check(clips: pd.DataFrame, modalities: Sequence[str], seed: int) -> list[int]:
    """Rows of at most CHECKS clips that were decoded, in order: the worst extracted, and some by chance.

    clips: with status and quality_<modality>.
    """
    decoded = np.flatnonzero(clips["status"].isin(["ok", "partial"]))
    if len(decoded) <= CHECKS or not modalities:
        return decoded[:CHECKS].tolist()
    # By rank: how sure a network is of a scene and how long a feature is are of no common scale.
    qualities = clips.iloc[decoded][[f"quality_{modality}" for modality in modalities]]
    worst = qualities.rank().min(axis=1).to_numpy(float)
    doubtful = decoded[np.argsort(worst, kind="stable")[:_DOUBTFUL]]
    others = np.setdiff1d(decoded, doubtful)
    drawn = np.random.default_rng(seed).choice(others, CHECKS - len(doubtful), replace=False)
    return sorted(np.concatenate([doubtful, drawn]).tolist())
