"""What the skeleton's score would be with a reference's motion of one limb, for some time, in place of ours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from models.virality.config import VdvConfig
from models.virality.skeleton import COCO17, Layout, Posture
from models.virality.vdv import encode
from pipeline.dataset.loading import skeletons_to_score
from pipeline.feedback.align import View
from pipeline.feedback.limbs import LIMBS, Dance, limb_joints, to_positions, to_vectors

BLEND_S = 0.25  # at both ends of an edit
_TOGETHER = 32  # clips that are scored at once


@dataclass(frozen=True)
class Gain:
    """What edits of one limb and stretch do to the score."""

    gain: float  # median over the references; NaN: none covers it
    agreement: float  # share of the references whose motion raises the score
    references: int


def gain_of(
    posture: Posture, ours: Dance, views: Sequence[View], limb: str, start_s: float, end_s: float,
    encoder: nn.Module, config: VdvConfig, device: torch.device, layout: Layout = COCO17,
) -> Gain:  # fmt: skip
    """One edit a reference, by the view of it that covers most of the stretch; scored as the clip is, all samplings."""
    best: dict[int, tuple[float, Posture]] = {}
    for view in views:
        change = difference(ours, view.by_limb[limb], limb, layout)
        covered = covered_share(ours, change, limb, start_s, end_s, layout)
        if covered > 0.5 and covered > best.get(view.reference, (0.0, posture))[0]:
            best[view.reference] = covered, edited(posture, ours, change, limb, start_s, end_s, layout)
    if not best:
        return Gain(float("nan"), float("nan"), 0)
    scores = rescore([posture, *(made for _, made in best.values())], encoder, config, device)
    gains = scores[1:] - scores[0]
    return Gain(float(np.median(gains)), float((gains > 0).mean()), len(gains))


def difference(ours: Dance, theirs: np.ndarray, limb: str, layout: Layout = COCO17) -> np.ndarray:
    """What to add to our vectors for their motion, float64 [N, V + 1, C]: 0 of other joints, NaN where not known.

    The median difference is left out: how somebody holds herself stays ours.
    """
    joints = list(limb_joints(layout)[limb])
    change = np.zeros_like(ours.vectors)
    away = theirs[:, joints] - ours.vectors[:, joints]
    known = np.isfinite(away).all((1, 2))
    if known.any():
        away = away - np.median(away[known], 0)
    change[:, joints] = away
    return change


def typical_change(ours: Dance, views: Sequence[View], limb: str, layout: Layout = COCO17) -> np.ndarray:
    """The median `difference` of the views, of which there must be one; NaN where it is not known of any."""
    changes = np.stack([difference(ours, view.by_limb[limb], limb, layout) for view in views])
    known = np.isfinite(changes).any(0)
    change = np.full(changes.shape[1:], np.nan)
    change[known] = np.nanmedian(changes[:, known], 0)
    return change


def covered_share(
    ours: Dance, change: np.ndarray, limb: str, start_s: float, end_s: float, layout: Layout = COCO17
) -> float:
    """Share of the stretch in which the change is known."""
    inside = (ours.seconds >= start_s) & (ours.seconds <= end_s)
    known = np.isfinite(change[:, list(limb_joints(layout)[limb])]).all((1, 2))
    return float(known[inside].mean()) if inside.any() else 0.0


def edited(
    posture: Posture, ours: Dance, change: np.ndarray, limb: str, start_s: float, end_s: float, layout: Layout = COCO17
) -> Posture:
    """The clip with the change made between two times, blended at the ends. Feet stay where they are when the trunk
    moves; what is seen, and how clearly, stays as it was."""
    edge = np.minimum(ours.seconds - start_s, end_s - ours.seconds) / BLEND_S + 0.5
    weight = np.clip(edge, 0.0, 1.0)
    change = np.nan_to_num(change) * weight[:, None, None]
    flat = change.reshape(len(change), -1)
    at = np.stack([np.interp(posture.seconds, ours.seconds, column) for column in flat.T], 1)
    at = at.reshape(len(at), *change.shape[1:])
    if limb == "trunk":
        joints = limb_joints(layout)
        for leg, hip in (("left_leg", layout.hips[0]), ("right_leg", layout.hips[1])):
            moved = at[:, -1] + at[:, hip]
            knee = next(joint for joint in joints[leg] if layout.parents[joint] == hip)
            ankle = next(joint for joint in joints[leg] if layout.parents[joint] == knee)
            at[:, knee] -= 0.5 * moved
            at[:, ankle] -= 0.5 * moved
    position = to_positions(to_vectors(posture.position, layout) + at, layout)
    ever = np.asarray(posture.seen.any(0))
    position = np.where(ever[:, None], position, 0.0)
    return replace(posture, position=position.astype(np.float32))


def rescore(postures: Sequence[Posture], encoder: nn.Module, config: VdvConfig, device: torch.device) -> np.ndarray:
    """float64 [B], the skeleton's score of each, as scoring computes it."""
    found = []
    for first in range(0, len(postures), _TOGETHER):
        modality = skeletons_to_score(postures[first : first + _TOGETHER], config, device)
        with torch.inference_mode():
            found.append(encode(encoder, "pose", modality).score.cpu().numpy())
    return np.concatenate(found).astype(float)


def gain_map(
    posture: Posture, ours: Dance, views: Sequence[View], windows: np.ndarray,
    encoder: nn.Module, config: VdvConfig, device: torch.device, layout: Layout = COCO17,
) -> np.ndarray:  # fmt: skip
    """float64 [limbs, W]: what the references' median motion of a limb in a window would gain; NaN where none is."""
    made, places = [posture], []
    for row, limb in enumerate(LIMBS):
        change = typical_change(ours, views, limb, layout)
        for column, (start, end) in enumerate(windows):
            if covered_share(ours, change, limb, start, end, layout) > 0.5:
                made.append(edited(posture, ours, change, limb, start, end, layout))
                places.append((row, column))
    scores = rescore(made, encoder, config, device)
    gains = np.full((len(LIMBS), len(windows)), np.nan)
    for (row, column), score in zip(places, scores[1:], strict=True):
        gains[row, column] = score - scores[0]
    return gains
