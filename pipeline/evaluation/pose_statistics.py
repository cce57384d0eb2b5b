"""Hand-made numbers of a dancer's skeleton, and extremely randomised trees on them: the baseline to fear."""

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from threadpoolctl import threadpool_limits

from models.virality.skeleton import COCO17, MOTION_STEP_S, Layout, Posture

FRAMES = 32  # that a clip is resampled to, evenly in time
TREES = 500


def pose_statistics(posture: Posture, layout: Layout = COCO17) -> np.ndarray:
    """float32 [(8 C + 4) V] of a skeleton of V joints of C coordinates; no order in time survives.

    Mean, standard deviation, least and largest value of every coordinate of joints and bones (joint less its parent)
    over FRAMES frames, evenly in time; and mean and standard deviation of the speed of each joint and each bone, trunk
    lengths in MOTION_STEP_S. A joint that is never seen gives zeros, and so do the bones that end in it.
    """
    joint = _resampled(posture)
    ever = np.any(posture.seen, axis=0)
    parents = list(layout.parents)
    bone = np.where((ever & ever[parents])[:, None], joint - joint[:, parents], 0.0)
    places = np.concatenate([joint, bone], 2)  # [FRAMES, V, 2 C]
    step_s = (posture.seconds[-1] - posture.seconds[0]) / (FRAMES - 1)
    rate = MOTION_STEP_S / step_s if step_s > 0 else 0.0
    speeds = np.stack([np.linalg.norm(np.diff(x, axis=0), axis=2) for x in (joint, bone)], 2) * rate
    numbers = [places.mean(0), places.std(0), places.min(0), places.max(0), speeds.mean(0), speeds.std(0)]
    return np.concatenate([table.ravel() for table in numbers]).astype(np.float32)


def _resampled(posture: Posture) -> np.ndarray:
    """float64 [FRAMES, V, C] positions at moments evenly spread from the first frame to the last, interpolated."""
    seconds = posture.seconds
    at = np.linspace(seconds[0], seconds[-1], FRAMES)
    after = np.clip(np.searchsorted(seconds, at), 1, max(len(seconds) - 1, 1)) if len(seconds) > 1 else np.zeros(1, int)
    before = np.maximum(after - 1, 0)
    span = seconds[after] - seconds[before]
    share = np.where(span > 0, (at - seconds[before]) / np.where(span > 0, span, 1.0), 0.0).clip(0, 1)[:, None, None]
    position = posture.position.astype(np.float64)
    return np.broadcast_to(position[before] * (1 - share) + position[after] * share, (FRAMES, *position.shape[1:]))


def fit_trees(statistics: np.ndarray, target: np.ndarray, seed: int, trees: int = TREES) -> ExtraTreesRegressor:
    """Extra trees (Geurts et al. 2006, scikit-learn) fitted on statistics [N, S] and target float [N].

    A split tries the square root of the statistics' number. For targets of 0 and 1 these are the classifier's trees:
    the variance that they reduce is half the Gini impurity, and they predict the share of ones.
    """
    with threadpool_limits(1):  # sums depend on how many threads share them
        return ExtraTreesRegressor(trees, max_features="sqrt", random_state=seed).fit(statistics, target)
