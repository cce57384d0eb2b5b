"""Accuracy of the extractors on a simulated world, by its truth. Tests keep floors on these numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from pipeline.core import storage
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.reader import ShardReader
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.scene import SceneRows
from pipeline.modalities.tracks import COCO_SIGMAS, Track, match_faces
from simulation.filming.visibility import VISIBLE
from simulation.truth import ClipTruth, PersonTruth, read_clips_truth, read_people

_LEFT_SHOULDER, _RIGHT_SHOULDER, _LEFT_HIP, _RIGHT_HIP = 5, 6, 11, 12
_SAME_PERSON = 0.3  # least OKS of a prediction that is matched to a person of the truth
_SAME_FACE = 0.3  # least IoU of a detection that is matched to a face of the truth
_FRONTAL_DEG, _LARGE_PX = 35.0, 40.0  # of a face that must be detected
_BODY_OF_BOX = 0.53  # COCO's OKS wants the segment's area: about this share of a person's box


@dataclass
class Tally:
    """Counts of correct ones and of all."""

    correct: int = 0
    total: int = 0

    def add(self, correct: Iterable[bool] | np.ndarray) -> None:
        """Count more."""
        correct = np.asarray(list(correct), bool)
        self.correct += int(correct.sum())
        self.total += len(correct)

    @property
    def share(self) -> float:
        """Share of correct ones; NaN of none."""
        return self.correct / self.total if self.total else float("nan")


@dataclass
class PoseCheck:
    """Accuracy of poses, tracks and the lead over clips."""

    pck: dict[str, Tally] = field(default_factory=dict)  # by kind of clip, and "all"
    lead: Tally = field(default_factory=Tally)  # clips with several people
    switches: int = 0
    clips: int = 0
    detected: Tally = field(default_factory=Tally)  # frames in which the lead was detected
    worst_time_s: float = 0.0  # between a stored timestamp and the truth's of the same frame
    ap_input: list[tuple] = field(default_factory=list)  # truth and prediction of every frame, for COCO's AP


@dataclass
class FaceCheck:
    """Accuracy of faces over clips."""

    detected: Tally = field(default_factory=Tally)  # frontal faces over 40 px that nothing hides
    matched: Tally = field(default_factory=Tally)  # detected faces whose dancer has a track: matched to that track


def kinds(clip: Mapping) -> list[str]:
    """Kinds of recording that a clip belongs to, to compare with plain clips."""
    special = [
        name
        for name, present in (
            ("rotated", clip["rotation"] != 0),
            ("variable rate", clip["variable_rate"]),
            ("hevc", clip["codec"] == "hevc"),
            ("cut", clip["shots"] > 1),
            ("caption", bool(clip["caption"])),
        )
        if present
    ]
    crowd = "several people" if clip["people"] > 1 else "one person"
    plain = [] if set(special) - {"caption"} else ["plain"]
    return ["all", crowd, *special, *plain]


def check_pose(check: PoseCheck, rows: PoseRows, truth: ClipTruth, clip: Mapping) -> None:
    """Add a clip to the check."""
    frames = rows.grid.frame_index
    check.worst_time_s = max(check.worst_time_s, float(np.abs(truth.timestamp[frames] - rows.grid.timestamp).max()))
    check.clips += 1
    last: dict[int, int] = {}
    votes: list[bool] = []
    for index, frame in enumerate(frames):
        present = [person for person in truth.people if (person.keypoints[frame, :, 2] == VISIBLE).sum() >= 3]
        valid = [track for track in rows.tracks if track.valid[index]]
        pairs = match_people(present, frame, valid, index)
        check.ap_input.append(
            (
                [(person.keypoints[frame], person.box[frame]) for person in present],
                [(track.keypoints[index], float(track.score[index])) for track in valid],
            )
        )
        if present and present[0].track_id == 0:
            predicted = valid[pairs[0]].keypoints[index] if 0 in pairs else None
            correct = _within(truth.people[0].keypoints[frame], predicted)
            for kind in kinds(clip):
                check.pck.setdefault(kind, Tally()).add(correct)
            check.detected.add([predicted is not None])
            lead = [position for position, track in enumerate(valid) if track.is_lead]
            if lead and lead[0] in pairs.values():
                votes.append(pairs.get(0) == lead[0])
        for person, track in pairs.items():
            identity, name = present[person].track_id, valid[track].track_id
            # A cut ends every track by design: who comes after it is somebody new.
            check.switches += identity in last and last[identity] != name and clip["shots"] == 1
            last[identity] = name
    if clip["people"] > 1:
        check.lead.add([bool(votes) and bool(np.mean(votes) > 0.5)])


def check_faces(check: FaceCheck, pose: PoseRows, face: FaceRows, truth: ClipTruth) -> None:
    """Add a clip to the check."""
    owner = match_faces(pose.tracks, pose.grid.frame_index, face.grid.frame_index[face.frame], face.box, face.landmarks)
    position = {int(frame): index for index, frame in enumerate(pose.grid.frame_index)}
    for index, frame in enumerate(face.grid.frame_index):
        detected = np.flatnonzero(face.frame == index)
        shown = [person for person in truth.people if person.face_box[frame].any()]
        boxes = np.array([person.face_box[frame] for person in shown]).reshape(-1, 4)
        overlap = _iou(boxes, face.box[detected])
        of_face = dict(zip(*linear_sum_assignment(overlap, maximize=True), strict=True)) if overlap.size else {}
        of_face = {person: box for person, box in of_face.items() if overlap[person, box] >= _SAME_FACE}
        for number, person in enumerate(shown):
            height = person.face_box[frame, 3] - person.face_box[frame, 1]
            bare = (person.keypoints[frame, :3, 2] == VISIBLE).all()  # nose and eyes: no arm is before the face
            if bare and abs(person.yaw_deg[frame]) <= _FRONTAL_DEG and height > _LARGE_PX:
                check.detected.add([number in of_face])
        if int(frame) not in position:
            continue
        at = position[int(frame)]
        valid = [track for track in pose.tracks if track.valid[at]]
        pairs = match_people(truth.people, frame, valid, at)
        for number, box in of_face.items():
            track = pairs.get(truth.people.index(shown[number]))
            if track is not None:
                check.matched.add([owner[detected[box]] == valid[track].track_id])


def check_scene(check: Tally, rows: SceneRows, clip: Mapping, categories: tuple[str, ...]) -> None:
    """Add a clip to the check."""
    names = [categories[index] for index in rows.top_category[:, 0]]
    check.add([name == clip["scene"].replace("_", " ").replace("/", ", ") for name in names])


def check_world(folder: Path, workspace: str, dataset_dir: str, categories: tuple[str, ...]) -> dict:
    """All figures of the extractors, on the undamaged clips of a dataset."""
    truth = read_clips_truth(folder).set_index("clip_id")
    clips = DatasetFolder(workspace, dataset_dir).read_clips()
    pose, face, scene = PoseCheck(), FaceCheck(), Tally()
    readers: dict[str, ShardReader] = {}

    def rows(clip: pd.Series, modality: str) -> Any:
        path = storage.join(workspace, clip[f"shard_{modality}"])
        return readers.setdefault(path, ShardReader(path)).read(clip["clip_id"], crops=False)

    for _, clip in clips.iterrows():
        script = truth.loc[clip["clip_id"]]
        if script["damage"]:
            continue
        people = read_people(folder, clip["clip_id"])
        poses = rows(clip, "pose")
        check_pose(pose, poses, people, script)
        check_faces(face, poses, rows(clip, "face"), people)
        check_scene(scene, rows(clip, "scene"), script, categories)
    return {
        "clips": pose.clips,
        "pck": {kind: round(tally.share, 4) for kind, tally in sorted(pose.pck.items())},
        "pck_joints": {kind: tally.total for kind, tally in sorted(pose.pck.items())},
        "lead_found": round(pose.detected.share, 4),
        "oks_ap": {name: round(value, 4) for name, value in oks_ap(pose.ap_input).items()},
        "lead_right": round(pose.lead.share, 4),
        "lead_clips": pose.lead.total,
        "switches_a_ten_clips": round(10 * pose.switches / max(pose.clips, 1), 2),
        "scene": round(scene.share, 4),
        "faces_found": round(face.detected.share, 4),
        "faces_frontal": face.detected.total,
        "faces_matched": round(face.matched.share, 4),
        "worst_time_ms": round(1000 * pose.worst_time_s, 3),
    }


def oks_ap(frames: list[tuple]) -> dict[str, float]:
    """COCO's keypoint AP by pycocotools over all people in all frames; joints that are hidden count as not labelled."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict] = []
    results: list[dict] = []
    for image, (truths, predictions) in enumerate(frames, 1):
        for keypoints, box in truths:
            flags = np.where(keypoints[:, 2:] == VISIBLE, 2, 0)
            width, height = float(box[2] - box[0]), float(box[3] - box[1])
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                    "keypoints": np.concatenate((keypoints[:, :2] * (flags > 0), flags), 1).reshape(-1).tolist(),
                    "num_keypoints": int((flags > 0).sum()), "area": _BODY_OF_BOX * width * height,
                    "bbox": [float(box[0]), float(box[1]), width, height],
                }
            )  # fmt: skip
        results += [
            {"image_id": image, "category_id": 1, "keypoints": keypoints.reshape(-1).tolist(), "score": score}
            for keypoints, score in predictions
        ]
    if not results:
        return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(1, len(frames) + 1)],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person"}],
            "info": {},
        }
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(results), "keypoints")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return {"AP": float(judged.stats[0]), "AP50": float(judged.stats[1]), "AP75": float(judged.stats[2])}


def _within(truth: np.ndarray, predicted: np.ndarray | None) -> np.ndarray:
    """Whether each visible joint is predicted within 0.2 torso, the longer of its diagonals: bool [visible]."""
    visible = truth[:, 2] == VISIBLE
    if predicted is None:
        return np.zeros(int(visible.sum()), bool)
    torso = max(
        np.linalg.norm(truth[_LEFT_SHOULDER, :2] - truth[_RIGHT_HIP, :2]),
        np.linalg.norm(truth[_RIGHT_SHOULDER, :2] - truth[_LEFT_HIP, :2]),
    )
    return np.linalg.norm(truth[visible, :2] - predicted[visible, :2], axis=1) <= 0.2 * torso


def match_people(people: Sequence[PersonTruth], frame: int, tracks: Sequence[Track], index: int) -> dict[int, int]:
    """Position among K people at `frame` -> position among P tracks at `index`, of those that are the same person."""
    if not people or not tracks:
        return {}
    truth = np.array([person.keypoints[frame] for person in people])  # [K, 17, 3]
    boxes = np.array([person.box[frame] for person in people])
    predicted = np.array([track.keypoints[index] for track in tracks])  # [P, 17, 3]
    area = np.maximum(_BODY_OF_BOX * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1.0)
    squared = ((truth[:, None, :, :2] - predicted[None, ..., :2]) ** 2).sum(-1)  # [K, P, 17]
    similarity = np.exp(-squared / (2 * (2 * COCO_SIGMAS) ** 2 * area[:, None, None]))
    visible = truth[:, None, :, 2] == VISIBLE
    oks = (similarity * visible).sum(-1) / np.maximum(visible.sum(-1), 1)
    rows, columns = linear_sum_assignment(oks, maximize=True)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if oks[r, c] >= _SAME_PERSON}


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union [K, M] of boxes [K, 4] and [M, 4]."""
    low, high = np.maximum(first[:, None, :2], second[None, :, :2]), np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (first, second)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


# The term of the likes that a modality shows.
OWN_TERM = {"pose": "skill", "face": "expression", "scene": "scene", "appearance": "look", "synchrony": "synchrony"}


def term_matrix(scores: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Mean within challenge of Spearman of every modality's score with every term of the likes: modalities x terms.

    Terms that no like depends on in this world are left out, with their modalities.
    """
    from simulation.ceiling import mean_spearman

    joined = scores.merge(truth, on="clip_id", suffixes=("", "_truth"))
    own = {name: term for name, term in OWN_TERM.items() if joined[f"likes_{term}"].nunique() > 1}
    modalities = [name for name in own if f"score_{name}" in joined]
    terms = tuple(own.values())
    table = {
        term: [
            mean_spearman(joined[f"score_{modality}"], joined[f"likes_{term}"], joined["challenge"])
            for modality in modalities
        ]
        for term in terms
    }
    return pd.DataFrame(table, index=modalities)


# By hiding effect: the hidden modality, and the term of the likes that the modality shows.
HIDES = {"close_up": ("pose", "skill"), "covered_face": ("face", "expression"),
         "blurred_place": ("scene", "scene"), "colourless": ("appearance", "look")}  # fmt: skip


def hidden_modalities(scores: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Scores of hidden and visible modalities: a row a hiding effect and whether the clips have it.

    `clips` counts them; `spread` and `correlation` (Spearman, with the term of the likes) are those of the modality's
    score within challenge, over all of these clips.
    """
    joined = scores.merge(truth, on="clip_id", suffixes=("", "_truth"))
    rows = []
    for name, (modality, term) in HIDES.items():
        hides = joined["hidden"].str.split().map(lambda effects, name=name: name in effects)
        for hidden, clips in joined[joined[f"score_{modality}"].notna()].groupby(hides):
            score, likes = (
                clips[column] - clips.groupby("challenge")[column].transform("mean")
                for column in (f"score_{modality}", f"likes_{term}")
            )
            rows.append({"kind": name, "modality": modality, "hidden": bool(hidden), "clips": len(clips),
                         "spread": score.std(), "correlation": score.corr(likes, method="spearman")})  # fmt: skip
    return pd.DataFrame(rows)
