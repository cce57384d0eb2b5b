"""Sounds to train on: random tracks as uploads have them, and sounds without a rhythm."""

from dataclasses import dataclass

import numpy as np
from scipy import signal

from models.extractors.audio.networks import SAMPLE_HZ
from simulation.music.clip_sound import in_room, resampled
from simulation.music.instruments import DRUMS, KITS, RATE, TIMBRES, drum, note
from simulation.music.styles import OTHER_BPM, TrackStyle, draw_style
from simulation.music.tracks import synthesise
from simulation.music.voice import speech
from simulation.script import SoundScript

# No other world may have one of these seeds.
TRAINING_TRACKS = range(1_000_000, 1_100_000)
TRACKS = ("music", "voice_over")
KINDS = (*TRACKS, "pulse", "voice", "noise", "street")
_SHARES = (0.54, 0.18, 0.06, 0.10, 0.05, 0.07)
_SECONDS = (4.0, 30.0)
_SPEED = 0.03  # of a track as heard; its pitch follows
_IN_ROOM, _LOW_RATE = 0.2, 0.25  # shares
_STROKES = 12  # most of a sound that has no rhythm
_METRONOME_BPM = (40.0, 160.0)


@dataclass(frozen=True)
class MadeSound:
    """A sound and all that is known of it."""

    samples: np.ndarray  # float32 [N] at SAMPLE_HZ
    kind: str
    track: TrackStyle | None  # None: no music
    beats: np.ndarray  # float64 [B] s; empty without music
    downbeat: int  # index of a beat that begins a bar
    bpm: float  # as heard; 0 without music

    @property
    def has_voice(self) -> bool:
        return self.kind in ("voice", "voice_over")


def make_sound(seed: int, kind: str = "", seconds: float = 0.0) -> MadeSound:
    """The sound of a seed. kind: of KINDS; "": any. seconds: 0: any."""
    rng = np.random.default_rng((seed, 51))
    drawn = str(rng.choice(KINDS, p=_SHARES))
    kind = kind or drawn
    low, high = np.log(_SECONDS)
    length = float(np.exp(rng.uniform(low, high)))
    size = round((seconds or length) * SAMPLE_HZ)
    samples: np.ndarray = np.zeros(size, np.float32)
    beats, downbeat, bpm, style = np.zeros(0), 0, 0.0, None
    if kind in TRACKS:
        style = draw_style(seed)
        samples, beats, downbeat, bpm = _excerpt(style, size, rng)
        if rng.random() < _IN_ROOM:
            samples = in_room(samples, SoundScript(rate=SAMPLE_HZ, room=float(rng.uniform(0.4, 1.2))), rng)
        if rng.random() < _LOW_RATE:  # what a low bit rate leaves
            samples = signal.sosfilt(signal.butter(6, rng.uniform(3_000, 7_000), fs=SAMPLE_HZ, output="sos"), samples)
    if kind == "pulse":
        samples, beats, bpm = _pulse(size, rng)
    elif kind == "noise":
        samples = 0.05 * rng.normal(size=size)
    elif kind == "street":
        samples = _street(size, rng)
    elif kind != "music":
        voice = 0.5 * speech(size / SAMPLE_HZ, SAMPLE_HZ, rng)[:size]
        samples = samples * rng.uniform(0.3, 0.7) + np.pad(voice, (0, size - len(voice)))
    samples = np.tanh(10 ** (rng.uniform(-14, 8) / 20) * np.asarray(samples)) + 1e-4 * rng.normal(size=size)
    return MadeSound(samples.astype(np.float32), kind, style, beats, downbeat, bpm)


def _excerpt(style: TrackStyle, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int, float]:
    """A part of a track at another speed: samples, beats, index of a downbeat, tempo as heard."""
    track = synthesise(style)
    speed = 1 + rng.uniform(-_SPEED, _SPEED)
    rate = round(RATE * speed / 50) * 50  # as if the loop had been sampled at it
    first = int(rng.integers(len(track.loop)))
    taken = track.loop[(first + np.arange(int(size / SAMPLE_HZ * rate) + 64)) % len(track.loop)]
    samples = resampled(taken, rate // 50, SAMPLE_HZ // 50)[:size]
    beat_s = track.samples_per_beat / rate
    first_beat = first / track.samples_per_beat
    numbers = np.arange(np.ceil(first_beat), first_beat + size / SAMPLE_HZ / beat_s).astype(int)
    return samples, (numbers - first_beat) * beat_s, int(-numbers[0] % 4), 60 / beat_s


def _pulse(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """One instrument on every beat, perhaps softer between beats: samples, beats, tempo. Its bars begin anywhere."""
    bpm = float(rng.uniform(*OTHER_BPM))
    if rng.random() < 0.5:
        stroke = drum(str(rng.choice(list(KITS))), str(rng.choice(DRUMS)))
    else:
        stroke = note(str(rng.choice(list(TIMBRES))), int(rng.integers(40, 80)), 0.3)
    stroke = resampled(stroke, RATE, SAMPLE_HZ)
    beats = np.arange(rng.uniform(0, 60 / bpm), size / SAMPLE_HZ, 60 / bpm)
    between = float(rng.choice((0.0, rng.uniform(0.1, 0.6))))
    samples = np.zeros(size + len(stroke), np.float32)
    for moments, loudness in ((beats, 0.5), (beats + 30 / bpm, 0.5 * between)):
        for at in np.round(moments[moments < size / SAMPLE_HZ] * SAMPLE_HZ).astype(int):
            samples[at : at + len(stroke)] += np.float32(loudness) * stroke
    return samples[:size], beats, bpm


def make_strokes(seed: int, bpm: float | None = None) -> MadeSound:
    """The strokes of a metronome, which may stop, or of bpm 0 a few at random moments; in silence or over noise.

    bpm: None: any.
    """
    rng = np.random.default_rng((seed, 52))
    seconds = float(np.exp(rng.uniform(*np.log(_SECONDS))))
    drawn = float(np.exp(rng.uniform(*np.log(_METRONOME_BPM)))) if rng.random() < 0.5 else 0.0
    bpm = drawn if bpm is None else bpm
    if not bpm:
        moments = np.sort(rng.uniform(0, seconds, rng.integers(1, _STROKES + 1)))
    else:
        moments = np.arange(rng.uniform(0, 60 / bpm), seconds * rng.choice((1.0, rng.uniform(0.3, 1))), 60 / bpm)
    size, length = round(seconds * SAMPLE_HZ), round(0.3 * SAMPLE_HZ)
    samples = rng.choice((0.0, 1e-4, 3e-3)) * rng.normal(size=size + length)
    decay_s = np.exp(rng.uniform(*np.log((0.004, 0.1))))
    stroke = 0.3 * rng.normal(size=length) * np.exp(-np.arange(length) / (decay_s * SAMPLE_HZ))
    for at in np.round(moments * SAMPLE_HZ).astype(int):
        samples[at : at + length] += stroke
    beats = moments if bpm else np.zeros(0)
    return MadeSound(np.clip(samples[:size], -1, 1).astype(np.float32), "strokes", None, beats, 0, bpm)


def _street(size: int, rng: np.random.Generator) -> np.ndarray:
    """Rumble that swells, with knocks at random moments."""
    seconds = np.arange(size) / SAMPLE_HZ
    sound = 0.02 * signal.lfilter([1.0], [1.0, -0.97], rng.normal(size=size))
    sound *= 1 + 0.5 * np.sin(2 * np.pi * seconds * rng.uniform(0.05, 0.3))
    for _ in range(rng.poisson(size / SAMPLE_HZ)):
        at = int(rng.integers(size))
        knock = np.arange(min(size - at, 3200))
        sound[at : at + len(knock)] += (
            rng.uniform(0.02, 0.3) * rng.normal(size=len(knock)) * np.exp(-knock / rng.uniform(100, 1200))
        )
    return sound
