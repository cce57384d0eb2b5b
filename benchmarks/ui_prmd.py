"""The Kinect half of UI-PRMD as clips that can be ranked, and its splits by subject or movement.

Vakanski et al., "A Data Set of Human Body Movements for Physical Rehabilitation Exercises", Data 2018, 3(1), 2; public
domain (PDDL 1.0). Ten movements x ten subjects x ten repetitions, each done right and done wrong. A movement is a
challenge, a subject a creator; an episode done right stands above one done wrong.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.virality.config import VdvConfig
from models.virality.pose_sampling import scoring_frames, training_frames
from models.virality.skeleton import KINECT22, Posture, normalise, streams_at

FRAMES_PER_S = 30
COORDINATES = 3
_ARRAYS = ("joints", "parent", "length", "movement", "subject", "correct")


@dataclass(frozen=True)
class Episodes:
    """N episodes."""

    postures: tuple[Posture, ...]  # of layout KINECT22, three coordinates, everything seen
    movement: np.ndarray  # int64 [N] 1..10
    subject: np.ndarray  # int64 [N] 1..10
    correct: np.ndarray  # int64 [N] 1 or 0


@dataclass(frozen=True)
class Split:
    """Training and test rows of the episodes."""

    name: str
    train: np.ndarray  # int64
    test: np.ndarray  # int64


def load_episodes(path: Path) -> Episodes:
    """Reads ui_prmd_kinect.npz: joints float32 [frames, 22, 3] in centimetres, y up, and the episodes' tables.

    Raises:
        ValueError: an array is missing, or the joints are not those of KINECT22.
    """
    with np.load(path) as file:
        missing = [name for name in _ARRAYS if name not in file]
        if missing:
            raise ValueError(f"{path} has no {missing}; it must hold the Kinect half of UI-PRMD as {_ARRAYS}")
        joints, parent, length, movement, subject, correct = (file[name] for name in _ARRAYS)
    if tuple(np.where(parent < 0, 0, parent)) != KINECT22.parents:
        raise ValueError(f"{path} has joints with parents {parent.tolist()}, not those of the layout KINECT22")
    ends = np.cumsum(length)
    if ends[-1] != len(joints):
        raise ValueError(f"{path} has {len(joints)} frames, but its lengths sum up to {ends[-1]}")
    postures = tuple(_posture(joints[end - count : end]) for count, end in zip(length, ends, strict=True))
    return Episodes(postures, movement, subject, correct)


def _posture(joints: np.ndarray) -> Posture:
    """joints: [T, 22, 3] x, y up, depth."""
    downward = joints * np.array([1, -1, 1], joints.dtype)
    certain = np.ones((*joints.shape[:2], 1), joints.dtype)
    seconds = np.arange(len(joints)) / FRAMES_PER_S
    return normalise(np.concatenate([downward, certain], 2), np.ones(len(joints), bool), seconds, 0.0, KINECT22)


def leave_subjects_out(episodes: Episodes, training: int) -> list[Split]:
    """A split a subject: trained on it and those that follow it, `training` in all, tested on all others.

    Each subject is trained on equally often, and tested equally often.

    Raises:
        ValueError: no subject would be left to test.
    """
    subjects = np.unique(episodes.subject)
    if not 1 <= training < len(subjects):
        raise ValueError(f"{training} training subjects of {len(subjects)}: must be 1 to {len(subjects) - 1}")
    splits = []
    for first in range(len(subjects)):
        chosen = np.isin(episodes.subject, np.roll(subjects, -first)[:training])
        splits.append(Split(f"from subject {subjects[first]}", np.flatnonzero(chosen), np.flatnonzero(~chosen)))
    return splits


def leave_movements_out(episodes: Episodes) -> list[Split]:
    """A split a movement: trained on all others, tested on it. All subjects are on both sides, as for the floor."""
    return [
        Split(f"movement {left}", np.flatnonzero(episodes.movement != left), np.flatnonzero(episodes.movement == left))
        for left in np.unique(episodes.movement)
    ]


def only_subjects(episodes: Episodes, subjects: int) -> Episodes:
    """Episodes of the first so many subjects, on which everything was tuned."""
    rows = np.flatnonzero(np.isin(episodes.subject, np.unique(episodes.subject)[:subjects]))
    postures = tuple(episodes.postures[row] for row in rows)
    return Episodes(postures, episodes.movement[rows], episodes.subject[rows], episodes.correct[rows])


def draw(posture: Posture, config: VdvConfig, rng: np.random.Generator | None) -> np.ndarray:
    """Input of the pose encoder, float32 [K, 13, frames, 22], sampled as of a clip (models.virality.pose_sampling).

    rng: randomness of training, K = 1, augmented; None: the K = `config.samplings` fixed samplings of scoring.
    """
    if rng is None:
        frames, changes = scoring_frames(posture, config), None
    else:
        frames, change = training_frames(posture, config, rng)
        changes = [change]
    (streams,), _ = streams_at([posture], [frames], changes, KINECT22)
    return np.ascontiguousarray(np.moveaxis(streams.reshape(len(streams), -1, config.frames, streams.shape[2]), 1, 0))
