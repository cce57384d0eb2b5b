"""Sound like speech without words: syllables of changing pitch with the formants of vowels, consonants, pauses."""

import numpy as np
from scipy import signal

_VOWELS = (  # formants, Hz
    (730.0, 1090.0, 2440.0), (530.0, 1840.0, 2480.0), (270.0, 2290.0, 3010.0), (570.0, 840.0, 2410.0),
    (300.0, 870.0, 2240.0), (660.0, 1720.0, 2410.0),
)  # fmt: skip
_WIDTHS = (80.0, 100.0, 140.0)  # of the formants, Hz


def speech(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Speech-like sound, float32 [N] at `rate`, peak 1: phrases of two to nine syllables, and pauses between."""
    size = max(1, round(seconds * rate))
    spoken = np.zeros(size, np.float32)
    pitch_hz = rng.uniform(95, 230)
    at = rng.uniform(0.1, 0.6)
    while at < seconds - 0.4:
        syllables = int(rng.integers(2, 10))
        for place in range(syllables):
            length_s = rng.uniform(0.11, 0.27)
            fall = 1.12 - 0.25 * place / syllables
            sound = _syllable(length_s, pitch_hz * fall * rng.uniform(0.93, 1.07), rate, rng)
            start = int(at * rate)
            part = spoken[start : start + len(sound)]
            part += sound[: len(part)]
            at += length_s + rng.uniform(-0.01, 0.05)
            if at >= seconds:
                break
        at += rng.uniform(0.25, 0.9)
    return spoken / max(float(np.abs(spoken).max()), 1e-6)


def _syllable(seconds: float, pitch_hz: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A consonant and a vowel, float32 [N]."""
    size = int(seconds * rate)
    t = np.arange(size) / rate
    turns = np.cumsum(pitch_hz * (1 + 0.06 * np.sin(2 * np.pi * t / seconds + rng.uniform(0, 6)))) / rate
    pulses = np.diff(np.floor(turns), prepend=0.0) + 0.01 * rng.normal(size=size)
    vowel = np.zeros(size)
    for hz, width, level in zip(_VOWELS[int(rng.integers(len(_VOWELS)))], _WIDTHS, (1.0, 0.6, 0.35), strict=True):
        if hz < 0.45 * rate:
            radius = np.exp(-np.pi * width / rate)
            poles = [1.0, -2 * radius * np.cos(2 * np.pi * hz / rate), radius**2]
            vowel += level * signal.lfilter([1 - radius], poles, pulses)
    vowel *= np.minimum(1, np.minimum(t / 0.03, (seconds - t) / 0.05)) / max(float(np.abs(vowel).max()), 1e-9)
    burst = min(size, int(rng.uniform(0.02, 0.07) * rate))
    hiss = np.diff(rng.normal(size=burst + 1)) * np.hanning(burst)
    vowel[:burst] += rng.choice((0.0, 0.12, 0.25)) * hiss
    return (vowel * rng.uniform(0.5, 1.0)).astype(np.float32)
