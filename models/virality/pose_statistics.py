"""Hand-made statistics of a dancer's pose: the inputs of the strongest baseline without a network."""

import numpy as np

from models.virality.skeleton import COCO17, MOTION_STEP_S, Layout, Posture

FRAMES = 32  # that a clip is resampled to, evenly in time


def pose_statistics(posture: Posture, layout: Layout = COCO17) -> np.ndarray:
    """Statistics of V joints of C coordinates, float32 [(8 C + 4) V]; the order in time is lost.

    Mean, standard deviation, minimum and maximum of every coordinate of joints and bones (joint less its parent)
    over FRAMES frames, evenly in time; and mean and standard deviation of the speed of each joint and each bone, trunk
    lengths in MOTION_STEP_S. A joint that is never seen gives zeros, and so do bones that end in it.
    """
    joint = _resampled(posture)
    ever = np.any(posture.seen, axis=0)
    parents = list(layout.parents)
    bone = np.where((ever & ever[parents])[:, None], joint - joint[:, parents], 0.0)
    positions = np.concatenate([joint, bone], 2)  # [FRAMES, V, 2 C]
    step_s = (posture.seconds[-1] - posture.seconds[0]) / (FRAMES - 1)
    rate = MOTION_STEP_S / step_s if step_s > 0 else 0.0
    speeds = np.stack([np.linalg.norm(np.diff(x, axis=0), axis=2) for x in (joint, bone)], 2) * rate
    tables = [positions.mean(0), positions.std(0), positions.min(0), positions.max(0), speeds.mean(0), speeds.std(0)]
    return np.concatenate([table.ravel() for table in tables]).astype(np.float32)


def _resampled(posture: Posture) -> np.ndarray:
    """Positions interpolated at times evenly spread from the first frame to the last, float64 [FRAMES, V, C]."""
    seconds = posture.seconds
    at = np.linspace(seconds[0], seconds[-1], FRAMES)
    after = np.clip(np.searchsorted(seconds, at), 1, max(len(seconds) - 1, 1)) if len(seconds) > 1 else np.zeros(1, int)
    before = np.maximum(after - 1, 0)
    span = seconds[after] - seconds[before]
    share = np.where(span > 0, (at - seconds[before]) / np.where(span > 0, span, 1.0), 0.0).clip(0, 1)[:, None, None]
    position = posture.position.astype(np.float64)
    return np.broadcast_to(position[before] * (1 - share) + position[after] * share, (FRAMES, *position.shape[1:]))
