"""When, and at which joints, the skeleton's score of a clip comes about: integrated gradients, small enough to show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.virality.inputs import ModalityInput, pad
from models.virality.pose_sampling import LeadPose, sample_poses
from models.virality.vdv import Vdv
from pipeline.feedback.attribution import integrated_gradients, segment_seconds

CLIPS = 1000  # that get evidence at most: the best and the worst of each challenge
STEPS = 8  # of the integral. What is drawn is a colour, not a sum: over time it correlates 0.99 with 64 steps
_BATCH = 16


@dataclass(frozen=True)
class Evidence:
    """What is shown of one clip."""

    time: np.ndarray  # float64 [S] summed over joints
    joint: np.ndarray  # float64 [17] summed over time
    seconds: np.ndarray  # float64 [S] of `time`

    def entry(self, seconds: np.ndarray) -> dict:
        """At these moments; each of the two is scaled by its largest."""
        return {"time": _scaled(np.interp(seconds, self.seconds, self.time)), "joint": _scaled(self.joint)}


def evidence(
    model: Vdv, dancers: Sequence[tuple[int, LeadPose]], device: torch.device
) -> Iterator[tuple[int, Evidence]]:
    """Evidence of each of these clips in which somebody is seen. dancers: with the row of each. model: with poses."""
    present = [(row, dancer) for row, dancer in dancers if dancer.posture is not None]
    for first in range(0, len(present), _BATCH):
        some = present[first : first + _BATCH]
        modality = pad(sample_poses([dancer for _, dancer in some], model.config, None)).to(device)
        modality = _middle(modality)
        found = integrated_gradients(model.encoders["pose"], modality, STEPS).cpu().numpy().astype(np.float64)
        for (row, dancer), parts in zip(some, found, strict=True):
            assert dancer.posture is not None
            yield row, Evidence(parts.sum(1), parts.sum(0), segment_seconds(dancer.posture, model.config))


def _middle(modality: ModalityInput) -> ModalityInput:
    """One of a skeleton's samplings: a third of the work, for evidence that correlates 0.96 with that of all three."""
    middle = modality.mask.shape[1] // 2
    return modality._replace(values=modality.values[:, middle : middle + 1], mask=modality.mask[:, middle : middle + 1])


def _scaled(values: np.ndarray) -> list[float]:
    largest = np.abs(values).max(initial=0)
    # Two digits are more than a colour shows.
    return [round(float(value), 2) + 0.0 for value in (values / largest if largest > 0 else values)]
