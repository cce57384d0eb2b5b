"""People of single frames linked into tracks, the lead dancer among them, and whose face each face is.

Own code, after looking for a library that fits: norfair 2.3 (BSD) pins numpy below 2; roboflow's trackers and
supervision (Apache-2.0) and motpy (MIT) link boxes, not skeletons, and dancers' boxes overlap all the time; BoxMOT is
AGPL and wants appearance networks. What is left to write is a cost matrix for scipy's Hungarian solver.

Everything is deterministic and independent of the order in which people are listed, and bounded by `LinkOptions`
whatever the network says: a frame costs at most one assignment of `2 * max_persons` tracks to `max_persons` people.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

# How far annotators disagree about a keypoint, in units of the square root of a person's area.
# Source: COCO keypoint evaluation (cocodataset.org/#keypoints-eval; `kpt_oks_sigmas` of pycocotools).
COCO_SIGMAS = np.array(
    (
        *(0.026, 0.025, 0.025, 0.035, 0.035),  # nose, eyes, ears
        *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062),  # shoulders, elbows, wrists
        *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),  # hips, knees, ankles
    )
)
HEAD = slice(0, 5)  # COCO-17: nose, eyes, ears
_LANDMARKS_INSIDE = slice(0, 3)  # of a face's five landmarks: the eyes and the nose, which COCO has too


@dataclass(frozen=True)
class Track:
    """One person over the clip. Where `valid` is False every number of that frame is 0."""

    track_id: int  # 0.. by first appearance
    is_lead: bool
    valid: np.ndarray  # bool [T] seen in this frame
    keypoints: np.ndarray  # float32 [T, 17, 3] COCO-17; x, y in pixels of the upright source frame; score 0..1
    box: np.ndarray  # float32 [T, 4] x1, y1, x2, y2, same pixels
    score: np.ndarray  # float32 [T] the network's confidence that this is a person, 0..1


class People(Protocol):
    """One frame's people, as `models.extractors.pose.People` gives them."""

    @property
    def keypoints(self) -> np.ndarray: ...  # float32 [P, 17, 3] x, y, score

    @property
    def boxes(self) -> np.ndarray: ...  # float32 [P, 4]

    @property
    def scores(self) -> np.ndarray: ...  # float32 [P]


@dataclass(frozen=True)
class LinkOptions:
    """What may count as the same person. Lengths are in units of a person's size, the square root of the box's area."""

    max_tracks: int = 10  # a clip; those with the most evidence (sum of scores) are kept
    max_persons: int = 30  # a frame; the best are looked at
    max_gap_s: float = 1.0  # a person unseen for longer comes back as somebody new
    min_similarity: float = 0.3  # below it nobody is the same person; OKS, or IoU of boxes where keypoints are few
    keypoint_score: float = 0.3  # a keypoint below it says nothing
    min_keypoints: int = 5  # trusted in both poses, or else boxes decide
    motion_per_s: float = 1.0  # sizes a second that a body may move beyond what its course foretells
    max_motion: float = 0.4  # sizes; however long it was unseen
    max_speed_per_s: float = 4.0  # sizes a second; a body's measured course is cut to it
    settled_frames: int = 4  # a body seen so often counts fully against one that has just appeared
    foresight_s: float = 0.5  # a course is followed for so long; after it a body is expected to wait


@dataclass
class _Course:
    """A track while it is being followed."""

    frames: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # which person of each of those frames
    keypoints: np.ndarray = field(default_factory=lambda: np.zeros((17, 3)))  # last seen
    box: np.ndarray = field(default_factory=lambda: np.zeros(4))
    time: float = 0.0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))  # px/s
    evidence: float = 0.0  # sum of scores


def link(
    people: Sequence[People],
    timestamps: Sequence[float] | np.ndarray,
    options: LinkOptions | None = None,
) -> tuple[Track, ...]:
    """Persons linked over a clip's frames.

    Args:
        people: who is in each of the T sampled frames.
        timestamps: [T] seconds, ascending.
        options: gates and caps; None: the defaults.

    Returns:
        At most `max_tracks` tracks, numbered by first appearance (in one frame: by score), nobody the lead yet.
        A cut ends tracks, because nobody is where they were; whoever is there after it is somebody new.
    """
    options = options or LinkOptions()
    if len(people) != len(timestamps):
        raise ValueError(f"{len(people)} frames of people, but {len(timestamps)} timestamps")
    open_courses: list[_Course] = []
    courses: list[_Course] = []
    for frame, (found, time) in enumerate(zip(people, timestamps, strict=True)):
        rows = _canonical_order(found)[: options.max_persons]
        open_courses = [course for course in open_courses if time - course.time <= options.max_gap_s]
        owner = _assign(open_courses, found, rows, float(time), options)
        for row, course in zip(rows, owner, strict=True):
            if course is None:
                course = _Course()
                courses.append(course)
                open_courses.append(course)
            _extend(course, found, int(row), frame, float(time), options)
        if len(open_courses) > 2 * options.max_persons:  # the longest unseen go first, then those of least evidence
            open_courses.sort(key=lambda course: (-course.time, -course.evidence))
            del open_courses[2 * options.max_persons :]
    best = sorted(range(len(courses)), key=lambda index: (-courses[index].evidence, index))[: options.max_tracks]
    return tuple(_track(number, courses[index], people) for number, index in enumerate(sorted(best)))


def _canonical_order(found: People) -> np.ndarray:
    """Rows by score, best first; ties by where they are: the same whatever order the people come in."""
    if len(found.scores) == 0:
        return np.zeros(0, np.intp)
    keys = np.concatenate(
        (-np.reshape(found.scores, (-1, 1)), found.boxes, found.keypoints.reshape(len(found.scores), -1)), axis=1
    )
    return np.lexsort(keys.T[::-1])


def _assign(
    courses: list[_Course], found: People, rows: np.ndarray, time: float, options: LinkOptions
) -> list[_Course | None]:
    """The course that each of the rows continues, or None: the pairing with the largest sum of similarities."""
    owner: list[_Course | None] = [None] * len(rows)
    if not courses or not len(rows):
        return owner
    similarity = _similarity(courses, found.keypoints[rows], found.boxes[rows], time, options)
    similarity[similarity < options.min_similarity] = 0.0
    similarity *= np.array([_standing(course, time, options) for course in courses])[:, None]
    for course, row in zip(*linear_sum_assignment(similarity, maximize=True), strict=True):
        if similarity[course, row] > 0:
            owner[row] = courses[course]
    return owner


def _standing(course: _Course, time: float, options: LinkOptions) -> float:
    """0..1, how much a course's word counts against another's: more for one long followed and lately seen.

    Without it a person whom the network once took for two has two courses from then on, and goes to and fro between
    them, whichever of the two last poses is more alike.
    """
    followed = min(len(course.frames) / options.settled_frames, 1.0)
    unseen = min((time - course.time) / options.max_gap_s, 1.0)
    return (0.5 + 0.5 * followed) * (1.0 - 0.5 * unseen)


def _similarity(
    courses: list[_Course], keypoints: np.ndarray, boxes: np.ndarray, time: float, options: LinkOptions
) -> np.ndarray:
    """[A, D] in 0..1 of A courses, carried on to `time`, and D people: keypoints [D, 17, 3], boxes [D, 4]."""
    elapsed = np.array([time - course.time for course in courses])  # [A]
    shift = np.stack([course.velocity for course in courses]) * np.minimum(elapsed, options.foresight_s)[:, None]
    before = np.stack([course.keypoints for course in courses]).astype(np.float64)  # [A, 17, 3]
    before[..., :2] += shift[:, None]
    expected = np.stack([course.box for course in courses]) + np.tile(shift, 2)  # [A, 4]

    area = np.maximum((_area(expected)[:, None] + _area(boxes)[None]) / 2, 1.0)  # [A, D]
    trusted = (before[:, None, :, 2] >= options.keypoint_score) & (keypoints[None, ..., 2] >= options.keypoint_score)
    squared = ((before[:, None, :, :2] - keypoints[None, ..., :2]) ** 2).sum(axis=-1)  # [A, D, 17]
    # COCO's OKS, its tolerance widened by what the body may have moved since
    motion = np.minimum(options.motion_per_s * elapsed, options.max_motion)
    variance = (2 * COCO_SIGMAS) ** 2 + motion[:, None, None] ** 2  # [A, 1, 17]
    likeness = np.exp(-squared / (2 * variance * area[..., None])) * trusted
    known = trusted.sum(axis=-1)  # [A, D]
    oks = likeness.sum(axis=-1) / np.maximum(known, 1)
    return np.where(known >= options.min_keypoints, oks, _iou(expected, boxes))


def _area(boxes: np.ndarray) -> np.ndarray:
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[A, D] of boxes [A, 4] and [D, 4]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = _area(np.concatenate((low, high), axis=-1))
    union = _area(first)[:, None] + _area(second)[None] - shared
    return shared / np.maximum(union, 1e-9)


def _extend(course: _Course, found: People, row: int, frame: int, time: float, options: LinkOptions) -> None:
    keypoints, box = found.keypoints[row], np.asarray(found.boxes[row], np.float64)
    if course.frames and time > course.time:
        trusted = (course.keypoints[:, 2] >= options.keypoint_score) & (keypoints[:, 2] >= options.keypoint_score)
        if trusted.sum() >= options.min_keypoints:  # the median: limbs swing, the body travels
            moved = np.median((keypoints - course.keypoints)[trusted, :2], axis=0)
        else:
            moved = (box - course.box).reshape(2, 2).mean(axis=0)
        velocity = (course.velocity + moved / (time - course.time)) / 2  # half old, half new: steadies the course
        limit = options.max_speed_per_s * np.sqrt(max(float(_area(box)), 1.0))
        course.velocity = velocity * min(1.0, limit / max(float(np.hypot(*velocity)), 1e-9))
    course.keypoints, course.box, course.time = keypoints, box, time
    course.frames.append(frame)
    course.rows.append(row)
    course.evidence += float(found.scores[row])


def _track(track_id: int, course: _Course, people: Sequence[People]) -> Track:
    count = len(people)
    track = Track(
        track_id=track_id,
        is_lead=False,
        valid=np.zeros(count, bool),
        keypoints=np.zeros((count, 17, 3), np.float32),
        box=np.zeros((count, 4), np.float32),
        score=np.zeros(count, np.float32),
    )
    for frame, row in zip(course.frames, course.rows, strict=True):
        track.valid[frame] = True
        track.keypoints[frame] = people[frame].keypoints[row]
        track.box[frame] = people[frame].boxes[row]
        track.score[frame] = people[frame].scores[row]
    return track


def choose_lead(tracks: Sequence[Track], frame_size: tuple[int, int]) -> int | None:
    """The track_id of the lead dancer, or None where there is nobody.

    The rule: the largest sum over frames of area x centrality x score, where area is the share of the frame that the
    box covers, centrality falls from 1 in the middle to 0.5 at the left and right edges, and score is the network's.
    Frames without the person add nothing, so presence counts. Ties go to the first to appear.

    Args:
        tracks: as `link` gives them.
        frame_size: width, height in pixels of the frames that the boxes lie in.
    """
    if not tracks:
        return None
    width, height = frame_size
    limit = np.array([width, height, width, height], np.float64)
    weights = []
    for track in tracks:
        box = np.clip(track.box, 0, limit)
        centrality = 1 - np.abs(box[:, [0, 2]].mean(axis=1) / width - 0.5)
        weights.append(float((_area(box) / (width * height) * centrality * track.score * track.valid).sum()))
    order = sorted(range(len(tracks)), key=lambda index: (-weights[index], tracks[index].track_id))
    return tracks[order[0]].track_id


def mark_lead(tracks: Sequence[Track], frame_size: tuple[int, int]) -> tuple[Track, ...]:
    """The tracks with `is_lead` set on the one that `choose_lead` names, and on no other."""
    lead = choose_lead(tracks, frame_size)
    return tuple(replace(track, is_lead=track.track_id == lead) for track in tracks)


def lead_of(tracks: Sequence[Track]) -> Track | None:
    """The lead dancer's track."""
    return next((track for track in tracks if track.is_lead), None)


def match_faces(
    tracks: Sequence[Track],
    pose_frame_index: np.ndarray,
    face_frame_index: np.ndarray,
    boxes: np.ndarray,
    landmarks: np.ndarray,
    max_distance: float = 0.6,
    keypoint_score: float = 0.3,
) -> np.ndarray:
    """Whose face each face is: that of the dancer whose head it holds.

    In each frame the faces and heads are paired so that the sum of distances is smallest, one face a dancer; a distance
    is that of a face's middle (eyes and nose) to the middle of the head's trusted keypoints (nose and eyes, or the ears
    where those are hidden), in units of the face's size (square root of its box's area).

    Args:
        tracks: as `link` gives them; frames are those of `pose_frame_index`.
        pose_frame_index: int [T] the source frame of each of the tracks' T frames, ascending.
        face_frame_index: int [M] the source frame of each face. A face in a frame without poses is nobody's.
        boxes: float32 [M, 4] of the faces, same pixels as the tracks.
        landmarks: float32 [M, 5, 2] eyes, nose, corners of the mouth.
        max_distance: a face further from a head than this is not its face. Ears lie within half a face of its middle.
        keypoint_score: a keypoint below it says nothing.

    Returns:
        int32 [M] track_id, or -1.
    """
    owner = np.full(len(boxes), -1, np.int32)
    if not tracks or not len(boxes):
        return owner
    pose_frame_index, face_frame_index = np.asarray(pose_frame_index), np.asarray(face_frame_index)
    size = np.sqrt(np.maximum(_area(boxes), 1.0))
    middle = landmarks[:, _LANDMARKS_INSIDE].mean(axis=1)
    for frame in np.unique(face_frame_index):
        position = int(np.searchsorted(pose_frame_index, frame))
        if position == len(pose_frame_index) or pose_frame_index[position] != frame:
            continue
        heads = np.stack([_head(track, position, keypoint_score) for track in tracks])  # [K, 2], NaN where unseen
        faces = np.flatnonzero(face_frame_index == frame)
        distance = np.linalg.norm(middle[faces, None] - heads[None], axis=-1) / size[faces, None]
        # closeness rather than distance, so that pairs beyond the gate weigh nothing and never push a good pair away
        closeness = np.nan_to_num(np.maximum(max_distance - distance, 0.0), nan=0.0)
        for face, dancer in zip(*linear_sum_assignment(closeness, maximize=True), strict=True):
            if closeness[face, dancer] > 0:
                owner[faces[face]] = tracks[dancer].track_id
    return owner


def _head(track: Track, position: int, keypoint_score: float) -> np.ndarray:
    """[2] the middle of a head in one frame; NaN where the person or the head is not seen."""
    head = track.keypoints[position, HEAD]
    trusted = (head[:, 2] >= keypoint_score) & track.valid[position]
    for part in (slice(0, 3), slice(3, 5)):  # nose and eyes; else ears
        if trusted[part].any():
            return head[part][trusted[part], :2].mean(axis=0)
    return np.full(2, np.nan)
