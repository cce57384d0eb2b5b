"""The context of a clip: what is known of it before anybody looks, such as its creator's reach and record.

The record is that of the creator's clips uploaded strictly earlier, whose likes are public when this one goes up. A
clip's own likes and those of later clips have no part in it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# Columns of a dataset's clips that `with_records` adds.
EARLIER_CLIPS = "earlier_clips"  # number of the creator's clips with likes, uploaded strictly earlier; NA: not known
EARLIER_LIKES = "earlier_likes"  # their mean of log(likes + 1); NA: there is none
LIKES_A_VIDEO = "likes_a_video"  # of the creator's other videos, by the manifest's totals; NA: not known
RECORDS = (EARLIER_CLIPS, EARLIER_LIKES, LIKES_A_VIDEO)
REACH = ("followers", "creator_likes", "creator_videos", *RECORDS)  # all that is known of a clip's creator
FEW_CLIPS = 1.0  # of so many earlier clips, half of what sets their mean apart is taken for their creator's
_CONTRADICTING = 0.01  # share of clips with more likes than their creator in all, above which totals are older


def with_records(clips: pd.DataFrame, others: pd.DataFrame | None = None) -> pd.DataFrame:
    """The clips with the columns RECORDS.

    Clips of one moment are not earlier than one another. A clip whose creator or upload time is not known has no record
    and is in nobody's.

    Args:
        clips: with clip_id, creator_id, uploaded_at, likes, creator_likes, creator_videos; NA where missing.
        others: more clips that may be earlier ones, with the first four columns; those that are in `clips`, too, do
            not count again.
    """
    columns = ["clip_id", "creator_id", "uploaded_at", "likes"]
    known = clips[columns].reset_index(drop=True)
    if others is not None:
        known = pd.concat([known, others.loc[~others["clip_id"].isin(clips["clip_id"]), columns]], ignore_index=True)
    count, mean = np.full(len(clips), np.nan), np.full(len(clips), np.nan)
    dated = known[known["creator_id"].notna() & known["uploaded_at"].notna()]
    for _, of_creator in dated.groupby("creator_id"):
        counted = of_creator[of_creator["likes"].notna()].sort_values("uploaded_at")
        sums = np.cumsum([0.0, *np.log1p(counted["likes"].to_numpy(float))])
        asked = of_creator[of_creator.index < len(clips)]
        earlier = counted["uploaded_at"].searchsorted(asked["uploaded_at"], side="left")
        count[asked.index] = earlier
        mean[asked.index] = np.divide(sums[earlier], earlier, out=np.full(len(asked), np.nan), where=earlier > 0)
    return clips.assign(
        **{
            EARLIER_CLIPS: pd.array(count, dtype="Float64").astype("Int64"),
            EARLIER_LIKES: pd.array(mean, dtype="Float64"),
            LIKES_A_VIDEO: pd.array(_likes_a_video(clips), dtype="Float64"),
        }
    )


def _likes_a_video(clips: pd.DataFrame) -> np.ndarray:
    """Likes of each of the creator's other videos, float64 [clips]; NaN where not known, or where there is no other.

    Totals that were counted with a clip's likes hold these: they are taken off, or the answer would be told. Totals of
    the upload's moment don't, and then some clips have more likes than all of their creator's before them.
    """
    likes, total, videos = (number(clips[name]) for name in ("likes", "creator_likes", "creator_videos"))
    both = np.isfinite(likes) & np.isfinite(total)
    if both.any() and (likes > total)[both].mean() <= _CONTRADICTING:
        total = np.where(both, np.maximum(total - likes, 0), total)
        videos = np.where(both, videos - 1, videos)
    return np.divide(total, videos, out=np.full(len(clips), np.nan), where=videos > 0)


@dataclass(frozen=True)
class ContextUnits:
    """What ages and records are counted from, taken from training clips."""

    last_upload_s: float  # since 1970; NaN: no upload time is known
    usual_likes: float  # mean of log(likes + 1); NaN: no likes are known

    @classmethod
    def of(cls, clips: pd.DataFrame) -> "ContextUnits":
        """clips: the training clips."""
        likes, uploaded = np.log1p(number(clips["likes"])), _seconds(clips)
        return cls(*(float(pick(values)) if np.isfinite(values).any() else np.nan
                     for pick, values in ((np.nanmax, uploaded), (np.nanmean, likes))))  # fmt: skip


def age(clips: pd.DataFrame, units: ContextUnits) -> np.ndarray:
    """log(days before the last upload trained on + 1), float64 [clips]; later clips count as new, NaN: not known."""
    return np.log1p(np.clip((units.last_upload_s - _seconds(clips)) / 86400, 0, None))


def record(clips: pd.DataFrame, units: ContextUnits) -> np.ndarray:
    """How far the creator's earlier clips are above the usual log(likes + 1), float64 [clips]; NaN: no earlier clip.

    Drawn to 0 the more, the fewer they are: the posterior mean where a creator's clips vary FEW_CLIPS times as much (as
    a variance) as creators do.
    """
    count, mean = number(clips[EARLIER_CLIPS]), number(clips[EARLIER_LIKES])
    return (mean - units.usual_likes) * count / (count + FEW_CLIPS)


def context_numbers(clips: pd.DataFrame, units: ContextUnits) -> np.ndarray:
    """All that is known of each clip before it is looked at, float64 [clips, 2 * len(CONTEXT_NUMBERS)].

    The columns of CONTEXT_NUMBERS, logarithms but the record, NaN where not known; then, of each, 1 where it is not
    known, else 0. The hour and the weekday are left out: times are UTC, and a creator's hour is not known.
    """
    counts = ("followers", LIKES_A_VIDEO, "creator_videos", EARLIER_CLIPS, "duration_s")
    logs = {name: np.log1p(number(clips[name])) for name in counts}
    columns = (
        logs["followers"], logs[LIKES_A_VIDEO], logs["creator_videos"], record(clips, units), logs[EARLIER_CLIPS],
        age(clips, units), logs["duration_s"],
    )  # fmt: skip
    values = np.stack(columns, 1)
    return np.concatenate([values, ~np.isfinite(values)], 1)


def _seconds(clips: pd.DataFrame) -> np.ndarray:
    """Upload times in seconds since 1970, float64 [clips]; NaN: not known."""
    since = pd.to_datetime(clips["uploaded_at"], utc=True) - pd.Timestamp(0, tz="UTC")
    return since.dt.total_seconds().to_numpy(float, na_value=np.nan)


def number(column: pd.Series) -> np.ndarray:
    """float64, NaN where missing."""
    return column.to_numpy("float64", na_value=np.nan)
