"""Tempo and beats of a clip's sound, with confidences, from its log-mel spectra.

Music of one tempo is what dances are made to, so one period and one phase are fitted to the whole clip, which is exact
to a few milliseconds (pipeline.music.tempo, pipeline.music.meter). Where the sound departs from that grid, as it does
when a track was cut or played by people, beats follow it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from pipeline.music.meter import BEATS, Meter, find_meter
from pipeline.music.meter_pattern import BEAT_ODDS, TEMPO_ODDS
from pipeline.music.onsets import LATE_S, audible, is_silent, onset_bands
from pipeline.music.tempo import SPECTRA_HZ, emphasised

SHORTEST_S = 2.5  # of sound in which a tempo can be told
MIN_CONFIDENCE = 0.4  # of the tempo; below, there is said to be none
_MOST_ODDS = 6.0  # logarithm; more is never believed
_EDGE = 3  # spectra at the ends of what is heard, in which the sound's own beginning counts as an onset
_WINDOW_BEATS, _STEP_BEATS = 8, 2  # in which departures from the grid are sought
_CLEARLY = 0.15  # correlation by which a departure must be better than none
_CROWDED = 0.6  # of a period: beats nearer than that are one, at a cut


@dataclass(frozen=True)
class Rhythm:
    """Tempo and beats of a clip, on its clock."""

    onset: np.ndarray  # float32 [S] onset strength at SPECTRA_HZ, decibels
    beats: np.ndarray  # float32 [B] s, ascending; none where the sound has no rhythm
    beat_confidence: np.ndarray  # float32 [B] probability that a beat is where it is said to be
    tempo: float  # beats a minute; 0: none found
    tempo_confidence: float  # 0..1 probability that the tempo is right


def find_rhythm(log_mel: np.ndarray, heard: tuple[float, float]) -> Rhythm:
    """The rhythm of a clip's sound.

    Args:
        log_mel: [S, 64] decibels at SPECTRA_HZ.
        heard: from where to where on the clip's clock there is sound, s.
    """
    onset, none = np.zeros(len(log_mel), np.float32), np.zeros(0, np.float32)
    start, end = (round(edge * SPECTRA_HZ) for edge in heard)
    start, end = start + _EDGE, min(end, len(log_mel)) - _EDGE
    if end <= start or is_silent(log_mel[start:end]):
        return Rhythm(onset, none, none, 0.0, 0.0)
    spectra = audible(log_mel[start:end])
    bands = onset_bands(spectra)
    onset[start:end] = bands.mean(1)
    grid = find_grid(bands, spectra)
    if grid is None:
        return Rhythm(onset, none, none, 0.0, 0.0)
    odds = float(tempo_evidence(grid) @ TEMPO_ODDS)
    confidence = 1 / (1 + np.exp(-odds))
    if confidence < MIN_CONFIDENCE:
        return Rhythm(onset, none, none, 0.0, 0.0)
    trust = 1 / (1 + np.exp(-beat_evidence(grid, odds) @ BEAT_ODDS))
    seconds = (grid.beats + start) / SPECTRA_HZ - LATE_S
    inside = (seconds >= heard[0]) & (seconds <= heard[1])
    return Rhythm(
        onset,
        seconds[inside].astype(np.float32),
        trust[inside].astype(np.float32),
        60 * SPECTRA_HZ / grid.meter.period,
        confidence,
    )


@dataclass(frozen=True)
class Grid:
    """Beats of a clip before it is asked whether to believe them."""

    meter: Meter
    beats: np.ndarray  # float64 [B] spectra from where the sound is heard on
    fit: np.ndarray  # float64 [B] correlation of the sound around each with the clip's mean bar, -1..1


def find_grid(bands: np.ndarray, spectra: np.ndarray) -> Grid | None:
    """The likeliest beats of onset strength [S, 5] and `onsets.audible` spectra [S, 64].

    None: the sound is too short, or nothing comes again.
    """
    meter = find_meter(bands, spectra) if len(bands) >= SHORTEST_S * SPECTRA_HZ else None
    return None if meter is None else Grid(meter, *_beats(emphasised(bands).sum(1), meter))


def tempo_evidence(grid: Grid) -> np.ndarray:
    """float64 [5]: what speaks for the tempo, for a logistic regression; the first is 1."""
    meter, beats = grid.meter, max(len(grid.beats), 1)
    return np.array(
        [1.0, meter.strength, meter.agreement / 10, _log_odds(meter.tempo_probability), np.log2(beats / 16)]
    )


def beat_evidence(grid: Grid, tempo_odds: float) -> np.ndarray:
    """float64 [B, 4]: what speaks for each beat, for a logistic regression; the first is 1.

    tempo_odds: logarithm of those of the tempo.
    """
    count = len(grid.beats)
    phase = _log_odds(grid.meter.beat_probability)
    shared = np.tile([1.0, min(tempo_odds, _MOST_ODDS), phase], (count, 1))
    return np.column_stack([shared, grid.fit])


def _log_odds(probability: float) -> float:
    least = 1 / (1 + np.exp(_MOST_ODDS))
    probability = min(max(probability, least), 1 - least)
    return float(np.log(probability / (1 - probability)))


def _beats(strength: np.ndarray, meter: Meter) -> tuple[np.ndarray, np.ndarray]:
    """Beats in spectra, float64 [B], and how well the sound around each repeats the clip's mean bar, -1..1.

    strength: onset strength [S].
    """
    grid = np.arange(meter.first, len(strength), meter.period)
    shift, fit = _departures(gaussian_filter1d(strength, 2.0), meter, grid)
    beats = grid + shift
    kept = np.append(True, np.diff(beats) > _CROWDED * meter.period) & (beats >= 0) & (beats < len(strength))
    return beats[kept], fit[kept]


def _departures(strength: np.ndarray, meter: Meter, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much the sound around each of B beats lags behind the grid, in spectra, and how well it fits there.

    The mean bar of the clip is compared with windows of it, shifted by up to half a beat.
    """
    period, count = meter.period, len(strength)
    bar = BEATS * period
    most = int(period / 2)
    phases = max(1, round(bar))
    place = (np.round((np.arange(count) - meter.first) % bar).astype(int)) % phases
    mean_bar = np.bincount(place, strength, phases) / np.maximum(np.bincount(place, minlength=phases), 1)
    expected = mean_bar[place]
    half = int(_WINDOW_BEATS / 2 * period)
    centres = np.arange(0, count + _STEP_BEATS * period, _STEP_BEATS * period)
    shifts, fits = [], []
    for centre in centres:
        low, high = max(most, int(centre) - half), min(count - most, int(centre) + half)
        if high - low < 2 * period:
            shifts.append(np.nan), fits.append(np.nan)
            continue
        pattern = expected[low:high] - expected[low:high].mean()
        views = np.lib.stride_tricks.sliding_window_view(strength[low - most : high + most], high - low)
        views = views - views.mean(1, keepdims=True)
        correlation = views @ pattern / (np.linalg.norm(views, axis=1) * np.linalg.norm(pattern) + 1e-9)
        best = int(correlation.argmax())
        clear = correlation[best] > correlation[most] + _CLEARLY
        shifts.append(best - most if clear else 0.0)
        fits.append(correlation[best] if clear else correlation[most])
    known = np.isfinite(shifts)
    if not known.any():
        return np.zeros(len(grid)), np.zeros(len(grid))
    smooth = median_filter(np.array(shifts)[known], 3, mode="nearest")
    return np.interp(grid, centres[known], smooth), np.interp(grid, centres[known], np.array(fits)[known])
