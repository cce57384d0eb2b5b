"""Alignment of a reference with a clip: bone lengths of the clip, mirrored where that fits, timed by DTW.

Dynamic time warping after Sakoe and Chiba (1978), by dtaidistance.
"""

from dataclasses import dataclass, replace

import numpy as np
from dtaidistance import dtw, dtw_ndim
from scipy.ndimage import gaussian_filter1d

from models.virality.skeleton import COCO17, Layout
from pipeline.feedback.motion import LIMBS, RATE_HZ, AlignedReference, Motion, limb_joints, mirror

BAND = 0.1  # of the overlap's length that DTW may shift a moment by, after the best offset
_PENALTY = 0.3  # of DTW, for each step that is not straight on: in a held pose all paths cost the same otherwise
_SMOOTH_S = 0.6  # a dancer's timing does not jump
_MIN_OVERLAP_S = 2.5
_MAX_RESIDUAL = 0.5  # share of variance; for other dances, at their best offset, 0.6 is the median
_MAX_RATIO = 1.6  # a further offset is taken where its residual is at most so many times the best one
_STILL = 0.05  # variance, trunk lengths squared; a limb that moves less counts less in timing
_BONE_RATIOS = (0.6, 1.6)  # limits for the lengths of two persons' bones, in trunk lengths

LimbFeatures = dict[str, np.ndarray]  # by limb, float64 [N, D]


@dataclass(frozen=True)
class _Candidate:
    """One offset at which the reference may fit the clip."""

    residual: float
    offset: int  # the reference's first frame falls on this frame of the clip
    mirrored: bool
    motion: Motion  # the reference with the clip's bone lengths
    features: LimbFeatures


def align_reference(reference: Motion, number: int, clip: Motion, layout: Layout = COCO17) -> list[AlignedReference]:
    """The reference at every offset in time at which it fits the clip, plain or mirrored; best first.

    A dance may come again, left and right exchanged. DTW within a band around each offset finds which moments
    correspond. Empty: no offset fits.
    """
    features = _limb_features(clip, layout)
    candidates = []
    for mirrored in (False, True):
        motion = match_bone_lengths(mirror(reference, layout) if mirrored else reference, clip, layout)
        other = _limb_features(motion, layout)
        candidates += [_Candidate(*best, mirrored, motion, other) for best in _best_offsets(features, other)]
    candidates.sort(key=lambda candidate: (candidate.residual, candidate.offset, candidate.mirrored))
    return [
        _aligned(clip, features, candidate, number)
        for candidate in candidates
        if candidate.residual <= min(_MAX_RESIDUAL, _MAX_RATIO * candidates[0].residual + 0.05)
    ]


def match_bone_lengths(reference: Motion, clip: Motion, layout: Layout = COCO17) -> Motion:
    """The reference with the clip's bones: each vector scaled by the ratio of lengths (90th percentile over time)."""
    ratio = np.ones(reference.vectors.shape[1])
    joints = [*range(len(layout.joints))]
    mirrored = list(layout.mirror)

    def lengths(motion: Motion) -> np.ndarray:
        """[V]; left and right are alike."""
        norm = np.linalg.norm(motion.vectors[:, joints], axis=-1)
        norm = np.where(motion.seen[:, joints], norm, np.nan)
        known = ~np.isnan(norm).all(0)
        length = np.full(len(joints), np.nan)
        length[known] = np.nanpercentile(norm[:, known], 90, axis=0)
        return np.nanmean(np.stack([length, length[mirrored]]), 0) if known.any() else length

    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = lengths(clip) / lengths(reference)
    ratio[joints] = np.where(np.isfinite(ratios), ratios, 1.0).clip(*_BONE_RATIOS)
    return replace(reference, vectors=reference.vectors * ratio[:, None])


def _limb_features(motion: Motion, layout: Layout) -> LimbFeatures:
    """Vectors by limb, less their mean over time.

    Without the head, whose joints come and go, and without the root's position, which a hand-held camera moves.
    """
    joints, features = limb_joints(layout), {}
    for limb in LIMBS[:5]:
        values = motion.vectors[:, [joint for joint in joints[limb] if joint < len(layout.joints)]]
        values = values - values.mean(0)
        features[limb] = values.reshape(len(values), -1)
    return features


def _best_offsets(clip: LimbFeatures, reference: LimbFeatures) -> list[tuple[float, int]]:
    """Residual and offset in frames of each local minimum."""
    x, y = (np.concatenate(list(features.values()), 1) for features in (clip, reference))
    limbs = np.cumsum([0, *(values.shape[1] for values in clip.values())])[:-1]
    overlap = min(round(_MIN_OVERLAP_S * RATE_HZ), int(0.9 * len(x)), int(0.9 * len(y)))
    offsets = np.arange(overlap - len(y), len(x) - overlap + 1)
    residuals = np.array([_residual(x, y, limbs, offset) for offset in offsets.tolist()])
    near = RATE_HZ // 2
    return [
        (float(residual), int(offsets[index]))
        for index, residual in enumerate(residuals)
        if residual == residuals[max(0, index - near) : index + near + 1].min()
    ]


def _overlap(x: int, y: int, offset: int) -> tuple[slice, slice]:
    first, last = max(0, offset), min(x, offset + y)
    return slice(first, last), slice(first - offset, last - offset)


def _residual(x: np.ndarray, y: np.ndarray, limbs: np.ndarray, offset: int) -> float:
    """Share of variance left between x and y [N, D] where they overlap, without the limb that differs most.

    A dance with one limb done wrong must be aligned all the same, or the fault would lie in no overlap. The mean, how
    somebody holds herself, does not count. limbs: first column of each.
    """
    in_x, in_y = _overlap(len(x), len(y), offset)
    a, b = x[in_x], y[in_y]
    left = np.add.reduceat((a - b).var(0), limbs)
    total = np.add.reduceat(a.var(0) + b.var(0), limbs)
    return float(((left.sum() - left) / (total.sum() - total + 1e-9)).min())


def _aligned(clip: Motion, features: LimbFeatures, candidate: _Candidate, number: int) -> AlignedReference:
    # In timing, each limb counts alike: one late arm, which moves far, would else make the other one look early.
    scale = {limb: 1 / np.sqrt(values.var(0).sum() + _STILL) for limb, values in candidate.features.items()}

    def warped(left_out: str) -> np.ndarray:
        x, y = (
            np.concatenate([by_limb[limb] * scale[limb] for limb in by_limb if limb != left_out], 1)
            for by_limb in (features, candidate.features)
        )
        return _warped_frames(x, y, candidate.offset)

    frames = {limb: warped(limb) for limb in features} | {"head": warped("")}
    sampled = {limb: _sample(candidate.motion, of_limb) for limb, of_limb in frames.items()}
    offset_s = candidate.offset / RATE_HZ + clip.seconds[0] - candidate.motion.seconds[0]
    vectors, weights = ({limb: pair[index] for limb, pair in sampled.items()} for index in (0, 1))
    return AlignedReference(number, candidate.mirrored, offset_s, candidate.residual, vectors, weights)


def _warped_frames(x: np.ndarray, y: np.ndarray, offset: int) -> np.ndarray:
    """The reference's frame at each frame of the clip, by DTW: float64 [N], fractional, NaN outside of the overlap."""
    in_clip, in_reference = _overlap(len(x), len(y), offset)
    a, b = np.ascontiguousarray(x[in_clip]), np.ascontiguousarray(y[in_reference])
    a, b = a - a.mean(0), b - b.mean(0)
    band = max(round(BAND * len(a)), 2)
    # Both ends are free within the band: the overlap was cut by the offset alone.
    penalty = _PENALTY * float(np.sqrt(a.var(0).sum()))
    _, paths = dtw_ndim.warping_paths_fast(a, b, window=band, penalty=penalty, psi=band)
    path = np.array(dtw.best_path(paths))
    count = np.bincount(path[:, 0], minlength=len(a))
    total = np.bincount(path[:, 0], path[:, 1], minlength=len(a))
    known = np.flatnonzero(count)
    lag = np.interp(np.arange(len(a)), known, total[known] / count[known] - known)
    lag = gaussian_filter1d(lag, _SMOOTH_S * RATE_HZ, mode="nearest")
    frames = np.full(len(x), np.nan)
    frames[in_clip] = np.maximum.accumulate(np.arange(len(a)) + lag) + in_reference.start
    frames[(frames < 0) | (frames > len(y) - 1)] = np.nan
    return frames


def _sample(motion: Motion, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and weights at fractional frames [N]; vectors NaN where a frame is NaN or a joint is not seen."""
    vectors = np.full((len(frames), *motion.vectors.shape[1:]), np.nan)
    weights = np.zeros(vectors.shape[:2])
    known = np.isfinite(frames)
    low = np.minimum(frames[known].astype(int), len(motion.vectors) - 1)
    high = np.minimum(low + 1, len(motion.vectors) - 1)
    share = (frames[known] - low)[:, None, None]
    values = motion.vectors[low] * (1 - share) + motion.vectors[high] * share
    vectors[known] = np.where((motion.seen[low] & motion.seen[high])[..., None], values, np.nan)
    weights[known] = np.minimum(motion.weights[low], motion.weights[high])
    return vectors, weights
