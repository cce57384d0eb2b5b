"""Sound of a clip as it is uploaded: the music at the dance's tempo and phase, a voice over it, a room, gaps."""

from dataclasses import dataclass

import numpy as np
from scipy import signal

from simulation.music.instruments import RATE
from simulation.music.timing import heard_interval, tempo_bpm, true_beats
from simulation.music.tracks import Track, track
from simulation.music.voice import speech
from simulation.script import MUSICAL, ClipScript, SoundScript

_LOUDER = 1.6  # of a track, at a gain of 0 dB
_UNDER_VOICE = 0.45  # remaining share of the music
_ROOM_S = (0.25, 0.6)  # reverberation by 60 dB
_FADE_S = 0.004  # at both ends of the stream, as encoders' pre-echo otherwise sounds like a stroke


@dataclass(frozen=True)
class ClipSound:
    """Sound of one clip before it is encoded."""

    samples: np.ndarray  # float32 [N] mono at `rate`, -1..1
    rate: int  # Hz
    start_s: float  # of sample 0 on the clip's clock; below 0: before the first picture
    codec: str  # aac or opus
    channels: int
    bitrate: int
    heard: tuple[float, float]  # s on the clip's clock, within the pictures
    beats: np.ndarray  # float64 [B] s on the clip's clock: simulation.music.timing.true_beats


def clip_sound(script: ClipScript) -> ClipSound | None:
    """The sound of a clip; None: its file has no audio stream."""
    sound = script.sound
    if sound.kind == "none":
        return None
    end_s = script.duration_s + sound.end_offset_s
    size = max(1, round((end_s - sound.start_offset_s) * sound.rate))
    seconds = sound.start_offset_s + np.arange(size) / sound.rate
    rng = np.random.default_rng((sound.seed, 41))
    samples: np.ndarray = np.zeros(size, np.float32)
    if sound.kind in MUSICAL:
        samples = _music(sound, seconds)
        if sound.room:
            samples = in_room(samples, sound, rng)
    if sound.kind == "voice_over":
        samples = _UNDER_VOICE * samples + 0.5 * speech(size / sound.rate, sound.rate, rng)
    samples = np.tanh(_LOUDER * 10 ** (sound.gain_db / 20) * samples).astype(np.float32)
    fade = min(size // 2, int(_FADE_S * sound.rate))
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        samples[:fade] *= ramp
        samples[-fade:] *= ramp[::-1]
    return ClipSound(
        samples, sound.rate, sound.start_offset_s, sound.codec, sound.channels, sound.bitrate,
        heard_interval(script), true_beats(script),
    )  # fmt: skip


def on_clock(sound: ClipSound | None, seconds: float, rate: int) -> np.ndarray:
    """The sound on the clip's clock from 0 to `seconds`, float32 [N] mono at `rate`: zeros where there is none."""
    heard = np.zeros(round(seconds * rate), np.float32)
    if sound is None:
        return heard
    samples = sound.samples if rate == sound.rate else resampled(sound.samples, sound.rate, rate)
    start = round(sound.start_s * rate)
    part = samples[max(0, -start) :][: max(0, len(heard) - max(0, start))]
    heard[max(0, start) :][: len(part)] = part
    return heard


def resampled(samples: np.ndarray, rate: int, other: int) -> np.ndarray:
    """Sound at another rate, float32."""
    shared = int(np.gcd(rate, other))
    return np.asarray(signal.resample_poly(samples, other // shared, rate // shared), np.float32)


def _music(sound: SoundScript, seconds: np.ndarray) -> np.ndarray:
    """The track at `seconds` [N] of the clip's clock, float32 [N]."""
    music = track(sound.track)
    beats = sound.start_beat + (seconds + sound.lag_s) * tempo_bpm(sound) / 60
    return _read(music, beats, sound.rate)


def _read(music: Track, beats: np.ndarray, rate: int) -> np.ndarray:
    """A track at evenly spaced beats, float32; what `rate` cannot hold is filtered out before."""
    size = len(music.loop)
    at = beats * music.samples_per_beat
    first = int(np.floor(at[0])) - 64
    cut = music.loop[np.arange(first, int(at[-1]) + 64) % size]
    if rate < RATE:
        sos = signal.butter(6, 0.44 * rate, fs=RATE, output="sos")
        cut = signal.sosfiltfilt(sos, cut).astype(np.float32)
    at = at - first
    whole = at.astype(np.int64)
    part = (at - whole).astype(np.float32)
    # Cubic interpolation through four neighbours (Catmull and Rom).
    a, b, c, d = (cut[whole + step] for step in (-1, 0, 1, 2))
    return b + 0.5 * part * (c - a + part * (2 * a - 5 * b + 4 * c - d + part * (3 * (b - c) + d - a)))


def in_room(samples: np.ndarray, sound: SoundScript, rng: np.random.Generator) -> np.ndarray:
    """Music from a loudspeaker in a room: thin, with reflections and a tail."""
    rate = sound.rate
    sos = signal.butter(2, (180.0, min(9_000.0, 0.45 * rate)), "bandpass", fs=rate, output="sos")
    thin = signal.sosfilt(sos, samples)
    decay_s = rng.uniform(*_ROOM_S)
    t = np.arange(int(decay_s * rate)) / rate
    response = rng.normal(size=len(t)) * np.exp(-6.9 * t / decay_s)
    response[: int(0.004 * rate)] = 0
    response *= sound.room / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    return signal.fftconvolve(thin, response)[: len(samples)].astype(np.float32)
