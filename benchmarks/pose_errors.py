"""Errors of the pose network on an extracted world, and skeletons of the truth with such errors.

For worlds whose films are not decoded in whole (benchmarks.thin_world). An error, in pixels of the network's input, has
two parts:

* what the pose makes to be expected: a network gives what it cannot resolve its usual place, so that bones of a few
  pixels vary less than they do. A ridge regression on the true pose and on which joints are hidden tells 13 to 70 % of
  the variance of a joint's error in clips held out (errors limited to 6 px; 250 clips of seed 1000).
* the remainder, and whether the person was found, and each joint's score: those of a *donor*, somebody of another clip,
  in the same dance where possible. The donor's moments are put beside the new clip's so that poses are alike and
  moments follow each other, so what remains hangs together over time, from joint to joint, with the scores and with the
  movement as it does in the measured world. A joint takes it from the nearest moment at which the donor's joint was as
  visible (seen, hidden, outside of the picture).

Why pixels of the network's input: from clip to clip the median error in them varies by 16 %, in trunk lengths by 23 %.
Not made: detections that are nobody's (0.3 % there).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.world_checks import match_people
from models.extractors.people import People
from models.extractors.pose import boxes_around
from models.virality.skeleton import COCO17
from pipeline.core import storage
from pipeline.core.fingerprint import fingerprint
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.reader import ShardReader
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.registry import load_profile
from simulation.filming.visibility import OCCLUDED, OUTSIDE, VISIBLE
from simulation.truth import ClipTruth, read_clips_truth, read_people

PROFILE = "demo"
_TRUNK = [5, 6, 11, 12]  # COCO-17: shoulders and hips
_LIMIT = 6.0  # input px; larger errors are mistakes, which no pose makes to be expected
_PENALTY = 100.0
_LEAST_FRAMES = 1000
_UNEVEN, _LEAP = 0.15, 0.3  # cost of a moment that the donor repeats or leaves out, and of a leap, in squared trunks


@dataclass(frozen=True)
class MeasuredPerson:
    """One person of an extracted clip: what the network made of them in T sampled frames."""

    clip_id: str
    dance: str
    close_up: bool
    crowd: bool  # others are in the clip
    is_lead: bool
    found: np.ndarray  # bool [T]
    place: np.ndarray  # float32 [T, 17, 2] true place of the joints, input px (`input_px`)
    state: np.ndarray  # int8 [T, 17] VISIBLE, OCCLUDED or OUTSIDE
    offset: np.ndarray  # float32 [T, 17, 2] of the joints from there, input px; 0 where not found
    score: np.ndarray  # float32 [T, 17] of the joint
    person_score: np.ndarray  # float32 [T]


class PoseErrors:
    """Everybody of a measured world, to take errors from."""

    def __init__(self, people: Sequence[MeasuredPerson], identity: str):
        """identity: of the measured files, for the fingerprint of what is made with these errors."""
        self.people = tuple(people)
        self.identity = identity
        self._expected = _ExpectedErrors(people)
        self._donors = [
            replace(
                one, offset=np.where(one.found[:, None, None], one.offset - self._expected(one.place, one.state), 0)
            )
            for one in people
        ]

    def detect(self, clip: Mapping, truth: ClipTruth) -> list[People]:
        """People of each of the clip's T frames, as the network would find them.

        Args:
            clip: the clip's row of `simulation.truth.clips_table`.
            truth: labels of the T sampled frames alone.
        """
        rng = np.random.default_rng(list(clip["clip_id"].encode()))
        size, unit = np.array([clip["width"], clip["height"]], np.float32), input_px(clip)
        found, keypoints, scores = [], [], []
        others = [one for one in self._donors if one.clip_id != clip["clip_id"]]
        for person in truth.people:
            donors = _most_alike([one for one in others if one.is_lead == (person.track_id == 0)] or others, clip)
            donor = donors[rng.integers(len(donors))]
            place, state = person.keypoints[..., :2] / unit, person.keypoints[..., 2].astype(np.int8)
            moment = _align(place, donor.place)
            offset, score = _errors_of_joints(donor, moment, state, others, rng)
            place = place + offset + self._expected(place, state)
            # The network finds joints inside the picture only.
            points = np.concatenate([np.clip(place * unit, 0, size - 1), score[..., None]], 2)
            found.append(donor.found[moment])
            keypoints.append(points.astype(np.float32))
            scores.append(donor.person_score[moment])
        return [
            _people([points[at] for points, seen in zip(keypoints, found, strict=True) if seen[at]],
                    [score[at] for score, seen in zip(scores, found, strict=True) if seen[at]])
            for at in range(len(truth.timestamp))
        ]  # fmt: skip


class _ExpectedErrors:
    """Ridge regression of the errors of all joints on the pose."""

    def __init__(self, people: Sequence[MeasuredPerson]):
        frames = sum(int(one.found.sum()) for one in people)
        if frames < _LEAST_FRAMES:  # nothing can be learned of so few
            self._mean = None
            return
        pose = np.concatenate([_pose_features(one.place, one.state)[one.found] for one in people])
        error = np.concatenate([one.offset[one.found] for one in people]).reshape(len(pose), -1).clip(-_LIMIT, _LIMIT)
        self._mean, self._spread, self._error = pose.mean(0), pose.std(0) + 1e-3, error.mean(0)
        x = (pose - self._mean) / self._spread
        self._slopes = np.linalg.solve(x.T @ x + _PENALTY * np.eye(x.shape[1]), x.T @ (error - self._error))

    def __call__(self, place: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Expected errors [T, 17, 2], input px."""
        if self._mean is None:
            return np.zeros_like(place)
        x = (_pose_features(place, state) - self._mean) / self._spread
        return (x @ self._slopes + self._error).clip(-_LIMIT, _LIMIT).reshape(place.shape)


def _pose_features(place: np.ndarray, state: np.ndarray) -> np.ndarray:
    """[T, 17 x 6]: joints from the middle of the trunk, bones, and which joints are hidden or outside."""
    middle = place - place[:, _TRUNK].mean(1, keepdims=True)
    bones = place - place[:, list(COCO17.parents)]
    parts = (middle, bones, state == OCCLUDED, state == OUTSIDE)
    return np.concatenate([part.reshape(len(place), -1) for part in parts], 1).astype(np.float64)


def _align(place: np.ndarray, donor: np.ndarray) -> np.ndarray:
    """The donor's moment int64 [T] for each moment of a clip: poses [T, 17, 2] and [U, 17, 2] are alike, and moments
    follow each other, but for a leap where that brings much. By dynamic programming.
    """
    pose, other = (_normalised(one).reshape(len(one), -1) for one in (place, donor))
    unlike = (pose**2).sum(1)[:, None] + (other**2).sum(1) - 2 * pose @ other.T
    unlike /= place.shape[1]
    moments = np.arange(len(donor))
    cost, came_from = unlike[0], np.zeros(unlike.shape, np.int64)
    for at in range(1, len(place)):
        leap = int(cost.argmin())
        ways = np.full((4, len(donor)), np.inf)
        ways[0, 1:] = cost[:-1]
        ways[1] = cost + _UNEVEN
        ways[2, 2:] = cost[:-2] + _UNEVEN
        ways[3] = cost[leap] + _LEAP
        way = ways.argmin(0)
        came_from[at] = np.where(way == 3, leap, moments - np.array([1, 0, 2, 0])[way])
        cost = ways[way, moments] + unlike[at]
    path = [int(cost.argmin())]
    for at in range(len(place) - 1, 0, -1):
        path.append(int(came_from[at, path[-1]]))
    return np.array(path[::-1])


def _normalised(place: np.ndarray) -> np.ndarray:
    """Joints [T, 17, 2] from the middle of the trunk, in lengths of the clip's median trunk."""
    trunk = place[:, _TRUNK].reshape(-1, 2, 2, 2).mean(2)
    length = max(1e-3, float(np.median(np.linalg.norm(trunk[:, 0] - trunk[:, 1], axis=1))))
    return np.asarray((place - trunk.mean(1)[:, None]) / length)


def _most_alike(people: Sequence[MeasuredPerson], clip: Mapping) -> list[MeasuredPerson]:
    """The people whose clips are most like `clip`: as near, as crowded, in the same dance."""
    close_up, crowd = "close_up" in clip["hidden"].split(), clip["people"] > 1
    alike = np.array(
        [4 * (one.close_up == close_up) + 2 * (one.crowd == crowd) + (one.dance == clip["challenge"]) for one in people]
    )
    return [one for one, of_it in zip(people, alike, strict=True) if of_it == alike.max()]


def _errors_of_joints(
    donor: MeasuredPerson,
    moment: np.ndarray,
    state: np.ndarray,
    others: Sequence[MeasuredPerson],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets float32 [T, 17, 2] in input px and scores [T, 17] for a new person's joints.

    Args:
        moment: [T] the donor's for each of the new person's.
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
            nearest = known[np.abs(known[None] - moment[wanted, None]).argmin(1)]
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
    measured, unit = [], input_px(script)
    for index, person in enumerate(truth.people):
        true = person.keypoints[frames]
        offset = (predicted[index, ..., :2] - true[..., :2]) / unit * found[index, :, None, None]
        measured.append(
            MeasuredPerson(
                script["clip_id"], script["challenge"], "close_up" in script["hidden"].split(), count > 1,
                person.track_id == 0, found[index], true[..., :2] / unit, true[..., 2].astype(np.int8),
                offset.astype(np.float32), predicted[index, ..., 2], person_score[index],
            )
        )  # fmt: skip
    return measured


def input_px(script: Mapping) -> float:
    """Pixels of the film to one of the pose network's input. script: the clip's row of `clips_table`."""
    width, height = load_profile(PROFILE).entry("pose").input_size
    return float(max(script["width"] / width, script["height"] / height))


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
