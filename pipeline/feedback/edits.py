"""Counterfactual edits: the pose's part of the score with a reference's motion of one limb, for some time, in the clip.

A counterfactual explanation (Wachter et al., 2018) whose changes come from clips that exist, not from a search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.virality.config import VdvConfig
from models.virality.pose_sampling import scoring_input
from models.virality.skeleton import COCO17, Layout, Posture
from models.virality.vdv import Vdv
from pipeline.feedback.motion import LIMBS, AlignedReference, Motion, limb_joints, to_positions, to_vectors

BLEND_S = 0.25  # at both ends of an edit
_BATCH = 32  # clips that are scored at once


@dataclass(frozen=True)
class PoseScorer:
    """The pose's part of a run's model, which is in eval mode."""

    model: Vdv
    device: torch.device

    @property
    def config(self) -> VdvConfig:
        return self.model.config

    def scores(self, postures: Sequence[Posture]) -> np.ndarray:
        """float64 [B], the pose's part of the score of each, as scoring computes it of a clip of usual quality."""
        scores = []
        for first in range(0, len(postures), _BATCH):
            pose = scoring_input(postures[first : first + _BATCH], self.config, self.device)
            with torch.inference_mode():
                scores.append(self.model.part_at_usual_quality("pose", pose.values, pose.mask).cpu().numpy())
        return np.concatenate(scores).astype(float)


@dataclass(frozen=True)
class EditEffect:
    """Change of the score by edits of one limb and stretch, one edit a reference."""

    gain: float  # median over the references; NaN: none covers the stretch
    agreement: float  # share of the references whose motion raises the score
    references: int


def edit_effect(
    posture: Posture, motion: Motion, aligned: Sequence[AlignedReference], limb: str, start_s: float, end_s: float,
    scorer: PoseScorer,
) -> EditEffect:  # fmt: skip
    """Effect on the score of the clip as scoring computes it, over all samplings.

    Of a reference that is aligned more than once, the alignment that covers most of the stretch counts.
    """
    best: dict[int, tuple[float, Posture]] = {}
    for alignment in aligned:
        change = motion_change(motion, alignment.vectors_by_limb[limb], limb)
        share = covered_share(motion, change, limb, start_s, end_s)
        if share > 0.5 and share > best.get(alignment.reference, (0.0, posture))[0]:
            best[alignment.reference] = share, apply_change(posture, motion, change, limb, start_s, end_s)
    if not best:
        return EditEffect(float("nan"), float("nan"), 0)
    scores = scorer.scores([posture, *(edited for _, edited in best.values())])
    gains = scores[1:] - scores[0]
    return EditEffect(float(np.median(gains)), float((gains > 0).mean()), len(gains))


def motion_change(motion: Motion, target: np.ndarray, limb: str, layout: Layout = COCO17) -> np.ndarray:
    """Change of the motion's vectors to those of `target` in one limb, float64 [N, V + 1, C]; NaN where not known.

    0 of other limbs. The median difference is left out: how somebody holds herself stays as it is.
    """
    joints = list(limb_joints(layout)[limb])
    change = np.zeros_like(motion.vectors)
    away = target[:, joints] - motion.vectors[:, joints]
    known = np.isfinite(away).all((1, 2))
    if known.any():
        away = away - np.median(away[known], 0)
    change[:, joints] = away
    return change


def median_change(
    motion: Motion, aligned: Sequence[AlignedReference], limb: str, layout: Layout = COCO17
) -> np.ndarray:
    """Median `motion_change` over the references, of which there must be one; NaN where no change is known."""
    changes = np.stack([motion_change(motion, alignment.vectors_by_limb[limb], limb, layout) for alignment in aligned])
    known = np.isfinite(changes).any(0)
    change = np.full(changes.shape[1:], np.nan)
    change[known] = np.nanmedian(changes[:, known], 0)
    return change


def median_positions(motion: Motion, aligned: Sequence[AlignedReference]) -> np.ndarray:
    """float64 [N, V, C] the references' median motion on the clip's time line; NaN where it is not known."""
    vectors = motion.vectors.copy()
    for limb in LIMBS:
        vectors += median_change(motion, aligned, limb)
    return to_positions(vectors)


def covered_share(
    motion: Motion, change: np.ndarray, limb: str, start_s: float, end_s: float, layout: Layout = COCO17
) -> float:
    """Share of the stretch in which the change is known."""
    inside = (motion.seconds >= start_s) & (motion.seconds <= end_s)
    known = np.isfinite(change[:, list(limb_joints(layout)[limb])]).all((1, 2))
    return float(known[inside].mean()) if inside.any() else 0.0


def apply_change(
    posture: Posture, motion: Motion, change: np.ndarray, limb: str, start_s: float, end_s: float,
    layout: Layout = COCO17,
) -> Posture:  # fmt: skip
    """The clip with the change made between two times, blended at the ends.

    Feet stay where they are when the trunk moves; what is seen, and its confidence, stay as they were.
    """
    edge = np.minimum(motion.seconds - start_s, end_s - motion.seconds) / BLEND_S + 0.5
    change = np.nan_to_num(change) * np.clip(edge, 0.0, 1.0)[:, None, None]
    columns = change.reshape(len(change), -1).T
    added = np.stack([np.interp(posture.seconds, motion.seconds, column) for column in columns], 1)
    added = added.reshape(len(added), *change.shape[1:])
    if limb == "trunk":
        joints = limb_joints(layout)
        for leg, hip in (("left_leg", layout.hips[0]), ("right_leg", layout.hips[1])):
            shift = added[:, -1] + added[:, hip]
            knee = next(joint for joint in joints[leg] if layout.parents[joint] == hip)
            ankle = next(joint for joint in joints[leg] if layout.parents[joint] == knee)
            added[:, knee] -= 0.5 * shift
            added[:, ankle] -= 0.5 * shift
    position = to_positions(to_vectors(posture.position, layout) + added, layout)
    ever_seen = np.asarray(posture.seen.any(0))
    position = np.where(ever_seen[:, None], position, 0.0)
    return replace(posture, position=position.astype(np.float32))
