"""Sounds for tests, float32 at 16 kHz, and their spectra as they are stored."""

import numpy as np
import torch
from scipy import signal

from models.extractors.audio.networks import SAMPLE_HZ, LogMel
from simulation.music.clip_sound import resampled
from simulation.music.instruments import RATE
from simulation.music.styles import draw_style
from simulation.music.tracks import Track, synthesise
from simulation.music.voice import speech


def log_mel(sound: np.ndarray) -> np.ndarray:
    """float16 [S, 64] decibels."""
    with torch.inference_mode():
        return LogMel()(torch.from_numpy(np.asarray(sound, np.float32))).half().numpy()


def made_track(seed: int) -> Track:
    return synthesise(draw_style(seed))


def excerpt(track: Track, seconds: float, start_beat: float = 0.0, speed: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A part of a track, sped up with its pitch, and the times of its beats in seconds."""
    rate = round(RATE * speed / 50) * 50  # as if the loop had been sampled at it
    beat_s = track.samples_per_beat / rate
    first = round(start_beat * track.samples_per_beat)
    taken = track.loop[(first + np.arange(int(seconds * rate) + 64)) % len(track.loop)]
    numbers = np.arange(np.ceil(start_beat), start_beat + seconds / beat_s)
    sound = resampled(taken, rate // 50, SAMPLE_HZ // 50)[: round(seconds * SAMPLE_HZ)]
    return sound, (numbers - start_beat) * beat_s


def spoken_over(sound: np.ndarray, loud: float = 0.4, seed: int = 0) -> np.ndarray:
    """The sound, softer, under a voice."""
    voice = speech(len(sound) / SAMPLE_HZ, SAMPLE_HZ, np.random.default_rng(seed))[: len(sound)]
    return 0.45 * sound + loud * np.pad(voice, (0, len(sound) - len(voice)))


def dulled(sound: np.ndarray, highest_hz: float) -> np.ndarray:
    """What a low bit rate leaves."""
    return signal.sosfilt(signal.butter(6, highest_hz, fs=SAMPLE_HZ, output="sos"), sound)


def strokes(seconds: float, moments: np.ndarray, decay_s: float = 0.01, quiet: float = 1e-4) -> np.ndarray:
    """Bursts of noise at these moments over faint noise."""
    rng = np.random.default_rng(0)
    sound = quiet * rng.normal(size=round(seconds * SAMPLE_HZ))
    burst = rng.normal(size=3200) * np.exp(-np.arange(3200) / SAMPLE_HZ / decay_s)
    for at in np.round(np.asarray(moments) * SAMPLE_HZ).astype(int):
        part = sound[at : at + len(burst)]
        part += 0.3 * burst[: len(part)]
    return sound
