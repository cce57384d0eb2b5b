"""Label and split of every clip, decided once for all later stages."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.core.errors import DataError
from pipeline.core.text import look_alike_key
from pipeline.dataset.context import EARLIER_CLIPS, LIKES_A_VIDEO, ContextUnits, age, number, record

ENGAGEMENT = ("likes", "views", "comments", "shares")
KINDS = ("auto", "adjusted", *ENGAGEMENT)
AUTO_CLIPS_A_COEFFICIENT = 5  # with known followers; with fewer, adjusting would explain away what is to be learned
# Of a creator's videos, at least, that make a record to be taken out, and of training clips that have one. A record of
# few clips tells what was in them, and that is to be learned: with one clip and more, the best that anybody can say of
# the label of 256 simulated clips falls from Spearman 0.86 to 0.83 (benchmarks.records).
RECORD_CLIPS, RECORD_TRAINING_CLIPS = 5, 40
RIDGE = 1e-3  # keeps the fit defined where a challenge or an age does not vary

TRAIN, VAL, TEST, UNLABELLED = "train", "val", "test", "unlabelled"


@dataclass(frozen=True)
class LabelOptions:
    """Options of the clips' labels.

    kind: `likes` (or another engagement column): log(count + 1). `adjusted`: log(likes + 1) less its expectation given
        the creator's followers and record, the clip's age and the challenge. `auto`: adjusted where the followers of
        clips enough to fit it are known, else likes.
    max_followers: clips of bigger creators are scored but get no label.
    holdout: share of the labelled clips to test on, where the manifest gives no split.
    """

    kind: str = "auto"
    max_followers: int | None = None
    holdout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"label {self.kind!r} is not one of {', '.join(KINDS)}")
        if not 0 <= self.holdout < 1:
            raise DataError(f"holdout {self.holdout} must be at least 0 and below 1")


@dataclass(frozen=True)
class Labels:
    kind: str  # a column of ENGAGEMENT, or adjusted
    reason: str  # for this kind
    label: np.ndarray  # float64 [clips] NaN: no label
    percentile: np.ndarray  # float64 [clips] within the challenge's training clips, 0..1; NaN: no label
    split: np.ndarray  # str [clips] train, val, test, unlabelled


def make_labels(clips: pd.DataFrame, options: LabelOptions) -> Labels:
    """Label, percentile and split of every clip. No held-out clip influences a training clip's label.

    clips: one row a clip with challenge, creator_id, copies, uploaded_at, likes, views, comments, shares, split and
    context.REACH; NA where missing.

    Raises:
        DataError: the manifest's split puts a creator, or copies of one clip, on both sides.
    """
    column = options.kind if options.kind in ENGAGEMENT else "likes"
    counts = number(clips[column])
    labelled = np.isfinite(counts)
    if options.max_followers is not None:
        labelled &= ~(number(clips["followers"]) > options.max_followers)
    groups = group_clips(clips["creator_id"], clips["copies"], clips.index)
    split = _split(clips, labelled, groups, options)
    _assert_no_leak(clips, split, groups)

    train = split == TRAIN
    kind, reason = _choose_kind(clips, train, options)
    label = np.where(labelled, np.log1p(np.where(labelled, counts, 0)), np.nan)
    if kind == "adjusted":
        if not train.any():
            raise DataError("the label `adjusted` needs training clips with likes and followers; there are none")
        reach = _reach(clips, train)
        label = label - _expected(reach, clips, label, train)
        reason += f"; taken out: {', '.join(reach)} and challenge"
    percentile = _percentile(label, clips["challenge"].to_numpy(str), train)
    return Labels(kind, reason, label, percentile, split)


def _choose_kind(clips: pd.DataFrame, train: np.ndarray, options: LabelOptions) -> tuple[str, str]:
    if options.kind != "auto":
        return options.kind, "asked for"
    known = np.isfinite(number(clips["followers"])[train])
    share = f"followers are known of {known.sum()} of {len(known)} training clips"
    needed = AUTO_CLIPS_A_COEFFICIENT * (2 + clips["challenge"][train].nunique())
    if known.sum() < needed:
        return "likes", f"{share}; adjusting needs {needed}"
    return "adjusted", share


# --- split


def group_clips(creators: pd.Series, copies: pd.Series, index: pd.Index) -> np.ndarray:
    """Group of each clip, int64 [clips]: clips of one creator and copies of one clip share it; unknown creators differ.

    Creators whose ids look alike (`anna`, `Anna`) may be one person, and share a group.

    copies: one value for all copies of a clip, NA for a clip without copies (near_duplicates.name_originals).
    """
    parent = list(range(len(index)))

    def find(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[tuple[str, str], int] = {}
    for name, values, key in (("creator", creators, look_alike_key), ("copies", copies, str)):
        for place, value in enumerate(values):
            if not pd.isna(value) and value != "":
                parent[find(place)] = find(first.setdefault((name, key(str(value))), place))
    return np.array([find(place) for place in range(len(index))], np.int64)


def _split(clips: pd.DataFrame, labelled: np.ndarray, groups: np.ndarray, options: LabelOptions) -> np.ndarray:
    given = clips["split"].to_numpy(object, na_value=None)
    split = np.full(len(clips), UNLABELLED, dtype=object)
    if any(side is not None for side in given[labelled]):
        # A clip without a split in the manifest joins its creator's other clips, else the training clips.
        side_of_group = {group: side for group, side in zip(groups, given, strict=True) if side is not None}
        for place in np.flatnonzero(labelled):
            split[place] = given[place] or side_of_group.get(groups[place], TRAIN)
        return split.astype(str)
    split[labelled] = TRAIN
    split[_held_out(clips, labelled, groups, options)] = TEST
    return split.astype(str)


def _held_out(clips: pd.DataFrame, labelled: np.ndarray, groups: np.ndarray, options: LabelOptions) -> np.ndarray:
    """Clips to test on, bool [clips]: whole groups, by their names' hashes, until each challenge has its share.

    A challenge keeps at least two clips to train on. The order is of names, not of rows: new clips move few old ones.
    """
    challenge = clips["challenge"].to_numpy(str)
    keys = _keys(clips)
    members: dict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(labelled).tolist():
        members[groups[place]].append(place)
    total = pd.Series(challenge[labelled]).value_counts().to_dict()
    room = {name: min(round(options.holdout * count), count - 2) for name, count in total.items()}
    if options.holdout > 0:  # few clips a challenge: one is still held out, where two stay
        room = {name: max(quota, 1) if total[name] >= 3 else 0 for name, quota in room.items()}
    order = sorted(members, key=lambda group: _hash(options.seed, min(keys[place] for place in members[group])))
    held = np.zeros(len(clips), bool)
    for group in order:
        need = pd.Series(challenge[members[group]]).value_counts().to_dict()
        if all(count <= room[name] for name, count in need.items()):
            held[members[group]] = True
            for name, count in need.items():
                room[name] -= count
    return held


def _keys(clips: pd.DataFrame) -> list[str]:
    creators = clips["creator_id"].to_numpy(object, na_value=None)
    return [
        str(creator) if creator is not None else str(clip)
        for creator, clip in zip(creators, clips["clip_id"], strict=True)
    ]


def _hash(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()


def _assert_no_leak(clips: pd.DataFrame, split: np.ndarray, groups: np.ndarray) -> None:
    sides: dict[int, dict[str, str]] = defaultdict(dict)
    for group, side, clip in zip(groups, split, clips["clip_id"], strict=True):
        if side != UNLABELLED:
            sides[group].setdefault(side, str(clip))
    leaks = [clip_by_side for clip_by_side in sides.values() if len(clip_by_side) > 1]
    if leaks:
        listed = "; ".join(" and ".join(f"{clip} ({side})" for side, clip in leak.items()) for leak in leaks[:5])
        raise DataError(
            f"the manifest's split has {len(leaks)} creators (or copies of one clip) on both sides: {listed}. A model"
            " would be tested on what it has seen: give a creator's clips one split, and copies of a clip (one film,"
            " be it encoded anew), or leave the column out. Creators whose ids look alike (anna, Anna) count as one"
        )


# --- label


def _reach(clips: pd.DataFrame, train: np.ndarray) -> dict[str, np.ndarray]:
    """What `adjusted` takes out beside the challenge, float64 [clips] by its words; NaN where not known."""
    units = ContextUnits.of(clips[train])
    columns = {"followers": np.log1p(number(clips["followers"])), "age": age(clips, units)}
    if not np.isfinite(columns["followers"][train]).any():
        raise DataError("the label `adjusted` needs the followers of training clips; add them, or use --label likes")
    if not np.isfinite(columns["age"][train]).any():
        del columns["age"]
    for name, column, clips_in_it in (
        ("the creator's likes per video", np.log1p(number(clips[LIKES_A_VIDEO])), number(clips["creator_videos"])),
        ("the creator's earlier clips", record(clips, units), number(clips[EARLIER_CLIPS])),
    ):
        column = np.where(clips_in_it >= RECORD_CLIPS, column, np.nan)
        if np.isfinite(column[train]).sum() >= RECORD_TRAINING_CLIPS:
            columns[name] = column
    return columns


def _expected(reach: Mapping[str, np.ndarray], clips: pd.DataFrame, label: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Expected label, float64 [clips]: ridge regression on the columns of `reach` and the challenge, fit on `train`.

    Clips of which a column is not known have a level of their own.
    """
    design = []
    for column in reach.values():
        known = np.isfinite(column) & train
        mean, spread = column[known].mean(), column[known].std() or 1.0
        design.append(np.where(np.isfinite(column), (column - mean) / spread, 0.0))
        if (train & ~known).any():
            design.append(np.where(np.isfinite(column), 0.0, 1.0))
    challenge = clips["challenge"].to_numpy(str)
    # One intercept a challenge: all is centred on the means of its training clips, or of all where it has none.
    matrix, target = np.stack(design, 1), label
    means, levels = _challenge_means(matrix, challenge, train), _challenge_means(target[:, None], challenge, train)
    centred, above = (matrix - means)[train], (target[:, None] - levels)[train, 0]
    coefficients = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(centred.shape[1]), centred.T @ above)
    return levels[:, 0] + (matrix - means) @ coefficients


def _challenge_means(values: np.ndarray, challenge: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Means over the training clips of each clip's challenge, or over all where it has none: [clips, columns]."""
    means = np.tile(values[train].mean(0), (len(values), 1))
    for name in np.unique(challenge[train]):
        means[challenge == name] = values[train & (challenge == name)].mean(0)
    return means


def _percentile(label: np.ndarray, challenge: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Percentile of each label, 0..1, among the challenge's training clips; without any, among its labelled clips."""
    percentile = np.full(len(label), np.nan)
    labelled = np.isfinite(label)
    for name in np.unique(challenge):
        members = labelled & (challenge == name)
        reference = np.sort(label[members & train] if (members & train).any() else label[members])
        if len(reference):
            below = np.searchsorted(reference, label[members], "left")
            up_to = np.searchsorted(reference, label[members], "right")
            percentile[members] = (below + up_to) / 2 / len(reference)
    return percentile
