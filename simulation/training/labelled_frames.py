"""Single frames of a world with their labels, to train and evaluate networks on."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from simulation.filming.film import film, frame_times
from simulation.filming.visibility import PersonLabels
from simulation.script import SCENES, ClipScript, Outfit
from simulation.world import WorldOptions, make_world


@dataclass(frozen=True)
class LabelledPerson(PersonLabels):
    """Labels of a person, with identity, outfit and expression."""

    creator: int
    outfit: Outfit
    expression: float


@dataclass(frozen=True)
class LabelledFrame:
    """A frame and its labels."""

    picture: np.ndarray  # uint8 [H, W, 3] RGB, compressed once
    people: tuple[LabelledPerson, ...]  # lead first
    scene: int  # index in script.SCENES


def labelled_frames(seed: int, clips: int, frames_a_clip: int) -> Iterator[LabelledFrame]:
    """Yield random moments of every clip of a world; the same for the same arguments."""
    for index, upload in enumerate(make_world(WorldOptions(seed=seed, clips=clips, creators=(clips + 1) // 2))):
        yield from _clip_frames(upload.script, frames_a_clip, np.random.default_rng((seed, index, 11)))


def _clip_frames(script: ClipScript, count: int, rng: np.random.Generator) -> Iterator[LabelledFrame]:
    times = frame_times(script)
    seconds = np.sort(rng.choice(times, min(count, len(times)), replace=False))
    for picture, labels in film(script, seconds):
        people = tuple(
            LabelledPerson(**vars(seen), creator=person.creator, outfit=person.outfit, expression=person.expression)
            for person, seen in zip(script.people, labels, strict=True)
        )
        yield LabelledFrame(_compressed(picture, script.phone.crf), people, SCENES.index(script.scene))


def _compressed(picture: np.ndarray, crf: int) -> np.ndarray:
    """The picture after JPEG, whose blocks are H.264's, at a quality to match a video's `crf`."""
    quality = int(np.clip(100 - 2.2 * (crf - 14), 30, 95))
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
