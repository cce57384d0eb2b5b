"""Simulated dancers with beats of the music that they dance to, on time or with a planted lag."""

from dataclasses import replace
from functools import cache

import numpy as np

from models.virality.skeleton import Posture, normalise
from pipeline.music.synchrony import Music, Synchrony, measure_synchrony
from simulation.dancers.body import draw_body
from simulation.dancers.looks import draw_face, draw_outfit
from simulation.dancers.performance import music_clock
from simulation.filming.keypoints import film_keypoints
from simulation.filming.phone_look import draw_phone
from simulation.filming.shots import draw_shots
from simulation.script import ClipScript, Person, Skill

SECONDS = 8.0
BEFORE_S = 1.0  # of the dance, before the clip begins


@cache
def script(dance: str = "arms_up", number: int = 0, timing: float = 1.0) -> ClipScript:
    """Another person for each number, filmed from elsewhere."""
    rng = np.random.default_rng((79, number))
    phone = draw_phone(rng)
    lead = Person(
        creator=number, body=draw_body(rng), face=draw_face(rng), outfit=draw_outfit(0.5, rng),
        skill=Skill(timing, 0.8, 0.7, 0.8), expression=0.5, x_m=0.0, z_m=0.0, turn=0.0,
        seed=int(rng.integers(1 << 31)),
    )  # fmt: skip
    shots = draw_shots(rng, SECONDS, phone.width, phone.height)[:1]
    return ClipScript("clip", dance, "street", 0, SECONDS, (lead,), shots, replace(phone, fps=30.0))


def danced(made: ClipScript, late_s: float = 0.0) -> Posture:
    """The dancer as a pose network sees her, all she does `late_s` later."""
    seconds = np.arange(0, SECONDS, 0.1)
    seen = film_keypoints(made, seconds + BEFORE_S - late_s, np.random.default_rng(made.people[0].seed))
    return normalise(seen, np.ones(len(seen), bool), seconds, 0.3)


def beats_of(made: ClipScript, lag_s: float = 0.0) -> np.ndarray:
    """Beats of the music that is heard; the dance is `lag_s` behind it."""
    phase, beats_a_second = music_clock(made.dance, made.people[0])
    phase += BEFORE_S * beats_a_second
    numbers = np.arange(np.floor(phase) - 2, phase + SECONDS * beats_a_second + 3)
    beats = (numbers - phase) / beats_a_second - lag_s
    return beats[(beats >= 0) & (beats <= SECONDS)]


def music_of(beats: np.ndarray, heard: tuple[float, float] = (0.0, SECONDS)) -> Music:
    """Music with strokes on its beats."""
    onset = np.exp(-((np.arange(int(100 * SECONDS))[:, None] / 100 - beats) ** 2) / 2e-4).sum(1)
    return Music(beats, np.ones(len(beats)), onset, heard)


def synchrony_of(posture: Posture, music: Music) -> Synchrony:
    found = measure_synchrony(posture.seconds, posture.position, posture.seen, music)
    assert found is not None
    return found
