"""Sampling of the lead dancer's pose to the model's input: fixed for scoring, random and augmented in training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.virality import skeleton
from models.virality.config import VdvConfig
from models.virality.inputs import ModalityInput, pad

JOINTS = len(skeleton.COCO17.joints)
# Enough that calling numpy costs little, and few enough that what they are computed in stays in the processor's cache,
# where a whole batch asks the system for memory again and again.
SAMPLED_TOGETHER = 16


class LeadPose(NamedTuple):
    """A clip's lead dancer before frames are sampled."""

    posture: skeleton.Posture | None  # None: nobody is seen
    quality: Tensor  # []

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        arrays = vars(self.posture).values() if self.posture else self
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray | Tensor))


def sample_pose(pose: LeadPose, config: VdvConfig, rng: np.random.Generator | None) -> ModalityInput:
    """Model input of one clip: values float32 [K, 9, frames, 17], mask bool [K, frames, 17].

    rng: randomness of training, K = 1, augmented; None: the K = `config.samplings` fixed samplings of scoring.
    """
    return sample_poses([pose], config, None if rng is None else [rng])[0]


def sample_poses(
    poses: Sequence[LeadPose], config: VdvConfig, generators: Sequence[np.random.Generator] | None
) -> list[ModalityInput]:
    """`sample_pose` of a batch of clips, some at a time; each has its own generator in training."""
    samplings = config.samplings if generators is None else 1
    values = torch.zeros(len(poses), samplings, skeleton.STREAMS, config.frames, JOINTS)
    mask = torch.zeros(len(poses), samplings, config.frames, JOINTS, dtype=torch.bool)
    present = [(place, pose.posture) for place, pose in enumerate(poses) if pose.posture is not None]
    for first in range(0, len(present), SAMPLED_TOGETHER):
        some = present[first : first + SAMPLED_TOGETHER]
        places, postures = [place for place, _ in some], [posture for _, posture in some]
        if generators is None:
            streams, seen = skeleton.streams_at(postures, [scoring_frames(posture, config) for posture in postures])
        else:
            changed = [training_frames(posture, config, generators[place]) for place, posture in some]
            frames, changes = [at for at, _ in changed], [change for _, change in changed]
            streams, seen = skeleton.streams_at(postures, frames, changes)
        values[places] = torch.from_numpy(streams).unflatten(2, (samplings, config.frames)).transpose(1, 2)
        mask[places] = torch.from_numpy(seen).unflatten(1, (samplings, config.frames))
    return [ModalityInput(value, seen, pose.quality) for value, seen, pose in zip(values, mask, poses, strict=True)]


def scoring_input(postures: Sequence[skeleton.Posture], config: VdvConfig, device: torch.device) -> ModalityInput:
    """Input of a batch of postures as scoring samples it: all samplings, nothing changed."""
    drawn = sample_poses([LeadPose(posture, torch.tensor(1.0)) for posture in postures], config, None)
    return pad(drawn).to(device)


def scoring_frames(posture: skeleton.Posture, config: VdvConfig) -> np.ndarray:
    """Frames of the samplings that scoring averages, one sampling after the other: int64 [samplings * frames]."""
    shown = np.any(posture.seen, axis=1)
    picks = [np.full(config.frames, (turn + 0.5) / config.samplings) for turn in range(config.samplings)]
    return np.concatenate([skeleton.sample_frames(shown, config.frames, pick) for pick in picks])


def training_frames(
    posture: skeleton.Posture, config: VdvConfig, rng: np.random.Generator
) -> tuple[np.ndarray, skeleton.Change]:
    """Frames of a training sample, int64 [frames], and the augmentation of its clip."""
    change = skeleton.draw_change(
        posture, rng, rotation=config.rotation, scale=config.scale, jitter=config.jitter, mirror=config.mirror
    )
    pick = rng.random(config.frames)
    shown = np.any(posture.seen, axis=1)
    cut = rng.uniform(0, config.crop, 2) * len(shown)
    first, last = int(cut[0]), len(shown) - int(cut[1])
    if not shown[first:last].any():  # the ends were all there is
        first, last = 0, len(shown)
    return first + skeleton.sample_frames(shown[first:last], config.frames, pick), change
