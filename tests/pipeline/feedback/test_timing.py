"""Words on the beat: of a planted lag, when it is and how large; nothing where it is not sure."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from models.virality.skeleton import Posture
from pipeline.feedback.timing import MIN_OFF_S, BeatFinding, find_off_beat
from pipeline.music.synchrony import Synchrony
from tests.support.danced_music import SECONDS, beats_of, danced, music_of, script, synchrony_of

DANCE = "cross_arms"


@cache
def top(lag_s: float = 0.0) -> tuple[Synchrony, ...]:
    """Of five others, on the beat or all `lag_s` behind it."""
    return tuple(found(100 + number, lag_s) for number in range(5))


def found(number: int = 0, lag_s: float = 0.0, posture: Posture | None = None) -> Synchrony:
    made = script(DANCE, number)
    return synchrony_of(posture or danced(made), music_of(beats_of(made, lag_s)))


def falling_behind(number: int, late_s: float, from_s: float, to_s: float) -> Posture:
    """Somebody who is late for a while."""
    made = script(DANCE, number)
    on_time, late = danced(made), danced(made, late_s)
    inside = (on_time.seconds >= from_s) & (on_time.seconds < to_s)
    return replace(on_time, position=np.where(inside[:, None, None], late.position, on_time.position))


@pytest.mark.parametrize("lag_s", [0.18, 0.14, -0.14])
def test_a_dancer_who_is_late_throughout_is_told_by_how_much(lag_s: float) -> None:
    (finding,) = find_off_beat(found(0, lag_s), top())
    assert finding.lag_s == pytest.approx(lag_s, abs=0.03)
    assert (finding.start_s, finding.end_s) == (0.0, pytest.approx(SECONDS - 0.1, abs=0.11))
    assert finding.kind == ("behind_beat" if lag_s > 0 else "ahead_of_beat")
    assert finding.strength > 1
    assert finding.limit_s >= MIN_OFF_S


def test_a_dancer_who_falls_behind_is_told_when() -> None:
    finding, *others = find_off_beat(found(0, posture=falling_behind(0, 0.2, 3.0, 7.9)), top())
    assert not others
    assert finding.lag_s == pytest.approx(0.2, abs=0.05)
    assert 2.0 <= finding.start_s <= 4.2
    assert finding.end_s > 7


def test_sentences_are_those_that_a_dancer_reads() -> None:
    behind = BeatFinding(3.21, 6.44, 0.1234, 0.02, 0.07)
    assert behind.sentence == "0.12 s behind the beat from 3.2 to 6.4 s"
    assert replace(behind, lag_s=-0.1).sentence == "0.10 s ahead of the beat from 3.2 to 6.4 s"
    assert "0.07 s" in behind.meaning


def test_good_dancers_hear_nothing() -> None:
    words = [find_off_beat(found(number), top()) for number in range(12)]
    assert not [finding for one in words for finding in one]


def test_what_the_top_clips_do_as_well_is_not_late() -> None:
    assert find_off_beat(found(0, 0.15), top())
    assert not find_off_beat(found(0, 0.15), top(0.15))
    (early,) = find_off_beat(found(0, 0.0), top(0.15))
    assert early.lag_s == pytest.approx(-0.15, abs=0.03)


def test_where_top_clips_differ_among_themselves_no_lag_is_beyond_them() -> None:
    mixed = [*top()[:3], found(110, 0.14), found(111, -0.14)]
    assert find_off_beat(found(0, 0.18), top())
    assert not find_off_beat(found(0, 0.18), mixed)


def test_nothing_is_said_without_music_or_top_clips_with_it() -> None:
    late = found(0, 0.2)
    assert find_off_beat(late, top())
    assert not find_off_beat(None, top())
    assert not find_off_beat(late, (None,) * 5)
    assert find_off_beat(late, (*top()[:3], None, None))
    assert not find_off_beat(late, (*top()[:2], None, None))


def test_nothing_is_said_where_the_lag_is_not_sure() -> None:
    late = found(0, 0.2)
    assert not find_off_beat(replace(late, lag_error_s=np.full_like(late.lag_error_s, 0.08)), top())
    unknown = np.full_like(late.lag_s, np.nan)
    assert not find_off_beat(replace(late, lag_s=unknown), top())
    # Half a beat is as early as it is late, unless other clips tell.
    half = replace(late, lag_s=np.full_like(late.lag_s, 0.5 * late.period_s))
    assert not find_off_beat(half, top())
    assert find_off_beat(replace(half, beat_certain=True), top())
