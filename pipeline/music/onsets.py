"""Onset strength: by how much each moment of a clip's sound is louder than just before, in bands of pitch.

The spectral flux of log-mel spectra against the loudest of neighbouring bands just before, so that vibrato is no onset
(Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013).
"""

from itertools import pairwise

import numpy as np
from scipy.ndimage import maximum_filter1d

# First of each band's 64 mel bands: kick and bass; their harmonics; voices; snares and consonants; hats.
BAND_EDGES = (0, 3, 8, 20, 40, 64)
SILENT_DB = -70.0  # of the loudest mel bands of a clip that is silent but for an encoder's noise
LATE_S = -0.004  # by which onsets come out late: log spectra rise when a stroke enters the window, before its middle
_RANGE_DB = 60.0  # below the loudest: what is softer is not heard beside it
_LAG = 2  # spectra: a window is 32 ms long, so that an onset takes two or three


def audible(log_mel: np.ndarray) -> np.ndarray:
    """float32 [S, 64]: decibels, limited from below to what is heard beside the loudest."""
    spectra = log_mel.astype(np.float32)
    return np.maximum(spectra, _loudest(spectra) - _RANGE_DB)


def is_silent(log_mel: np.ndarray) -> bool:
    """Whether there is nothing to be heard in float [S, 64], decibels."""
    return not len(log_mel) or bool(_loudest(log_mel.astype(np.float32)) < SILENT_DB)


def _loudest(spectra: np.ndarray) -> np.float32:
    """Level that half a percent of the spectra's bands are above."""
    values = spectra.ravel()
    place = int(0.995 * (len(values) - 1))
    return np.float32(np.partition(values, place)[place])


def onset_bands(spectra: np.ndarray) -> np.ndarray:
    """Onset strength float32 [S, 5] of `audible` spectra in each band of BAND_EDGES, decibels.

    The difference of the spectra k + 1 and k - 1 counts for the moment k. Clicks then come out at most a millisecond
    from where they are (tests/pipeline/music/test_beats.py).
    """
    rising = np.zeros_like(spectra)
    before = maximum_filter1d(spectra, 3, axis=1)
    rising[_LAG // 2 : len(spectra) - _LAG // 2] = np.maximum(spectra[_LAG:] - before[:-_LAG], 0)
    return np.stack([rising[:, first:end].mean(1) for first, end in pairwise(BAND_EDGES)], 1)
