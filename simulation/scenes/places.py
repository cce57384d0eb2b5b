"""Places by name and seed, drawn by a camera."""

from collections.abc import Callable

import cv2
import numpy as np

from simulation.geometry import Camera
from simulation.scenes.halls import corridor, gymnasium, stage
from simulation.scenes.homes import bedroom, kitchen
from simulation.scenes.outdoors import beach, park
from simulation.scenes.panels import DRAWN_SCALE, PanelDrawer
from simulation.scenes.rooms import Place
from simulation.scenes.street import street
from simulation.script import SCENES

BUILDERS: dict[str, Callable[[np.random.Generator], Place]] = dict(
    zip(SCENES, (bedroom, kitchen, gymnasium, corridor, stage, street, park, beach), strict=True)
)


class Scene:
    """One place. The dancer's floor, |x| < 1.5 m and -1 < z < 1.5 m, is free; the seed determines the rest.

    Args:
        name: of SCENES.
        seed: of colours, furniture, time of day, light.

    Raises:
        ValueError: no such scene.
    """

    def __init__(self, name: str, seed: int):
        if name not in BUILDERS:
            raise ValueError(f"scene {name!r}: the scenes are {', '.join(BUILDERS)}")
        place = BUILDERS[name](np.random.default_rng((seed, SCENES.index(name))))
        self.light = place.light
        self._beyond = np.array([*place.beyond, 255], np.uint8).view(np.uint32)[0]  # one value a pixel fills fast
        self._drawer = PanelDrawer(place.panels)

    def draw(self, camera: Camera) -> np.ndarray:
        """Picture of the empty place: uint8 [camera.height, camera.width, 3] RGB, contiguous, writable."""
        height, width = round(camera.height * DRAWN_SCALE), round(camera.width * DRAWN_SCALE)
        drawn = np.full((height, width), self._beyond).view(np.uint8).reshape(height, width, 4)
        self._drawer.draw(camera, drawn)
        return cv2.resize(cv2.cvtColor(drawn, cv2.COLOR_RGBA2RGB), (camera.width, camera.height))
