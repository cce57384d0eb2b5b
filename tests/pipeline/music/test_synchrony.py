"""The lag behind the beat: recovered with its error from 10 noisy poses a second, and unknown where it is."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.music.kinematics import LIMBS, RATE_HZ
from pipeline.music.synchrony import MAX_SHIFT_S, WINDOW_S, Music, find_pulse, measure_synchrony, wrapped
from simulation.script import DANCES
from tests.support.danced_music import SECONDS, beats_of, danced, music_of, script, synchrony_of

CLEAR = tuple(dance for dance in DANCES if dance != "wave")  # of a wave no limb rests on the beat


def away(found: float, true: float, period: float) -> float:
    return abs(float(wrapped(found - true, period)))


@pytest.mark.parametrize("dance", CLEAR)
@pytest.mark.parametrize("lag_s", [-0.12, 0.0, 0.08, 0.2])
def test_a_planted_lag_is_found_between_the_samples(dance: str, lag_s: float) -> None:
    made = script(dance)
    found = synchrony_of(danced(made), music_of(beats_of(made, lag_s)))
    # The middle of a move, and so the pose, is the dance's own: up to a tenth of a beat from the music's.
    assert away(found.clip_lag_s, lag_s, found.period_s) < 0.035
    own = synchrony_of(danced(made), music_of(beats_of(made))).clip_lag_s
    assert away(found.clip_lag_s - own, lag_s, found.period_s) < 0.004
    assert 0 < found.clip_lag_error_s < 0.03
    assert found.clip_strength > 0.5


def test_errors_are_as_large_as_they_are_said_to_be() -> None:
    ratios, of_limbs = [], []
    for number in range(40):
        made = script("cross_arms", number)
        found = synchrony_of(danced(made), music_of(beats_of(made)))
        ratios.append(found.clip_lag_s / found.clip_lag_error_s)
        of_limbs.append(found.clip_limb_lag_s / found.clip_limb_lag_error_s)
    assert 0.4 < np.std(ratios) < 1.6
    spread = np.median(np.abs(np.array(of_limbs) - np.median(of_limbs, axis=0)), axis=0)
    assert (spread > 0.15).all()  # 0.67 of normal errors
    assert (spread < 1.5).all()


def test_each_limb_has_a_lag_of_its_own() -> None:
    made = script("cross_arms")
    posture, music = danced(made), music_of(beats_of(made))
    late = danced(made, late_s=0.1)
    arm = [7, 9]
    carried = late.position[:, arm] - late.position[:, [5]] + posture.position[:, [5]]
    position = posture.position.copy()
    position[:, arm] = carried
    usual, found = synchrony_of(posture, music), synchrony_of(replace(posture, position=position), music)
    moved = found.clip_limb_lag_s - usual.clip_limb_lag_s
    assert moved[LIMBS.index("left_arm")] == pytest.approx(0.1, abs=0.015)
    np.testing.assert_allclose(np.delete(moved, LIMBS.index("left_arm")), 0, atol=1e-6)
    assert 0.01 < found.clip_lag_s - usual.clip_lag_s < 0.05


def test_a_dancer_who_falls_behind_does_so_when_she_does() -> None:
    made = script("kick")
    on_time, late = danced(made), danced(made, late_s=0.12)
    half = on_time.seconds >= SECONDS / 2
    position = np.where(half[:, None, None], late.position, on_time.position)
    found = synchrony_of(replace(on_time, position=position), music_of(beats_of(made)))
    lag = found.lag_s - synchrony_of(on_time, music_of(beats_of(made))).clip_lag_s
    middle = (found.start_s + found.end_s) / 2
    np.testing.assert_allclose(found.end_s - found.start_s, WINDOW_S, atol=0.11)
    np.testing.assert_allclose(lag[middle <= SECONDS / 2 - 1.5], 0, atol=0.045)
    np.testing.assert_allclose(lag[middle >= SECONDS / 2 + 1.5], 0.12, atol=0.045)


def test_without_the_beat_of_the_dance_no_lag_is_known() -> None:
    """The music of another tempo: one or two of twenty may fit by chance."""
    unknown = []
    for number in range(20):
        made = script("squat_drop", number)
        other = np.arange(0.1, SECONDS, 60 / 135)
        found = synchrony_of(danced(made), music_of(other))
        assert found.agreement < 0.6
        unknown.append(np.isnan(found.clip_lag_s))
        assert found.clip_strength < synchrony_of(danced(made), music_of(beats_of(made))).clip_strength
    assert np.mean(unknown) >= 0.8


def test_motion_that_knows_of_no_beat_follows_one_by_chance_as_often_as_is_meant() -> None:
    """Of short clips, whose few beats tell their own scatter badly."""
    seconds, seen = np.arange(0, 3.0, 0.1), np.ones((30, 17), bool)
    known = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        position = rng.normal(size=(17, 2)) + 0.03 * rng.normal(size=(30, 17, 2)).cumsum(0)
        found = measure_synchrony(seconds, position, seen, music_of(np.arange(rng.uniform(0, 0.5), 3.0, 0.55)))
        known.append(found is not None and np.isfinite(found.clip_lag_s))
    assert 0.04 < np.mean(known) < 0.11  # of 0.08, give or take two deviations


def test_a_shift_by_less_than_a_beat_takes_the_agreement_away() -> None:
    made = script("hip_sway")
    usual = synchrony_of(danced(made), music_of(beats_of(made)))
    period = usual.period_s
    for shift in (0.2, 0.3, 0.4, -0.25):
        moved = synchrony_of(danced(made), music_of(beats_of(made, shift)))
        assert moved.agreement < 0.5 * usual.agreement
    by_a_beat = synchrony_of(danced(made), music_of(beats_of(made, period)))
    assert by_a_beat.agreement == pytest.approx(usual.agreement, abs=0.1)  # alone, a clip cannot tell


@pytest.mark.parametrize(
    ("beats", "heard"),
    [
        (np.zeros(0), (0.0, SECONDS)),
        (np.array([1.0, 1.5, 2.0]), (0.0, SECONDS)),
        (np.arange(0, 8, 0.5), (0.0, 0.0)),
    ],
)
def test_without_music_there_is_nothing(beats: np.ndarray, heard: tuple[float, float]) -> None:
    posture = danced(script())
    music = Music(beats, np.ones(len(beats)), np.zeros(800), heard)
    assert measure_synchrony(posture.seconds, posture.position, posture.seen, music) is None


def test_a_dancer_who_is_not_seen_has_none_and_one_seen_for_a_while_has_it_then() -> None:
    made = script("kick")
    posture, music = danced(made), music_of(beats_of(made))
    hidden = replace(posture, seen=np.zeros_like(posture.seen))
    assert measure_synchrony(hidden.seconds, hidden.position, hidden.seen, music) is None
    seen = posture.seen.copy()
    seen[posture.seconds > 4.0] = False
    found = synchrony_of(replace(posture, seen=seen), music)
    middle = (found.start_s + found.end_s) / 2
    assert np.isfinite(found.strength[middle <= 2.5]).all()
    assert np.isnan(found.lag_s[middle >= 5.5]).all()
    assert np.isnan(found.strength[middle >= 5.5]).all()


def test_only_what_is_heard_counts() -> None:
    made = script("kick")
    beats = beats_of(made)
    found = synchrony_of(danced(made), music_of(beats[beats < 4.0], heard=(0.0, 4.0)))
    middle = (found.start_s + found.end_s) / 2
    assert np.isnan(found.strength[middle >= 5.5]).all()
    assert away(found.clip_lag_s, 0.0, found.period_s) < 0.06


def test_beats_that_are_missing_or_come_twice_as_fast_change_little() -> None:
    made = script("cross_arms")
    beats = beats_of(made)
    usual = synchrony_of(danced(made), music_of(beats)).clip_lag_s
    gappy = synchrony_of(danced(made), music_of(np.delete(beats, [3, 4, 9])))
    assert gappy.clip_lag_s == pytest.approx(usual, abs=0.005)
    doubled = synchrony_of(danced(made), music_of(np.sort(np.concatenate([beats, beats[:-1] + np.diff(beats) / 2]))))
    assert doubled.period_s == pytest.approx(np.diff(beats).mean(), rel=1e-6)
    assert away(doubled.clip_lag_s, usual, doubled.period_s / 2) < 0.005
    halved = find_pulse(music_of(np.arange(0.3, 8, 1.25)))
    assert halved is not None
    assert halved.period_s == pytest.approx(0.625)


def test_doubtful_beats_are_not_counted() -> None:
    made = script("cross_arms")
    beats = beats_of(made)
    stray = np.sort(np.concatenate([beats, beats[2:9] + 0.21]))
    sure = np.isin(stray, beats)
    music = replace(music_of(beats), beats=stray, beat_confidence=np.where(sure, 0.9, 0.05))
    found = synchrony_of(danced(made), music)
    assert found.clip_lag_s == pytest.approx(synchrony_of(danced(made), music_of(beats)).clip_lag_s, abs=1e-6)


def test_the_cross_correlation_peaks_where_motion_follows_the_onsets() -> None:
    """Motion is fastest between beats, so its energy follows an onset by half a beat, and by the lag more."""
    made = script("cross_arms")
    lags = np.linspace(-MAX_SHIFT_S, MAX_SHIFT_S, round(2 * MAX_SHIFT_S * RATE_HZ) + 1)
    for lag_s in (0.0, 0.1):
        found = synchrony_of(danced(made), music_of(beats_of(made, lag_s)))
        assert found.correlation.shape == lags.shape
        peak = lags[found.correlation.argmax()]
        assert away(float(peak), found.period_s / 2 + lag_s, found.period_s) < 0.06
        assert found.correlation.max() > 0.2
    assert found.clip_at_beats < -0.5


def test_what_is_drawn_lies_on_the_clips_clock() -> None:
    made = script("kick")
    found = synchrony_of(danced(made), music_of(beats_of(made)))
    assert found.speed.shape == (len(LIMBS), round(danced(made).seconds[-1] * RATE_HZ) + 1)
    assert found.start_s[0] == 0
    assert found.end_s[-1] <= SECONDS
    assert all(beats.min() >= 0 and beats.max() < SECONDS for beats in found.kinematic_beats)
    assert 0.3 < found.alignment <= 1
    np.testing.assert_allclose(found.beats, beats_of(made), atol=1e-5)
