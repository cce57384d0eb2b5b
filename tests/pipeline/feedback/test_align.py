"""References are laid over a clip: at its proportions, at the right moment, mirrored where that is what was danced."""

from dataclasses import replace

import numpy as np
import pytest

from models.virality.skeleton import COCO17, Posture
from pipeline.feedback.align import lay_over, proportioned
from pipeline.feedback.limbs import RATE, Dance
from tests.pipeline.feedback.dances import LATE, dance_of, mirrored_posture, posture, references, views_of


def cut(dance: Dance, first: int, last: int) -> Dance:
    return Dance(*(values[first:last] for values in (dance.seconds, dance.vectors, dance.seen, dance.sure)))


def test_a_later_start_is_found():
    whole = dance_of(posture())
    ours, theirs = cut(whole, 30, 140), cut(whole, 0, 110)
    best = lay_over(theirs, 3, ours)[0]
    assert (best.reference, best.mirrored) == (3, False)
    assert best.fit < 0.01
    # The same moment has one time in both: their clock is ours.
    assert best.offset_s == pytest.approx(0.0, abs=1 / RATE)
    known = np.isfinite(best.by_limb["trunk"][:, 5, 0])
    assert known[: 110 - 30 - 12].all()
    assert not known[110 - 30 + 12 :].any()
    np.testing.assert_allclose(best.by_limb["left_arm"][10:60, 9], ours.vectors[10:60, 9], atol=0.05)


def test_a_dance_filmed_in_a_mirror_is_turned_back():
    one = posture()
    best = lay_over(dance_of(mirrored_posture(one)), 0, dance_of(one))[0]
    assert best.mirrored
    assert best.fit < 0.01


def test_other_bones_become_ours():
    one = dance_of(posture(number=1))
    longer = np.ones(18)
    longer[[7, 8, 9, 10]] = 1.3
    other = replace(one, vectors=one.vectors * longer[:, None])
    np.testing.assert_allclose(proportioned(other, one).vectors, one.vectors, atol=1e-9)


def test_somebody_elses_tempo_is_followed():
    one = posture()
    slower = Posture(one.position, one.seen, one.confidence, one.seconds * 1.06)
    views = lay_over(dance_of(slower), 0, dance_of(one))
    best = max(views, key=lambda view: np.isfinite(view.by_limb["head"]).sum())
    mine = dance_of(one).vectors
    inside = slice(20, 110)
    straight = np.abs(dance_of(slower).vectors[: len(mine)][inside, 9] - mine[inside, 9]).mean()
    followed = np.abs(best.by_limb["head"][inside, 9] - mine[inside, 9])
    assert np.isfinite(followed).mean() > 0.7
    assert np.nanmean(followed) < 0.5 * straight


def test_other_people_who_dance_the_same_fit_and_another_dance_does_not():
    views = views_of(posture())
    assert {view.reference for view in views} == {*range(6)}
    ours = dance_of(posture("kick"))
    assert [view for one in references() for view in lay_over(dance_of(one), 0, ours)] == []


def test_a_late_arm_does_not_hide_in_its_own_timing():
    """Timed by the rest of the body, the references' arm is where ours should be, not where it is."""
    late, punctual = dance_of(posture(fault=LATE)), dance_of(posture())
    during = (late.seconds > LATE.start_s + 0.8) & (late.seconds < LATE.end_s - 0.8)
    wrist = COCO17.joints.index("left_wrist")
    laid = np.stack([view.by_limb["left_arm"][during][:, wrist] for view in views_of(posture(fault=LATE))])
    typical = np.nanmedian(laid, 0)

    def away(dance: Dance) -> float:
        return float(np.abs(typical - dance.vectors[during][:, wrist]).mean())

    assert away(late) > 2 * away(punctual)
