"""True times of a clip's music and dance, and the value of their synchrony."""

import numpy as np

from simulation.dancers.performance import limb_delays
from simulation.music.styles import style_of
from simulation.script import IN_TIME, MUSICAL, ClipScript, SoundScript

OUT_OF_TIME_S = 0.3  # lag at which synchrony is worth nothing
_STEP_S = 0.02  # at which the limbs' delays are averaged


def tempo_bpm(sound: SoundScript) -> float:
    """Tempo of the music as heard, beats a minute; NaN where the sound has no music."""
    return style_of(sound.track).bpm * sound.speed if sound.kind in MUSICAL else float("nan")


def heard_interval(script: ClipScript) -> tuple[float, float]:
    """From where to where on the clip's clock pictures and an audio stream are there, s; both 0: there is none."""
    if script.sound.kind == "none":
        return 0.0, 0.0
    start = max(0.0, script.sound.start_offset_s)
    return start, max(start, script.duration_s + min(0.0, script.sound.end_offset_s))


def true_beats(script: ClipScript) -> np.ndarray:
    """Times of the beats that are heard, float64 [B] s on the clip's clock, ascending; none without music."""
    sound = script.sound
    if sound.kind not in MUSICAL:
        return np.empty(0)
    tempo = tempo_bpm(sound) / 60  # beats a second
    first = sound.start_beat + sound.lag_s * tempo
    start, end = heard_interval(script)
    numbers = np.arange(np.ceil(first + start * tempo), np.floor(first + end * tempo) + 1)
    return (numbers - first) / tempo


def true_lag_s(script: ClipScript) -> float:
    """Mean delay of the lead's limbs behind the music: the constant lag and that of poor timing, s.

    NaN where no music is heard, or one that the dance does not belong to.
    """
    if script.sound.kind not in IN_TIME:
        return float("nan")
    seconds = np.arange(0.0, script.duration_s, _STEP_S)
    return script.sound.lag_s + float(limb_delays(script.dance, script.people[0], seconds).mean())


def synchrony_value(script: ClipScript) -> float:
    """Value of the dance's synchrony with the music, 0..1: (1 + cos(pi * |lag| / OUT_OF_TIME_S)) / 2, 0 beyond.

    1/2 where no music is heard, 0 where it is another one than that danced to.
    """
    if script.sound.kind == "other_track":
        return 0.0
    if script.sound.kind not in IN_TIME:
        return 0.5
    return float(0.5 + 0.5 * np.cos(np.pi * min(abs(true_lag_s(script)) / OUT_OF_TIME_S, 1.0)))
