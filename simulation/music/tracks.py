"""Tracks: what a score sounds like, mixed, as a loop."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from simulation.music.composition import BEATS, Note, Score, Stroke, compose
from simulation.music.instruments import RATE, drum, note
from simulation.music.styles import GROOVES, TrackStyle, style_of

_BALANCE = {  # of drums
    "kick": 0.95, "snare": 0.60, "clap": 0.50, "closed": 0.20, "open": 0.22, "rim": 0.30, "shaker": 0.18, "conga": 0.34,
    "tom": 0.45, "crash": 0.25,
}  # fmt: skip
_RELEASE_S = 0.11  # in which the side-chain lets go
_ROOM_S = 0.9  # decay of the reverb by 60 dB
_LOUDNESS = 0.16  # root mean square of a track
_CACHED = 12  # tracks, 5 MB each


@dataclass(frozen=True)
class Track:
    """Music of BEATS beats that begins anew where it ends."""

    style: TrackStyle
    loop: np.ndarray  # float32 [N] at RATE, read-only, peak at most 1; beat k lies at sample k * N / BEATS

    @property
    def samples_per_beat(self) -> float:
        return len(self.loop) / BEATS


@lru_cache(_CACHED)
def track(name: str) -> Track:
    """The track of a challenge (of DANCES), or another one (of OTHER_TRACKS). Raises KeyError: there is none."""
    return synthesise(style_of(name))


def synthesise(style: TrackStyle) -> Track:
    """The track of these properties; the same ones give the same track."""
    score, groove = compose(style), GROOVES[style.style]
    size = round(BEATS * 60 / style.bpm * RATE)
    rng = np.random.default_rng((style.seed, 33))
    loose = groove.loose_s * RATE
    drums = _play_drums(score.drums, style, size, loose, rng)
    bass = _play(score.bass, groove.bass_timbre, size, loose, rng)
    chords = _play(score.chords, groove.chord_timbre, size, loose, rng)
    melody = _play(score.melody, groove.melody_timbre, size, loose, rng)
    harmony = 0.20 * chords + 0.24 * melody
    harmony += groove.reverb * _reverb(harmony, rng)
    music = (0.42 * bass + harmony) * _side_chain(score, groove.pump, size)
    mixed = (0.55 + 0.45 * style.energy) * drums + music
    mixed *= _LOUDNESS / np.sqrt(np.mean(mixed**2))
    drive = np.float32(1.0 + 1.2 * style.energy)
    loop = np.tanh(drive * mixed) / drive
    loop.setflags(write=False)
    return Track(style, loop)


def add_to_loop(into: np.ndarray, sound: np.ndarray, at: int, gain: float) -> None:
    """Add a sound to a loop: what goes over its end comes in at the beginning."""
    at %= len(into)
    first = min(len(sound), len(into) - at)
    into[at : at + first] += np.float32(gain) * sound[:first]
    if first < len(sound):
        into[: len(sound) - first] += np.float32(gain) * sound[first:]


def _play_drums(
    strokes: tuple[Stroke, ...], style: TrackStyle, size: int, loose: float, rng: np.random.Generator
) -> np.ndarray:
    drums = np.zeros(size, np.float32)
    for stroke in strokes:
        stray = 0.0 if stroke.drum == "kick" else rng.normal(0, loose)
        sound = drum(style.kit, stroke.drum)
        add_to_loop(drums, sound, round(stroke.beat * size / BEATS + stray), _BALANCE[stroke.drum] * stroke.loudness)
    return drums


def _play(notes: tuple[Note, ...], timbre: str, size: int, loose: float, rng: np.random.Generator) -> np.ndarray:
    played = np.zeros(size, np.float32)
    for one in notes:
        sound = note(timbre, one.midi, round(one.beats * size / BEATS / RATE, 3))
        add_to_loop(played, sound, round(one.beat * size / BEATS + rng.normal(0, loose)), one.loudness)
    return played


def _side_chain(score: Score, pump: float, size: int) -> np.ndarray:
    """Gain float32 [size] of what the kick presses down."""
    gain = np.ones(size, np.float32)
    if pump:
        dip = (-pump * np.exp(-np.arange(int(5 * _RELEASE_S * RATE)) / (_RELEASE_S * RATE))).astype(np.float32)
        for stroke in score.drums:
            if stroke.drum == "kick":
                add_to_loop(gain, dip, round(stroke.beat * size / BEATS), stroke.loudness)
    return np.maximum(gain, 0)


def _reverb(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reverberation of a loop, as loud as the loop itself, without the direct sound."""
    size = len(sound)
    t = np.arange(int(_ROOM_S * RATE), dtype=np.float32) / np.float32(RATE)
    response = rng.normal(size=len(t)).astype(np.float32) * np.exp(-6.9 * t / np.float32(_ROOM_S))
    response[: int(0.012 * RATE)] = 0  # before the first reflection
    fast = fft.next_fast_len(size + len(t), real=True)
    wet = fft.irfft(fft.rfft(sound, fast) * fft.rfft(response, fast), fast)[: size + len(t)]
    wet[: len(t)] += wet[size:]
    wet = wet[:size]
    level = np.sqrt(np.mean(sound**2) / max(float(np.mean(wet**2)), 1e-12))
    return (wet * np.float32(level)).astype(np.float32)
