"""Sounds to train on: what is said of them is so, and no two seeds are mixed up."""

import numpy as np
import pytest

from models.extractors.audio.networks import SAMPLE_HZ
from simulation.training import audio_training
from simulation.training.made_sounds import KINDS, TRACKS, TRAINING_TRACKS, make_sound

SEED = 503


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_is_of_its_kind_and_the_same_each_time(kind: str) -> None:
    sound, again = make_sound(SEED, kind, seconds=6.0), make_sound(SEED, kind, seconds=6.0)
    assert sound.samples.tobytes() == again.samples.tobytes()
    assert sound.samples.shape == (6 * SAMPLE_HZ,)
    assert sound.samples.dtype == np.float32
    assert 0.001 < np.abs(sound.samples).max() <= 1.01
    assert (sound.track is not None) == (kind in TRACKS)
    assert (len(sound.beats) > 6) == (sound.bpm > 0) == (kind in (*TRACKS, "pulse"))
    assert sound.has_voice == (kind in ("voice", "voice_over"))
    assert make_sound(SEED + 1, kind, seconds=6.0).samples.tobytes() != sound.samples.tobytes()


def test_beats_are_a_tempo_apart_and_a_downbeat_is_one_of_the_first_four() -> None:
    sound = make_sound(SEED, "music", seconds=10.0)
    np.testing.assert_allclose(np.diff(sound.beats), 60 / sound.bpm, rtol=1e-9)
    assert 0 <= sound.beats[0] < 60 / sound.bpm
    assert 0 <= sound.downbeat < 4
    assert sound.track is not None
    assert abs(sound.bpm / sound.track.bpm - 1) < 0.032


def test_a_pulse_is_loud_at_its_beats() -> None:
    sound = make_sound(SEED + 2, "pulse", seconds=8.0)
    level = np.abs(sound.samples)
    at_beats = [level[int(beat * SAMPLE_HZ) :][:1600].max() for beat in sound.beats[:-1]]
    before = [level[max(0, int(beat * SAMPLE_HZ) - 480) :][:320].max() for beat in sound.beats[1:-1]]
    assert np.median(at_beats) > 3 * np.median(before)


def test_no_seed_is_both_learned_from_and_judged_on() -> None:
    ranges = [TRAINING_TRACKS, audio_training.TRAINING_SOUNDS, audio_training.HELD_OUT_SOUNDS]
    for place, one in enumerate(ranges):
        assert all(not set(one) & set(other) for other in ranges[:place])
