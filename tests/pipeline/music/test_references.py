"""What is usual in a challenge, and lags of whole beats: told by other clips to the same music, and by none other."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from pipeline.music.references import (
    MAX_BEATS,
    REFERENCES,
    CountedClip,
    Member,
    Usual,
    beat_odds,
    count_clip,
    find_usual,
    relate,
)
from pipeline.music.synchrony import Synchrony, find_pulse
from simulation.dancers.performance import music_clock
from tests.support.danced_music import SECONDS, beats_of, danced, music_of, script, synchrony_of

LOOP = 16  # beats of a track, as of the dance


@dataclass(frozen=True)
class Danced:
    synchrony: Synchrony
    counted: CountedClip


def track(seed: int = 0) -> np.ndarray:
    """Log-mel [LOOP beats, 4 parts, 64 bands] of a made track."""
    return np.random.default_rng((5, seed)).normal(0, 10, (LOOP, 4, 64))


def clip(number: int, lag_s: float = 0.0, seed: int = 0, dance: str = "cross_arms", echo: float = 0.0) -> Danced:
    """Somebody who dances `lag_s` behind a track. echo: of track 0, a beat late, which another track reminds of."""
    made = script(dance, number)
    beats, posture = beats_of(made, lag_s), danced(made)
    phase, rate = music_clock(dance, made.people[0])
    at = phase + (np.arange(int(100 * SECONDS)) / 100 + 1.0 + lag_s) * rate
    # A quarter of the sound is noise of the clip's own.
    sound = track(seed)[(at % LOOP).astype(int), (at * 4 % 4).astype(int)]
    sound += echo * track()[((at - 1) % LOOP).astype(int), (at * 4 % 4).astype(int)]
    log_mel = sound + np.random.default_rng((6, number)).normal(0, 5, sound.shape) - 40
    music = music_of(beats)
    synchrony, pulse = synchrony_of(posture, music), find_pulse(music)
    assert pulse is not None
    counted = count_clip(
        posture.seconds, posture.position, posture.seen, log_mel, music.heard, pulse, synchrony.clip_lag_s
    )
    return Danced(synchrony, counted)


def usual_of(*clips: Danced) -> Usual:
    return find_usual([
        Member(one.synchrony.clip_lag_s, one.synchrony.period_s, one.synchrony.clip_strength, one.counted)
        for one in clips
    ])  # fmt: skip


@pytest.fixture(scope="module")
def usual() -> Usual:
    return usual_of(*(clip(100 + number) for number in range(6)))


@pytest.mark.parametrize("beats", [-1, 0, 1, 2])
def test_a_lag_of_whole_beats_is_told_by_other_clips_alone(usual: Usual, beats: int) -> None:
    on_time = clip(0)
    lag_s = beats * on_time.synchrony.period_s + 0.06
    late = clip(0, lag_s)
    assert abs(late.synchrony.clip_lag_s - on_time.synchrony.clip_lag_s - 0.06) < 0.02  # as if on the next beat
    related = relate(late.synchrony, late.counted, usual)
    assert related.beat_certain
    assert related.clip_lag_s - on_time.synchrony.clip_lag_s == pytest.approx(lag_s, abs=0.02)
    moved = related.clip_lag_s - late.synchrony.clip_lag_s
    np.testing.assert_allclose(related.lag_s - late.synchrony.lag_s, moved, atol=1e-5)
    np.testing.assert_allclose(related.limb_lag_s - late.synchrony.limb_lag_s, moved, atol=1e-5)
    if beats:
        assert related.agreement < 0.1 * relate(on_time.synchrony, on_time.counted, usual).agreement


def test_clips_with_other_music_tell_nothing(usual: Usual) -> None:
    other = clip(0, 0.5, seed=1)
    related = relate(other.synchrony, other.counted, usual)
    assert not related.beat_certain
    assert abs(related.clip_lag_s) < other.synchrony.period_s / 2 + 0.05


def test_music_that_is_a_little_like_the_references_is_not_theirs(usual: Usual) -> None:
    """All references have the same sound, and would mislead all together."""
    other = clip(0, seed=1, echo=0.4)
    assert not relate(other.synchrony, other.counted, usual).beat_certain
    same = clip(0, seed=1, echo=3.0)
    assert relate(same.synchrony, same.counted, usual).beat_certain


def test_clips_with_another_dance_tell_nothing(usual: Usual) -> None:
    other = clip(0, 0.5, dance="kick")
    assert not relate(other.synchrony, other.counted, usual).beat_certain


def test_a_reference_that_is_late_itself_is_outvoted() -> None:
    period = clip(0).synchrony.period_s
    mixed = [clip(100 + number) for number in range(4)] + [clip(110, period), clip(111, -period)]
    related = relate(clip(0).synchrony, clip(0).counted, usual_of(*mixed))
    assert related.beat_certain
    assert abs(related.clip_lag_s) < 0.05


def test_nothing_is_compared_where_a_lag_is_not_known_or_there_are_no_references(usual: Usual) -> None:
    on_time = clip(0)
    unknown = replace(on_time.synchrony, clip_lag_s=float("nan"))
    related = relate(unknown, on_time.counted, usual)
    assert np.isnan(related.clip_lag_s)
    assert related.usual_lag_s == usual.lag_s
    alone = relate(on_time.synchrony, on_time.counted, Usual())
    assert (alone.clip_lag_s, alone.beat_certain) == (on_time.synchrony.clip_lag_s, False)
    assert beat_odds(on_time.counted, ()).tolist() == [0.0] * (2 * MAX_BEATS + 1)


def member(lag_s: float, strength: float = 0.5) -> Member:
    nothing = CountedClip(np.full((1, 24), np.nan, np.float32), np.full((1, 64), lag_s, np.float32))
    return Member(lag_s, 0.5, strength, nothing)


def test_the_usual_lag_is_that_of_most_and_drawn_to_none_where_there_are_few() -> None:
    rng = np.random.default_rng(0)
    on_time = [member(0.08 + lag) for lag in rng.normal(0, 0.03, 20)]
    astray = [member(lag) for lag in rng.uniform(-0.2, -0.05, 9)]
    many = find_usual(on_time + astray)
    assert many.lag_s == pytest.approx(0.08, abs=0.02)
    assert many.lag_error_s < 0.02
    one = find_usual([member(0.08)])
    assert 0.03 < one.lag_s < 0.048
    assert one.lag_error_s > many.lag_error_s
    assert find_usual([]) == find_usual([member(float("nan"))]) == Usual()


def test_a_lag_counts_from_the_usual_one_on_the_circle_of_the_beat() -> None:
    """Usual lags of a quarter of a beat put what is half a beat after them on their own side."""
    own = clip(0).synchrony
    usual = Usual(lag_s=0.2)
    early = replace(own, clip_lag_s=-0.1, lag_s=np.full_like(own.lag_s, -0.1), period_s=0.5)
    related = relate(early, clip(0).counted, usual)
    assert related.clip_lag_s == pytest.approx(0.4)
    assert related.usual_lag_s == 0.2


def test_references_are_those_most_in_time() -> None:
    usual = find_usual([member(lag) for lag in np.linspace(-0.2, 0.2, 21)] + [member(0.0, strength=0.01)])
    kept = sorted(float(one.sound[0, 0]) for one in usual.references)
    assert len(kept) == REFERENCES
    assert max(abs(lag) for lag in kept) < 0.1
    assert 0.0 in kept
