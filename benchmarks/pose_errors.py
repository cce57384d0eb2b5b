"""Errors of the pose network on an extracted world, and skeletons of the truth with such errors.

For worlds whose films are not decoded in whole (benchmarks.thin_world). Nothing is fitted: a person of a new clip is
given the errors of a *donor*, somebody of another clip whose every frame was extracted, at the same moments of the
clip: whether the person was found, and of each joint how far off it was, in pixels of the network's input, with the
score that it got. So errors hang together over time, from joint to joint and with their scores as they do in the
measured world. A joint takes them from the donor's nearest moment at which the same joint was as visible (seen, hidden,
outside of the picture), for errors differ by that most.

Why pixels of the network's input: from clip to clip the median error in them varies by 16 %, in trunk lengths by 23 %
(192 clips of seed 1000). What is lost: how errors follow from the very pose and the very picture; detections that are
nobody's (0.3 % there).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.world_checks import match_people
from models.extractors.pose import People, boxes_around
from pipeline.core import storage
from pipeline.core.fingerprint import fingerprint
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.reader import ShardReader
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.registry import load_profile
from simulation.filming.visibility import OCCLUDED, OUTSIDE, VISIBLE
from simulation.truth import ClipTruth, read_clips_truth, read_people

PROFILE = "demo"


@dataclass(frozen=True)
class MeasuredPerson:
    """One person of an extracted clip: what the network made of them in T sampled frames."""

    clip_id: str
    dance: str
    close_up: bool
    crowd: bool  # others are in the clip
    is_lead: bool
    found: np.ndarray  # bool [T]
    state: np.ndarray  # int8 [T, 17] VISIBLE, OCCLUDED or OUTSIDE
    offset: np.ndarray  # float32 [T, 17, 2] from the joint's true place, input px (`input_px`); 0: not found
    score: np.ndarray  # float32 [T, 17] of the joint
    person_score: np.ndarray  # float32 [T]


class PoseErrors:
    """Everybody of a measured world, to take errors from."""

    def __init__(self, people: Sequence[MeasuredPerson], identity: str):
        """identity: of the measured files, for the fingerprint of what is made with these errors."""
        self.people = tuple(people)
        self.identity = identity

    def detect(self, clip: Mapping, truth: ClipTruth) -> list[People]:
        """People of each of the clip's T frames, as the network would find them.

        Args:
            clip: the clip's row of `simulation.truth.clips_table`.
            truth: labels of the T sampled frames alone.
        """
        rng = np.random.default_rng(list(clip["clip_id"].encode()))
        size = np.array([clip["width"], clip["height"]], np.float32)
        found, keypoints, scores = [], [], []
        others = [one for one in self.people if one.clip_id != clip["clip_id"]]
        for person in truth.people:
            donors = _most_alike([one for one in others if one.is_lead == (person.track_id == 0)] or others, clip)
            donor = donors[rng.integers(len(donors))]
            frame = _there_and_back(len(truth.timestamp), len(donor.found))
            offset, score = _errors_of_joints(donor, frame, person.keypoints[..., 2], others, rng)
            # The network finds joints inside the picture only.
            places = np.clip(person.keypoints[..., :2] + offset * input_px(clip), 0, size - 1)
            found.append(donor.found[frame])
            keypoints.append(np.concatenate([places, score[..., None]], 2).astype(np.float32))
            scores.append(donor.person_score[frame])
        return [
            _people([points[at] for points, seen in zip(keypoints, found, strict=True) if seen[at]],
                    [score[at] for score, seen in zip(scores, found, strict=True) if seen[at]])
            for at in range(len(truth.timestamp))
        ]  # fmt: skip


def _most_alike(people: Sequence[MeasuredPerson], clip: Mapping) -> list[MeasuredPerson]:
    """The people whose clips are most like `clip`: as near, as crowded, in the same dance."""
    close_up, crowd = "close_up" in clip["hidden"].split(), clip["people"] > 1
    alike = np.array(
        [4 * (one.close_up == close_up) + 2 * (one.crowd == crowd) + (one.dance == clip["challenge"]) for one in people]
    )
    return [one for one, of_it in zip(people, alike, strict=True) if of_it == alike.max()]


def _errors_of_joints(
    donor: MeasuredPerson,
    frame: np.ndarray,
    state: np.ndarray,
    others: Sequence[MeasuredPerson],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets float32 [T, 17, 2] in input px and scores [T, 17] of a new person's joints.

    Args:
        frame: [T] the donor's moment for each of the new person's.
        state: [T, 17] of the new person.
        others: to take errors from of a joint that the donor never has in that state.
    """
    offset, score = np.zeros((*state.shape, 2), np.float32), np.zeros(state.shape, np.float32)
    for joint in range(state.shape[1]):
        for kind in (VISIBLE, OCCLUDED, OUTSIDE):
            wanted = np.flatnonzero(state[:, joint] == kind)
            if not len(wanted) or not donor.found.any():
                continue
            source, known = donor, _moments(donor, joint, kind)
            if not len(known):
                able = [one for one in others if len(_moments(one, joint, kind))]
                able = [one for one in able if one.is_lead == donor.is_lead] or able
                if able:
                    source = able[rng.integers(len(able))]
                    known = _moments(source, joint, kind)
                else:  # nobody's joint was ever in that state
                    known = np.flatnonzero(donor.found)
            nearest = known[np.abs(known[None] - frame[wanted, None]).argmin(1)]
            offset[wanted, joint] = source.offset[nearest, joint]
            score[wanted, joint] = source.score[nearest, joint]
    return offset, score


def _moments(person: MeasuredPerson, joint: int, kind: int) -> np.ndarray:
    """Frames in which a person was found and the joint was in that state."""
    return np.flatnonzero(person.found & (person.state[:, joint] == kind))


def measure_errors(folder: Path, workspace: str, dataset: str) -> PoseErrors:
    """Errors of the pose network on an extracted world: of everybody in its undamaged clips.

    folder: of the world, with its truth; dataset: relative to the workspace.
    """
    clips = DatasetFolder(workspace, dataset).read_clips()
    scripts = read_clips_truth(folder).set_index("clip_id", drop=False)
    people: list[MeasuredPerson] = []
    for shard, members in clips[clips["shard_pose"].notna()].groupby("shard_pose"):
        reader = ShardReader(storage.join(workspace, str(shard)))
        for clip_id in members["clip_id"]:
            if not scripts.loc[clip_id, "damage"]:
                people += _measured(reader.read(clip_id), read_people(folder, clip_id), scripts.loc[clip_id])
        reader.close()
    made_of = sorted(clips["shard_pose"].dropna().unique().tolist())
    return PoseErrors(people, fingerprint({"shards": made_of, "clips": clips["content_hash"].tolist()}))


def _measured(rows: Any, truth: ClipTruth, script: pd.Series) -> list[MeasuredPerson]:
    assert isinstance(rows, PoseRows)
    frames, count = rows.grid.frame_index, len(truth.people)
    found = np.zeros((count, len(frames)), bool)
    predicted = np.zeros((count, len(frames), 17, 3), np.float32)
    person_score = np.zeros((count, len(frames)), np.float32)
    for index, frame in enumerate(frames):
        seen = [track for track in rows.tracks if track.valid[index]]
        for who, track in match_people(truth.people, frame, seen, index).items():
            found[who, index] = True
            predicted[who, index] = seen[track].keypoints[index]
            person_score[who, index] = seen[track].score[index]
    measured = []
    for index, person in enumerate(truth.people):
        true = person.keypoints[frames]
        offset = (predicted[index, ..., :2] - true[..., :2]) / input_px(script) * found[index, :, None, None]
        measured.append(
            MeasuredPerson(
                script["clip_id"], script["challenge"], "close_up" in script["hidden"].split(), count > 1,
                person.track_id == 0, found[index], true[..., 2].astype(np.int8), offset.astype(np.float32),
                predicted[index, ..., 2], person_score[index],
            )
        )  # fmt: skip
    return measured


def input_px(script: Mapping) -> float:
    """Pixels of the film to one of the pose network's input. script: the clip's row of `clips_table`."""
    width, height = load_profile(PROFILE).entry("pose").input_size
    return float(max(script["width"] / width, script["height"] / height))


def _there_and_back(count: int, frames: int) -> np.ndarray:
    """Indices int64 [count]: 0 to frames - 1, back to 0, and so on."""
    around = np.arange(count) % max(1, 2 * (frames - 1))
    return np.minimum(around, max(1, 2 * (frames - 1)) - around)


def _people(keypoints: Sequence[np.ndarray], scores: Sequence[float]) -> People:
    points = np.array(keypoints, np.float32).reshape(-1, 17, 3)
    return People(points, boxes_around(points[..., :2], points[..., 2]), np.array(scores, np.float32))


def error_table(people: Iterable[MeasuredPerson]) -> pd.DataFrame:
    """Errors by the joint's state: share of the joints, length in input px, score, and hold over 0.1 s and 1 s."""
    leads = [one for one in people if one.is_lead]
    rows = []
    for name, kind in (("visible", VISIBLE), ("occluded", OCCLUDED), ("outside", OUTSIDE)):
        chosen = [one.found[:, None] & (one.state == kind) for one in leads]
        length = np.concatenate(
            [np.linalg.norm(one.offset, axis=2)[mask] for one, mask in zip(leads, chosen, strict=True)]
        )
        score = np.concatenate([one.score[mask] for one, mask in zip(leads, chosen, strict=True)])
        if not len(length):
            continue
        rows.append({
            "joints": name, "share": len(length) / sum(mask.size for mask in chosen),
            **{f"length_{q}": float(np.quantile(length, q / 100)) for q in (50, 90, 99)},
            "score": float(score.mean()), "under_0.3": float((score < 0.3).mean()),
            "score_of_length": float(pd.Series(score).corr(pd.Series(length), method="spearman")),
            **{f"hold_{lag}": _hold(leads, chosen, lag) for lag in (1, 10)},
        })  # fmt: skip
    return pd.DataFrame(rows)


def _hold(people: Sequence[MeasuredPerson], chosen: Sequence[np.ndarray], lag: int) -> float:
    """Correlation of offsets, limited to 5 px of the input, with those `lag` frames later."""
    first, second = [], []
    for one, mask in zip(people, chosen, strict=True):
        both = mask[lag:] & mask[:-lag]
        offset = np.clip(one.offset, -5, 5)
        first.append(offset[:-lag][both].ravel())
        second.append(offset[lag:][both].ravel())
    return float(np.corrcoef(np.concatenate(first), np.concatenate(second))[0, 1])
