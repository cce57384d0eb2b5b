"""Skeleton layouts as tables, the graphs that follow from them, and a track of key points as network input.

The grouping of joints into parts and bodies is ours (the paper's abstract says only "pyramid").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOTION_STEP_S = 0.1  # motion is the distance covered in this time, whatever the clip's frame rate
LIMIT = 20.0  # trunk lengths from the origin; dancers stay within, wrong key points do not


@dataclass(frozen=True)
class Layout:
    """A skeleton as tables. `parts` hold joints, `bodies` hold parts."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]  # [V] the joint at the other end of each joint's bone; the root is its own
    mirror: tuple[int, ...]  # [V] the same joint on the other side
    parts: tuple[tuple[str, tuple[int, ...]], ...]
    bodies: tuple[tuple[str, tuple[int, ...]], ...]
    shoulders: tuple[int, int]
    hips: tuple[int, int]
    centre: tuple[int, int, int]  # of the joints, of the parts, of the bodies: where "inward" leads

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Joint and parent, and across the body: shoulder to shoulder, hip to hip."""
        bones = tuple((joint, parent) for joint, parent in enumerate(self.parents) if joint != parent)
        return (*bones, self.shoulders, self.hips)


COCO17 = Layout(
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ),
    parents=(0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    mirror=(0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15),
    parts=(
        ("head", (0, 1, 2, 3, 4)),
        ("torso", (5, 6, 11, 12)),
        ("left_upper_arm", (5, 7)),
        ("right_upper_arm", (6, 8)),
        ("left_forearm", (7, 9)),
        ("right_forearm", (8, 10)),
        ("left_thigh", (11, 13)),
        ("right_thigh", (12, 14)),
        ("left_shank", (13, 15)),
        ("right_shank", (14, 16)),
    ),
    bodies=(
        ("trunk", (0, 1)),
        ("left_arm", (2, 4)),
        ("right_arm", (3, 5)),
        ("left_leg", (6, 8)),
        ("right_leg", (7, 9)),
    ),
    shoulders=(5, 6),
    hips=(11, 12),
    centre=(0, 1, 0),
)  # fmt: skip

# The joints of the Kinect half of UI-PRMD (Vakanski et al., Data 2018, 3(1), 2), in its files' order.
KINECT22 = Layout(
    joints=(
        "pelvis", "spine", "chest", "neck", "head", "head_top", "left_collar", "left_shoulder", "left_elbow",
        "left_wrist", "right_collar", "right_shoulder", "right_elbow", "right_wrist", "left_hip", "left_knee",
        "left_ankle", "left_toes", "right_hip", "right_knee", "right_ankle", "right_toes",
    ),
    parents=(0, 0, 1, 2, 3, 4, 2, 6, 7, 8, 2, 10, 11, 12, 0, 14, 15, 16, 0, 18, 19, 20),
    mirror=(0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 6, 7, 8, 9, 18, 19, 20, 21, 14, 15, 16, 17),
    parts=(
        ("head", (3, 4, 5)),
        ("torso", (0, 1, 2, 6, 7, 10, 11, 14, 18)),
        ("left_upper_arm", (7, 8)),
        ("right_upper_arm", (11, 12)),
        ("left_forearm", (8, 9)),
        ("right_forearm", (12, 13)),
        ("left_thigh", (14, 15)),
        ("right_thigh", (18, 19)),
        ("left_shank", (15, 16, 17)),
        ("right_shank", (19, 20, 21)),
    ),
    bodies=COCO17.bodies,
    shoulders=(7, 11),
    hips=(14, 18),
    centre=(0, 1, 0),
)  # fmt: skip


def streams_count(coordinates: int) -> int:
    """Number S of streams of a skeleton: joint, bone and their motions, `coordinates` each, and confidence."""
    return 4 * coordinates + 1


STREAMS = streams_count(2)  # of key points in a picture


def membership(groups: Sequence[tuple[str, tuple[int, ...]]], members: int) -> np.ndarray:
    """Membership table, float32 [groups, members], 1 where the member is in the group."""
    table = np.zeros((len(groups), members), np.float32)
    for row, (_, group) in enumerate(groups):
        table[row, list(group)] = 1
    return table


def linked(edges: Sequence[tuple[int, int]], nodes: int) -> np.ndarray:
    """Links between nodes, bool [nodes, nodes], symmetric, without self loops."""
    table = np.zeros((nodes, nodes), bool)
    for one, other in edges:
        table[one, other] = table[other, one] = True
    return table


def coarser(links: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Links between groups (membership `table`) that share a member or are joined by a link of two members.

    A link within a group does not count: shoulder to hip lies in the torso and does not tie the arm to the leg.
    """
    table = table > 0
    inside = table.T @ table
    touching = table @ ((links & ~inside) | np.eye(len(links), dtype=bool)) @ table.T
    return touching & ~np.eye(len(table), dtype=bool)


def subsets(links: np.ndarray, centre: int) -> np.ndarray:
    """Self, inward and outward adjacency, float32 [3, V, V], each row a mean over the node's neighbours.

    Inward neighbours are fewer links from `centre`, outward ones more; neighbours as far from it count as both.
    """
    distance = np.full(len(links), len(links))
    distance[centre] = 0
    for _ in links:  # as many sweeps as the longest path can be
        distance = np.minimum(distance, np.where(links, distance[None, :], len(links)).min(1) + 1)
    nearer = links & (distance[None, :] <= distance[:, None])
    farther = links & (distance[None, :] >= distance[:, None])
    stacked = np.stack([np.eye(len(links), dtype=bool), nearer, farther]).astype(np.float32)
    return stacked / np.maximum(stacked.sum(2, keepdims=True), 1)


@dataclass(frozen=True)
class Pyramid:
    """Graphs of the three levels of a layout, from fine to coarse, and the members of the coarser nodes."""

    adjacency: tuple[np.ndarray, np.ndarray, np.ndarray]  # float32 [3, V, V] of joints, parts, bodies
    members: tuple[np.ndarray, np.ndarray]  # float32 [10, V] joints of the parts, [5, 10] parts of the bodies


def pyramid(layout: Layout) -> Pyramid:
    joints = linked(layout.edges, len(layout.joints))
    of_parts = membership(layout.parts, len(layout.joints))
    of_bodies = membership(layout.bodies, len(layout.parts))
    parts = coarser(joints, of_parts)
    bodies = coarser(parts, of_bodies)
    levels = (joints, parts, bodies)
    joint, part, body = (subsets(links, centre) for links, centre in zip(levels, layout.centre, strict=True))
    return Pyramid((joint, part, body), (of_parts, of_bodies))


@dataclass(frozen=True)
class Posture:
    """A track in units of the dancer: origin at the pelvis of the first frame, unit the median trunk length."""

    position: np.ndarray  # float32 [T, V, 2 or 3] x, y down, depth; gaps interpolated; 0: a joint never seen
    seen: np.ndarray  # bool [T, V] not interpolated
    confidence: np.ndarray  # float32 [T, V] 0 where not seen
    seconds: np.ndarray  # float64 [T]


def normalise(
    keypoints: np.ndarray, valid: np.ndarray, seconds: np.ndarray, min_score: float, layout: Layout = COCO17
) -> Posture:
    """Normalise a track to a Posture.

    Each coordinate is the median of three frames, for a network's key points flicker, which would dominate the speeds.
    Normalised once a clip, so that travelling and the depth of a squat survive. Where the hips are never seen the
    origin is the first frame's mean joint; where no frame shows the whole trunk, the unit is a third of the median
    extent of what is seen.

    Args:
        keypoints: float [T, V, 3] x, y in pixels, y down, score 0..1; or [T, V, 4] x, y, depth in centimetres, score.
        valid: bool [T] seen in this frame.
        seconds: [T] timestamps, not falling.
        min_score: a joint below it is not seen.
    """
    from scipy.ndimage import median_filter  # here, for all commands import this module and few need it

    position = keypoints[..., :-1].astype(np.float64)
    score = keypoints[..., -1].astype(np.float64)
    seen = valid[:, None] & (score >= min_score) & np.isfinite(keypoints).all(-1)
    seconds = seconds.astype(np.float64)
    confidence = np.where(seen, score, 0.0).clip(0, 1).astype(np.float32)
    if not seen.any():
        return Posture(np.zeros(position.shape, np.float32), seen, confidence, seconds)

    unit = _unit(position, seen, layout)
    ever = seen.any(0)
    for joint in np.flatnonzero(ever):
        at = np.flatnonzero(seen[:, joint])
        for axis in range(position.shape[2]):
            position[:, joint, axis] = np.interp(seconds, seconds[at], position[at, joint, axis])
    position = median_filter(position, (3, 1, 1), mode="nearest")
    hips = [hip for hip in layout.hips if ever[hip]]
    origin = position[0, hips].mean(0) if hips else position[0, ever].mean(0)
    position = np.where(ever[:, None], (position - origin) / unit, 0.0)
    return Posture(np.clip(position, -LIMIT, LIMIT).astype(np.float32), seen, confidence, seconds)


def _unit(position: np.ndarray, seen: np.ndarray, layout: Layout) -> float:
    """Length of one unit in pixels or centimetres, at least 1."""
    whole = seen[:, [*layout.shoulders, *layout.hips]].all(1)
    if whole.any():
        trunk = position[whole][:, list(layout.shoulders)].mean(1) - position[whole][:, list(layout.hips)].mean(1)
        return max(float(np.median(np.linalg.norm(trunk, axis=-1))), 1.0)
    frames = np.flatnonzero(seen.any(1))
    extents = [np.ptp(position[frame][seen[frame]], axis=0).max() for frame in frames]
    return max(float(np.median(extents)) / 3, 1.0)


@dataclass(frozen=True)
class Change:
    """Augmentation of a clip: each joint x becomes turn @ x + noise, then left and right may change places."""

    turn: np.ndarray  # float64 [C, C] scaled
    noise: np.ndarray  # float64 [T, V, C] trunk lengths
    mirror: bool


def draw_change(
    posture: Posture, rng: np.random.Generator, *, rotation: float, scale: float, jitter: float, mirror: float
) -> Change:
    """Draw an augmentation: the dance turned, scaled, jittered, mirrored with left and right swapped.

    rotation: rad, at most; of a picture in its plane, of three coordinates about the vertical. scale: at most so much
    more or less. jitter: trunk lengths, standard deviation. mirror: probability.
    """
    coordinates = posture.position.shape[2]
    angle = rng.uniform(-rotation, rotation)
    other = coordinates - 1  # of the picture y, of the room depth
    turn = np.eye(coordinates)
    turn[0, 0] = turn[other, other] = math.cos(angle)
    turn[other, 0] = math.sin(angle)
    turn[0, other] = -turn[other, 0]
    turn *= rng.uniform(1 - scale, 1 + scale)
    noise = rng.normal(0, jitter, posture.position.shape) if jitter else np.zeros(posture.position.shape)
    return Change(turn, noise, rng.random() < mirror)


def _changed(position: np.ndarray, turn: np.ndarray, noise: np.ndarray, ever: np.ndarray) -> np.ndarray:
    """Positions turned [..., C, C] and jittered, float32 [..., T, V, C]; joints never seen, [..., V], stay 0."""
    *clips, frames, joints, coordinates = position.shape
    flat = position.reshape(*clips, frames * joints, coordinates)  # one product a clip, not one a frame
    turned = (flat @ np.swapaxes(turn, -1, -2)).reshape(position.shape)
    turned += noise
    turned *= ever[..., None, :, None]
    return turned.astype(np.float32)


def streams_at(
    postures: Sequence[Posture],
    frames: Sequence[np.ndarray],
    changes: Sequence[Change] | None = None,
    layout: Layout = COCO17,
) -> tuple[np.ndarray, np.ndarray]:
    """Streams of N clips at some of their frames, each clip changed first, and which joints are seen.

    Streams: joint x y, bone x y, joint motion x y, bone motion x y, confidence; x y depth of three coordinates. Motion
    is trunk lengths in MOTION_STEP_S towards this frame from the one before (the first frame: 0). Bones with an end
    that is never seen are 0.

    All clips go through numpy together: one by one, calling it takes longest.

    Args:
        postures: of the layout, all of as many coordinates; one at least.
        frames: int64 [T] of each, the same T.
        changes: of each; None: as they are.

    Returns:
        float32 [N, S, T, V], bool [N, T, V].
    """
    position, seen, confidence, ever, step_s = _take_frames(postures, frames, changes, layout)
    length, joints, coordinates = position.shape[1] // 2, *position.shape[2:]
    parents = list(layout.parents)
    bone = position - position.take(parents, 2)
    bone *= (ever & ever[:, parents])[:, None, :, None]
    moved = step_s > 1e-3  # two frames at one time have no speed
    rate = np.where(moved, MOTION_STEP_S / np.where(moved, step_s, 1.0), 0.0).astype(np.float32)
    streams = np.empty((len(postures), streams_count(coordinates), length, joints), np.float32)
    for first, both_times in ((0, position), (coordinates, bone)):
        now = both_times[:, length:]
        motion = (now - both_times[:, :length]) * rate[:, :, None, None]
        streams[:, first : first + coordinates] = np.moveaxis(now, 3, 1)
        of_motion = first + 2 * coordinates
        streams[:, of_motion : of_motion + coordinates] = np.moveaxis(motion.clip(-LIMIT, LIMIT), 3, 1)
    streams[:, -1] = confidence
    return streams, seen


def _take_frames(
    postures: Sequence[Posture], frames: Sequence[np.ndarray], changes: Sequence[Change] | None, layout: Layout
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Changed postures at the frames asked for and at the ones before them, which motion is from.

    The change is not made on the rest of a clip, most of a long one.

    Returns:
        position float32 [N, 2 T, V, C], the frames before, then the frames; seen bool [N, T, V]; confidence float32
        [N, T, V]; ever seen bool [N, V]; seconds since the frame before float64 [N, T].
    """
    count, length = len(postures), len(frames[0])
    joints, coordinates = postures[0].position.shape[1:]
    position = np.empty((count, 2 * length, joints, coordinates), np.float32)
    noise = np.empty(position.shape if changes else 0)
    seen, confidence = np.empty((count, length, joints), bool), np.empty((count, length, joints), np.float32)
    ever, step_s = np.empty((count, joints), bool), np.empty((count, length))
    for place, (posture, at) in enumerate(zip(postures, frames, strict=True)):
        before = np.maximum(at - 1, 0)
        both = np.concatenate([before, at])
        posture.position.take(both, 0, position[place], "clip")  # "clip": by "raise", numpy makes a copy of the output
        posture.seen.take(at, 0, seen[place], "clip")
        posture.confidence.take(at, 0, confidence[place], "clip")
        ever[place] = posture.seen.any(0)
        step_s[place] = posture.seconds[at] - posture.seconds[before]
        if changes:
            changes[place].noise.take(both, 0, noise[place], "clip")
    if changes:
        position = _changed(position, np.stack([change.turn for change in changes]), noise, ever)
        mirrored = [place for place, change in enumerate(changes) if change.mirror]
        position[mirrored] = position[mirrored].take(layout.mirror, 2)
        position[mirrored, ..., 0] *= -1
        for table in (seen, confidence, ever):
            table[mirrored] = table[mirrored].take(layout.mirror, -1)
    return position, seen, confidence, ever, step_s


def sample_frames(shown: np.ndarray, frames: int, pick: np.ndarray) -> np.ndarray:
    """One frame from each of as many equal segments of the clip, in order: int64 [frames].

    From a segment's frames that show something, where it has any, so that a clip that shows something anywhere never
    gives an empty sample. Clips shorter than `frames` repeat frames.

    Args:
        shown: bool [T], T >= 1.
        pick: [frames] in [0, 1): which of a segment's frames; random in training, constant in scoring.
    """
    bounds = np.arange(frames + 1) * len(shown) // frames
    first, last = bounds[:-1], np.maximum(bounds[:-1] + 1, bounds[1:])
    before = np.concatenate([[0], np.cumsum(shown)])  # of each frame, how many before it show something
    count = before[last] - before[first]
    showing = np.append(np.flatnonzero(shown), 0)  # the 0 is asked for, and not taken, by segments behind the last one
    picked = showing[before[first] + (pick * count).astype(np.int64)]
    return np.where(count, picked, first + (pick * (last - first)).astype(np.int64))
