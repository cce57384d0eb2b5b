"""Tempo and beats of a clip's sound, with confidences, from its log-mel spectra.

Music of one tempo is what dances are made to, so one period and one phase are fitted to the whole clip, which is exact
to a few milliseconds (pipeline.music.tempo, pipeline.music.meter). Where the sound departs from that grid, as it does
when a track was cut or played by people, beats follow it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter, uniform_filter1d

from pipeline.music.meter import BEATS, WEIGHTS, Meter, find_meter
from pipeline.music.meter_pattern import BEAT_ODDS, TEMPO_ODDS
from pipeline.music.onsets import LATE_S, audible, is_silent, onset_bands
from pipeline.music.tempo import SPECTRA_HZ, emphasised

SHORTEST_S = 2.5  # of sound in which a tempo can be told
MIN_CONFIDENCE = 0.25  # of the tempo; below, there is said to be none
_MOST_ODDS = 6.0  # logarithm; more is never believed
_EDGE = 3  # spectra at the ends of what is heard, in which the sound's own beginning counts as an onset
_WINDOW_BEATS, _STEP_BEATS = 8, 2  # in which departures from the grid are sought
_CLEARLY = 0.15  # correlation by which a departure must be better than none
_PASSES = 2
_CROWDED = 0.6  # of a period: beats nearer than that are one, at a cut
# A beat is struck where a band rises by more, within so long, than it does at most moments of the clip, and by more
# than a share of the clip's strongest rise: noise between strokes is none.
_STRUCK_S, _STRUCK_PERCENT, _STRUCK_SHARE, _STRUCK_DB = 0.02, 80.0, 0.15, 1.0
_LEAST_STRUCK = 4  # beats, for a tempo
_REST_BEATS = 4  # for which beats go on where none is struck
_STRENGTH = (0.02, 0.4)  # of a tempo, beyond which it says no more
_OCTAVE_ODDS = 1.5  # the most of a tempo's log odds in terms of those that its beats are not the places between


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
    odds = tempo_odds(grid, TEMPO_ODDS)
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
    struck: np.ndarray  # bool [B] whether there is an onset


def find_grid(bands: np.ndarray, spectra: np.ndarray, weights: np.ndarray = WEIGHTS) -> Grid | None:
    """The likeliest beats of onset strength [S, 5] and `onsets.audible` spectra [S, 64].

    weights: of the meter. None: the sound is too short, nothing comes again, or hardly a beat is struck.
    """
    meter = find_meter(bands, spectra, weights) if len(bands) >= SHORTEST_S * SPECTRA_HZ else None
    if meter is None:
        return None
    beats, fit = _beats(emphasised(bands), meter)
    struck = _struck(bands, beats)
    if struck.sum() < _LEAST_STRUCK:
        return None
    going_on = maximum_filter1d(struck, 2 * _REST_BEATS + 1, mode="constant")
    return Grid(meter, beats[going_on], fit[going_on], struck[going_on])


def _struck(bands: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """Whether the sound rises at each beat, bool [B], by more than it does at most moments."""
    loudest = maximum_filter1d(bands.max(1), 2 * round(_STRUCK_S * SPECTRA_HZ) + 1)
    usual = max(float(np.percentile(loudest, _STRUCK_PERCENT)), _STRUCK_SHARE * float(loudest.max()), _STRUCK_DB)
    return loudest[np.minimum(np.round(beats).astype(int), len(bands) - 1)] > usual


def tempo_evidence(grid: Grid) -> np.ndarray:
    """float64 [4]: what speaks for the tempo, for a logistic regression; the first is 1."""
    strength = np.log2(np.clip(grid.meter.strength, *_STRENGTH))
    # Where every other beat alone is struck, the tempo may be half of it.
    struck = min(float(half.mean()) if len(half) else 0.0 for half in (grid.struck[::2], grid.struck[1::2]))
    return np.array([1.0, strength, _log_odds(grid.meter.tempo_probability), struck])


def tempo_odds(grid: Grid, weights: np.ndarray) -> float:
    """Logarithm of the odds that the tempo is right; weights: of `tempo_evidence`.

    Where strokes between beats are as strong as those on them, nothing tells the tempo from its double.
    """
    return min(float(tempo_evidence(grid) @ weights), _OCTAVE_ODDS * _log_odds(grid.meter.beat_probability))


def beat_evidence(grid: Grid, odds: float) -> np.ndarray:
    """float64 [B, 4]: what speaks for each beat, for a logistic regression; the first is 1. odds: `tempo_odds`."""
    shared = np.tile([1.0, min(odds, _MOST_ODDS)], (len(grid.beats), 1))
    struck = uniform_filter1d(grid.struck.astype(float), 2 * _REST_BEATS + 1, mode="nearest")
    return np.column_stack([shared, grid.fit, struck])


def _log_odds(probability: float) -> float:
    least = 1 / (1 + np.exp(_MOST_ODDS))
    probability = min(max(probability, least), 1 - least)
    return float(np.log(probability / (1 - probability)))


def _beats(strength: np.ndarray, meter: Meter) -> tuple[np.ndarray, np.ndarray]:
    """Beats in spectra, float64 [B], and how well the sound around each repeats the clip's mean bar, -1..1.

    strength: onset strength [S, 5].
    """
    grid = np.arange(meter.first, len(strength), meter.period)
    shift, fit = _departures(gaussian_filter1d(strength, 2.0, axis=0), meter, grid)
    beats = grid + shift
    kept = np.append(True, np.diff(beats) > _CROWDED * meter.period) & (beats >= 0) & (beats < len(strength))
    return beats[kept], fit[kept]


def _departures(strength: np.ndarray, meter: Meter, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much the sound around each of B beats lags behind the grid, in spectra, and how well it fits there.

    Windows of the clip are compared with its mean bar, shifted by up to half a beat. Where the clip was cut the mean is
    of several phases, so it is first taken of the window that fits it best, and then of all where they belong.
    """
    count, most = len(strength), int(meter.period / 2)
    half = int(_WINDOW_BEATS / 2 * meter.period)
    centres = np.arange(0, count + _STEP_BEATS * meter.period, _STEP_BEATS * meter.period)
    bounds = [(max(most, int(centre) - half), min(count - most, int(centre) + half)) for centre in centres]
    known = np.array([high - low >= 2 * meter.period for low, high in bounds])
    if not known.any():
        return np.zeros(len(grid)), np.zeros(len(grid))
    centres, windows = centres[known], [bound for bound, is_long in zip(bounds, known, strict=True) if is_long]
    moments = np.arange(count)
    place = _bar_place(moments, meter)
    mean_bar = _mean_bar(strength, place, meter)
    unshifted = [_correlations(strength, mean_bar[place], window, most)[most] for window in windows]
    low, high = windows[int(np.argmax(unshifted))]
    shifts, fits = np.zeros(len(windows)), np.array(unshifted)
    mean_bar = _mean_bar(strength[low:high], place[low:high], meter)
    for _ in range(_PASSES):
        for index, window in enumerate(windows):
            correlations = _correlations(strength, mean_bar[place], window, most)
            best = int(correlations.argmax())
            clear = correlations[best] > correlations[most] + _CLEARLY
            shifts[index] = best - most if clear else 0
            fits[index] = correlations[best] if clear else correlations[most]
        shifts = median_filter(shifts, 3, mode="nearest")
        moved = _bar_place(moments - np.interp(moments, centres, shifts), meter)
        mean_bar = _mean_bar(strength, moved, meter)
    return np.interp(grid, centres, shifts), np.interp(grid, centres, fits)


def _bar_place(moments: np.ndarray, meter: Meter) -> np.ndarray:
    """Place in the bar of each moment, int64, in whole spectra."""
    bar = BEATS * meter.period
    return np.round((moments - meter.first) % bar).astype(int) % max(1, round(bar))


def _mean_bar(strength: np.ndarray, place: np.ndarray, meter: Meter) -> np.ndarray:
    """[phases, 5] of onset strength [N, 5] at these places in the bar."""
    size = max(1, round(BEATS * meter.period))
    times = np.maximum(np.bincount(place, minlength=size), 1)
    return np.stack([np.bincount(place, band, size) / times for band in strength.T], 1)


def _correlations(strength: np.ndarray, expected: np.ndarray, window: tuple[int, int], most: int) -> np.ndarray:
    """Correlation of a window of what is expected with the onset strength -most..most later, float64 [2 * most + 1]."""
    low, high = window
    pattern = expected[low:high] - expected[low:high].mean(0)
    around = strength[low - most : high + most]
    shared = sum(np.correlate(band, wanted, "valid") for band, wanted in zip(around.T, pattern.T, strict=True))
    # The deviation of what is under the window, by sums up to each moment.
    zero = np.zeros((1, around.shape[1]))
    sums, squares = (np.concatenate([zero, values.cumsum(0)]) for values in (around, around**2))
    size = high - low
    spread = (squares[size:] - squares[:-size] - (sums[size:] - sums[:-size]) ** 2 / size).sum(1)
    return shared / (np.sqrt(np.maximum(spread, 1.0)) * np.linalg.norm(pattern) + 1e-9)  # 1: nearly silent
