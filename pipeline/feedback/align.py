"""One dance laid over another: at its body's proportions, mirrored where that fits, and moment by moment (DTW)."""

from dataclasses import dataclass, replace

import numpy as np
from dtaidistance import dtw, dtw_ndim
from scipy.ndimage import gaussian_filter1d

from models.virality.skeleton import COCO17, Layout
from pipeline.feedback.limbs import LIMBS, RATE, Dance, limb_joints, mirrored

BAND = 0.1  # of the overlap's length that DTW may shift a moment by, after the best offset
_PENALTY = 0.3  # of DTW, for each step that is not straight on: in a held pose every way costs the same else
_SMOOTH_S = 0.6  # a dancer's clock does not jump
_LEAST_OVERLAP_S = 2.5
_FIT = 0.5  # of the dances' own variance that may be left; of other dances, at their best place, 0.6 is in the median
_NEXT = 1.6  # a second place that fits is taken where it fits at most so much worse than the first
_STILL = 0.05  # variance, trunk lengths squared; a limb that moves less counts less in timing
_RATIO = (0.6, 1.6)  # of the lengths of two persons' bones, in trunk lengths


@dataclass(frozen=True)
class View:
    """A reference on the time line of the clip, N frames, with the clip's proportions."""

    reference: int  # which
    mirrored: bool
    offset_s: float  # clip time less reference time at the start of the overlap
    fit: float  # share of variance that is left between the two: 0 the same dance, about 0.6 another at its best place
    # float64 [N, V + 1, C], NaN where it does not cover the clip; timed by all limbs but the key, so that a limb late
    # against its own body does not hide in the timing; "head": by all.
    by_limb: dict[str, np.ndarray]
    sure: dict[str, np.ndarray]  # float64 [N, V + 1], 0..1, how far each can be trusted


def proportioned(reference: Dance, ours: Dance, layout: Layout = COCO17) -> Dance:
    """The reference with our bones: each vector scaled by how long it is at its longest (90th percentile)."""
    ratio = np.ones(reference.vectors.shape[1])
    joints = [*range(len(layout.joints))]
    mirror = list(layout.mirror)

    def length(dance: Dance) -> np.ndarray:
        """[V]; left and right are alike."""
        norm = np.linalg.norm(dance.vectors[:, joints], axis=-1)
        norm = np.where(dance.seen[:, joints], norm, np.nan)
        known = ~np.isnan(norm).all(0)
        found = np.full(len(joints), np.nan)
        found[known] = np.nanpercentile(norm[:, known], 90, axis=0)
        return np.nanmean(np.stack([found, found[mirror]]), 0) if known.any() else found

    with np.errstate(invalid="ignore", divide="ignore"):
        both = length(ours) / length(reference)
    ratio[joints] = np.where(np.isfinite(both), both, 1.0).clip(*_RATIO)
    return replace(reference, vectors=reference.vectors * ratio[:, None])


def lay_over(reference: Dance, number: int, ours: Dance, layout: Layout = COCO17) -> list[View]:
    """Every place at which the reference, plain or mirrored, fits the clip: a dance may come again, left and right
    changed over. Best first; empty: none fits.

    A place is an offset in time; around it DTW finds, in a band, which moment of the one is which of the other.
    """
    found = []
    one = _features(ours, layout)
    for turned in (False, True):
        fitted = proportioned(mirrored(reference, layout) if turned else reference, ours, layout)
        other = _features(fitted, layout)
        for fit, offset in _places(one, other):
            found.append((fit, offset, turned, fitted, other))
    found.sort(key=lambda place: place[:3])
    best = [place for place in found if place[0] <= _FIT and place[0] <= _NEXT * found[0][0] + 0.05]
    return [_view(ours, fitted, one, other, number, turned, offset, fit, layout)
            for fit, offset, turned, fitted, other in best]  # fmt: skip


def _features(dance: Dance, layout: Layout) -> dict[str, np.ndarray]:
    """What alignment looks at, by limb, about its mean: float64 [N, D]. Not the head, whose joints come and go, and not
    the root's place, which a hand-held camera moves."""
    joints = limb_joints(layout)
    found = {}
    for limb in LIMBS[:5]:
        members = [joint for joint in joints[limb] if joint < len(layout.joints)]
        values = dance.vectors[:, members]
        values = values - values.mean(0)
        found[limb] = values.reshape(len(values), -1)
    return found


def _places(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[tuple[float, int]]:
    """Fit and offset, in frames (the first of `other` falls on this frame of `one`), of each local best."""
    x, y = (np.concatenate(list(of.values()), 1) for of in (one, other))
    limbs = np.cumsum([0, *(values.shape[1] for values in one.values())])[:-1]
    least = min(round(_LEAST_OVERLAP_S * RATE), int(0.9 * len(x)), int(0.9 * len(y)))
    offsets = np.arange(least - len(y), len(x) - least + 1)
    fits = np.array([_left(x, y, limbs, offset) for offset in offsets.tolist()])
    best = [
        place
        for place in range(len(fits))
        if fits[place] == fits[max(0, place - RATE // 2) : place + RATE // 2 + 1].min()
    ]
    return [(float(fits[place]), int(offsets[place])) for place in best]


def _overlap(x: int, y: int, offset: int) -> tuple[slice, slice]:
    first, last = max(0, offset), min(x, offset + y)
    return slice(first, last), slice(first - offset, last - offset)


def _left(x: np.ndarray, y: np.ndarray, limbs: np.ndarray, offset: int) -> float:
    """Share of variance left between x and y [N, D] where they overlap, without the limb that differs most: of a dance
    with one limb done wrong the place must be found all the same, or what is wrong would lie in no overlap.

    The mean, how somebody holds herself, does not count. limbs: first column of each.
    """
    ours, theirs = _overlap(len(x), len(y), offset)
    a, b = x[ours], y[theirs]
    away = np.add.reduceat((a - b).var(0), limbs)
    whole = np.add.reduceat(a.var(0) + b.var(0), limbs)
    return float(((away.sum() - away) / (whole.sum() - whole + 1e-9)).min())


def _view(
    ours: Dance, fitted: Dance, one: dict[str, np.ndarray], other: dict[str, np.ndarray],
    number: int, turned: bool, offset: int, fit: float, layout: Layout,
) -> View:  # fmt: skip
    # In timing, each limb counts alike: one late arm, which moves far, would else make the other one look early.
    alike = {limb: 1 / np.sqrt(values.var(0).sum() + _STILL) for limb, values in other.items()}

    def timed(left_out: str) -> np.ndarray:
        x, y = (np.concatenate([of[limb] * alike[limb] for limb in of if limb != left_out], 1) for of in (one, other))
        return _moments(x, y, offset)

    moments = {limb: timed(limb) for limb in one}
    moments["head"] = timed("")
    laid = {limb: _at(fitted, moment) for limb, moment in moments.items()}
    start = offset / RATE + ours.seconds[0] - fitted.seconds[0]
    by_limb, sure = ({limb: both[which] for limb, both in laid.items()} for which in (0, 1))
    return View(number, turned, start, fit, by_limb, sure)


def _moments(x: np.ndarray, y: np.ndarray, offset: int) -> np.ndarray:
    """float64 [N] frame of the reference, not whole, at each frame of the clip; NaN outside of the overlap."""
    ours, theirs = _overlap(len(x), len(y), offset)
    a, b = np.ascontiguousarray(x[ours]), np.ascontiguousarray(y[theirs])
    a, b = a - a.mean(0), b - b.mean(0)
    band = max(round(BAND * len(a)), 2)
    # Both ends are free within the band: the overlap was cut by the offset alone.
    _, paths = dtw_ndim.warping_paths_fast(
        a, b, window=band, penalty=_PENALTY * float(np.sqrt(a.var(0).sum())), psi=band
    )
    path = np.array(dtw.best_path(paths))
    lag = np.full(len(a), np.nan)
    count = np.bincount(path[:, 0], minlength=len(a))
    total = np.bincount(path[:, 0], path[:, 1], minlength=len(a))
    there = count > 0
    lag[there] = total[there] / count[there] - np.flatnonzero(there)
    lag = np.interp(np.arange(len(a)), np.flatnonzero(there), lag[there])
    lag = gaussian_filter1d(lag, _SMOOTH_S * RATE, mode="nearest")
    moment = np.full(len(x), np.nan)
    moment[ours] = np.maximum.accumulate(np.arange(len(a)) + lag) + theirs.start
    moment[(moment < 0) | (moment > len(y) - 1)] = np.nan
    return moment


def _at(dance: Dance, moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The dance's vectors at moments [N] between its frames, NaN where they are or where they are not seen; and how
    sure they are."""
    found = np.full((len(moment), *dance.vectors.shape[1:]), np.nan)
    sure = np.zeros(found.shape[:2])
    known = np.isfinite(moment)
    low = np.minimum(moment[known].astype(int), len(dance.vectors) - 1)
    high = np.minimum(low + 1, len(dance.vectors) - 1)
    share = (moment[known] - low)[:, None, None]
    values = dance.vectors[low] * (1 - share) + dance.vectors[high] * share
    found[known] = np.where((dance.seen[low] & dance.seen[high])[..., None], values, np.nan)
    sure[known] = np.minimum(dance.sure[low], dance.sure[high])
    return found, sure
