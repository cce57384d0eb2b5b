"""Meter: which of the sixteenths of a bar are its beats.

Drums, bass and chords over a bar of four beats make a pattern: kicks on its beats, snares on the second and fourth,
chords that change where it begins. A bar's pattern is compared with a mean one in all 16 rotations, as in "rhythmic
pattern models" (Krebs, Böck and Widmer, ISMIR 2013), but that a linear score and a softmax stand for their mixtures.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipeline.music.meter_pattern import PATTERN, TEMPO
from pipeline.music.tempo import Candidate, emphasised, find_candidates

BEATS = 4  # a bar
SIXTEENTHS = 16  # a bar
# Of a bar's pattern: onset strength in five bands, change of harmony, level of the bass; and what is added to each
# one's deviation over the bar, so that noise is not made a pattern (dB).
_FLOOR = np.array([0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.9], np.float32)
_CHORDS, _BASS = slice(3, 40), slice(0, 3)  # mel bands
_SUBDIVISION = 24  # phases of a sixteenth
WEIGHTS = np.concatenate([PATTERN.ravel(), TEMPO])  # of the features of `find_choices`


def find_sixteenths(bands: np.ndarray, period: float) -> float:
    """A moment of a sixteenth, in spectra, 0..period / 4. bands: onset strength [S, C]; period: of a beat."""
    strength = gaussian_filter1d(emphasised(bands).sum(1), 1.0)
    phase = np.arange(len(strength)) / (period / 4) % 1
    place = (phase * _SUBDIVISION).astype(int)
    total = np.bincount(place, strength, _SUBDIVISION) / np.maximum(np.bincount(place, minlength=_SUBDIVISION), 1)
    total = gaussian_filter1d(total, 1.5, mode="wrap")
    best = int(np.argmax(total))
    left, top, right = total[best - 1], total[best], total[(best + 1) % _SUBDIVISION]
    curvature = left - 2 * top + right
    beside = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float((best + 0.5 + beside) / _SUBDIVISION * period / 4)


def bar_pattern(bands: np.ndarray, spectra: np.ndarray, period: float, first: float) -> np.ndarray:
    """float32 [16, 7]: what is heard at each sixteenth of the bars, the first of them at `first` or 16 of them later.

    Args:
        bands: onset strength [S, 5].
        spectra: decibels [S, 64], as `onsets.audible` gives them.
        period, first: of a beat, and a moment of a sixteenth, in spectra.
    """
    smooth = gaussian_filter1d(bands, 2.0, axis=0)
    count = len(bands)
    number = np.arange(np.ceil((count - 1 - first) / (period / 4)), dtype=int)
    moments = first + number * (period / 4)
    strengths = np.stack([np.interp(moments, np.arange(count), band) for band in smooth.T], 1)
    sums = np.concatenate([np.zeros((1, spectra.shape[1])), np.cumsum(spectra, 0, dtype=np.float64)])

    def mean(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        starts, ends = (np.clip(np.round(edge).astype(int), 0, count) for edge in (start, end))
        return (sums[ends] - sums[starts]) / np.maximum(ends - starts, 1)[:, None]

    near = 0.02 * period
    change = mean(moments + near, moments + period) - mean(moments - period, moments - near)
    harmony = np.abs(change[:, _CHORDS]).mean(1)
    bass = mean(moments, moments + period / 4)[:, _BASS].mean(1)
    values = np.column_stack([strengths, harmony, bass])
    step = number % SIXTEENTHS
    times = np.maximum(np.bincount(step, minlength=SIXTEENTHS), 1)
    pattern = np.stack([np.bincount(step, column, SIXTEENTHS) / times for column in values.T], 1)
    pattern -= pattern.mean(0)
    return (pattern / (pattern.std(0) + _FLOOR)).astype(np.float32)


@dataclass(frozen=True)
class Meter:
    """Beats of a clip as an even grid, and how much speaks for it."""

    period: float  # of a beat, in spectra
    first: float  # a beat, in spectra, 0..period
    strength: float  # of the tempo's candidate
    tempo_probability: float  # of this period among the candidates'
    beat_probability: float  # of this phase among the four that the period leaves


def find_meter(bands: np.ndarray, spectra: np.ndarray, weights: np.ndarray = WEIGHTS) -> Meter | None:
    """The likeliest meter of onset strength [S, 5] and `onsets.audible` spectra [S, 64]; None: nothing comes again.

    weights: of the features of `find_choices`.
    """
    candidates, firsts, features = find_choices(bands, spectra)
    if not candidates:
        return None
    scores = features @ weights  # [K, 16]
    odds = np.exp(scores - scores.max())
    odds = (odds / odds.sum()).reshape(len(candidates), BEATS, 4).sum(1)  # by tempo and phase
    which = int(odds.sum(1).argmax())
    residue, chosen = int(odds[which].argmax()), candidates[which]
    return Meter(
        chosen.period,
        (firsts[which] + residue * chosen.period / 4) % chosen.period,
        chosen.strength,
        float(odds[which].sum()),
        float(odds[which, residue] / odds[which].sum()),
    )


def find_choices(bands: np.ndarray, spectra: np.ndarray) -> tuple[list[Candidate], list[float], np.ndarray]:
    """Candidates for the tempo, K of them, a moment of a sixteenth of each, and what speaks for each one's rotations.

    Features float32 [K, 16, 16 * 7 + 3]: of rotation r the bar's pattern if it begins at the sixteenth r from that
    moment; then the tempo's strength, octaves, and their square.
    """
    candidates = find_candidates(emphasised(bands))
    firsts = [find_sixteenths(bands, candidate.period) for candidate in candidates]
    features = np.zeros((len(candidates), SIXTEENTHS, PATTERN.size + len(TEMPO)), np.float32)
    for place, (candidate, first) in enumerate(zip(candidates, firsts, strict=True)):
        pattern = bar_pattern(bands, spectra, candidate.period, first)
        for rotation in range(SIXTEENTHS):
            features[place, rotation, : PATTERN.size] = np.roll(pattern, -rotation, axis=0).ravel()
        features[place, :, PATTERN.size :] = candidate.strength, candidate.octaves, candidate.octaves**2
    return candidates, firsts, features
