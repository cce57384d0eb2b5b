"""From measured differences to findings: which limb, when, what; only what good clips do not do among themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.feedback.measure import MOST_LAG_S, Differences, Measured

# Strength 1 of each kind, in units of what good clips differ by: what one or two in a hundred faultless clips, rendered
# and seen by the bundled pose network, reach (seeds 2000 and 2001; docs/feedback.md). Energies, and of sway the square
# of the amplitude.
STRONG = {
    ("late", "arm"): 1.9, ("late", "leg"): 1.25, ("late", "trunk"): 1.8, ("late", "head"): 2.8,
    ("small", "arm"): 1.9, ("small", "leg"): 1.25, ("small", "trunk"): 1.8, ("small", "head"): 2.8,
}  # fmt: skip
STRONG_SWAY = 2.9
LEAST_LAG_S, LEAST_LOSS = 0.15, 0.25  # a smaller delay, or loss of amplitude, is not worth a word
_FOUND_LAG_S = MOST_LAG_S - 0.1  # the best of all delays tried, where it is an end of them, is none
_LASTING = 5  # windows, one after the other, over which strength is averaged: a pose network's slip is short
_TOLD_S = 1.0  # of a window, its middle, is what a finding is said to last
_EDGE = 0.5  # windows beside the strongest belong to the finding while they are so strong, as a share of it
_DELAYED = 0.7  # of what a factor leaves is what a delay may leave to be the reason: one of many delays fits by chance
_BESIDE = 0.4  # of a stronger finding at the same time: a limb done wrong disturbs the timing of the others a little


@dataclass(frozen=True)
class Finding:
    """What is different in one limb over one stretch of time."""

    limb: str
    kind: str  # late, early, small or unsteady
    start_s: float
    end_s: float
    strength: float  # 1: hardly any good clip differs so from the others
    lag_s: float  # behind the references; below 0 ahead; NaN: not known
    amplitude: float  # share of the references' motion; NaN: not known
    sway: float  # of good clips' sway; NaN but of the trunk


def find(measured: Mapping[str, Measured], windows: np.ndarray, least: float = 1.0) -> list[Finding]:
    """The strongest first, one of a limb at a time; empty: nothing stands out.

    windows: [W, 2] seconds. least: strength.

    A limb differs where a delay, or a factor, explains what parts it from the references; which of the two it is, is
    told by what they leave over the whole stretch.
    """
    found = []
    for limb, of in measured.items():
        moved = np.maximum(*strengths(of.ours, of.unit, limb.rsplit("_", maxsplit=1)[-1]))
        stretches = [_moved(limb, stretch, of.ours, windows) for stretch in _stretches(moved, least)]
        found += [stretch for stretch in stretches if stretch]
        if limb == "trunk":
            swaying = _stretches(_lasting(of.sway**2) / STRONG_SWAY, least)
            found += [_unsteady(limb, stretch, of, windows) for stretch in swaying]
    found.sort(key=lambda one: -one.strength)
    kept: list[Finding] = []
    for one in found:
        beside = [other for other in kept if _touch(one, other)]
        if not any(one.limb == other.limb or one.strength < _BESIDE * other.strength for other in beside):
            kept.append(one)
    return kept


def strengths(ours: Differences, unit: np.ndarray, group: str) -> tuple[np.ndarray, np.ndarray]:
    """[W] of late and of small; a window can be both."""
    found = (np.abs(ours.lag_s) >= LEAST_LAG_S) & (np.abs(ours.lag_s) <= _FOUND_LAG_S)
    late = np.where(found, ours.plain - ours.lagged, 0.0)
    small = np.where(ours.factor <= 1 - LEAST_LOSS, ours.plain - ours.scaled, 0.0)
    return _lasting(late / unit / STRONG["late", group]), _lasting(small / unit / STRONG["small", group])


def _lasting(strength: np.ndarray) -> np.ndarray:
    padded = np.pad(np.nan_to_num(strength), _LASTING // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, _LASTING).mean(1)


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


def _stretches(strength: np.ndarray, least: float) -> list[_Stretch]:
    """The strongest first; none touches another."""
    found = []
    left = strength.copy()
    while len(left) and left.max() >= least:
        peak = int(left.argmax())
        first = last = peak
        while first > 0 and left[first - 1] >= _EDGE * left[peak]:
            first -= 1
        while last + 1 < len(left) and left[last + 1] >= _EDGE * left[peak]:
            last += 1
        found.append(_Stretch(first, last, peak, float(left[peak])))
        # What still falls away from the stretch is its skirt, and no stretch of its own.
        while first > 0 and left[first - 1] <= left[first]:
            first -= 1
        while last + 1 < len(left) and left[last + 1] <= left[last]:
            last += 1
        left[first : last + 1] = 0
    return found


def _moved(limb: str, stretch: _Stretch, ours: Differences, windows: np.ndarray) -> Finding | None:
    """None: neither the delay nor the loss of amplitude, over the stretch, is worth a word."""
    at = stretch.inside
    lag, amplitude = _lag(ours, at), _amplitude(ours, at)
    delayed = np.nansum(ours.lagged[at]) <= _DELAYED * np.nansum(ours.scaled[at])
    late, small = abs(lag) >= LEAST_LAG_S, amplitude <= 1 - LEAST_LOSS
    if not (late or small):
        return None
    kind = ("early" if lag < 0 else "late") if late and (delayed or not small) else "small"
    return Finding(limb, kind, *_ends(stretch, windows), stretch.strength, lag, amplitude, float("nan"))


def _unsteady(limb: str, stretch: _Stretch, of: Measured, windows: np.ndarray) -> Finding:
    lag, amplitude = _lag(of.ours, stretch.inside), _amplitude(of.ours, stretch.inside)
    sway = float(of.sway[stretch.peak])
    return Finding(limb, "unsteady", *_ends(stretch, windows), stretch.strength, lag, amplitude, sway)


def _ends(stretch: _Stretch, windows: np.ndarray) -> tuple[float, float]:
    """A window says most of its middle."""
    inner = (windows[0, 1] - windows[0, 0] - _TOLD_S) / 2
    return float(windows[stretch.first, 0] + inner), float(windows[stretch.last, 1] - inner)


def _lag(ours: Differences, at: slice) -> float:
    """Mean over windows, weighted by what the delay explains; NaN: it explains nothing."""
    explained = ours.plain[at] - ours.lagged[at]
    known = explained > 0
    return float(np.average(ours.lag_s[at][known], weights=explained[known])) if known.any() else float("nan")


def _amplitude(ours: Differences, at: slice) -> float:
    """NaN: the references do not move, or are not known."""
    moving = np.nansum(ours.moving[at])
    return max(0.0, float(np.nansum(ours.along[at]) / moving)) if moving > 0 else float("nan")


def _touch(one: Finding, other: Finding) -> bool:
    return one.start_s < other.end_s and other.start_s < one.end_s
