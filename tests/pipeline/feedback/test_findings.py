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


def findings(one, dance: str = "arms_up") -> list[Finding]:
    ours = motion_of(one)
    return select_findings(measure_limbs(ours, alignments_of(one, dance)), window_bounds(ours))


def overlaps(one: Finding, fault: Fault) -> bool:
    return one.start_s < fault.end_s and one.end_s > fault.start_s


def test_a_late_arm_is_named_with_its_delay():
    first = findings(posture(fault=LATE))[0]
    assert (first.limb, first.kind) == ("left_arm", "late")
    assert overlaps(first, LATE)
    assert first.lag_s == pytest.approx(LATE.size, abs=0.11)
    assert first.start_s == pytest.approx(LATE.start_s, abs=1.1)
    assert first.end_s == pytest.approx(LATE.end_s, abs=1.1)


def test_a_small_movement_is_named_with_what_is_left_of_it():
    first = findings(posture(fault=SMALL))[0]
    assert (first.limb, first.kind) == ("right_arm", "small")
    assert overlaps(first, SMALL)
    assert first.amplitude == pytest.approx(1 - SMALL.size, abs=0.2)


def test_lost_balance_is_named_with_how_far_it_sways():
    first = findings(posture(fault=UNSTEADY))[0]
    assert (first.limb, first.kind) == ("trunk", "unsteady")
    assert overlaps(first, UNSTEADY)
    assert first.sway > 2


@pytest.mark.parametrize("number", range(4))
def test_nothing_is_said_of_a_dance_without_faults(number):
    assert findings(posture(number=number)) == []


def test_in_a_mirror_it_is_the_other_arm():
    first = findings(mirrored_posture(posture(fault=LATE)))[0]
    assert (first.limb, first.kind) == ("right_arm", "late")


def test_an_arm_ahead_of_the_body_is_early():
    first = findings(posture(fault=replace(LATE, size=-0.4)))[0]
    assert (first.limb, first.kind) == ("left_arm", "early")
    assert first.lag_s == pytest.approx(-0.4, abs=0.11)


def test_what_good_clips_differ_in_among_themselves_is_not_said():
    """The same fault, where every reference moves that arm in a way of its own."""
    one = posture(fault=SMALL)
    ours, views = motion_of(one), alignments_of(one)
    rng = np.random.default_rng(0)
    arm = list(limb_joints()["right_arm"])
    free = []
    for view in views:
        theirs = view.vectors_by_limb["right_arm"].copy()
        theirs[:, arm] += gaussian_filter1d(rng.normal(size=(len(theirs), 2, 2)), 6, axis=0) * 3
        free.append(replace(view, vectors_by_limb=view.vectors_by_limb | {"right_arm": theirs}))
    assert [found.limb for found in select_findings(measure_limbs(ours, views), window_bounds(ours))] == ["right_arm"]
    assert select_findings(measure_limbs(ours, free), window_bounds(ours)) == []


def test_joints_that_the_pose_network_doubts_count_little():
    """A wrist that hangs down for a second and a half: told where the network is sure of it, and else not."""
    one = posture(number=1)
    wrong = (one.seconds > 2.0) & (one.seconds < 3.5)
    wrist, elbow = COCO17.joints.index("left_wrist"), COCO17.joints.index("left_elbow")
    position, doubted = one.position.copy(), one.confidence.copy()
    position[wrong, wrist] = position[wrong, elbow] + np.array([0.0, 0.6], np.float32)
    doubted[wrong, wrist] *= 0.7
    assert [found.limb for found in findings(replace(one, position=position))] == ["left_arm"]
    assert findings(replace(one, position=position, confidence=doubted)) == []


def test_where_few_references_reach_nothing_is_measured():
    ours = motion_of(posture(fault=LATE))
    views = [view for view in alignments_of(posture(fault=LATE)) if view.reference < 2]
    measured = measure_limbs(ours, views)
    assert all(np.isnan(measurement.differences.energy).all() for measurement in measured.values())
    assert select_findings(measured, window_bounds(ours)) == []


def test_a_limb_has_one_finding_at_a_time_strongest_first():
    both = findings(posture(fault=LATE), "arms_up")
    assert [one.strength for one in both] == sorted((one.strength for one in both), reverse=True)
    for place, one in enumerate(both):
        for other in both[:place]:
            assert one.limb != other.limb or one.start_s >= other.end_s or other.start_s >= one.end_s


def test_the_least_strength_is_a_threshold():
    one = posture(fault=LATE)
    ours = motion_of(one)
    measured = measure_limbs(ours, alignments_of(one))
    strongest = select_findings(measured, window_bounds(ours))[0].strength
    assert select_findings(measured, window_bounds(ours), min_strength=1.01 * strongest) == []
    assert len(select_findings(measured, window_bounds(ours), min_strength=0.3)) >= len(
        select_findings(measured, window_bounds(ours))
    )


def test_mirroring_the_references_changes_nothing():
    one = posture(fault=SMALL)
    ours = motion_of(one)
    views = [
        view
        for number, other in enumerate(references())
        for view in align_reference(mirror(motion_of(other)), number, ours)
    ]
    turned = select_findings(measure_limbs(ours, views), window_bounds(ours))
    assert [(found.limb, found.kind) for found in turned] == [(found.limb, found.kind) for found in findings(one)]


def test_the_shortest_clip_has_one_window():
    whole = posture()
    first = whole.seconds <= 2.0
    short = Posture(whole.position[first], whole.seen[first], whole.confidence[first], whole.seconds[first])
    ours = motion_of(short)
    assert window_bounds(ours).tolist() == [[0.0, 2.0]]
    assert select_findings(measure_limbs(ours, alignments_of(short)), window_bounds(ours)) == []
