"""References are aligned with a clip: at its proportions, at the right moment, mirrored where that was danced."""

from dataclasses import replace

import numpy as np
import pytest

from models.virality.skeleton import COCO17, Posture
from pipeline.feedback.alignment import align_reference, match_bone_lengths
from pipeline.feedback.motion import RATE_HZ, Motion
from tests.pipeline.feedback.simulated_dancers import (
    LATE,
    alignments_of,
    mirrored_posture,
    motion_of,
    posture,
    references,
)


def cut(motion: Motion, first: int, last: int) -> Motion:
    return Motion(*(values[first:last] for values in (motion.seconds, motion.vectors, motion.seen, motion.weights)))


def test_a_later_start_is_found() -> None:
    whole = motion_of(posture())
    ours, theirs = cut(whole, 30, 140), cut(whole, 0, 110)
    best = align_reference(theirs, 3, ours)[0]
    assert (best.reference, best.mirrored) == (3, False)
    assert best.residual < 0.01
    # The same moment has one time in both: their clock is ours.
    assert best.offset_s == pytest.approx(0.0, abs=1 / RATE_HZ)
    known = np.isfinite(best.vectors_by_limb["trunk"][:, 5, 0])
    assert known[: 110 - 30 - 12].all()
    assert not known[110 - 30 + 12 :].any()
    np.testing.assert_allclose(best.vectors_by_limb["left_arm"][10:60, 9], ours.vectors[10:60, 9], atol=0.05)


def test_a_dance_filmed_in_a_mirror_is_turned_back() -> None:
    clip = posture()
    best = align_reference(motion_of(mirrored_posture(clip)), 0, motion_of(clip))[0]
    assert best.mirrored
    assert best.residual < 0.01


def test_other_bones_become_ours() -> None:
    clip = motion_of(posture(number=1))
    longer = np.ones(18)
    longer[[7, 8, 9, 10]] = 1.3
    other = replace(clip, vectors=clip.vectors * longer[:, None])
    np.testing.assert_allclose(match_bone_lengths(other, clip).vectors, clip.vectors, atol=1e-9)


def test_somebody_elses_tempo_is_followed() -> None:
    clip = posture()
    slower = Posture(clip.position, clip.seen, clip.confidence, clip.seconds * 1.06)
    aligned = align_reference(motion_of(slower), 0, motion_of(clip))
    best = max(aligned, key=lambda alignment: np.isfinite(alignment.vectors_by_limb["head"]).sum())
    mine = motion_of(clip).vectors
    inside = slice(20, 110)
    straight = np.abs(motion_of(slower).vectors[: len(mine)][inside, 9] - mine[inside, 9]).mean()
    followed = np.abs(best.vectors_by_limb["head"][inside, 9] - mine[inside, 9])
    assert np.isfinite(followed).mean() > 0.7
    assert np.nanmean(followed) < 0.5 * straight


def test_other_people_who_dance_the_same_fit_and_another_dance_does_not() -> None:
    aligned = alignments_of(posture())
    assert {alignment.reference for alignment in aligned} == {*range(6)}
    ours = motion_of(posture("kick"))
    assert [
        alignment for reference in references() for alignment in align_reference(motion_of(reference), 0, ours)
    ] == []


def test_a_late_arm_does_not_hide_in_its_own_timing() -> None:
    """Timed by the rest of the body, the references' arm is where ours should be, not where it is."""
    late, punctual = motion_of(posture(fault=LATE)), motion_of(posture())
    during = (late.seconds > LATE.start_s + 0.8) & (late.seconds < LATE.end_s - 0.8)
    wrist = COCO17.joints.index("left_wrist")
    laid = np.stack(
        [alignment.vectors_by_limb["left_arm"][during][:, wrist] for alignment in alignments_of(posture(fault=LATE))]
    )
    typical = np.nanmedian(laid, 0)

    def away(motion: Motion) -> float:
        return float(np.abs(typical - motion.vectors[during][:, wrist]).mean())

    assert away(late) > 2 * away(punctual)
