"""Synchrony of a dancer's motion with the music: whether kinematic beats fall on the music's, and by how much not.

Dancers come to rest, or turn, on beats and move between them (AIST++: Li et al., ICCV 2021; Davis and Agrawala, "Visual
rhythm and beat", SIGGRAPH 2018, for music put to pictures). So over a beat the square root of a limb's speed is

    a - r cos(2 pi (phase - lag / period))

with `phase` counting the music's beats; the root keeps one large move from drowning ten small ones. Lag and r follow by
least squares from all speeds, not from picked extremes: at 10 poses a second a single extreme is 30 ms off. Errors are
those of a cluster-robust ("sandwich") estimate with beats as clusters (Liang and Zeger, 1986), for neighbouring speeds
stray together.

A lag is known modulo a beat only: that of least magnitude is taken. Somebody late by a whole beat looks as if on it.
The moment of the beat at which a dance's poses are reached is the dance's: a lag counts against its challenge's usual
one, and other clips tell lags of whole beats (pipeline.music.references).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.music.kinematics import RATE_HZ, LimbSteps, find_kinematic_beats, limb_steps, speed_curves

WINDOW_S, STEP_S = 3.0, 0.5
MAX_SHIFT_S = 0.5  # of the cross-correlation
ALIGNMENT_S = 0.05  # standard deviation of the kernel of beat alignment: AIST++ has 3 frames of 60 a second
# Periods in seconds of the pulse that people move to. A tempo outside is halved or doubled: trackers err by an octave.
_PULSE_S = (0.36, 1.1)
CLOSE_S = 0.1  # lag by which closeness falls to 0.6; viewers accept 0.045 s early to 0.125 s late (ITU-R BT.1359)
_MIN_BEATS = 4  # in a window; below, nothing is said of it
_MIN_STEPS = 8  # speeds that a fit is made of
# Of the test that the speeds follow the beat at all; above, there is no lag. Of dancers to another beat 2 % pass it.
_LEVEL = 0.08
_LIMB_SPREAD_S = 0.03  # by which a dancer's limbs differ in lag, so that no limb is all that counts
_MIN_CONFIDENCE = 0.2  # of a beat
_BEYOND = 2.0  # beats that the pulse goes on for before the first beat and behind the last


@dataclass(frozen=True)
class Music:
    """The music of a clip, on the clip's clock."""

    beats: np.ndarray  # float [B] s, ascending
    beat_confidence: np.ndarray  # float [B] 0..1
    onset: np.ndarray  # float [S] onset strength at RATE_HZ from 0 s
    heard: tuple[float, float]  # s


@dataclass(frozen=True)
class Synchrony:
    """Synchrony of one clip. W windows of WINDOW_S, each STEP_S after the one before; V limbs in the order of LIMBS.

    NaN: not known. Lags are the motion's delay behind the music, above 0 late, of least magnitude modulo the period.
    """

    start_s: np.ndarray  # float32 [W]
    end_s: np.ndarray  # float32 [W]
    lag_s: np.ndarray  # float32 [W] of the limbs' mean
    lag_error_s: np.ndarray  # float32 [W] standard deviation of lag_s
    strength: np.ndarray  # float32 [W] 0..1 multiple correlation of the motion with the beat at that lag
    at_beats: np.ndarray  # float32 [W] log of the motion's energy at beats against between them
    limb_lag_s: np.ndarray  # float32 [W, V]
    limb_lag_error_s: np.ndarray  # float32 [W, V]
    clip_lag_s: float
    clip_lag_error_s: float
    clip_strength: float
    clip_at_beats: float
    clip_limb_lag_s: np.ndarray  # float32 [V]
    clip_limb_lag_error_s: np.ndarray  # float32 [V]
    alignment: float  # 0..1 beat alignment of AIST++ at the clip's lag, 0.25 by chance at 120 beats a minute
    period_s: float  # of the pulse
    beats: np.ndarray  # float32 [B] s, those that the pulse was taken from
    correlation: np.ndarray  # float32 [L] of onset curve and motion energy, motion delayed by -MAX_SHIFT_S..MAX_SHIFT_S
    kinematic_beats: tuple[np.ndarray, ...]  # of each limb float32 [.] s
    speed: np.ndarray  # float32 [V, S] trunk lengths a second at RATE_HZ from 0 s; NaN: not seen
    usual_lag_s: float = 0.0  # of the challenge's clips (pipeline.music.references)
    beat_certain: bool = False  # other clips of the challenge tell by how many beats the clip lags

    @property
    def agreement(self) -> float:
        """How well the dancer keeps to the music as the challenge does, 0..1; 0 where the motion follows no beat."""
        if not np.isfinite(self.clip_lag_s):
            return 0.0
        return self.clip_strength * float(closeness(np.array(self.clip_lag_s - self.usual_lag_s)))


@dataclass(frozen=True)
class Pulse:
    """Beats as a clock."""

    beats: np.ndarray  # float64 [B] s
    number: np.ndarray  # float64 [B] the beat's number, rising by 1, and by more where beats were not found
    period_s: float

    def phase(self, seconds: np.ndarray) -> np.ndarray:
        """Beats at `seconds`, NaN further than _BEYOND from all beats."""
        phase = np.interp(seconds, self.beats, self.number)
        before, after = self.beats[0] - seconds, seconds - self.beats[-1]
        phase = np.where(before > 0, self.number[0] - before / self.period_s, phase)
        phase = np.where(after > 0, self.number[-1] + after / self.period_s, phase)
        return np.where(np.maximum(before, after) <= _BEYOND * self.period_s, phase, np.nan)


def closeness(lag_s: np.ndarray) -> np.ndarray:
    """1 at no lag, falling to 0 beyond CLOSE_S, for lags of any shape."""
    return np.exp(-(lag_s**2) / (2 * CLOSE_S**2))


def wrapped(lag_s: Any, period_s: float) -> Any:
    """The lag, a number or an array, of least magnitude modulo the period."""
    return lag_s - period_s * np.round(lag_s / period_s)


def find_pulse(music: Music) -> Pulse | None:
    """The pulse that people move to, from the beats; None: too few beats."""
    beats = music.beats[music.beat_confidence >= _MIN_CONFIDENCE].astype(np.float64)
    if len(beats) < _MIN_BEATS or not (np.diff(beats) > 0).all():
        return None
    apart = np.diff(beats)
    number = np.concatenate([[0.0], np.cumsum(np.maximum(np.round(apart / np.median(apart)), 1.0))])
    period = float((beats[-1] - beats[0]) / number[-1])
    factor = 1.0  # pulses a beat
    while period / factor < _PULSE_S[0]:
        factor /= 2
    while period / factor > _PULSE_S[1]:
        factor *= 2
    return Pulse(beats, number * factor, period / factor)


def measure_synchrony(seconds: np.ndarray, position: np.ndarray, seen: np.ndarray, music: Music) -> Synchrony | None:
    """The clip's synchrony. None: no beats, or no speeds while the music is heard.

    Args:
        seconds: [T] ascending.
        position: [T, 17, C] trunk lengths.
        seen: bool [T, 17].
    """
    pulse, steps = find_pulse(music), limb_steps(seconds, position, seen)
    if pulse is None:
        return None
    model = _SpeedModel(steps, pulse, music.heard)
    if not model.known.any():
        return None
    end_s = float(seconds[-1])
    speed = speed_curves(steps, end_s)
    kinematic = tuple(find_kinematic_beats(curve) for curve in speed)
    starts = np.arange(0.0, max(end_s - WINDOW_S, 0.0) + STEP_S / 2, STEP_S)
    ends = np.minimum(starts + WINDOW_S, end_s)
    windows = [model.fit((steps.seconds >= a) & (steps.seconds < b)) for a, b in zip(starts, ends, strict=True)]
    whole = model.fit(np.ones(len(steps.seconds), bool))

    def column(name: str) -> np.ndarray:
        return np.array([getattr(window, name) for window in windows], np.float32)

    lags = column("lag_s")
    if np.isfinite(whole.lag_s):  # a stretch does not leave the beat that the clip is on
        lags = whole.lag_s + wrapped(lags - whole.lag_s, pulse.period_s)
    return Synchrony(
        start_s=starts.astype(np.float32),
        end_s=ends.astype(np.float32),
        lag_s=lags.astype(np.float32),
        lag_error_s=column("lag_error_s"),
        strength=column("strength"),
        at_beats=column("at_beats"),
        limb_lag_s=column("limb_lag_s"),
        limb_lag_error_s=column("limb_lag_error_s"),
        clip_lag_s=whole.lag_s,
        clip_lag_error_s=whole.lag_error_s,
        clip_strength=whole.strength,
        clip_at_beats=whole.at_beats,
        clip_limb_lag_s=whole.limb_lag_s.astype(np.float32),
        clip_limb_lag_error_s=whole.limb_lag_error_s.astype(np.float32),
        alignment=beat_alignment(kinematic, pulse, float(np.nan_to_num(whole.lag_s))),
        period_s=pulse.period_s,
        beats=pulse.beats.astype(np.float32),
        correlation=onset_correlation(music.onset, speed).astype(np.float32),
        kinematic_beats=kinematic,
        speed=speed,
    )


@dataclass(frozen=True)
class _Fit:
    """Synchrony over some of a clip's steps; NaN: not known."""

    lag_s: float
    lag_error_s: float
    strength: float
    at_beats: float
    limb_lag_s: np.ndarray  # float64 [V]
    limb_lag_error_s: np.ndarray  # float64 [V]


@dataclass(frozen=True)
class _Wave:
    """The wave over a beat in one row of roots of speeds."""

    lag_s: float  # NaN: too few speeds
    error_s: float
    probability: float  # of as clear a wave where there is none
    correlation: float  # multiple, 0..1


_NO_WAVE = _Wave(np.nan, np.nan, 1.0, np.nan)


class _SpeedModel:
    """Least squares of the roots of limb speeds on the beat's phase.

    The scatter from beat to beat is taken from the whole clip, for its windows too: six beats do not show theirs.
    """

    def __init__(self, steps: LimbSteps, pulse: Pulse, heard: tuple[float, float]):
        inside = (steps.seconds >= heard[0]) & (steps.seconds <= heard[1])
        self._phase = np.where(inside, pulse.phase(steps.seconds), np.nan)
        self._beat = np.floor(np.nan_to_num(self._phase))
        self._turn = pulse.period_s / (2 * np.pi)  # s a radian
        angle = 2 * np.pi * np.nan_to_num(self._phase)
        self._design = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], 1)
        self._energy = steps.speed**2
        roots = np.where(np.isfinite(self._phase), np.sqrt(steps.speed), np.nan)
        self.known = np.isfinite(roots)  # bool [V, N]
        # One row more: the mean of all limbs, each in units of its own. Limbs move together, so it is the clearest.
        self._rows = np.vstack([roots, _mean_of_limbs(roots)])
        self._beats = len(np.unique(self._beat[self.known.any(0)]))
        self._scatter = [self._beat_scatter(row) for row in self._rows]

    def fit(self, used: np.ndarray) -> _Fit:
        """used: bool [N] steps."""
        *limbs, body = (self._wave(row, scatter, used) for row, scatter in zip(self._rows, self._scatter, strict=True))
        lag, error = np.array([wave.lag_s for wave in limbs]), np.array([wave.error_s for wave in limbs])
        mean = self._mean_lag(lag, error) if body.probability <= _LEVEL else (np.nan, np.nan)
        return _Fit(*mean, body.correlation, self._at_beats(used), lag, error)

    def _solve(self, row: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Coefficients [3] and the inverse of the normal matrix [3, 3]; None: too few speeds."""
        if used.sum() < _MIN_STEPS or len(np.unique(self._beat[used])) < _MIN_BEATS:
            return None
        x = self._design[used]
        normal = x.T @ x
        if np.linalg.cond(normal) > 1e4:
            return None
        inverse = np.linalg.inv(normal)
        return inverse @ (x.T @ row[used]), inverse

    def _beat_scatter(self, row: np.ndarray) -> np.ndarray | None:
        """Sum over beats of the outer products of a beat's scores, [3, 3], a step; None: too few speeds."""
        used = np.isfinite(row)
        solved = self._solve(row, used)
        if solved is None:
            return None
        scores = self._design[used] * (row[used] - self._design[used] @ solved[0])[:, None]
        _, beat = np.unique(self._beat[used], return_inverse=True)
        sums = np.stack([np.bincount(beat, column) for column in scores.T], 1)
        return sums.T @ sums / used.sum() * len(sums) / max(len(sums) - 3, 1)

    def _wave(self, row: np.ndarray, scatter: np.ndarray | None, used: np.ndarray) -> _Wave:
        used = used & np.isfinite(row)
        solved = self._solve(row, used)
        if solved is None or scatter is None:
            return _NO_WAVE
        coefficients, inverse = solved
        covariance = (inverse @ scatter @ inverse)[1:, 1:] * used.sum()
        wave = coefficients[1:]
        wald = float(wave @ np.linalg.solve(covariance + 1e-12 * np.eye(2), wave))
        across = np.array([-wave[1], wave[0]])
        angle_error = np.sqrt(across @ covariance @ across) / max(float(wave @ wave), 1e-12)
        error = min(self._turn * angle_error, self._turn * 2 * np.pi / np.sqrt(12))  # at most that of any lag at all
        explained = float(np.var(self._design[used] @ coefficients) / max(np.var(row[used]), 1e-12))
        lag = self._turn * np.arctan2(-wave[1], -wave[0])
        # Of Wald's statistic over 2 by the F distribution of 2 and the beats but one, for the scatter is an estimate.
        freedom = max(self._beats - 1, 1)
        probability = (1 + wald / freedom) ** (-freedom / 2)
        return _Wave(float(lag), float(error), float(probability), float(np.sqrt(min(explained, 1.0))))

    def _mean_lag(self, lag: np.ndarray, error: np.ndarray) -> tuple[float, float]:
        """Lag of the limbs' mean and its standard deviation: limbs count alike as far as their lags are known."""
        known = np.isfinite(lag)
        if not known.any():
            return np.nan, np.nan
        lag, error = lag[known], error[known]
        weight = 1 / (error**2 + _LIMB_SPREAD_S**2)
        weight /= weight.sum()
        mean = self._turn * np.angle((weight * np.exp(1j * lag / self._turn)).sum())
        apart = self._turn * np.angle(np.exp(1j * (lag - mean) / self._turn))
        # The greater of what the limbs' errors give and what their differences show (Hartung and Knapp, 2001).
        spread = (weight * apart**2).sum() / max(len(lag) - 1, 1)
        return float(mean), float(np.sqrt(max((weight**2 * error**2).sum(), spread)))

    def _at_beats(self, used: np.ndarray) -> float:
        """Log of the mean squared speed within a quarter beat of beats against that between; NaN: not known."""
        used = used & self.known.any(0)
        near = np.abs(self._phase[used] - np.round(self._phase[used])) < 0.25
        if near.sum() < 3 or (~near).sum() < 3:
            return np.nan
        energy = np.nanmean(np.where(self.known, self._energy, np.nan)[:, used], 0)
        return float(np.log((energy[near].mean() + 1e-9) / (energy[~near].mean() + 1e-9)))


def _mean_of_limbs(roots: np.ndarray) -> np.ndarray:
    """Mean [N] of the limbs' rows [V, N], each less its mean in units of its deviation; NaN: no limb is seen."""
    known = np.isfinite(roots)
    count = known.sum(1, keepdims=True)
    filled = np.where(known, roots, 0.0)
    centred = np.where(known, filled - filled.sum(1, keepdims=True) / np.maximum(count, 1), 0.0)
    deviation = np.sqrt((centred**2).sum(1, keepdims=True) / np.maximum(count, 1))
    limbs = known.sum(0)
    mean = (centred / np.maximum(deviation, 1e-6)).sum(0) / np.maximum(limbs, 1)
    return np.where(limbs > 0, mean, np.nan)


def beat_alignment(kinematic: tuple[np.ndarray, ...], pulse: Pulse, lag_s: float) -> float:
    """Beat alignment score of AIST++ with the music delayed by `lag_s`, 0..1: mean over kinematic beats of all limbs.

    NaN: fewer than _MIN_BEATS of them.
    """
    phase = pulse.phase(np.concatenate(kinematic).astype(np.float64) - lag_s)
    phase = phase[np.isfinite(phase)]
    if len(phase) < _MIN_BEATS:
        return np.nan
    away = (phase - np.round(phase)) * pulse.period_s
    return float(np.exp(-(away**2) / (2 * ALIGNMENT_S**2)).mean())


def onset_correlation(onset: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Correlation [L] of the onset curve [S] with the limbs' mean speed [V, S], delayed by -MAX_SHIFT_S..MAX_SHIFT_S.

    Both at RATE_HZ. Zeros where less than a second of both is known, or one of them is constant.
    """
    reach = round(MAX_SHIFT_S * RATE_HZ)
    seen = np.isfinite(speed)
    count = seen.sum(0)
    energy = np.where(count > 0, np.where(seen, speed, 0.0).sum(0) / np.maximum(count, 1), np.nan)
    length = min(len(onset), len(energy))
    onset, energy = onset[:length].astype(np.float64), energy[:length]
    values = np.zeros(2 * reach + 1)
    for place, shift in enumerate(range(-reach, reach + 1)):
        a = onset[max(0, -shift) : length - max(0, shift)]
        b = energy[max(0, shift) : length - max(0, -shift)]
        known = np.isfinite(b)
        if known.sum() >= RATE_HZ and a[known].std() > 1e-9 and b[known].std() > 1e-9:
            values[place] = np.corrcoef(a[known], b[known])[0, 1]
    return values
