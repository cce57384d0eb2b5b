"""A reference's motion put into ours: there and nowhere else, and the model's score of it is that of scoring."""

import numpy as np
import pytest
import torch

from models.virality.config import VdvConfig
from models.virality.psgcn import Psgcn
from models.virality.skeleton import COCO17
from pipeline.feedback.alignment import align_reference
from pipeline.feedback.edits import (
    apply_change,
    covered_share,
    edit_effect,
    gain_map,
    median_change,
    motion_change,
    rescore,
)
from pipeline.feedback.findings import measure_limbs, select_findings, window_bounds
from pipeline.feedback.motion import LIMBS
from tests.pipeline.feedback.simulated_dancers import LATE, alignments_of, motion_of, posture

CPU = torch.device("cpu")
CONFIG = VdvConfig(frames=16, samplings=2)


@pytest.fixture(scope="module")
def encoder() -> Psgcn:
    torch.manual_seed(0)
    network = Psgcn(channels=(8, 8, 8), refined=8).eval()
    for head in network.head:
        torch.nn.init.normal_(head.weight)
    return network


def test_our_own_motion_changes_nothing(encoder):
    one = posture()
    ours = motion_of(one)
    change = motion_change(ours, ours.vectors, "left_arm")
    made = apply_change(one, ours, change, "left_arm", 2.0, 4.0)
    np.testing.assert_allclose(made.position, one.position, atol=1e-5)
    scores = rescore([one, made], encoder, CONFIG, CPU)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_an_edit_is_of_its_limb_and_time():
    one = posture(fault=LATE)
    ours = motion_of(one)
    changes = [motion_change(ours, view.vectors_by_limb["left_arm"], "left_arm") for view in alignments_of(one)]
    change = next(one for one in changes if covered_share(ours, one, "left_arm", 1.5, 4.0) == 1)
    made = apply_change(one, ours, change, "left_arm", 2.0, 3.5)
    moved = np.abs(made.position - one.position).max(2) > 1e-4
    assert {COCO17.joints[joint] for joint in np.flatnonzero(moved.any(0))} == {"left_elbow", "left_wrist"}
    times = one.seconds[moved.any(1)]
    assert 1.7 < times.min() < 2.2
    assert 3.3 < times.max() < 3.8
    assert (made.seen == one.seen).all()


def test_the_references_motion_mends_a_fault():
    """After the edit the same measures find nothing there."""
    one = posture(fault=LATE)
    ours, views = motion_of(one), alignments_of(one)
    first = select_findings(measure_limbs(ours, views), window_bounds(ours))[0]
    change = median_change(ours, views, first.limb)
    mended = apply_change(one, ours, change, first.limb, first.start_s, first.end_s)
    again = select_findings(measure_limbs(motion_of(mended), alignments_of(mended)), window_bounds(ours))
    assert [found for found in again if found.limb == first.limb] == []


def test_a_steadier_trunk_leaves_the_feet_on_the_ground():
    one = posture()
    ours = motion_of(one)
    change = np.zeros_like(ours.vectors)
    change[:, -1, 0] = 0.3  # the hips to the side
    made = apply_change(one, ours, change, "trunk", -10.0, 60.0)
    moved = made.position - one.position
    names = COCO17.joints
    np.testing.assert_allclose(moved[:, names.index("nose"), 0], 0.3, atol=1e-5)
    np.testing.assert_allclose(moved[:, names.index("left_ankle"), 0], 0.0, atol=1e-5)
    np.testing.assert_allclose(moved[:, names.index("right_knee"), 0], 0.15, atol=1e-5)


def test_what_a_reference_does_not_cover_is_not_edited(encoder):
    one = posture()
    ours = motion_of(one)
    theirs = ours.vectors.copy()
    theirs[: len(theirs) // 2] = np.nan
    change = motion_change(ours, theirs, "left_leg")
    assert covered_share(ours, change, "left_leg", 0.5, 2.5) == 0
    assert covered_share(ours, change, "left_leg", 4.0, 6.0) == 1
    assert np.isfinite(apply_change(one, ours, change, "left_leg", 0.0, 7.0).position).all()
    none = edit_effect(one, ours, [], "left_leg", 1.0, 2.0, encoder, CONFIG, CPU)
    assert none.references == 0
    assert np.isnan(none.gain)


def test_gains_are_differences_of_scores_with_each_reference(encoder):
    one = posture(fault=LATE)
    ours, views = motion_of(one), alignments_of(one)
    gain = edit_effect(one, ours, views, "left_arm", 2.0, 4.0, encoder, CONFIG, CPU)
    assert gain.references == len({view.reference for view in views})
    best: dict[int, float] = {}
    for view in views:
        change = motion_change(ours, view.vectors_by_limb["left_arm"], "left_arm")
        if view.reference in best or covered_share(ours, change, "left_arm", 2.0, 4.0) < 1:
            continue
        made = apply_change(one, ours, change, "left_arm", 2.0, 4.0)
        alone, before = (rescore([this], encoder, CONFIG, CPU)[0] for this in (made, one))
        best[view.reference] = alone - before
    assert len(best) == gain.references
    assert gain.gain == pytest.approx(np.median([*best.values()]), abs=1e-5)
    assert gain.agreement == pytest.approx(np.mean([value > 0 for value in best.values()]))
    assert gain.gain != 0


def test_the_map_has_every_limb_and_window(encoder):
    one = posture()
    ours, views = motion_of(one), alignments_of(one)
    windows = np.array([[1.0, 2.0], [4.0, 5.0]])
    gains = gain_map(one, ours, views, windows, encoder, CONFIG, CPU)
    assert gains.shape == (len(LIMBS), 2)
    assert np.isfinite(gains[:4]).all()
    own = align_reference(ours, 0, ours)[:1]
    assert np.nanmax(np.abs(gain_map(one, ours, own, windows, encoder, CONFIG, CPU))) < np.abs(gains[:4]).max()
