"""Simulated dancers of one choreography as a pose network would see them: good ones, and one with a planted fault."""

from dataclasses import replace
from functools import cache

import numpy as np

from models.virality.skeleton import COCO17, Posture, normalise
from pipeline.feedback.alignment import AlignedReference, align_reference
from pipeline.feedback.motion import Motion, to_motion
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid
from pipeline.modalities.tracks import Track
from simulation.dancers.body import draw_body
from simulation.dancers.looks import draw_face, draw_outfit
from simulation.filming.keypoints import film_keypoints
from simulation.filming.phone_look import draw_phone
from simulation.filming.shots import draw_shots
from simulation.script import ClipScript, Fault, Person, Skill

SECONDS = 7.0
LATE = Fault("late", "left_arm", 2.0, 5.0, 0.4)
SMALL = Fault("small", "right_arm", 2.0, 5.0, 0.7)
UNSTEADY = Fault("unsteady", "trunk", 1.5, 5.0, 0.10)


@cache
def keypoints(dance: str, number: int, skill: float = 1.0, fault: Fault | None = None) -> np.ndarray:
    """float64 [T, 17, 3] at 10 frames a second. Each number is another person, filmed from elsewhere; it is she who
    starts at another beat.
    """
    rng = np.random.default_rng((77, number))
    phone = draw_phone(rng)
    lead = Person(
        creator=number, body=draw_body(rng), face=draw_face(rng), outfit=draw_outfit(0.5, rng),
        skill=Skill(skill, skill, skill, skill), expression=0.5, x_m=0.0, z_m=0.0, turn=0.0,
        seed=int(rng.integers(1 << 31)), faults=(fault,) if fault else (),
    )  # fmt: skip
    shots = draw_shots(rng, SECONDS, phone.width, phone.height)[:1]
    script = ClipScript("clip", dance, "street", 0, SECONDS, (lead,), shots, replace(phone, fps=30.0))
    return film_keypoints(script, seconds(), rng)


def seconds() -> np.ndarray:
    return np.arange(0, SECONDS, 0.1)


def posture(dance: str = "arms_up", number: int = 0, skill: float = 1.0, fault: Fault | None = None) -> Posture:
    seen = keypoints(dance, number, skill, fault)
    return normalise(seen, np.ones(len(seen), bool), seconds(), 0.3)


def mirrored_posture(clip: Posture) -> Posture:
    order = list(COCO17.mirror)
    position = clip.position[:, order] * np.array([-1, 1], np.float32)
    return Posture(position, clip.seen[:, order], clip.confidence[:, order], clip.seconds)


def motion_of(clip: Posture) -> Motion:
    motion = to_motion(clip)
    assert motion is not None
    return motion


@cache
def references(dance: str = "arms_up") -> tuple[Posture, ...]:
    """Of six other people who dance well."""
    return tuple(posture(dance, 100 + number, skill=0.9) for number in range(6))


def alignments_of(clip: Posture, dance: str = "arms_up") -> list[AlignedReference]:
    motion = motion_of(clip)
    alignments = [
        align_reference(motion_of(reference), number, motion) for number, reference in enumerate(references(dance))
    ]
    return [alignment for of_one in alignments for alignment in of_one]


def pose_rows(clip_id: str, seen: np.ndarray) -> PoseRows:
    """A clip whose lead has the key points `seen`."""
    frames = len(seen)
    box = np.concatenate([seen[..., :2].min(1), seen[..., :2].max(1)], 1).astype(np.float32)
    lead = Track(0, True, np.ones(frames, bool), seen.astype(np.float32), box, np.full(frames, 0.9, np.float32))
    grid = Grid(np.arange(frames, dtype=np.int32) * 3, seconds()[:frames].astype(np.float32))
    return PoseRows(clip_id, grid, (lead,))
