"""Sounds of single drums and notes: swept sines, filtered noise and wavetables with envelopes."""

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy import signal

RATE = 32_000  # Hz at which music is synthesised: AAC at phones' rates keeps little above 16 kHz
_TABLE = 2048  # samples of a wavetable, a power of two
_HIGHEST_HZ = 0.42 * RATE  # of a harmonic
_NOTES = 256  # kept, about 0.1 MB each: a track has fewer


@dataclass(frozen=True)
class Kit:
    """Character of a drum kit."""

    kick_hz: tuple[float, float]  # the sweep's start and end
    kick_s: float  # decay
    kick_click: float  # share of the beater's click
    snare_hz: float  # of the drum's head
    snare_s: float  # decay of the rattle
    snare_tone: float  # share of the head
    hat_hz: float  # below which a hat has little
    hat_s: float  # decay of a closed hat; an open one's is six times as long


KITS = {
    "electronic": Kit((190.0, 48.0), 0.16, 0.35, 190.0, 0.12, 0.25, 8_000.0, 0.030),
    "acoustic": Kit((120.0, 62.0), 0.11, 0.55, 215.0, 0.17, 0.45, 6_000.0, 0.045),
    "808": Kit((130.0, 44.0), 0.34, 0.15, 175.0, 0.15, 0.55, 9_000.0, 0.022),
    "soft": Kit((95.0, 52.0), 0.13, 0.08, 200.0, 0.09, 0.35, 5_000.0, 0.028),
    "latin": Kit((150.0, 58.0), 0.14, 0.25, 330.0, 0.06, 0.65, 7_000.0, 0.035),
}
DRUMS = ("kick", "snare", "clap", "closed", "open", "rim", "shaker", "conga", "tom", "crash")


@cache
def drum(kit: str, name: str) -> np.ndarray:
    """One stroke, float32 [N] at RATE, peak 1; its attack is at the first sample. Raises KeyError: there is none."""
    made = {
        "kick": _kick, "snare": _snare, "clap": _clap, "closed": _hat, "open": _open_hat, "rim": _rim,
        "shaker": _shaker, "conga": _conga, "tom": _tom, "crash": _crash,
    }[name](KITS[kit], np.random.default_rng((1, list(KITS).index(kit), DRUMS.index(name))))  # fmt: skip
    fade = min(len(made) // 4, 400)
    made[-fade:] *= np.linspace(1, 0, fade)
    stroke = (made / np.abs(made).max()).astype(np.float32)
    stroke.setflags(write=False)
    return stroke


def _times(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * RATE)) / RATE


def _sweep(start_hz: float, end_hz: float, fall_s: float, t: np.ndarray) -> np.ndarray:
    """A sine whose frequency falls exponentially."""
    return np.sin(2 * np.pi * (end_hz * t + (start_hz - end_hz) * fall_s * (1 - np.exp(-t / fall_s))))


def _noise(rng: np.random.Generator, t: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    """Noise within a band of frequencies, Hz."""
    sos = signal.butter(2, band, "bandpass", fs=RATE, output="sos")
    return np.asarray(signal.sosfilt(sos, rng.normal(size=len(t))))


def _kick(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    t = _times(4 * kit.kick_s)
    body = _sweep(*kit.kick_hz, 0.03, t) * np.exp(-t / kit.kick_s)
    click = _noise(rng, t, (1_500.0, 6_000.0)) * np.exp(-t / 0.004)
    return np.tanh(2.0 * (body + kit.kick_click * click))


def _snare(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    t = _times(4 * kit.snare_s)
    head = _sweep(1.5 * kit.snare_hz, kit.snare_hz, 0.02, t) * np.exp(-t / 0.07)
    rattle = _noise(rng, t, (1_200.0, 9_500.0)) * np.exp(-t / kit.snare_s)
    return np.tanh(1.5 * (kit.snare_tone * head + (1 - kit.snare_tone) * rattle))


def _clap(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    t = _times(0.35)
    bursts = sum(np.where(t >= at, np.exp(-(t - at) / 0.006), 0.0) for at in (0.0, 0.011, 0.021))
    tail = np.where(t >= 0.03, np.exp(-(t - 0.03) / (0.7 * kit.snare_s)), 0.0)
    return _noise(rng, t, (900.0, 4_000.0)) * (bursts + 0.8 * tail)


def _hat(kit: Kit, rng: np.random.Generator, decays: float = 1.0) -> np.ndarray:
    t = _times(6 * kit.hat_s * decays)
    metal = sum(np.sign(np.sin(2 * np.pi * hz * t)) for hz in (3_170.0, 4_310.0, 5_630.0, 7_490.0))
    sos = signal.butter(3, kit.hat_hz, "highpass", fs=RATE, output="sos")
    bright = np.asarray(signal.sosfilt(sos, rng.normal(size=len(t)) + 0.4 * metal))
    return bright * np.exp(-t / (kit.hat_s * decays))


def _open_hat(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    return _hat(kit, rng, 6.0)


def _rim(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    t = _times(0.08)
    wood = np.sin(2 * np.pi * 1_720 * t) + 0.7 * np.sin(2 * np.pi * 640 * t)
    return wood * np.exp(-t / 0.012) + 0.3 * _noise(rng, t, (2_000.0, 8_000.0)) * np.exp(-t / 0.003)


def _shaker(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    t = _times(0.16)
    return _noise(rng, t, (kit.hat_hz * 0.7, 13_000.0)) * (1 - np.exp(-t / 0.012)) * np.exp(-t / 0.035)


def _conga(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    t = _times(0.35)
    slap = _noise(rng, t, (1_000.0, 5_000.0)) * np.exp(-t / 0.006)
    return _sweep(1.25 * kit.snare_hz, kit.snare_hz, 0.015, t) * np.exp(-t / 0.09) + 0.4 * slap


def _tom(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    t = _times(0.5)
    return _sweep(210.0, 110.0, 0.06, t) * np.exp(-t / 0.14) + 0.2 * _noise(rng, t, (800.0, 4_000.0)) * np.exp(
        -t / 0.01
    )


def _crash(kit: Kit, rng: np.random.Generator) -> np.ndarray:
    t = _times(1.6)
    return _noise(rng, t, (3_500.0, 14_000.0)) * (0.7 * np.exp(-t / 0.45) + 0.3 * np.exp(-t / 0.03))


@dataclass(frozen=True)
class Timbre:
    """Sound of a pitched instrument."""

    harmonics: str  # of _HARMONICS
    attack_s: float
    decay_s: float  # to the sustained level
    sustain: float  # 0..1
    release_s: float  # after the note's end
    bright_s: float  # decay of the upper harmonics; large: they stay
    detune_cents: tuple[float, ...] = (0.0,)  # of the voices
    vibrato: float = 0.0  # depth, share of the frequency


TIMBRES = {
    "sub": Timbre("sine", 0.006, 0.30, 0.75, 0.05, 0.10),
    "bass": Timbre("saw", 0.004, 0.18, 0.60, 0.05, 0.09),
    "slap": Timbre("square", 0.002, 0.11, 0.35, 0.03, 0.05),
    "pad": Timbre("saw", 0.120, 0.50, 0.80, 0.30, 0.60, (-7.0, 6.0)),
    "supersaw": Timbre("saw", 0.006, 0.25, 0.80, 0.12, 0.80, (-13.0, 1.0, 11.0)),
    "epiano": Timbre("tine", 0.004, 0.55, 0.25, 0.15, 0.18),
    "piano": Timbre("piano", 0.003, 0.40, 0.20, 0.12, 0.12),
    "organ": Timbre("organ", 0.008, 0.10, 0.90, 0.06, 9.0),
    "pluck": Timbre("saw", 0.003, 0.14, 0.10, 0.10, 0.06, (-4.0, 4.0)),
    "guitar": Timbre("guitar", 0.003, 0.35, 0.30, 0.08, 0.15),
    "lead": Timbre("square", 0.010, 0.20, 0.70, 0.08, 0.50, (-5.0, 5.0), 0.004),
    "bell": Timbre("bell", 0.002, 0.45, 0.05, 0.30, 0.25),
    "flute": Timbre("flute", 0.040, 0.20, 0.85, 0.08, 9.0, (0.0,), 0.005),
}

_HARMONICS = {  # amplitudes of the harmonics from the first
    "sine": np.array([1.0, 0.12, 0.04]),
    "saw": 1 / np.arange(1, 61),
    "square": np.where(np.arange(1, 61) % 2, 1 / np.arange(1, 61), 0.0),
    "tine": np.array([1.0, 0.25, 0.05, 0.12, 0.02, 0.06, 0.10, 0.02, 0.01, 0.03]),
    "piano": 1 / np.arange(1, 25) ** 1.3 * (1 - 0.6 * (np.arange(1, 25) % 7 == 0)),
    "organ": np.array([1.0, 0.8, 0.5, 0.6, 0.0, 0.3, 0.0, 0.25]),
    "guitar": 1 / np.arange(1, 31) * (0.3 + np.abs(np.sin(np.pi * 0.23 * np.arange(1, 31)))),
    "bell": np.array([1.0, 0.3, 0.1, 0.45, 0.05, 0.1, 0.3, 0.0, 0.1, 0.0, 0.2]),
    "flute": np.array([1.0, 0.35, 0.12, 0.04, 0.02]),
}


@cache
def _wavetable(harmonics: str, count: int) -> np.ndarray:
    """One period, float32 [_TABLE], of the first `count` harmonics, peak 1."""
    amplitudes = _HARMONICS[harmonics][:count]
    spectrum = np.zeros(_TABLE // 2 + 1, complex)
    spectrum[1 : 1 + len(amplitudes)] = -1j * amplitudes
    wave = np.fft.irfft(spectrum)
    return (wave / np.abs(wave).max()).astype(np.float32)


@lru_cache(_NOTES)
def note(timbre: str, midi: int, seconds: float) -> np.ndarray:
    """One note, float32 [N] at RATE, peak about 1; it sounds on for the timbre's release after `seconds`.

    Raises KeyError: the timbre does not exist.
    """
    made = TIMBRES[timbre]
    t = np.arange(int((seconds + made.release_s) * RATE), dtype=np.float32) / np.float32(RATE)
    wave = np.zeros(len(t), np.float32)
    dull, bright = np.exp(-t / np.float32(made.bright_s)), np.float32(0.0)
    for voice, cents in enumerate(made.detune_cents):
        hz = 440 * 2 ** ((midi - 69 + cents / 100) / 12)
        turns = hz * np.arange(len(t)) / RATE + 0.37 * voice
        if made.vibrato:
            turns += made.vibrato * hz * np.sin(2 * np.pi * 5.2 * t) / (2 * np.pi * 5.2)
        at = (turns * _TABLE).astype(np.int64) & (_TABLE - 1)
        most = max(1, int(_HIGHEST_HZ / hz))
        bright = _wavetable(made.harmonics, min(most, 60))[at]
        wave += bright * dull + _wavetable(made.harmonics, min(most, 4))[at] * (1 - dull)
    envelope = made.sustain + (1 - made.sustain) * np.exp(-t / np.float32(made.decay_s))
    envelope *= np.minimum(t / np.float32(made.attack_s), 1)
    envelope *= np.clip((seconds + made.release_s - t) / np.float32(made.release_s), 0, 1)
    wave *= envelope / np.float32(len(made.detune_cents))
    wave.setflags(write=False)
    return wave
