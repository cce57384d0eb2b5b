"""A reference's motion put into ours: there and nowhere else, and the model's score of it is that of scoring."""

from typing import cast

import numpy as np
import pytest
import torch

from benchmarks.feedback import gain_map
from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec
from models.virality.psgcn import Psgcn
from models.virality.skeleton import COCO17
from models.virality.vdv import Vdv
from pipeline.feedback.alignment import align_reference
from pipeline.feedback.edits import (
    PoseScorer,
    apply_change,
    covered_share,
    edit_effect,
    median_change,
    motion_change,
)
from pipeline.feedback.findings import measure_limbs, select_findings, window_bounds
from pipeline.feedback.motion import LIMBS
from tests.pipeline.feedback.simulated_dancers import LATE, alignments_of, motion_of, posture

CPU = torch.device("cpu")
CONFIG = VdvConfig(
    modalities=("pose",), frames=16, samplings=2, joint_channels=8, part_channels=8, body_channels=8, refined_channels=8
)


@pytest.fixture(scope="module")
def scorer() -> PoseScorer:
    torch.manual_seed(0)
    model = Vdv(CONFIG, {"pose": InputSpec(9, is_skeleton=True)}).eval()
    for network in model.ensemble("pose"):
        for head in cast(Psgcn, network).head:
            assert isinstance(head, torch.nn.Linear)
            torch.nn.init.normal_(head.weight)
    part = model.part("pose")
    part.set(
        network_coefficients=torch.ones_like(part.network_coefficients),
        coefficients=0.1 * torch.randn(len(part.coefficients)),
    )
    return PoseScorer(model, CPU)


def test_our_own_motion_changes_nothing(scorer: PoseScorer) -> None:
    clip = posture()
    motion = motion_of(clip)
    change = motion_change(motion, motion.vectors, "left_arm")
    edited = apply_change(clip, motion, change, "left_arm", 2.0, 4.0)
    np.testing.assert_allclose(edited.position, clip.position, atol=1e-5)
    scores = scorer.scores([clip, edited])
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_an_edit_is_of_its_limb_and_time() -> None:
    clip = posture(fault=LATE)
    motion = motion_of(clip)
    changes = [
        motion_change(motion, alignment.vectors_by_limb["left_arm"], "left_arm") for alignment in alignments_of(clip)
    ]
    change = next(change for change in changes if covered_share(motion, change, "left_arm", 1.5, 4.0) == 1)
    edited = apply_change(clip, motion, change, "left_arm", 2.0, 3.5)
    moved = np.abs(edited.position - clip.position).max(2) > 1e-4
    assert {COCO17.joints[joint] for joint in np.flatnonzero(moved.any(0))} == {"left_elbow", "left_wrist"}
    times = clip.seconds[moved.any(1)]
    assert 1.7 < times.min() < 2.2
    assert 3.3 < times.max() < 3.8
    assert (edited.seen == clip.seen).all()


def test_the_references_motion_mends_a_fault() -> None:
    """After the edit the same measures find nothing there."""
    clip = posture(fault=LATE)
    motion, aligned = motion_of(clip), alignments_of(clip)
    first = select_findings(measure_limbs(motion, aligned), window_bounds(motion))[0]
    change = median_change(motion, aligned, first.limb)
    mended = apply_change(clip, motion, change, first.limb, first.start_s, first.end_s)
    again = select_findings(measure_limbs(motion_of(mended), alignments_of(mended)), window_bounds(motion))
    assert [finding for finding in again if finding.limb == first.limb] == []


def test_a_steadier_trunk_leaves_the_feet_on_the_ground() -> None:
    clip = posture()
    motion = motion_of(clip)
    change = np.zeros_like(motion.vectors)
    change[:, -1, 0] = 0.3  # the hips to the side
    edited = apply_change(clip, motion, change, "trunk", -10.0, 60.0)
    moved = edited.position - clip.position
    names = COCO17.joints
    np.testing.assert_allclose(moved[:, names.index("nose"), 0], 0.3, atol=1e-5)
    np.testing.assert_allclose(moved[:, names.index("left_ankle"), 0], 0.0, atol=1e-5)
    np.testing.assert_allclose(moved[:, names.index("right_knee"), 0], 0.15, atol=1e-5)


def test_what_a_reference_does_not_cover_is_not_edited(scorer: PoseScorer) -> None:
    clip = posture()
    motion = motion_of(clip)
    theirs = motion.vectors.copy()
    theirs[: len(theirs) // 2] = np.nan
    change = motion_change(motion, theirs, "left_leg")
    assert covered_share(motion, change, "left_leg", 0.5, 2.5) == 0
    assert covered_share(motion, change, "left_leg", 4.0, 6.0) == 1
    assert np.isfinite(apply_change(clip, motion, change, "left_leg", 0.0, 7.0).position).all()
    none = edit_effect(clip, motion, [], "left_leg", 1.0, 2.0, scorer)
    assert none.references == 0
    assert np.isnan(none.gain)


def test_gains_are_differences_of_scores_with_each_reference(scorer: PoseScorer) -> None:
    clip = posture(fault=LATE)
    motion, aligned = motion_of(clip), alignments_of(clip)
    effect = edit_effect(clip, motion, aligned, "left_arm", 2.0, 4.0, scorer)
    assert effect.references == len({alignment.reference for alignment in aligned})
    best: dict[int, float] = {}
    for alignment in aligned:
        change = motion_change(motion, alignment.vectors_by_limb["left_arm"], "left_arm")
        if alignment.reference in best or covered_share(motion, change, "left_arm", 2.0, 4.0) < 1:
            continue
        edited = apply_change(clip, motion, change, "left_arm", 2.0, 4.0)
        alone, before = (scorer.scores([version])[0] for version in (edited, clip))
        best[alignment.reference] = alone - before
    assert len(best) == effect.references
    assert effect.gain == pytest.approx(np.median([*best.values()]), abs=1e-5)
    assert effect.agreement == pytest.approx(np.mean([value > 0 for value in best.values()]))
    assert effect.gain != 0


def test_the_map_has_every_limb_and_window(scorer: PoseScorer) -> None:
    clip = posture()
    motion, aligned = motion_of(clip), alignments_of(clip)
    windows = np.array([[1.0, 2.0], [4.0, 5.0]])
    gains = gain_map(clip, motion, aligned, windows, scorer)
    assert gains.shape == (len(LIMBS), 2)
    assert np.isfinite(gains[:4]).all()
    itself = align_reference(motion, 0, motion)[:1]
    assert np.nanmax(np.abs(gain_map(clip, motion, itself, windows, scorer))) < np.abs(gains[:4]).max()
