"""What is planted is named: which limb, when, how; and where nothing is, nothing is said."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from models.virality.skeleton import COCO17, Posture
from pipeline.feedback.alignment import align_reference
from pipeline.feedback.findings import Finding, measure_limbs, select_findings, window_bounds
from pipeline.feedback.motion import limb_joints, mirror
from simulation.script import Fault
from tests.pipeline.feedback.simulated_dancers import (
    LATE,
    SMALL,
    UNSTEADY,
    alignments_of,
    mirrored_posture,
    motion_of,
    posture,
    references,
)


def findings(clip: Posture, dance: str = "arms_up") -> list[Finding]:
    motion = motion_of(clip)
    return select_findings(measure_limbs(motion, alignments_of(clip, dance)), window_bounds(motion))


def overlaps(finding: Finding, fault: Fault) -> bool:
    return finding.start_s < fault.end_s and finding.end_s > fault.start_s


def test_a_late_arm_is_named_with_its_delay() -> None:
    first = findings(posture(fault=LATE))[0]
    assert (first.limb, first.kind) == ("left_arm", "late")
    assert overlaps(first, LATE)
    assert first.lag_s == pytest.approx(LATE.size, abs=0.11)
    assert first.start_s == pytest.approx(LATE.start_s, abs=1.1)
    assert first.end_s == pytest.approx(LATE.end_s, abs=1.1)


def test_a_small_movement_is_named_with_what_is_left_of_it() -> None:
    first = findings(posture(fault=SMALL))[0]
    assert (first.limb, first.kind) == ("right_arm", "small")
    assert overlaps(first, SMALL)
    assert first.amplitude == pytest.approx(1 - SMALL.size, abs=0.2)


def test_lost_balance_is_named_with_how_far_it_sways() -> None:
    first = findings(posture(fault=UNSTEADY))[0]
    assert (first.limb, first.kind) == ("trunk", "unsteady")
    assert overlaps(first, UNSTEADY)
    assert first.sway > 2


@pytest.mark.parametrize("number", range(4))
def test_nothing_is_said_of_a_dance_without_faults(number: int) -> None:
    assert findings(posture(number=number)) == []


def test_in_a_mirror_it_is_the_other_arm() -> None:
    first = findings(mirrored_posture(posture(fault=LATE)))[0]
    assert (first.limb, first.kind) == ("right_arm", "late")


def test_an_arm_ahead_of_the_body_is_early() -> None:
    first = findings(posture(fault=replace(LATE, size=-0.4)))[0]
    assert (first.limb, first.kind) == ("left_arm", "early")
    assert first.lag_s == pytest.approx(-0.4, abs=0.11)


def test_what_good_clips_differ_in_among_themselves_is_not_said() -> None:
    """The same fault, where every reference moves that arm in a way of its own."""
    clip = posture(fault=SMALL)
    motion, aligned = motion_of(clip), alignments_of(clip)
    rng = np.random.default_rng(0)
    arm = list(limb_joints()["right_arm"])
    varied = []
    for alignment in aligned:
        theirs = alignment.vectors_by_limb["right_arm"].copy()
        theirs[:, arm] += gaussian_filter1d(rng.normal(size=(len(theirs), 2, 2)), 6, axis=0) * 3
        varied.append(replace(alignment, vectors_by_limb=alignment.vectors_by_limb | {"right_arm": theirs}))
    assert [finding.limb for finding in select_findings(measure_limbs(motion, aligned), window_bounds(motion))] == [
        "right_arm"
    ]
    assert select_findings(measure_limbs(motion, varied), window_bounds(motion)) == []


def test_joints_that_the_pose_network_doubts_count_little() -> None:
    """A wrist that hangs down for a second and a half: told where the network is sure of it, and else not."""
    clip = posture(number=1)
    wrong = (clip.seconds > 2.0) & (clip.seconds < 3.5)
    wrist, elbow = COCO17.joints.index("left_wrist"), COCO17.joints.index("left_elbow")
    position, doubted = clip.position.copy(), clip.confidence.copy()
    position[wrong, wrist] = position[wrong, elbow] + np.array([0.0, 0.6], np.float32)
    doubted[wrong, wrist] *= 0.7
    assert [finding.limb for finding in findings(replace(clip, position=position))] == ["left_arm"]
    assert findings(replace(clip, position=position, confidence=doubted)) == []


def test_where_few_references_reach_nothing_is_measured() -> None:
    motion = motion_of(posture(fault=LATE))
    aligned = [alignment for alignment in alignments_of(posture(fault=LATE)) if alignment.reference < 2]
    measured = measure_limbs(motion, aligned)
    assert all(np.isnan(measurement.differences.energy).all() for measurement in measured.values())
    assert select_findings(measured, window_bounds(motion)) == []


def test_a_limb_has_one_finding_at_a_time_strongest_first() -> None:
    both = findings(posture(fault=LATE), "arms_up")
    assert [finding.strength for finding in both] == sorted((finding.strength for finding in both), reverse=True)
    for place, finding in enumerate(both):
        for other in both[:place]:
            assert finding.limb != other.limb or finding.start_s >= other.end_s or other.start_s >= finding.end_s


def test_the_least_strength_is_a_threshold() -> None:
    clip = posture(fault=LATE)
    motion = motion_of(clip)
    measured = measure_limbs(motion, alignments_of(clip))
    strongest = select_findings(measured, window_bounds(motion))[0].strength
    assert select_findings(measured, window_bounds(motion), min_strength=1.01 * strongest) == []
    assert len(select_findings(measured, window_bounds(motion), min_strength=0.3)) >= len(
        select_findings(measured, window_bounds(motion))
    )


def test_mirroring_the_references_changes_nothing() -> None:
    clip = posture(fault=SMALL)
    motion = motion_of(clip)
    aligned = [
        alignment
        for number, other in enumerate(references())
        for alignment in align_reference(mirror(motion_of(other)), number, motion)
    ]
    turned = select_findings(measure_limbs(motion, aligned), window_bounds(motion))
    assert [(finding.limb, finding.kind) for finding in turned] == [
        (finding.limb, finding.kind) for finding in findings(clip)
    ]


def test_the_shortest_clip_has_one_window() -> None:
    whole = posture()
    first = whole.seconds <= 2.0
    short = Posture(whole.position[first], whole.seen[first], whole.confidence[first], whole.seconds[first])
    motion = motion_of(short)
    assert window_bounds(motion).tolist() == [[0.0, 2.0]]
    assert select_findings(measure_limbs(motion, alignments_of(short)), window_bounds(motion)) == []
