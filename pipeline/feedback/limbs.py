"""A dance as vectors of limbs: where each joint is from the joint that it hangs on, at an even rate."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from models.virality.skeleton import COCO17, Layout, Posture

RATE = 20  # frames a second of the even grid: twice what extraction samples, so that delays come out finer than 0.1 s
LIMBS = ("left_arm", "right_arm", "left_leg", "right_leg", "trunk", "head")
_TRUST = 10  # power: of a wrong joint a pose network is three quarters as sure as it usually is; it counts a twentieth
_GAP_S = 0.3  # a joint not seen for longer than this is not judged there


@dataclass(frozen=True)
class Dance:
    """One dancer at RATE. A vector leads to a joint of the layout from what it hangs on; the last, to the root."""

    seconds: np.ndarray  # float64 [N]
    vectors: np.ndarray  # float64 [N, V + 1, C] trunk lengths
    seen: np.ndarray  # bool [N, V + 1]
    sure: np.ndarray  # float64 [N, V + 1], 0..1, how far each can be trusted; 0 where not seen


def limb_joints(layout: Layout = COCO17) -> dict[str, tuple[int, ...]]:
    """By limb, the joints that its own movement moves: a shoulder is the trunk's. V stands for the root."""
    parts = dict(layout.parts)
    trunk = set(parts["torso"])

    def of(*names: str) -> tuple[int, ...]:
        return tuple(sorted({joint for name in names for joint in parts[name]} - trunk))

    arms = {f"{side}_arm": of(f"{side}_upper_arm", f"{side}_forearm") for side in ("left", "right")}
    legs = {f"{side}_leg": of(f"{side}_thigh", f"{side}_shank") for side in ("left", "right")}
    return arms | legs | {"trunk": (*sorted(trunk), len(layout.joints)), "head": of("head")}


def to_vectors(position: np.ndarray, layout: Layout = COCO17) -> np.ndarray:
    """position [T, V, C] -> [T, V + 1, C].

    The root, the middle of the hips, is where it is; the trunk's joints are seen from it, the head's from the middle of
    the shoulders, those of arms and legs from the joint before them.
    """
    root = position[:, list(layout.hips)].mean(1)
    neck = position[:, list(layout.shoulders)].mean(1)
    joints = limb_joints(layout)
    vectors = np.concatenate([position, root[:, None]], 1).astype(float)
    for limb, members in joints.items():
        for joint in members:
            if joint == len(layout.joints):
                continue
            anchor = root if limb == "trunk" else neck if limb == "head" else position[:, layout.parents[joint]]
            vectors[:, joint] = position[:, joint] - anchor
    return vectors


def to_positions(vectors: np.ndarray, layout: Layout = COCO17) -> np.ndarray:
    """The inverse of `to_vectors`, [T, V + 1, C] -> [T, V, C]; hips are put around the root."""
    joints = limb_joints(layout)
    root = vectors[:, -1]
    position = np.zeros_like(vectors[:, :-1])
    for joint in joints["trunk"][:-1]:
        position[:, joint] = root + vectors[:, joint]
    neck = position[:, list(layout.shoulders)].mean(1)
    for joint in joints["head"]:
        position[:, joint] = neck + vectors[:, joint]
    for limb in LIMBS[:4]:
        waiting = list(joints[limb])
        done = set(joints["trunk"])
        while waiting:  # from the trunk outwards
            joint = next(one for one in waiting if layout.parents[one] in done)
            position[:, joint] = position[:, layout.parents[joint]] + vectors[:, joint]
            done.add(joint)
            waiting.remove(joint)
    return position


def as_dance(posture: Posture, layout: Layout = COCO17) -> Dance | None:
    """The dancer at RATE, from the first to the last frame that shows something; None: less than a second of it."""
    shown = np.flatnonzero(posture.seen.any(1))
    if not len(shown):
        return None
    kept = np.arange(shown[0], shown[-1] + 1)
    kept = kept[np.diff(posture.seconds[kept], prepend=-np.inf) > 1e-3]  # a spline needs times that rise
    times = posture.seconds[kept]
    if times[-1] - times[0] < 1:
        return None
    seconds = np.arange(np.ceil(times[0] * RATE), np.floor(times[-1] * RATE) + 1) / RATE
    vectors = PchipInterpolator(times, to_vectors(posture.position[kept], layout), axis=0)(seconds)
    confidence = _weakest(np.where(posture.seen, posture.confidence, 0.0)[kept], layout)
    near = np.stack([_near(times, flags, seconds) for flags in confidence.T > 0], 1)
    sure = np.stack([np.interp(seconds, times, column) for column in confidence.T], 1)
    usual = np.median(posture.confidence[posture.seen])
    return Dance(seconds, vectors, near, np.where(near, np.minimum(sure / usual, 1.0) ** _TRUST, 0.0))


def _weakest(confidence: np.ndarray, layout: Layout) -> np.ndarray:
    """Of joints [T, V] -> of vectors [T, V + 1]: the lowest of the joints that a vector is made from."""
    hips, shoulders = confidence[:, list(layout.hips)].min(1), confidence[:, list(layout.shoulders)].min(1)
    found = np.concatenate([confidence, hips[:, None]], 1)
    for limb, members in limb_joints(layout).items():
        for joint in members:
            if joint < len(layout.joints):
                anchor = hips if limb == "trunk" else shoulders if limb == "head" else layout.parents[joint]
                below = confidence[:, anchor] if isinstance(anchor, int) else anchor
                found[:, joint] = np.minimum(found[:, joint], below)
    return found


def _near(times: np.ndarray, flags: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """bool [N]: whether the last and the next time with a flag are near enough together to tell what is between."""
    at = times[flags]
    if not len(at):
        return np.zeros(len(seconds), bool)
    after = np.searchsorted(at, seconds)
    before, behind = at[np.maximum(after - 1, 0)], at[np.minimum(after, len(at) - 1)]
    inside = (seconds >= at[0] - 1e-9) & (seconds <= at[-1] + 1e-9)
    return inside & (behind - before <= _GAP_S)


def mirrored(dance: Dance, layout: Layout = COCO17) -> Dance:
    """The same dance as a mirror shows it: left and right changed over, x reversed."""
    order = [*layout.mirror, len(layout.joints)]
    vectors = dance.vectors[:, order].copy()
    vectors[..., 0] *= -1
    return Dance(dance.seconds, vectors, dance.seen[:, order], dance.sure[:, order])
