"""Linking of people in single frames into tracks, choice of the lead dancer, and assignment of faces to dancers.

Written here, after a search for a library that fits: norfair 2.3 (BSD) pins numpy below 2; roboflow's trackers and
supervision (Apache-2.0) and motpy (MIT) link boxes, not skeletons, and dancers' boxes overlap all the time; BoxMOT is
AGPL and needs appearance networks. What remains is a cost matrix for scipy's Hungarian solver.

Everything is deterministic and independent of the order in which people are listed, and bounded by `LinkOptions`
whatever the network outputs: a frame costs at most one assignment of `2 * max_persons` tracks to `max_persons` people.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

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
    score: np.ndarray  # float32 [T] the network's confidence in this person, 0..1


class People(Protocol):
    """One frame's people, as in `models.extractors.people.People`."""

    @property
    def keypoints(self) -> np.ndarray: ...  # float32 [P, 17, 3] x, y, score

    @property
    def boxes(self) -> np.ndarray: ...  # float32 [P, 4]

    @property
    def scores(self) -> np.ndarray: ...  # float32 [P]


@dataclass(frozen=True)
class LinkOptions:
    """Options of linking. Lengths are in units of a person's size, the square root of the box's area."""

    max_tracks: int = 10  # a clip; those with the most evidence (sum of scores) are kept
    max_persons: int = 30  # a frame; those with the best scores
    max_gap_s: float = 1.0  # a person unseen for longer starts a new track
    min_similarity: float = 0.3  # to continue a track; OKS, or IoU of boxes where keypoints are few
    keypoint_score: float = 0.3  # keypoints below it are ignored
    min_keypoints: int = 5  # trusted in both poses; with fewer, boxes decide
    motion_per_s: float = 1.0  # sizes a second that a body may move beyond its predicted position
    max_motion: float = 0.4  # sizes; the most of it, however long the person was unseen
    max_speed_per_s: float = 4.0  # sizes a second; a measured velocity is limited to it
    full_weight_frames: int = 4  # a track of so many frames has full weight against a new one
    extrapolation_s: float = 0.5  # a track moves on at its velocity for so long, then is expected to stay


@dataclass
class _OpenTrack:
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
    """Tracks of the persons in a clip's frames.

    Args:
        people: of each of the T sampled frames.
        timestamps: [T] seconds, ascending.
        options: gates and caps; None: the defaults.

    Returns:
        At most `max_tracks` tracks, numbered by first appearance (in one frame: by score), none marked as the lead.
        A cut ends tracks, because nobody is where they were; people after it start new tracks.
    """
    options = options or LinkOptions()
    if len(people) != len(timestamps):
        raise ValueError(f"{len(people)} frames of people, but {len(timestamps)} timestamps")
    open_tracks: list[_OpenTrack] = []
    started: list[_OpenTrack] = []
    for frame, (detections, time) in enumerate(zip(people, timestamps, strict=True)):
        rows = _canonical_order(detections)[: options.max_persons]
        open_tracks = [track for track in open_tracks if time - track.time <= options.max_gap_s]
        owner = _assign(open_tracks, detections, rows, float(time), options)
        for row, track in zip(rows, owner, strict=True):
            if track is None:
                track = _OpenTrack()
                started.append(track)
                open_tracks.append(track)
            _extend(track, detections, int(row), frame, float(time), options)
        if len(open_tracks) > 2 * options.max_persons:  # the longest unseen go first, then those of least evidence
            open_tracks.sort(key=lambda track: (-track.time, -track.evidence))
            del open_tracks[2 * options.max_persons :]
    best = sorted(range(len(started)), key=lambda index: (-started[index].evidence, index))[: options.max_tracks]
    return tuple(_to_track(number, started[index], people) for number, index in enumerate(sorted(best)))


def _canonical_order(people: People) -> np.ndarray:
    """Rows by score, best first, ties by position: independent of the order in which the people are listed."""
    if len(people.scores) == 0:
        return np.zeros(0, np.intp)
    keys = np.concatenate(
        (-np.reshape(people.scores, (-1, 1)), people.boxes, people.keypoints.reshape(len(people.scores), -1)), axis=1
    )
    return np.lexsort(keys.T[::-1])


def _assign(
    tracks: list[_OpenTrack], people: People, rows: np.ndarray, time: float, options: LinkOptions
) -> list[_OpenTrack | None]:
    """The track that each of the rows continues, or None: the pairing with the largest sum of similarities."""
    from scipy.optimize import linear_sum_assignment  # here, for all commands import this module and few link

    owner: list[_OpenTrack | None] = [None] * len(rows)
    if not tracks or not len(rows):
        return owner
    similarity = _similarity(tracks, people.keypoints[rows], people.boxes[rows], time, options)
    similarity[similarity < options.min_similarity] = 0.0
    similarity *= np.array([_weight(track, time, options) for track in tracks])[:, None]
    for index, row in zip(*linear_sum_assignment(similarity, maximize=True), strict=True):
        if similarity[index, row] > 0:
            owner[row] = tracks[index]
    return owner


def _weight(track: _OpenTrack, time: float, options: LinkOptions) -> float:
    """Weight 0..1 of a track against another: larger for one followed long and seen recently.

    Without it a person whom the network once detected twice has two tracks from then on, and alternates between them,
    whichever of the two last poses is more similar.
    """
    followed = min(len(track.frames) / options.full_weight_frames, 1.0)
    unseen = min((time - track.time) / options.max_gap_s, 1.0)
    return (0.5 + 0.5 * followed) * (1.0 - 0.5 * unseen)


def _similarity(
    tracks: list[_OpenTrack], keypoints: np.ndarray, boxes: np.ndarray, time: float, options: LinkOptions
) -> np.ndarray:
    """Similarity [A, D], 0..1, of A tracks extrapolated to `time` and D people: keypoints [D, 17, 3], boxes [D, 4]."""
    elapsed = np.array([time - track.time for track in tracks])  # [A]
    shift = np.stack([track.velocity for track in tracks]) * np.minimum(elapsed, options.extrapolation_s)[:, None]
    before = np.stack([track.keypoints for track in tracks]).astype(np.float64)  # [A, 17, 3]
    before[..., :2] += shift[:, None]
    expected = np.stack([track.box for track in tracks]) + np.tile(shift, 2)  # [A, 4]

    area = np.maximum((_area(expected)[:, None] + _area(boxes)[None]) / 2, 1.0)  # [A, D]
    trusted = (before[:, None, :, 2] >= options.keypoint_score) & (keypoints[None, ..., 2] >= options.keypoint_score)
    squared = ((before[:, None, :, :2] - keypoints[None, ..., :2]) ** 2).sum(axis=-1)  # [A, D, 17]
    # COCO's OKS, its tolerance widened by the possible motion since then
    motion = np.minimum(options.motion_per_s * elapsed, options.max_motion)
    variance = (2 * COCO_SIGMAS) ** 2 + motion[:, None, None] ** 2  # [A, 1, 17]
    similarity = np.exp(-squared / (2 * variance * area[..., None])) * trusted
    known = trusted.sum(axis=-1)  # [A, D]
    oks = similarity.sum(axis=-1) / np.maximum(known, 1)
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


def _extend(track: _OpenTrack, people: People, row: int, frame: int, time: float, options: LinkOptions) -> None:
    keypoints, box = people.keypoints[row], np.asarray(people.boxes[row], np.float64)
    if track.frames and time > track.time:
        trusted = (track.keypoints[:, 2] >= options.keypoint_score) & (keypoints[:, 2] >= options.keypoint_score)
        if trusted.sum() >= options.min_keypoints:  # the median: limbs swing, the body travels
            moved = np.median((keypoints - track.keypoints)[trusted, :2], axis=0)
        else:
            moved = (box - track.box).reshape(2, 2).mean(axis=0)
        velocity = (track.velocity + moved / (time - track.time)) / 2  # half old, half new: smooths the track
        limit = options.max_speed_per_s * np.sqrt(max(float(_area(box)), 1.0))
        track.velocity = velocity * min(1.0, limit / max(float(np.hypot(*velocity)), 1e-9))
    track.keypoints, track.box, track.time = keypoints, box, time
    track.frames.append(frame)
    track.rows.append(row)
    track.evidence += float(people.scores[row])


def _to_track(track_id: int, open_track: _OpenTrack, people: Sequence[People]) -> Track:
    count = len(people)
    track = Track(
        track_id=track_id,
        is_lead=False,
        valid=np.zeros(count, bool),
        keypoints=np.zeros((count, 17, 3), np.float32),
        box=np.zeros((count, 4), np.float32),
        score=np.zeros(count, np.float32),
    )
    for frame, row in zip(open_track.frames, open_track.rows, strict=True):
        track.valid[frame] = True
        track.keypoints[frame] = people[frame].keypoints[row]
        track.box[frame] = people[frame].boxes[row]
        track.score[frame] = people[frame].scores[row]
    return track


def choose_lead(tracks: Sequence[Track], frame_size: tuple[int, int]) -> int | None:
    """The track_id of the lead dancer, or None without tracks.

    The rule: the largest sum over frames of area x centrality x score, where area is the share of the frame that the
    box covers, centrality falls from 1 in the middle to 0.5 at the left and right edges, and score is the network's.
    Frames without the person add nothing, so presence counts. Ties go to the first to appear.

    Args:
        tracks: as `link` returns them.
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
    """The lead dancer's track; None: there is none."""
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
    """The track_id that each face belongs to, int32 [M], or -1: the dancer whose head it covers.

    In each frame the faces and heads are paired so that the sum of distances is smallest, one face a dancer; a distance
    is that of a face's middle (eyes and nose) to the middle of the head's trusted keypoints (nose and eyes, or the ears
    where those are hidden), in units of the face's size (square root of its box's area).

    Args:
        tracks: as `link` returns them; frames are those of `pose_frame_index`.
        pose_frame_index: int [T] the source frame of each of the tracks' T frames, ascending.
        face_frame_index: int [M] the source frame of each face. A face in a frame without poses gets -1.
        boxes: float32 [M, 4] of the faces, same pixels as the tracks.
        landmarks: float32 [M, 5, 2] eyes, nose, corners of the mouth.
        max_distance: the farthest that a face may be from its head. Ears lie within half a face of its middle.
        keypoint_score: keypoints below it are ignored.
    """
    from scipy.optimize import linear_sum_assignment

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
        # closeness rather than distance, so that pairs beyond the gate weigh nothing and displace no good pair
        closeness = np.nan_to_num(np.maximum(max_distance - distance, 0.0), nan=0.0)
        for face, dancer in zip(*linear_sum_assignment(closeness, maximize=True), strict=True):
            if closeness[face, dancer] > 0:
                owner[faces[face]] = tracks[dancer].track_id
    return owner


def _head(track: Track, position: int, keypoint_score: float) -> np.ndarray:
    """The middle [2] of a head in one frame; NaN where the person or the head is not seen."""
    head = track.keypoints[position, HEAD]
    trusted = (head[:, 2] >= keypoint_score) & track.valid[position]
    for part in (slice(0, 3), slice(3, 5)):  # nose and eyes; else ears
        if trusted[part].any():
            return head[part][trusted[part], :2].mean(axis=0)
    return np.full(2, np.nan)
