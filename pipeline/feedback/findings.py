"""Findings: limbs that move late, small or unsteadily compared with the references.

Each limb's difference from the references' median is measured over sliding windows. The same measures between each
reference and the others give the range of good clips, and only what lies outside of that range becomes a finding.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from models.virality.skeleton import COCO17
from pipeline.feedback.motion import RATE_HZ, AlignedReference, Motion, limb_joints, upright

# Of two seconds: shorter ones hold too little motion to tell a fault from what a pose network gets wrong.
WINDOW_S, STEP_S = 2.0, 0.25
MAX_LAG_S = 0.6
SWAY_S = 1.5  # the window of sway: shorter ones hold too few swings
# What is slower than the one is the camera or the dance, what is faster than the other the pose network.
_DRIFT_S, _FLICKER_S = 1.2, 0.15
_MIN_REFERENCES = 3  # that must cover a moment to judge it
_MIN_WEIGHT = 0.1  # mean over a window, below which the window is not judged
_NOISE = 0.02  # trunk lengths, root mean square a coordinate: what a pose network's noise alone leaves

# Strength 1 of each kind, in units of what good clips differ by: what one or two in a hundred faultless clips, rendered
# and seen by the bundled pose network, reach (seeds 2000 and 2001; docs/feedback.md). Energies, and of sway the square
# of the amplitude.
THRESHOLDS = {
    ("late", "arm"): 1.9, ("late", "leg"): 1.25, ("late", "trunk"): 1.8, ("late", "head"): 2.8,
    ("small", "arm"): 1.9, ("small", "leg"): 1.25, ("small", "trunk"): 1.8, ("small", "head"): 2.8,
}  # fmt: skip
SWAY_THRESHOLD = 2.9
MIN_LAG_S, MIN_LOSS = 0.15, 0.25  # a smaller delay, or loss of amplitude, is not worth mentioning
_MAX_FOUND_LAG_S = MAX_LAG_S - 0.1  # a best delay at an end of those tried is none
_SMOOTHED_WINDOWS = 5  # consecutive ones over which strength is averaged: a pose network's slip is short
_CORE_S = 1.0  # the middle of a window, which is what a finding is said to last
_EDGE = 0.5  # windows beside the strongest belong to the finding while they are so strong, as a share of it
_LAG_SHARE = 0.7  # of what scaling leaves, a delay may leave to be the reason: one of many delays fits by chance
_SIDE_EFFECT = 0.4  # of a stronger finding at the same time: a limb done wrong disturbs the others' timing a little


@dataclass(frozen=True)
class Coordinates:
    """Coordinates, D of all its joints, of one limb."""

    values: np.ndarray  # float64 [..., N, D], NaN where not seen
    weights: np.ndarray  # float64 [..., N, D], 0..1


@dataclass(frozen=True)
class Differences:
    """Differences of one limb from the references' median over W windows; NaN where too few references cover a window.

    Energies are mean squares in trunk lengths squared.
    """

    energy: np.ndarray  # float64 [W] of the difference as it is
    lag_s: np.ndarray  # [W] the delay that leaves least of it, above 0 late
    lagged_energy: np.ndarray  # [W] of the difference with that delay
    cross_energy: np.ndarray  # [W] mean product of the limb's and the references' distance from rest
    reference_energy: np.ndarray  # [W] mean square of the references' distance from rest
    scale: np.ndarray  # [W] cross / reference energy, 0..2: the factor on the references' movement that leaves least
    scaled_energy: np.ndarray  # [W] of the difference with that factor


@dataclass(frozen=True)
class LimbMeasurement:
    """Differences of one limb, and how far good clips differ."""

    differences: Differences
    typical_energy: np.ndarray  # float64 [W] energy by which good clips differ from one another there
    sway: np.ndarray  # float64 [W] amplitude of the trunk's sway, 1: as good clips sway; NaN of other limbs


@dataclass(frozen=True)
class Finding:
    """A difference in one limb over one stretch of time."""

    limb: str
    kind: str  # late, early, small or unsteady
    start_s: float
    end_s: float
    strength: float  # 1: hardly any good clip differs so from the others
    lag_s: float  # behind the references; below 0 ahead; NaN: not known
    amplitude: float  # share of the references' motion; NaN: not known
    sway: float  # of good clips' sway; NaN but of the trunk


def window_bounds(motion: Motion) -> np.ndarray:
    """float64 [W, 2] seconds: start and end of each window, which lies in the clip as a whole."""
    first, last = motion.seconds[0], motion.seconds[-1]
    starts = np.arange(first, last - WINDOW_S + 1e-6, STEP_S)
    return np.stack([starts, starts + WINDOW_S], 1)


def measure_limbs(clip: Motion, aligned: Sequence[AlignedReference]) -> dict[str, LimbMeasurement]:
    """Measurements by limb. `aligned`: one at least."""
    middles = np.round((window_bounds(clip).mean(1) - clip.seconds[0]) * RATE_HZ).astype(int)
    numbers = np.array([alignment.reference for alignment in aligned])
    measured = {}
    for limb, joints in limb_joints().items():
        mine, theirs = _limb_coordinates(clip, aligned, limb, list(joints))
        rest = _rest_pose(mine.values.reshape(len(mine.values), len(joints), -1), limb.endswith(("arm", "leg")))
        measured[limb] = _measure_limb(mine, theirs, numbers, rest, middles)
    return measured | {"trunk": replace(measured["trunk"], sway=_sway(clip, aligned, middles))}


def _limb_coordinates(
    clip: Motion, aligned: Sequence[AlignedReference], limb: str, joints: list[int]
) -> tuple[Coordinates, Coordinates]:
    """One limb of the clip [N, D] and of the references [R, N, D], shifted so that their medians agree.

    Arms and head turn with the trunk: they are measured relative to it.
    """
    axes = clip.vectors.shape[2]
    mine = np.where(clip.seen[..., None], clip.vectors, np.nan)
    theirs = np.stack([alignment.vectors_by_limb[limb] for alignment in aligned])
    if limb.endswith("arm") or limb == "head":
        mine, theirs = upright(mine), upright(theirs)
    x = mine[:, joints].reshape(len(mine), -1)
    y = _centred_on(x, theirs[:, :, joints].reshape(*theirs.shape[:2], -1))
    weights = np.stack([alignment.weights_by_limb[limb][:, joints] for alignment in aligned])
    return (
        Coordinates(x, np.repeat(clip.weights[:, joints], axes, 1)),
        Coordinates(y, np.repeat(weights, axes, 2)),
    )


def _centred_on(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """y [R, N, D], each reference shifted by the median difference from x [N, D]."""
    away = x[None] - y
    return y + np.where(np.isfinite(away).any(1), _median(away, 1), 0.0)[:, None]


def _median(values: np.ndarray, axis: int | None) -> np.ndarray:
    """nanmedian without warnings where all values are NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=axis)


def _consensus(references: np.ndarray, numbers: np.ndarray, without: int | None = None) -> np.ndarray:
    """[N, D] median of aligned references [R, N, D], without the one numbered so; NaN where too few cover a frame."""
    references, numbers = references[numbers != without], numbers[numbers != without]
    covers = np.isfinite(references).all(2)
    covering = np.sum([covers[numbers == number].any(0) for number in np.unique(numbers)], 0)
    return np.where((covering >= _MIN_REFERENCES)[:, None], _median(references, 0), np.nan)


def _rest_pose(vectors: np.ndarray, hangs: bool) -> np.ndarray:
    """[K C] rest pose of a limb with vectors [N, K, C], from which movements are large or small.

    Arms and legs hang straight down, trunk and head are held as they mostly are.
    """
    if not hangs:
        return _median(vectors, 0).ravel()
    rest = np.zeros(vectors.shape[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        rest[:, 1] = np.nanpercentile(np.linalg.norm(vectors, axis=2), 90, axis=0)
    return rest.ravel()


def _measure_limb(
    mine: Coordinates, theirs: Coordinates, numbers: np.ndarray, rest: np.ndarray, middles: np.ndarray
) -> LimbMeasurement:
    differences = _differences(mine, _consensus(theirs.values, numbers), rest, middles)
    frames = np.arange(len(mine.values))
    good = []
    for number, first in _first_covering(theirs.values, numbers).items():
        single = Coordinates(theirs.values[first, frames], theirs.weights[first, frames])
        good.append(_differences(single, _consensus(theirs.values, numbers, without=number), rest, middles).energy)
    typical = _typical(good, len(middles)) + mine.values.shape[1] * _NOISE**2
    return LimbMeasurement(differences, typical, np.full(len(middles), np.nan))


def _first_covering(references: np.ndarray, numbers: np.ndarray) -> dict[int, np.ndarray]:
    """By reference, int [N]: the first of its alignments, as a row of `references`, that covers each frame."""
    rows = {int(number): np.flatnonzero(numbers == number) for number in np.unique(numbers)}
    return {number: of_one[np.isfinite(references[of_one]).all(2).argmax(0)] for number, of_one in rows.items()}


def _typical(good: Sequence[np.ndarray], length: int) -> np.ndarray:
    """[length] half of what good clips differ by there, half of what they differ by over the clip: of few references
    the first alone would be chance. NaN: of too few clips.
    """
    values = np.stack([*good, np.full(length, np.nan)])
    return 0.5 * _median(values, 0) + 0.5 * _median(values, None)


def _sway(clip: Motion, aligned: Sequence[AlignedReference], middles: np.ndarray) -> np.ndarray:
    """[W] amplitude of the trunk's swing about the references' median, over that of good clips.

    Of two things, which count alike: how it leans, and where the hips are. Only to the sides: up and down are steps.
    """
    numbers = np.array([alignment.reference for alignment in aligned])
    sideways = [axis for axis in range(clip.vectors.shape[2]) if axis != 1]
    mine = np.where(clip.seen[..., None], clip.vectors, np.nan)
    theirs = np.stack([alignment.vectors_by_limb["trunk"] for alignment in aligned])

    def ratio(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Swing of x [N, D] over that of the references y [R, N, D]."""
        y = _centred_on(x, y)
        good = [
            _swing_energy(y[first, np.arange(len(x))] - _consensus(y, numbers, without=number))
            for number, first in _first_covering(y, numbers).items()
        ]
        return _swing_energy(x - _consensus(y, numbers)) / (_typical(good, len(x)) + _NOISE**2)

    lean = (vectors[..., list(COCO17.shoulders), :].mean(-2)[..., sideways] for vectors in (mine, theirs))
    hips = (vectors[..., -1, sideways] for vectors in (mine, theirs))
    ratios = [ratio(*lean), ratio(*hips)]
    return np.sqrt(np.mean(ratios, 0))[np.minimum(middles, len(mine) - 1)]


def _swing_energy(away: np.ndarray) -> np.ndarray:
    """[N] mean square over SWAY_S of [N, D] without drift and flicker; NaN where too little is seen."""
    known = np.isfinite(away).all(1)
    values, share = np.where(known[:, None], away, 0.0), known.astype(float)
    drift = uniform_filter1d(values, round(_DRIFT_S * RATE_HZ) + 1, axis=0)
    drift /= np.maximum(uniform_filter1d(share, round(_DRIFT_S * RATE_HZ) + 1), 0.1)[:, None]
    swing = gaussian_filter1d(values - drift, _FLICKER_S * RATE_HZ, axis=0) * known[:, None]
    total = uniform_filter1d((swing**2).sum(1), round(SWAY_S * RATE_HZ))
    coverage = uniform_filter1d(share, round(SWAY_S * RATE_HZ))
    return np.where(coverage > 0.6, total / np.maximum(coverage, 0.1), np.nan)


def _differences(mine: Coordinates, y: np.ndarray, rest: np.ndarray, middles: np.ndarray) -> Differences:
    """Differences of coordinates [N, D] from y [N, D]; rest [D]."""
    x, weights = mine.values, mine.weights
    x = x - np.where(np.isfinite(_median(x - y, 0)), _median(x - y, 0), 0.0)
    lags = np.arange(-round(MAX_LAG_S * RATE_HZ), round(MAX_LAG_S * RATE_HZ) + 1)
    energies = np.stack([_windowed((x - _delayed(y, lag)) ** 2, weights, middles) for lag in lags.tolist()])
    best = np.where(np.isfinite(energies), energies, np.inf).argmin(0)
    a, b = x - rest, y - rest
    xx, xy, yy = (_windowed(p * q, weights, middles) for p, q in ((a, a), (a, b), (b, b)))
    scale = np.clip(xy / (yy + 1e-9), 0.0, 2.0)
    return Differences(
        energy=energies[len(lags) // 2],
        lag_s=lags[best] / RATE_HZ,
        lagged_energy=energies[best, np.arange(len(middles))],
        cross_energy=xy,
        reference_energy=yy,
        scale=scale,
        scaled_energy=xx - 2 * scale * xy + scale**2 * yy,
    )


def _delayed(y: np.ndarray, lag: int) -> np.ndarray:
    """y as it would be `lag` frames later; ends stay as they are."""
    return y[np.clip(np.arange(len(y)) - lag, 0, len(y) - 1)]


def _windowed(values: np.ndarray, weights: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """[W] weighted mean of values [N, D] over the window around each middle, times D.

    NaN where more than a third of the window is not known, or the mean weight is below _MIN_WEIGHT.
    """
    size = round(WINDOW_S * RATE_HZ)
    known = np.isfinite(values)
    weight = np.where(known, weights, 0.0)
    share = uniform_filter1d(known.mean(1), size, mode="constant")
    mean_weight = uniform_filter1d(weight.mean(1), size, mode="constant")
    total = uniform_filter1d((np.where(known, values, 0.0) * weight).sum(1), size, mode="constant")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where((share >= 2 / 3) & (mean_weight >= _MIN_WEIGHT), total / mean_weight, np.nan)
    return mean[np.minimum(middles, len(values) - 1)]


def select_findings(
    measurements: Mapping[str, LimbMeasurement], windows: np.ndarray, min_strength: float = 1.0
) -> list[Finding]:
    """The strongest first, one of a limb at a time; empty: nothing stands out. windows: float64 [W, 2] seconds.

    A limb differs where a delay, or a factor, explains its difference from the references; which of the two is decided
    by what they leave over the whole stretch.
    """
    candidates: list[Finding | None] = []
    for limb, measurement in measurements.items():
        strength = np.maximum(*_strengths(measurement, limb.rsplit("_", maxsplit=1)[-1]))
        candidates += [
            _late_or_small(limb, stretch, measurement, windows) for stretch in _stretches(strength, min_strength)
        ]
        if limb == "trunk":
            swaying = _stretches(_smoothed(measurement.sway**2) / SWAY_THRESHOLD, min_strength)
            candidates += [_unsteady(limb, stretch, measurement, windows) for stretch in swaying]
    selected: list[Finding] = []
    for finding in sorted((finding for finding in candidates if finding), key=lambda finding: -finding.strength):
        beside = [other for other in selected if finding.start_s < other.end_s and other.start_s < finding.end_s]
        if not any(finding.limb == other.limb or finding.strength < _SIDE_EFFECT * other.strength for other in beside):
            selected.append(finding)
    return selected


def _strengths(measurement: LimbMeasurement, group: str) -> tuple[np.ndarray, np.ndarray]:
    """[W] of late and of small; a window can be both."""
    measured, unit = measurement.differences, measurement.typical_energy
    delayed = (np.abs(measured.lag_s) >= MIN_LAG_S) & (np.abs(measured.lag_s) <= _MAX_FOUND_LAG_S)
    late = np.where(delayed, measured.energy - measured.lagged_energy, 0.0)
    small = np.where(measured.scale <= 1 - MIN_LOSS, measured.energy - measured.scaled_energy, 0.0)
    return _smoothed(late / unit / THRESHOLDS["late", group]), _smoothed(small / unit / THRESHOLDS["small", group])


def _smoothed(strength: np.ndarray) -> np.ndarray:
    padded = np.pad(np.nan_to_num(strength), _SMOOTHED_WINDOWS // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, _SMOOTHED_WINDOWS).mean(1)


@dataclass(frozen=True)
class _Stretch:
    """Windows from `first` to `last`, the strongest of which is `peak`."""

    first: int
    last: int
    peak: int
    strength: float

    @property
    def inside(self) -> slice:
        return slice(self.first, self.last + 1)


def _stretches(strength: np.ndarray, min_strength: float) -> list[_Stretch]:
    """The strongest first; none touches another."""
    stretches = []
    left = strength.copy()
    while len(left) and left.max() >= min_strength:
        peak = int(left.argmax())
        first = last = peak
        while first > 0 and left[first - 1] >= _EDGE * left[peak]:
            first -= 1
        while last + 1 < len(left) and left[last + 1] >= _EDGE * left[peak]:
            last += 1
        stretches.append(_Stretch(first, last, peak, float(left[peak])))
        # What still falls away from the stretch is its skirt, and no stretch of its own.
        while first > 0 and left[first - 1] <= left[first]:
            first -= 1
        while last + 1 < len(left) and left[last + 1] <= left[last]:
            last += 1
        left[first : last + 1] = 0
    return stretches


def _late_or_small(limb: str, stretch: _Stretch, measurement: LimbMeasurement, windows: np.ndarray) -> Finding | None:
    """None: neither the delay nor the loss of amplitude over the stretch is worth mentioning."""
    measured, inside = measurement.differences, stretch.inside
    lag, amplitude = _lag(measured, inside), _amplitude(measured, inside)
    delayed = np.nansum(measured.lagged_energy[inside]) <= _LAG_SHARE * np.nansum(measured.scaled_energy[inside])
    late, small = abs(lag) >= MIN_LAG_S, amplitude <= 1 - MIN_LOSS
    if not (late or small):
        return None
    kind = ("early" if lag < 0 else "late") if late and (delayed or not small) else "small"
    return Finding(limb, kind, *_bounds(stretch, windows), stretch.strength, lag, amplitude, float("nan"))


def _unsteady(limb: str, stretch: _Stretch, measurement: LimbMeasurement, windows: np.ndarray) -> Finding:
    measured, inside = measurement.differences, stretch.inside
    lag, amplitude = _lag(measured, inside), _amplitude(measured, inside)
    sway = float(measurement.sway[stretch.peak])
    return Finding(limb, "unsteady", *_bounds(stretch, windows), stretch.strength, lag, amplitude, sway)


def _bounds(stretch: _Stretch, windows: np.ndarray) -> tuple[float, float]:
    """Start and end in seconds: of a window, the middle _CORE_S."""
    inner = (windows[0, 1] - windows[0, 0] - _CORE_S) / 2
    return float(windows[stretch.first, 0] + inner), float(windows[stretch.last, 1] - inner)


def _lag(measured: Differences, inside: slice) -> float:
    """Mean over windows, weighted by what the delay explains; NaN: it explains nothing."""
    explained = measured.energy[inside] - measured.lagged_energy[inside]
    known = explained > 0
    return float(np.average(measured.lag_s[inside][known], weights=explained[known])) if known.any() else float("nan")


def _amplitude(measured: Differences, inside: slice) -> float:
    """NaN: the references do not move, or are not known."""
    moving = np.nansum(measured.reference_energy[inside])
    return max(0.0, float(np.nansum(measured.cross_energy[inside]) / moving)) if moving > 0 else float("nan")
