"""Frames of a clip from its script, each with its labels."""

from collections.abc import Iterator

import numpy as np

from simulation.dancers.figure import PosedPerson, draw_people, label_undrawn
from simulation.dancers.performance import perform
from simulation.filming.hiding import blur_place, cover_face, remove_colours
from simulation.filming.phone_look import apply_look
from simulation.filming.shots import cameras
from simulation.filming.visibility import PersonLabels
from simulation.geometry import Camera
from simulation.scenes.places import Scene
from simulation.script import ClipScript, Motion, Person

TICKS_PER_S = 90_000  # timestamps of a variable rate are whole ticks, so that the file holds them exactly
_DROPPED = 0.25  # share of the frames that a phone with a variable rate drops
_BLINK_S = 0.18
_MOOD = 0.06  # amplitude of an expression about its mean


def frame_times(script: ClipScript) -> np.ndarray:
    """Times of a clip's frames, float64 [T] seconds from the first; at least one, whole ticks."""
    count = max(1, round(script.duration_s * script.phone.fps))
    seconds = np.arange(count) / script.phone.fps
    if script.phone.variable_rate:
        rng = np.random.default_rng((script.scene_seed, 7))
        kept = rng.random(count) >= _DROPPED
        kept[0] = True
        seconds = seconds + rng.uniform(-0.25, 0.25, count) / script.phone.fps
        seconds = seconds[kept] - seconds[0]
    return np.round(seconds * TICKS_PER_S) / TICKS_PER_S


def film(script: ClipScript, seconds: np.ndarray) -> Iterator[tuple[np.ndarray, list[PersonLabels]]]:
    """Yield the frames at `seconds` [T], ascending: uint8 [H, W, 3] RGB upright, and the labels of each person."""
    scene = Scene(script.scene, script.scene_seed)
    for index, (camera, posed) in enumerate(_posed_people(script, seconds)):
        picture = scene.draw(camera)
        if "blurred_place" in script.hidden:
            picture = blur_place(picture)
        labels = draw_people(picture, camera, posed, scene.light)
        if "covered_face" in script.hidden:
            cover_face(picture, labels[0].face_box)
        if "colourless" in script.hidden:
            remove_colours(picture, script.scene_seed)
        yield apply_look(picture, script.phone, round(seconds[index] * script.phone.fps), script.scene_seed), labels


def label_frames(script: ClipScript, seconds: np.ndarray) -> Iterator[list[PersonLabels]]:
    """Yield the labels of the frames at `seconds` [T] as `film` does, without their pictures."""
    return (label_undrawn(camera, posed) for camera, posed in _posed_people(script, seconds))


def _posed_people(script: ClipScript, seconds: np.ndarray) -> Iterator[tuple[Camera, list[PosedPerson]]]:
    """Yield the camera and everybody's pose at each of `seconds` [T]."""
    views = cameras(script.shots, seconds, script.phone.width, script.phone.height)
    motions = [place_motion(perform(script.dance, person, seconds), person) for person in script.people]
    faces = [_face_over_time(person, seconds) for person in script.people]
    for index, camera in enumerate(views):
        yield (
            camera,
            [
                PosedPerson(person, motion.points[index], motion.head[index], *face[index])
                for person, motion, face in zip(script.people, motions, faces, strict=True)
            ],
        )


def place_motion(motion: Motion, person: Person) -> Motion:
    """The motion moved to the person's place and turned to the person's direction."""
    cos, sin = np.cos(person.turn), np.sin(person.turn)
    turned = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return Motion(motion.points @ turned.T + np.array([person.x_m, 0, person.z_m]), turned @ motion.head)


def _face_over_time(person: Person, seconds: np.ndarray) -> list[tuple[float, float]]:
    """Expression and openness of the eyes, 0..1 each, at every moment: a drifting mood, and blinks."""
    rng = np.random.default_rng((person.seed, 3))
    phase = rng.uniform(0, 2 * np.pi, 2)
    mood = person.expression + _MOOD * (np.sin(1.1 * seconds + phase[0]) + np.sin(2.7 * seconds + phase[1])) / 2
    blinks = np.cumsum(rng.uniform(1.5, 5.0, 40))  # 40 pauses outlast the longest clip
    nearest = np.abs(seconds[:, None] - blinks[None]).min(axis=1)
    eyes_open = np.clip(2 * nearest / _BLINK_S, 0, 1)
    return list(zip(np.clip(mood, 0, 1).tolist(), eyes_open.tolist(), strict=True))
