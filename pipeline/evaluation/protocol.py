"""Protocols that split training and test clips: by creator, by upload time, or a challenge left out at a time."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.core.errors import DataError
from pipeline.dataset.folds import assign_folds
from pipeline.dataset.labels import ENGAGEMENT, TEST, TRAIN, LabelOptions, Labels, group_clips, make_labels

PROTOCOLS = ("kfold", "time", "leave-challenge-out")


@dataclass(frozen=True)
class Fold:
    """Training and test clips of one training: rows of the clips table, int64, ascending, none in both."""

    name: str
    train: np.ndarray
    test: np.ndarray


def make_folds(clips: pd.DataFrame, protocol: str, folds: int, seed: int = 0) -> list[Fold]:
    """Folds of a protocol over the labelled clips. No creator, and no copy of a clip, is on both sides.

    Args:
        clips: as DatasetFolder.read_clips gives it.
        protocol: `kfold`: whole creators in `folds`, every challenge spread over them (folds.assign_folds); each clip
            is tested once. `time`: one training on the earlier uploads, tested on the latest 1/`folds` of the clips
            whose upload time is known, those of one moment together; a later clip of a creator who has an earlier one
            is left out, and so is a clip of unknown time. `leave-challenge-out`: one training a challenge, on the
            others' clips; creators of the challenge are left out of it, and a challenge that leaves nobody to train on
            is not tested. `folds` does not matter there.
        seed: of `kfold`.

    Raises:
        DataError: there are too few clips, creators, times or challenges; says of what.
    """
    if protocol not in PROTOCOLS:
        raise DataError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    groups = clip_groups(clips)
    labelled = np.flatnonzero(clips["label"].notna())
    if protocol == "leave-challenge-out":
        splits = _by_challenge(clips, labelled, groups)
    elif folds < 2:
        raise DataError(f"{folds} folds asked for; cross-validation needs at least 2")
    elif protocol == "time":
        splits = _by_time(clips, labelled, groups, folds)
    else:
        splits = _by_creator(clips, labelled, groups, folds, seed)
    for fold in splits:
        assert_apart(clips, groups, fold.train, fold.test)
    return splits


def clip_groups(clips: pd.DataFrame) -> np.ndarray:
    """Groups, int64 [clips], the same for a creator's clips and for copies and near-duplicates (labels.group_clips)."""
    return group_clips(clips["creator_id"], clips["copies"], clips.index)


def assert_apart(clips: pd.DataFrame, groups: np.ndarray, trained: np.ndarray, tested: np.ndarray) -> None:
    """Raises DataError, naming clips, where a creator or copies of a clip are in training and test."""
    both = sorted(set(groups[trained]) & set(groups[tested]))
    if both:
        names = clips["clip_id"].to_numpy(str)
        shown = "; ".join(
            f"{names[trained[groups[trained] == group][0]]} (trained on) and"
            f" {names[tested[groups[tested] == group][0]]} (tested)"
            for group in both[:5]
        )
        raise DataError(f"{len(both)} creators (or copies of one clip) are on both sides of a split: {shown}")


def fold_labels(clips: pd.DataFrame, options: LabelOptions, fold: Fold) -> Labels:
    """Labels fitted on the fold's training clips alone; clips on neither side have none.

    Raises:
        DataError: a creator, or copies of a clip, are on both sides.
    """
    split = np.full(len(clips), None, dtype=object)
    split[fold.train], split[fold.test] = TRAIN, TEST
    neither = np.ones(len(clips), bool)
    neither[fold.train] = neither[fold.test] = False
    counts = {name: clips[name].mask(neither) for name in ENGAGEMENT}
    return make_labels(clips.assign(split=pd.array(split, dtype="string"), **counts), options)


def _by_creator(clips: pd.DataFrame, labelled: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[Fold]:
    fold_of = assign_folds(groups[labelled], clips["challenge"].iloc[labelled].tolist(), folds, seed)
    count = int(fold_of.max(initial=-1)) + 1
    if count < 2:
        raise DataError(f"{len(labelled)} labelled clips are of {count} creators; cross-validation needs at least two")
    return [Fold(f"fold {at}", labelled[fold_of != at], labelled[fold_of == at]) for at in range(count)]


def _by_time(clips: pd.DataFrame, labelled: np.ndarray, groups: np.ndarray, folds: int) -> list[Fold]:
    uploaded = pd.to_datetime(clips["uploaded_at"], utc=True).iloc[labelled]
    known = uploaded.notna().to_numpy(bool)
    times = uploaded[known].sort_values()
    if times.nunique() < 2:
        raise DataError(
            f"the protocol time needs labelled clips of two upload times; {int(known.sum())} of {len(labelled)} have"
            " an uploaded_at in the manifest"
        )
    # The first moment of the later side; never the first of all, or nothing would be left to train on.
    cut = max(times.iloc[-max(1, len(times) // folds)], times[times > times.iloc[0]].iloc[0])
    later = (uploaded >= cut).to_numpy(bool)
    train = labelled[known & ~later]
    test = labelled[later & ~np.isin(groups[labelled], groups[train])]
    if not len(test):
        raise DataError(
            f"every creator of a clip uploaded from {cut:%Y-%m-%d} on has an earlier one: none can be judged"
        )
    return [Fold(f"uploads from {cut:%Y-%m-%d}", train, test)]


def _by_challenge(clips: pd.DataFrame, labelled: np.ndarray, groups: np.ndarray) -> list[Fold]:
    challenge = clips["challenge"].to_numpy(str)[labelled]
    folds = []
    for name in np.unique(challenge):
        test = labelled[challenge == name]
        train = labelled[(challenge != name) & ~np.isin(groups[labelled], groups[test])]
        if len(train):
            folds.append(Fold(str(name), train, test))
    if not folds:
        raise DataError(
            "leaving a challenge out needs two challenges of different creators, with labelled clips; the creators of"
            " each challenge here are those of all others"
        )
    return folds
