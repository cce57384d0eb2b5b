"""Tempo: the period at which onsets come again, to a fraction of a per mille.

Autocorrelations of the onset strength at a beat, its multiples and its half are added up (Percival and Tzanetakis,
"Streamlined tempo estimation", TASLP 2014, with other weights). Its peaks are candidates; pipeline.music.meter chooses.
Their periods are refined where the spectrum of the onset strength is strongest at the beat, its half and its quarter.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

SPECTRA_HZ = 100.0  # of log-mel spectra and onset strength: value k is of the moment k / SPECTRA_HZ
PREFERRED_BPM, _OCTAVES = 112.0, 0.6  # tempi that people dance to: about their mean, and how far candidates are sought
LOWEST_BPM, HIGHEST_BPM = 60.0, 200.0
_COMB = ((1.0, 1.0), (2.0, 1.0), (3.0, 0.3), (4.0, 1.0), (0.5, 0.3))  # lag in beats, weight
_LEAST_OVERLAP_S = 0.5  # of a clip with itself
_CANDIDATES = 5
_REFINED = 0.03  # share by which the comb's period may be off
_SAME = 0.02  # share by which candidates differ at least
_FFT = 1 << 17  # resolution of the refinement: 0.0008 Hz


def emphasised(bands: np.ndarray) -> np.ndarray:
    """Onset strength float32 [S, C] less its mean over a second, and each band in units of its deviation."""
    peaks = np.maximum(bands - uniform_filter1d(bands, int(SPECTRA_HZ), axis=0), 0)
    return peaks / (peaks.std(0) + 1e-3)


@dataclass(frozen=True)
class Candidate:
    """A tempo that a clip may have."""

    period: float  # of a beat, in spectra
    strength: float  # how strongly onsets come again after it: 0 not at all, near 1 always

    @property
    def octaves(self) -> float:
        """Distance from PREFERRED_BPM."""
        return float(np.log2(60 * SPECTRA_HZ / self.period / PREFERRED_BPM))


def find_candidates(peaks: np.ndarray) -> list[Candidate]:
    """The likeliest tempi of `emphasised` onset strength [S, C], at most _CANDIDATES; perhaps none."""
    correlation = _autocorrelation(peaks)
    bpm = LOWEST_BPM * 2 ** np.arange(0, np.log2(HIGHEST_BPM / LOWEST_BPM), 0.005)
    periods = 60 * SPECTRA_HZ / bpm
    lags = np.arange(len(correlation))
    comb = sum(weight * np.interp(periods * beats, lags, correlation, right=0.0) for beats, weight in _COMB)
    comb /= sum(weight for _, weight in _COMB)
    weighed = comb * np.exp(-0.5 * (np.log2(bpm / PREFERRED_BPM) / _OCTAVES) ** 2)
    tops = np.flatnonzero((weighed[1:-1] >= weighed[:-2]) & (weighed[1:-1] > weighed[2:])) + 1
    found: list[Candidate] = []
    for top in tops[np.argsort(-weighed[tops], kind="stable")][:_CANDIDATES]:
        period = _refined(peaks, float(periods[top]))
        if all(abs(period / other.period - 1) > _SAME for other in found):
            found.append(Candidate(period, float(comb[top])))
    return found


def _autocorrelation(peaks: np.ndarray) -> np.ndarray:
    """Mean over bands, 1 at lag 0; up to the lag that leaves _LEAST_OVERLAP_S."""
    smooth = gaussian_filter1d(peaks, 1.5, axis=0)
    smooth = smooth - smooth.mean(0)
    count = len(smooth)
    size = 1 << int(np.ceil(np.log2(2 * count)))
    power = np.abs(np.fft.rfft(smooth, size, axis=0)) ** 2
    correlation = np.fft.irfft(power, size, axis=0)[: max(1, count - int(_LEAST_OVERLAP_S * SPECTRA_HZ))]
    shared = count / (count - np.arange(len(correlation)))
    return (correlation / (correlation[0] + 1e-9)).mean(1) * np.minimum(shared, 2.0)


def _refined(peaks: np.ndarray, period: float) -> float:
    smooth = gaussian_filter1d(peaks.mean(1), 1.0)
    power = np.abs(np.fft.rfft(smooth - smooth.mean(), _FFT)) ** 2
    periods = period * np.linspace(1 - _REFINED, 1 + _REFINED, 601)
    bins = np.arange(len(power))
    total = sum(np.interp(harmonic * _FFT / periods, bins, power) for harmonic in (1, 2, 4))
    return float(periods[int(np.argmax(total))])
