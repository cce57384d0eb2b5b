"""One clip held against references: findings with what the model makes of them, in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from models.virality.config import VdvConfig
from models.virality.skeleton import COCO17, Layout, Posture
from pipeline.dataset.loading import skeletons_to_score
from pipeline.feedback.align import View, lay_over
from pipeline.feedback.attribution import integrated_gradients, segment_seconds
from pipeline.feedback.edits import Gain, gain_of
from pipeline.feedback.find import LEAST_LOSS, Finding, find
from pipeline.feedback.limbs import Dance, as_dance, limb_joints
from pipeline.feedback.measure import WINDOW_S, measure, window_ends

LEAST_FITTING = 4  # references that fit the clip: of fewer nobody can say what good clips have in common
_NO_GAIN = 0.01  # of the score's own scale: less is nothing


@dataclass(frozen=True)
class Said:
    """One finding, and what the model says of it."""

    finding: Finding
    gain: Gain
    gradients: float  # share of the clip's integrated gradients, sign included, that lies in this limb and time
    sentence: str


@dataclass(frozen=True)
class Compared:
    """All of a clip. `ours` is None, and nothing else is there, where the dancer is seen for less than WINDOW_S."""

    ours: Dance | None
    views: tuple[View, ...]
    said: tuple[Said, ...]
    fitting: int  # references of which at least one view fits

    @property
    def comparable(self) -> bool:
        return self.fitting >= LEAST_FITTING


def compare_clip(
    posture: Posture, references: Sequence[Posture], encoder: nn.Module, config: VdvConfig, device: torch.device
) -> Compared:
    """encoder: of the skeleton modality, in eval mode, trained with `config`."""
    ours = as_dance(posture)
    if ours is None or ours.seconds[-1] - ours.seconds[0] < WINDOW_S:
        return Compared(None, (), (), 0)
    dances = [as_dance(reference) for reference in references]
    views = tuple(
        view for number, dance in enumerate(dances) if dance is not None for view in lay_over(dance, number, ours)
    )
    fitting = len({view.reference for view in views})
    if fitting < LEAST_FITTING:
        return Compared(ours, views, (), fitting)
    findings = find(measure(ours, views), window_ends(ours))
    if not findings:
        return Compared(ours, views, (), fitting)
    shares = gradient_shares(posture, findings, encoder, config, device)
    said = []
    for one, share in zip(findings, shares, strict=True):
        gain = gain_of(posture, ours, views, one.limb, one.start_s, one.end_s, encoder, config, device)
        said.append(Said(one, gain, share, sentence(one)))
    return Compared(ours, views, tuple(said), fitting)


def gradient_shares(
    posture: Posture, findings: Sequence[Finding], encoder: nn.Module, config: VdvConfig, device: torch.device,
    layout: Layout = COCO17,
) -> list[float]:  # fmt: skip
    """Of each finding: the sum of the integrated gradients of its joints and time over the sum of all their sizes."""
    parts = integrated_gradients(encoder, skeletons_to_score([posture], config, device))[0].cpu().numpy()
    seconds, joints = segment_seconds(posture, config), limb_joints(layout)
    whole = float(np.abs(parts).sum()) or 1.0
    found = []
    for one in findings:
        inside = (seconds >= one.start_s) & (seconds <= one.end_s)
        members = [joint for joint in joints[one.limb] if joint < parts.shape[1]]
        found.append(float(parts[inside][:, members].sum()) / whole)
    return found


def sentence(one: Finding) -> str:
    """As in: right arm, 3.2-4.1 s: 0.3 s late, amplitude 60 % of the top clips'."""
    limb = one.limb.replace("_", " ")
    parts = []
    if one.kind in ("late", "early"):
        parts.append(f"{abs(one.lag_s):.1f} s {one.kind} against the rest of the body")
    if one.kind == "unsteady":
        parts.append(f"sways {one.sway:.1f} times as far as the top clips do from one another")
    elif one.kind == "small" or one.amplitude <= 1 - LEAST_LOSS:
        parts.append(f"amplitude {100 * one.amplitude:.0f} % of the top clips'")
    return f"{limb}, {one.start_s:.1f}-{one.end_s:.1f} s: {', '.join(parts)}"


def meaning(gain: Gain) -> str:
    """What the model makes of it, which is an association and no promise."""
    if math.isnan(gain.gain):
        return "no top clip covers this stretch as a whole, so what the model makes of it is not known"
    if gain.gain > _NO_GAIN and gain.agreement > 0.5:
        agreed = f"{round(gain.agreement * gain.references)} of {gain.references} top clips"
        return (
            "associated with a lower score: with the motion of a top clip there the skeleton's score is"
            f" {gain.gain:.2f} higher (median; higher with {agreed})"
        )
    return "this run's model does not score it lower"
