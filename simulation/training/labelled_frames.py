"""Single frames of a world with their labels, to train and to judge networks on."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from simulation.filming.film import film, frame_times
from simulation.filming.visibility import Seen
from simulation.script import SCENES, ClipScript, Outfit, Person
from simulation.world import WorldOptions, make_world


@dataclass(frozen=True)
class LabelledPerson:
    """What visibility.Seen says of a person, with who it is."""

    keypoints: np.ndarray  # float32 [17, 3] COCO-17: x, y px; 2 visible, 1 hidden, 0 outside the picture
    box: np.ndarray  # float32 [4]
    face_box: np.ndarray  # float32 [4]; zeros: no face
    landmarks: np.ndarray  # float32 [5, 2] in MTCNN's order
    yaw_deg: float
    creator: int
    outfit: Outfit
    expression: float


@dataclass(frozen=True)
class LabelledFrame:
    picture: np.ndarray  # uint8 [H, W, 3] RGB, compressed once
    people: tuple[LabelledPerson, ...]  # lead first
    scene: int  # in script.SCENES


def labelled_frames(seed: int, clips: int, frames_a_clip: int) -> Iterator[LabelledFrame]:
    """Random moments of every clip of a world of its own; the same for the same arguments."""
    for index, upload in enumerate(make_world(WorldOptions(seed=seed, clips=clips, creators=(clips + 1) // 2))):
        yield from _of_clip(upload.script, frames_a_clip, np.random.default_rng((seed, index, 11)))


def _of_clip(script: ClipScript, count: int, rng: np.random.Generator) -> Iterator[LabelledFrame]:
    times = frame_times(script)
    seconds = np.sort(rng.choice(times, min(count, len(times)), replace=False))
    for picture, seen in film(script, seconds):
        people = tuple(_labelled(person, what) for person, what in zip(script.people, seen, strict=True))
        yield LabelledFrame(_compressed(picture, script.phone.crf), people, SCENES.index(script.scene))


def _labelled(person: Person, seen: Seen) -> LabelledPerson:
    return LabelledPerson(
        keypoints=seen.keypoints,
        box=seen.box,
        face_box=seen.face_box,
        landmarks=seen.landmarks,
        yaw_deg=float(seen.yaw_deg),
        creator=person.creator,
        outfit=person.outfit,
        expression=person.expression,
    )


def _compressed(picture: np.ndarray, crf: int) -> np.ndarray:
    """About what a video of that quality leaves of a picture: JPEG, whose blocks are H.264's, at a quality to match."""
    quality = int(np.clip(100 - 2.2 * (crf - 14), 30, 95))
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
