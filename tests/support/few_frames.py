"""A few rendered frames with their labels, made once a process."""

import functools

from simulation.training.labelled_frames import labelled_frames
from simulation.training.training_frames import FrameSet, frame_set

SEED = 41


@functools.cache
def few_frames() -> FrameSet:
    """Twelve frames of six clips."""
    return frame_set(labelled_frames(SEED, 6, 2), SEED)
