"""Fingerprints: a track is known again under voices, low bit rates, other speeds and offsets, and no other one is."""

from itertools import combinations

import numpy as np
import pytest

from pipeline.music.fingerprint import SAME, WORDS_HZ, fingerprint, same_sounds, similarity
from tests.support.made_sounds import SAMPLE_HZ, dulled, excerpt, log_mel, made_track, spoken_over

SEEDS = (502, 507, 509, 514)


def words(sound: np.ndarray, heard: tuple[float, float] | None = None) -> np.ndarray:
    return fingerprint(log_mel(sound), heard or (0.0, len(sound) / SAMPLE_HZ))


def part(seed: int, seconds: float = 10.0, start_beat: float = 8.0, speed: float = 1.0) -> np.ndarray:
    return excerpt(made_track(seed), seconds, start_beat, speed)[0]


def test_a_second_of_sound_has_twenty_words_of_32_bits() -> None:
    found = words(part(SEEDS[0]))
    assert found.dtype == np.int32
    assert len(found) == pytest.approx(10 * WORDS_HZ, abs=0.3 * WORDS_HZ)
    assert len(np.unique(found)) > 0.9 * len(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_part_of_a_track_is_known_again(seed: int) -> None:
    original = words(part(seed))
    assert similarity(original, original) == pytest.approx(1, abs=0.05)
    changed = {
        "softer": 0.1 * part(seed),
        "dulled": dulled(part(seed), 3_500),
        "faster": part(seed, speed=1.02),
        "slower": part(seed, speed=0.98),
        "later": part(seed, start_beat=12.4),
        "under a voice": spoken_over(part(seed), loud=0.25),
        "all of it": spoken_over(dulled(part(seed, start_beat=10.0, speed=1.015), 5_000), loud=0.15),
    }
    found = {name: similarity(original, words(sound)) for name, sound in changed.items()}
    assert {name for name, value in found.items() if value < SAME} == set(), found


def test_two_clips_of_opposite_speeds_agree_along_all_of_their_length() -> None:
    long = [words(part(SEEDS[1], seconds=20.0, speed=speed)) for speed in (0.98, 1.02)]
    short = [words(part(SEEDS[1], seconds=10.0, speed=speed)) for speed in (0.98, 1.02)]
    assert similarity(*short) > SAME
    assert similarity(*long) > 1.2 * similarity(*short)


def test_other_tracks_are_not_taken_for_it() -> None:
    found = [words(part(seed, seconds=8.0)) for seed in range(520, 536)]
    values = [similarity(one, other) for place, one in enumerate(found) for other in found[:place]]
    assert len(values) == 120
    assert max(values) < SAME
    assert np.median(values) < 0.1


def test_what_does_not_change_is_not_shared() -> None:
    """A tone, and two sounds that are silent but for a moment."""
    time_s = np.arange(10 * SAMPLE_HZ) / SAMPLE_HZ
    tone = 0.3 * np.sin(2 * np.pi * 440 * time_s)
    early, late = (np.where(abs(time_s - at) < 1, noise, 0) for at, noise in zip((1.5, 8.0), noises(2), strict=True))
    found = [words(sound.astype(np.float32)) for sound in (tone, early, late)]
    assert max(similarity(*pair) for pair in combinations(found, 2)) < SAME
    assert similarity(found[1], found[1]) >= SAME


def noises(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (count, 10 * SAMPLE_HZ))


def test_what_overlaps_for_too_short_a_time_is_not_compared() -> None:
    sound = part(SEEDS[0])
    assert similarity(words(sound), words(sound[: 2 * SAMPLE_HZ])) == 0
    assert similarity(words(sound), np.zeros(0, np.int32)) == 0


def test_silence_has_no_words() -> None:
    assert len(words(np.zeros(5 * SAMPLE_HZ))) == 0
    assert len(words(part(SEEDS[0], seconds=0.1))) == 0


def test_words_begin_where_sound_is_heard() -> None:
    sound = part(SEEDS[0], seconds=6.0)
    padded = np.concatenate([np.zeros(2 * SAMPLE_HZ), sound, np.zeros(SAMPLE_HZ)])
    found = words(padded, heard=(2.0, 8.0))
    assert len(found) == len(words(sound))
    assert similarity(found, words(sound)) > 0.7


def joined(clips: list[np.ndarray], tempi: list[float]) -> list[set[int]]:
    """Clips that hang together; a pair more than that takes would be one too many."""
    sets: list[set[int]] = []
    for pair in same_sounds(clips, tempi):
        touched = [one for one in sets if one & set(pair)]
        assert not any(set(pair) <= one for one in touched)
        sets = [one for one in sets if one not in touched] + [set(pair).union(*touched)]
    return sorted(sets, key=min)


def test_clips_of_one_sound_are_found_among_others_and_the_short_and_silent_are_in_none() -> None:
    first, second = SEEDS[0], SEEDS[1]
    clips = [
        words(part(first)), words(part(second)), np.zeros(0, np.int32),
        words(part(first, seconds=6.0, start_beat=10.0)), words(part(SEEDS[2])),
        words(part(second, seconds=14.0, speed=1.02)), words(part(first, seconds=2.0)),
        words(spoken_over(part(first), loud=0.2)),
    ]  # fmt: skip
    unknown = [0.0] * len(clips)
    assert joined(clips, unknown) == [{0, 3, 7}, {1, 5}]
    tempi = [made_track(first).style.bpm] * len(clips)
    assert joined(clips, tempi) == [{0, 3, 7}, {1, 5}]
    tempi[3] *= 2  # an octave is an error of the tempo, no other track
    tempi[7] *= 1.2
    assert same_sounds(clips, tempi) == [(0, 3), (1, 5)]
    assert same_sounds([], []) == []
