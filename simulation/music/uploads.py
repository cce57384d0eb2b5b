"""Habits of uploads: which sound a clip gets, when it starts and ends, and how it is encoded."""

import numpy as np

from simulation.dancers.performance import music_clock
from simulation.music.composition import BEATS, SECTION
from simulation.music.styles import OTHER_TRACKS, style_of
from simulation.script import IN_TIME, MUSICAL, SOUND_KINDS, Person, SoundScript

_KIND_SHARES = (0.72, 0.12, 0.05, 0.05, 0.06)  # in the order of SOUND_KINDS
_ON_TIME_S = 0.02  # a constant lag within it is none
_EARLIEST_S, _LATEST_S = -0.15, 0.35
_CLEAR_S = 0.06  # a clip that is out of time is so by at least as much
_OTHER_SPEED = 0.02
_ENCODINGS = (  # codec, Hz, channels, bits a second; share
    (("aac", 44_100, 2, 128_000), 0.34),
    (("aac", 44_100, 2, 64_000), 0.12),
    (("aac", 44_100, 1, 96_000), 0.12),
    (("aac", 48_000, 2, 192_000), 0.12),
    (("aac", 48_000, 1, 64_000), 0.08),
    (("aac", 32_000, 2, 96_000), 0.05),
    (("aac", 24_000, 1, 48_000), 0.05),
    (("aac", 22_050, 1, 32_000), 0.04),
    (("aac", 16_000, 1, 32_000), 0.03),
    (("opus", 48_000, 2, 96_000), 0.05),
)


def draw_sound(rng: np.random.Generator, dance: str, lead: Person, out_of_time: float) -> SoundScript:
    """A random sound of a clip.

    Args:
        rng: of the sound alone; every draw is made whatever the others give.
        dance: the challenge.
        lead: whose tempo and phase the music of the challenge takes.
        out_of_time: share of the clips whose dance is clearly late or early.
    """
    kind = str(rng.choice(SOUND_KINDS, p=_KIND_SHARES))
    phase, beats_a_second = music_clock(dance, lead)
    section, other = int(rng.integers(BEATS // SECTION)), str(rng.choice(OTHER_TRACKS))
    other_beat, other_speed = rng.uniform(0, BEATS), 1 + rng.uniform(-_OTHER_SPEED, _OTHER_SPEED)
    lag_s = _draw_lag(rng, out_of_time, 1 / beats_a_second)
    gain_db, in_room, room = rng.normal(-2.0, 4.0), rng.random() < 0.15, rng.uniform(0.4, 1.2)
    start_s, end_s = _draw_gaps(rng)
    codec, rate, channels, bitrate = _ENCODINGS[int(rng.choice(len(_ENCODINGS), p=[share for _, share in _ENCODINGS]))][
        0
    ]
    seed = int(rng.integers(1 << 31))
    name, start_beat, speed = "", 0.0, 1.0
    if kind in IN_TIME:
        name, start_beat = dance, phase + section * SECTION
        speed = beats_a_second * 60 / style_of(dance).bpm
    elif kind in MUSICAL:
        name, start_beat, speed = other, other_beat, other_speed
    return SoundScript(
        kind=kind, track=name, start_beat=float(start_beat), speed=float(speed),
        lag_s=lag_s if kind in IN_TIME else 0.0, gain_db=float(np.clip(gain_db, -14.0, 8.0)),
        room=float(room) if in_room else 0.0, start_offset_s=start_s, end_offset_s=end_s,
        codec=codec, rate=rate, channels=channels, bitrate=bitrate, seed=seed,
    )  # fmt: skip


def _draw_lag(rng: np.random.Generator, out_of_time: float, beat_s: float) -> float:
    """Constant lag: none, or evenly spread over less than a beat, or nobody could tell late from early."""
    chance, slight = rng.random(), rng.uniform(-_ON_TIME_S, _ON_TIME_S)
    latest = min(_LATEST_S, beat_s + _EARLIEST_S)
    clear = rng.uniform(_EARLIEST_S + _CLEAR_S, latest - _CLEAR_S)
    clear += _CLEAR_S if clear > 0 else -_CLEAR_S
    return round(float(clear if chance < out_of_time else slight), 4)


def _draw_gaps(rng: np.random.Generator) -> tuple[float, float]:
    """Start and end of the audio stream against those of the pictures, s: mostly together within an encoder's frame."""
    start_kind, end_kind = rng.random(), rng.random()
    late, early, end = rng.uniform(0.05, 0.8), rng.uniform(0.02, 0.25), rng.uniform(0.1, 1.5)
    start_s = late if start_kind < 0.10 else -early if start_kind < 0.20 else 0.0
    end_s = -end if end_kind < 0.08 else end if end_kind < 0.16 else rng.uniform(-0.02, 0.03)
    return round(float(start_s), 3), round(float(end_s), 3)
