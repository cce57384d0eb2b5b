"""Tempo and beats of a clip's sound, with confidences, from its log-mel spectra.

Music of one tempo is what dances are made to, so one period and one phase are fitted to the whole clip, which is exact
to a few milliseconds (pipeline.music.tempo, pipeline.music.meter). Where the sound departs from that grid, as it does
when a track was cut or played by people, beats follow it (`_departures`).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.music.meter import bar_pattern, beat_probabilities, find_sixteenths
from pipeline.music.onsets import SPECTRA_HZ, audible, is_silent, onset_bands
from pipeline.music.tempo import emphasised, find_period

SHORTEST_S = 2.5  # of sound in which a tempo can be told
MIN_CONFIDENCE = 0.2  # of the tempo; below, there is said to be none
_EDGE = 3  # spectra at the ends of what is heard, in which the sound's own beginning counts as an onset
# Confidences: logistic in the strength of the period, its logarithm's number of beats, and the doubt about the phase;
# fitted by simulation.training.meter_training.
_TEMPO_ODDS = (-6.0, 12.0, 0.5)
_BEAT_ODDS = (-3.0, 4.0)


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
    onset = np.zeros(len(log_mel), np.float32)
    first, end = (int(round(edge * SPECTRA_HZ)) for edge in heard)
    first, end = first + _EDGE * (first > 0), min(end, len(log_mel)) - _EDGE
    none = np.zeros(0, np.float32)
    if end - first < SHORTEST_S * SPECTRA_HZ or is_silent(log_mel[first:end]):
        return Rhythm(onset, none, none, 0.0, 0.0)
    spectra = audible(log_mel[first:end])
    bands = onset_bands(spectra)
    onset[first:end] = bands.mean(1)
    ...
    return Rhythm(onset, none, none, 0.0, 0.0)
