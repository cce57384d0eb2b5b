"""How a limb's motion differs from the references' in each window: late, small, unsteady.

Every difference is measured on the references, too, each against the others: the range of good clips.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from models.virality.skeleton import COCO17, Layout
from pipeline.feedback.align import View
from pipeline.feedback.limbs import RATE, Dance, limb_joints

# Of two seconds: shorter ones hold too little motion to tell a fault from what a pose network gets wrong.
WINDOW_S, STEP_S = 2.0, 0.25
MOST_LAG_S = 0.6
SWAY_S = 1.5  # the window of sway: shorter ones hold too few swings
# What is slower than the one is the camera or the dance, what is faster than the other the pose network.
_DRIFT_S, _FLICKER_S = 1.2, 0.15
_LEAST_REFERENCES = 3  # that must cover a moment to say anything of it
_LEAST_TRUST = 0.1  # mean over a window, below which it tells nothing
_FLOOR = 0.02  # trunk lengths, root mean square a coordinate: what a pose network's noise alone leaves


@dataclass(frozen=True)
class Differences:
    """One limb of one dancer over W windows of the clip; NaN where too few references cover a window.

    Energies are mean squares of the distance to the references' median, trunk lengths squared.
    """

    plain: np.ndarray  # float64 [W] energy of the difference as it is
    lag_s: np.ndarray  # [W] the delay that leaves least of it, above 0 late
    lagged: np.ndarray  # [W] what that leaves
    along: np.ndarray  # [W] mean product of the limb's and the references' distance from rest
    moving: np.ndarray  # [W] mean square of the references' distance from rest
    factor: np.ndarray  # [W] along / moving: on the references' movement, the one that leaves least
    scaled: np.ndarray  # [W] what that leaves


@dataclass(frozen=True)
class Measured:
    """One limb."""

    ours: Differences
    unit: np.ndarray  # float64 [W] energy by which good clips differ from one another there
    sway: np.ndarray  # float64 [W] of the trunk, how unsteady, 1: as good clips are; NaN of other limbs


def window_ends(dance: Dance) -> np.ndarray:
    """float64 [W, 2] seconds: start and end of each window, which lies in the clip as a whole."""
    first, last = dance.seconds[0], dance.seconds[-1]
    starts = np.arange(first, last - WINDOW_S + 1e-6, STEP_S)
    return np.stack([starts, starts + WINDOW_S], 1)


@dataclass(frozen=True)
class Motion:
    """A limb's coordinates, D of all its joints."""

    values: np.ndarray  # float64 [..., N, D], NaN where not seen
    sure: np.ndarray  # float64 [..., N, D], 0..1


def measure(ours: Dance, views: Sequence[View], layout: Layout = COCO17) -> dict[str, Measured]:
    """By limb. `views`: one at least."""
    windows = window_ends(ours)
    middles = np.round((windows.mean(1) - ours.seconds[0]) * RATE).astype(int)
    numbers = np.array([view.reference for view in views])
    found = {}
    for limb, joints in limb_joints(layout).items():
        mine, theirs = limb_motion(ours, views, limb, joints, layout)
        rest = _rest(mine.values.reshape(len(mine.values), len(joints), -1), limb.endswith(("arm", "leg")))
        found[limb] = _measured(mine, theirs, numbers, rest, middles)
    return found | {"trunk": replace(found["trunk"], sway=_sway(ours, views, middles, layout))}


def limb_motion(
    ours: Dance, views: Sequence[View], limb: str, joints: Sequence[int], layout: Layout
) -> tuple[Motion, Motion]:
    """The limb as it is measured: [N, D] of ours, [R, N, D] of the views, laid so that their medians agree.

    Arms and head turn with the trunk: they are seen from it.
    """
    members, axes = list(joints), ours.vectors.shape[2]
    mine = np.where(ours.seen[..., None], ours.vectors, np.nan)
    theirs = np.stack([view.by_limb[limb] for view in views])
    if limb.endswith("arm") or limb == "head":
        mine, theirs = _upright(mine, layout), _upright(theirs, layout)
    x = mine[:, members].reshape(len(mine), -1)
    y = theirs[:, :, members].reshape(*theirs.shape[:2], -1)
    away = x[None] - y
    offset = np.where(np.isfinite(away).any(1), _median(away, 1), 0.0)
    sure = np.stack([view.sure[limb][:, members] for view in views])
    return (
        Motion(x, np.repeat(ours.sure[:, members], axes, 1)),
        Motion(y + offset[:, None], np.repeat(sure, axes, 2)),
    )


def _upright(vectors: np.ndarray, layout: Layout) -> np.ndarray:
    """In a picture: turned so that the trunk stands upright. In the room, as it is."""
    if vectors.shape[-1] != 2:
        return vectors
    up = vectors[..., list(layout.shoulders), :].mean(-2)  # from the hips' middle
    angle = np.arctan2(up[..., 0], -up[..., 1])
    cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x + sin * y, cos * y - sin * x], -1)


def _median(values: np.ndarray, axis: int | None) -> np.ndarray:
    """nanmedian that is silent where there is nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=axis)


def _template(views: np.ndarray, numbers: np.ndarray, without: int | None = None) -> np.ndarray:
    """[N, D] the median of the views [R, N, D], without one reference's, where enough references are; else NaN."""
    views, numbers = views[numbers != without], numbers[numbers != without]
    covers = np.isfinite(views).all(2)
    of_each = [covers[numbers == number].any(0) for number in np.unique(numbers)]
    return np.where((np.sum(of_each, 0) >= _LEAST_REFERENCES)[:, None], _median(views, 0), np.nan)


def _rest(vectors: np.ndarray, hangs: bool) -> np.ndarray:
    """vectors [N, K, C] of a limb -> [K C], the pose that movements are large or small from: arms and legs hang
    straight down, trunk and head are held as they mostly are."""
    if not hangs:
        return _median(vectors, 0).ravel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        length = np.nanpercentile(np.linalg.norm(vectors, axis=2), 90, axis=0)
    found = np.zeros(vectors.shape[1:])
    found[:, 1] = length
    return found.ravel()


def _measured(mine: Motion, theirs: Motion, numbers: np.ndarray, rest: np.ndarray, middles: np.ndarray) -> Measured:
    ours = _differences(mine, _template(theirs.values, numbers), rest, middles)
    frames = np.arange(len(mine.values))
    good = []
    for number, first in _each(theirs.values, numbers).items():
        own = Motion(theirs.values[first, frames], theirs.sure[first, frames])
        good.append(_differences(own, _template(theirs.values, numbers, without=number), rest, middles).plain)
    unit = _typical(good, len(middles)) + mine.values.shape[1] * _FLOOR**2
    return Measured(ours, unit, np.full(len(middles), np.nan))


def _each(views: np.ndarray, numbers: np.ndarray) -> dict[int, np.ndarray]:
    """By reference, int [N]: at each moment, which of its views is the first that covers it."""
    places = {int(number): np.flatnonzero(numbers == number) for number in np.unique(numbers)}
    return {number: own[np.isfinite(views[own]).all(2).argmax(0)] for number, own in places.items()}


def _typical(good: Sequence[np.ndarray], length: int) -> np.ndarray:
    """[length] half of what good clips differ by there, half of what they differ by over the clip: of few references
    the first alone would be chance. NaN: of too few clips."""
    values = np.stack([*good, np.full(length, np.nan)])
    return 0.5 * _median(values, 0) + 0.5 * _median(values, None)


def _sway(ours: Dance, views: Sequence[View], middles: np.ndarray, layout: Layout) -> np.ndarray:
    """[W] how far the trunk swings about the references' way, against how far good clips do; as amplitudes.

    Of two things, which count alike: how it leans, and where the hips are. To the sides alone: up and down are steps.
    """
    numbers = np.array([view.reference for view in views])
    sideways = [axis for axis in range(ours.vectors.shape[2]) if axis != 1]

    def lean(vectors: np.ndarray) -> np.ndarray:
        """[..., N, 1 or 2]"""
        return vectors[..., list(layout.shoulders), :].mean(-2)[..., sideways]

    def place(vectors: np.ndarray) -> np.ndarray:
        """[..., N, 1 or 2]"""
        return vectors[..., -1, sideways]

    seen = np.where(ours.seen[..., None], ours.vectors, np.nan)
    laid = np.stack([view.by_limb["trunk"] for view in views])
    ratios = []
    for of in (lean, place):
        x, y = of(seen), of(laid)
        y = y + np.where(np.isfinite(x[None] - y).any(1), _median(x[None] - y, 1), 0.0)[:, None]
        good = [
            _swing(y[first, np.arange(len(x))] - _template(y, numbers, without=number))
            for number, first in _each(y, numbers).items()
        ]
        ratios.append(_swing(x - _template(y, numbers)) / (_typical(good, len(x)) + _FLOOR**2))
    return np.sqrt(np.mean(ratios, 0))[np.minimum(middles, len(ratios[0]) - 1)]


def _swing(away: np.ndarray) -> np.ndarray:
    """[N, D] -> [N] mean square, over SWAY_S, of what is neither drift nor flicker; NaN where too little is seen."""
    known = np.isfinite(away).all(1)
    values, share = np.where(known[:, None], away, 0.0), known.astype(float)
    drift = uniform_filter1d(values, round(_DRIFT_S * RATE) + 1, axis=0)
    drift /= np.maximum(uniform_filter1d(share, round(_DRIFT_S * RATE) + 1), 0.1)[:, None]
    swing = gaussian_filter1d(values - drift, _FLICKER_S * RATE, axis=0) * known[:, None]
    total = uniform_filter1d((swing**2).sum(1), round(SWAY_S * RATE))
    there = uniform_filter1d(share, round(SWAY_S * RATE))
    return np.where(there > 0.6, total / np.maximum(there, 0.1), np.nan)


def _differences(mine: Motion, y: np.ndarray, rest: np.ndarray, middles: np.ndarray) -> Differences:
    """Of [N, D] against y [N, D]; rest [D]."""
    x, sure = mine.values, mine.sure
    x = x - np.where(np.isfinite(_median(x - y, 0)), _median(x - y, 0), 0.0)
    lags = np.arange(-round(MOST_LAG_S * RATE), round(MOST_LAG_S * RATE) + 1)
    energies = np.stack([_windowed((x - _shifted(y, lag)) ** 2, sure, middles) for lag in lags.tolist()])
    a, b = x - rest, y - rest
    xx, xy, yy = (_windowed(p * q, sure, middles) for p, q in ((a, a), (a, b), (b, b)))
    factor = np.clip(xy / (yy + 1e-9), 0.0, 2.0)
    still = len(lags) // 2
    best = _least(energies)
    columns = np.arange(len(middles))
    return Differences(
        energies[still],
        lags[best] / RATE,
        energies[best, columns],
        xy,
        yy,
        factor,
        xx - 2 * factor * xy + factor**2 * yy,
    )


def _least(energies: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(energies), energies, np.inf).argmin(0)


def _shifted(y: np.ndarray, lag: int) -> np.ndarray:
    """y as it would be `lag` frames later; ends stay as they are."""
    at = np.clip(np.arange(len(y)) - lag, 0, len(y) - 1)
    return y[at]


def _windowed(values: np.ndarray, sure: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """values [N, D] -> [W]: mean over the window around each middle, weighted by `sure` [N, D], times D; NaN where more
    than a third of the window is not known, or too little of it is sure."""
    size = round(WINDOW_S * RATE)
    known = np.isfinite(values)
    weight = np.where(known, sure, 0.0)
    share = uniform_filter1d(known.mean(1), size, mode="constant")
    trust = uniform_filter1d(weight.mean(1), size, mode="constant")
    total = uniform_filter1d((np.where(known, values, 0.0) * weight).sum(1), size, mode="constant")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where((share >= 2 / 3) & (trust >= _LEAST_TRUST), total / trust, np.nan)
    return mean[np.minimum(middles, len(values) - 1)]
