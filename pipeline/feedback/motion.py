"""A dancer's motion as limb vectors: each joint relative to the joint that carries it, at an even rate."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from models.virality.skeleton import COCO17, Layout, Posture

RATE_HZ = 20  # of the even time grid: twice what extraction samples, so that delays come out finer than 0.1 s
LIMBS = ("left_arm", "right_arm", "left_leg", "right_leg", "trunk", "head")
# A pose network is three quarters as sure of a misplaced joint as it usually is; this power leaves it a weight of 0.06.
_CONFIDENCE_POWER = 10
_MAX_GAP_S = 0.3  # a joint not seen for longer than this is not judged there


@dataclass(frozen=True)
class Motion:
    """One dancer at RATE_HZ. Vector v leads to joint v of the layout from its anchor; the last one, to the root."""

    seconds: np.ndarray  # float64 [N]
    vectors: np.ndarray  # float64 [N, V + 1, C] trunk lengths
    seen: np.ndarray  # bool [N, V + 1]
    weights: np.ndarray  # float64 [N, V + 1], 0..1, from the pose network's confidence; 0 where not seen


@dataclass(frozen=True)
class AlignedReference:
    """A reference on the time line of the clip, N frames, with the clip's proportions."""

    reference: int  # its number among the references
    mirrored: bool
    offset_s: float  # clip time less reference time at the start of the overlap
    residual: float  # share of variance left between the two: 0 the same dance, about 0.6 another at its best offset
    # float64 [N, V + 1, C], NaN where the reference does not cover the clip. Timed by all limbs but the key, so that a
    # limb late against its own body does not hide in the timing; "head": by all.
    vectors_by_limb: dict[str, np.ndarray]
    weights_by_limb: dict[str, np.ndarray]  # float64 [N, V + 1], 0..1


def limb_joints(layout: Layout = COCO17) -> dict[str, tuple[int, ...]]:
    """Joints by the limb whose own movement moves them: a shoulder is the trunk's. V stands for the root."""
    parts = dict(layout.parts)
    trunk = set(parts["torso"])

    def joints_of(*names: str) -> tuple[int, ...]:
        return tuple(sorted({joint for name in names for joint in parts[name]} - trunk))

    arms = {f"{side}_arm": joints_of(f"{side}_upper_arm", f"{side}_forearm") for side in ("left", "right")}
    legs = {f"{side}_leg": joints_of(f"{side}_thigh", f"{side}_shank") for side in ("left", "right")}
    return arms | legs | {"trunk": (*sorted(trunk), len(layout.joints)), "head": joints_of("head")}


def to_vectors(position: np.ndarray, layout: Layout = COCO17) -> np.ndarray:
    """Limb vectors [T, V + 1, C] of joint positions [T, V, C].

    The root, the middle of the hips, keeps its position. Anchors: the root for the trunk's joints, the middle of the
    shoulders for the head's, the parent joint for those of arms and legs.
    """
    root = position[:, list(layout.hips)].mean(1)
    neck = position[:, list(layout.shoulders)].mean(1)
    vectors = np.concatenate([position, root[:, None]], 1).astype(float)
    for limb, joints in limb_joints(layout).items():
        for joint in joints:
            if joint == len(layout.joints):
                continue
            anchor = root if limb == "trunk" else neck if limb == "head" else position[:, layout.parents[joint]]
            vectors[:, joint] = position[:, joint] - anchor
    return vectors


def to_positions(vectors: np.ndarray, layout: Layout = COCO17) -> np.ndarray:
    """Joint positions [T, V, C] of limb vectors [T, V + 1, C], the inverse of `to_vectors`."""
    joints = limb_joints(layout)
    root = vectors[:, -1]
    position = np.zeros_like(vectors[:, :-1])
    for joint in joints["trunk"][:-1]:
        position[:, joint] = root + vectors[:, joint]
    neck = position[:, list(layout.shoulders)].mean(1)
    for joint in joints["head"]:
        position[:, joint] = neck + vectors[:, joint]
    for limb in LIMBS[:4]:
        pending = list(joints[limb])
        placed = set(joints["trunk"])
        while pending:  # from the trunk outwards
            joint = next(joint for joint in pending if layout.parents[joint] in placed)
            position[:, joint] = position[:, layout.parents[joint]] + vectors[:, joint]
            placed.add(joint)
            pending.remove(joint)
    return position


def to_motion(posture: Posture, layout: Layout = COCO17) -> Motion | None:
    """The dancer at RATE_HZ, from the first to the last frame that shows something; None: less than a second of it."""
    shown = np.flatnonzero(posture.seen.any(1))
    if not len(shown):
        return None
    frames = np.arange(shown[0], shown[-1] + 1)
    frames = frames[np.diff(posture.seconds[frames], prepend=-np.inf) > 1e-3]  # a spline needs times that rise
    times = posture.seconds[frames]
    if times[-1] - times[0] < 1:
        return None
    seconds = np.arange(np.ceil(times[0] * RATE_HZ), np.floor(times[-1] * RATE_HZ) + 1) / RATE_HZ
    vectors = PchipInterpolator(times, to_vectors(posture.position[frames], layout), axis=0)(seconds)
    confidence = _vector_confidence(np.where(posture.seen, posture.confidence, 0.0)[frames], layout)
    seen = np.stack([_bridged(times, flags, seconds) for flags in confidence.T > 0], 1)
    resampled = np.stack([np.interp(seconds, times, column) for column in confidence.T], 1)
    usual = np.median(posture.confidence[posture.seen])
    weights = np.where(seen, np.minimum(resampled / usual, 1.0) ** _CONFIDENCE_POWER, 0.0)
    return Motion(seconds, vectors, seen, weights)


def _vector_confidence(confidence: np.ndarray, layout: Layout) -> np.ndarray:
    """Confidence [T, V + 1] of vectors from that of joints [T, V]: the lowest of the joints that define a vector."""
    hips, shoulders = confidence[:, list(layout.hips)].min(1), confidence[:, list(layout.shoulders)].min(1)
    lowest = np.concatenate([confidence, hips[:, None]], 1)
    for limb, joints in limb_joints(layout).items():
        for joint in joints:
            if joint < len(layout.joints):
                anchor = hips if limb == "trunk" else shoulders if limb == "head" else layout.parents[joint]
                anchored = confidence[:, anchor] if isinstance(anchor, int) else anchor
                lowest[:, joint] = np.minimum(lowest[:, joint], anchored)
    return lowest


def _bridged(times: np.ndarray, flags: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """bool [N]: whether the flagged times before and after each moment are at most _MAX_GAP_S apart."""
    flagged = times[flags]
    if not len(flagged):
        return np.zeros(len(seconds), bool)
    following = np.searchsorted(flagged, seconds)
    before, after = flagged[np.maximum(following - 1, 0)], flagged[np.minimum(following, len(flagged) - 1)]
    inside = (seconds >= flagged[0] - 1e-9) & (seconds <= flagged[-1] + 1e-9)
    return inside & (after - before <= _MAX_GAP_S)


def mirror(motion: Motion, layout: Layout = COCO17) -> Motion:
    """The motion as a mirror shows it: left and right exchanged, x reversed."""
    order = [*layout.mirror, len(layout.joints)]
    vectors = motion.vectors[:, order].copy()
    vectors[..., 0] *= -1
    return Motion(motion.seconds, vectors, motion.seen[:, order], motion.weights[:, order])


def upright(vectors: np.ndarray) -> np.ndarray:
    """Vectors of a picture [..., V + 1, 2] turned so that the trunk stands upright; vectors in space as they are."""
    if vectors.shape[-1] != 2:
        return vectors
    up = vectors[..., list(COCO17.shoulders), :].mean(-2)  # from the hips' middle
    angle = np.arctan2(up[..., 0], -up[..., 1])
    cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x + sin * y, cos * y - sin * x], -1)
