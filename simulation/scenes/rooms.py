"""Parts of indoor places: a room to furnish, boxes, windows, pictures, doors, lamps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from simulation.scenes import textures as surface
from simulation.scenes.panels import Canvas, Colour, Panel, ceiling, floor, left_side, right_side, wall
from simulation.scenes.textures import Rng, mixed, times
from simulation.script import Light

FRONT_M = 3.6  # floors reach this far towards the viewer,
SIDES_M = 2.2  # walls and ceilings this far: no camera sees nearer ones
_FLOOR_PER_M, _WALL_PER_M = 100, 100
_TYPICAL_FOCAL_PX, _TYPICAL_HEIGHT_M, _TYPICAL_DISTANCE_M = 620, 1.2, 3.0  # at the size that backgrounds are drawn in


@dataclass(frozen=True)
class Place:
    """A finished place."""

    panels: tuple[Panel, ...]  # far ones first
    light: Light
    beyond: Colour  # where no panel is


def texels_a_pixel(distance_m: np.ndarray, per_m: float) -> np.ndarray:
    """Texels of a floor, along the line of sight, that one drawn pixel covers at z = -distance_m."""
    depth = np.maximum(distance_m + _TYPICAL_DISTANCE_M, 1.0)
    return per_m * depth**2 / (_TYPICAL_FOCAL_PX * _TYPICAL_HEIGHT_M)


def calm(canvas: Canvas) -> None:
    """Smooth a floor (y is -z) by its distance from the cameras."""
    distance = np.linspace(canvas.y1, canvas.y0, canvas.size[0])
    canvas.image[:] = surface.smoothed_with_distance(canvas.image, texels_a_pixel(distance, canvas.per_m))


def draw_light(rng: Rng, side: int, ambient: tuple[float, float], warmth: float, shadow: tuple[float, float]) -> Light:
    """Random light from a side (-1 left, 1 right), above and in front; warmth: 0 white, 1 sunset, below 0 bluish."""
    direction = np.array([side * rng.uniform(0.25, 0.75), rng.uniform(0.45, 0.85), rng.uniform(0.3, 0.8)])
    colour = (1 + 0.1 * warmth, 1 + 0.0 * warmth, 1 - 0.16 * warmth)
    return Light(
        direction / np.linalg.norm(direction), float(rng.uniform(*ambient)), colour, float(rng.uniform(*shadow))
    )


def lit(light: Light, normal: Sequence[float]) -> float:
    """Brightness of a surface that faces `normal`, about 0.5..1.1."""
    return light.ambient + (1 - light.ambient) * 1.35 * max(0.0, float(light.direction @ np.array(normal)))


def box(
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    front: Canvas | Colour,
    top: Canvas | Colour,
    light: Light,
    side: Colour | None = None,
) -> list[Panel]:
    """Block standing parallel to the walls. Colours are lit here; canvases are lit already."""
    if side is None:
        side = front if not isinstance(front, Canvas) else (120, 110, 100)
    face = front if isinstance(front, Canvas) else plate(*x, *y, times(front, lit(light, (0, 0, 1))))
    lid = top if isinstance(top, Canvas) else plate(*x, -z[1], -z[0], times(top, lit(light, (0, 1, 0))), 1.0)
    leftwards = plate(*z, *y, times(side, 0.93 * lit(light, (-1, 0, 0))))
    rightwards = plate(-z[1], -z[0], *y, times(side, 0.93 * lit(light, (1, 0, 0))))
    return [floor(lid, y[1]), right_side(leftwards, x[0]), left_side(rightwards, x[1]), wall(face, z[1])]


def plate(x0: float, x1: float, y0: float, y1: float, colour: Colour, foot: float = 0.8) -> Canvas:
    """Canvas of one colour, darkening towards the foot."""
    canvas = Canvas(x0, x1, y0, y1, 16 / max(0.1, min(x1 - x0, y1 - y0)))
    rows, columns = canvas.size
    return canvas.cover(surface.vertical(rows, columns, [(0, colour), (1, times(colour, foot))]))


class Furnishing:
    """A place being furnished: `ground` (y is -z) to paint on, things at their depth, which cast shadows on it."""

    def __init__(self, light: Light, ground: Canvas):
        self.light, self.ground = light, ground
        self._things: list[tuple[float, list[Panel]]] = []
        self._footprints: list[tuple[float, float, float, float]] = []

    def add(self, z: float, panels: list[Panel]) -> None:
        """Add a thing standing with its front at z."""
        self._things.append((z, panels))

    def add_box(
        self, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], front: Canvas | Colour,
        top: Canvas | Colour, side: Colour | None = None,
    ) -> None:  # fmt: skip
        """Add a block, with a shadow if it stands low."""
        self.add(z[1], box(x, y, z, front, top, self.light, side))
        if y[0] < 0.3:
            self.shadow(x, z)

    def shadow(self, x: tuple[float, float], z: tuple[float, float]) -> None:
        """Darken the ground under a thing."""
        self._footprints.append((x[0], -z[1], x[1], -z[0]))


class Room(Furnishing):
    """An empty room being furnished.

    Canvases: `back`, `left` (x is -z) and `right` (x is z) are walls, `ground` (y is -z), `roof` (y is z).
    """

    def __init__(self, half: float, back: float, high: float, light: Light):
        super().__init__(light, Canvas(-half, half, -FRONT_M, back, _FLOOR_PER_M if half < 3.5 else 70))
        self.half, self.depth, self.high = half, back, high
        self.back = Canvas(-half, half, 0, high, _WALL_PER_M)
        along = _WALL_PER_M if back < 5 else 50
        self.left = Canvas(-SIDES_M, back, 0, high, along)
        self.right = Canvas(-back, SIDES_M, 0, high, along)
        self.roof = Canvas(-half, half, -back, SIDES_M, 40)

    @property
    def walls(self) -> tuple[Canvas, Canvas, Canvas]:
        return self.back, self.left, self.right

    def add_box(
        self, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], front: Canvas | Colour,
        top: Canvas | Colour, side: Colour | None = None,
    ) -> None:  # fmt: skip
        """Add a block, with shadows on the floor and on the wall behind it."""
        super().add_box(x, y, z, front, top, side)
        if z[0] <= -self.depth + 0.05:
            self.back.darken([(x[0] - 0.03, y[0] - 0.05, x[1] + 0.03, y[1] + 0.02)], 0.35, 0.06)

    def finish(self, roof: bool = True) -> Place:
        """Shade the walls and the floor and sort the panels."""
        light = self.light
        self.ground.darken(self._footprints, 0.5, 0.1)
        edge = [(-self.half, self.depth - 0.06, self.half, self.depth)]
        sides = [
            (-self.half, -FRONT_M, -self.half + 0.06, self.depth),
            (self.half - 0.06, -FRONT_M, self.half, self.depth),
        ]
        self.ground.darken(edge + sides, 0.45, 0.18)
        calm(self.ground)
        for canvas, normal in zip(self.walls, ((0, 0, 1), (1, 0, 0), (-1, 0, 0)), strict=True):
            rows, columns = canvas.size
            height = np.linspace(self.high, 0, rows, dtype=np.float32)[:, None]
            corner = np.minimum(height, self.high - height) / 0.25
            brightness = 1 - 0.22 * np.exp(-corner)
            across = np.linspace(canvas.x0, canvas.x1, columns, dtype=np.float32)[None]
            if normal[2]:  # brighter on the side that the light comes from
                brightness = brightness * (1 - 0.2 * np.exp(-(self.half - np.abs(across)) / 0.25))
                brightness = brightness * (1 + 0.13 * np.sign(light.direction[0]) * across / self.half)
            canvas.shade(brightness * (0.35 + 0.65 * lit(light, normal)))
        self.ground.shade(np.full((1, 1), 0.3 + 0.7 * lit(light, (0, 1, 0)), np.float32))
        panels = [ceiling(self.roof, self.high)] if roof else []
        panels += [floor(self.ground), left_side(self.left, -self.half), right_side(self.right, self.half)]
        panels += [wall(self.back, -self.depth)]
        for _, group in sorted(self._things, key=lambda item: item[0]):
            panels += group
        middle = self.roof.image[self.roof.size[0] // 2, self.roof.size[1] // 2, :3]
        return graded(Place(tuple(panels), light, (float(middle[0]), float(middle[1]), float(middle[2]))), light.colour)


def graded(place: Place, gain: Sequence[float], kept: frozenset[int] = frozenset()) -> Place:
    """The place in light of another colour; panels with an index in `kept` stay as they are."""
    factors = np.array([*gain, 1.0])
    panels = tuple(
        panel if index in kept else replace(panel, texture=_times(panel, factors))
        for index, panel in enumerate(place.panels)
    )
    red, green, blue = (min(255.0, c * g) for c, g in zip(place.beyond, gain, strict=True))
    return Place(panels, place.light, (red, green, blue))


def _times(panel: Panel, factors: np.ndarray) -> np.ndarray:
    product = cv2.multiply(panel.texture, factors)
    return product if panel.opaque else np.minimum(product, panel.texture[..., 3:])


def paint_walls(rng: Rng, room: Room, colour: Colour) -> None:
    """Paint all walls alike: plaster, wallpaper, two tones, bricks or panelling; skirting along the floor."""
    kind = rng.choice(["plain", "stripes", "two", "brick", "panels"], p=[0.42, 0.16, 0.18, 0.1, 0.14])
    other = mixed(colour, surface.paint(rng), 0.5) if rng.random() < 0.5 else times(colour, 0.8)
    step, line = rng.uniform(0.08, 0.4), rng.uniform(0.85, 1.15)
    skirting = (235, 233, 228) if rng.random() < 0.6 else surface.wood(rng)
    for canvas in room.walls:
        rows, columns = canvas.size
        if kind == "brick":
            size = (0.24, 0.08) if canvas.per_m > 60 else (0.48, 0.16)
            texture = surface.tiles(rng, rows, columns, canvas.per_m, size, [colour], times(colour, 1.18))
        else:
            texture = surface.plain(rng, rows, columns, colour)
        canvas.cover(texture)
        if kind == "stripes":
            for x in np.arange(canvas.x0, canvas.x1, 2 * step):
                canvas.rect(x, 0, x + step, room.high, other)
        elif kind == "two":
            canvas.rect(canvas.x0, 0, canvas.x1, 1.05, other)
            canvas.line([(canvas.x0, 1.05), (canvas.x1, 1.05)], 0.04, times(other, 0.75))
        elif kind == "panels":
            canvas.rect(canvas.x0, 0, canvas.x1, 0.95, times(other, line))
            for x in np.arange(canvas.x0, canvas.x1, 0.6):
                canvas.rect(x + 0.08, 0.2, x + 0.52, 0.82, times(other, line * 0.9))
                canvas.rect(x + 0.1, 0.2, x + 0.52, 0.8, times(other, line * 1.04))
            canvas.line([(canvas.x0, 0.97), (canvas.x1, 0.97)], 0.05, times(other, line * 1.15))
        canvas.rect(canvas.x0, 0, canvas.x1, 0.09, skirting)


def paint_roof(rng: Rng, room: Room) -> None:
    """Paint a ceiling, mostly light."""
    value = rng.uniform(0.7, 0.95)
    tone = surface.hsv(rng.random(), rng.uniform(0, 0.1), value)
    room.roof.cover(surface.plain(rng, *room.roof.size, tone, 0.006))
    room.roof.shade(np.linspace(0.75, 1.0, room.roof.size[0])[:, None])


def paint_floor(rng: Rng, room: Room, kinds: Sequence[str]) -> None:
    """Paint a floor of one of the kinds: planks, across (planks the other way), tiles, checker, carpet, lino."""
    canvas, kind = room.ground, str(rng.choice(kinds))
    rows, columns = canvas.size
    per_m = canvas.per_m
    if kind == "planks":
        texture = surface.planks(rng, rows, columns, per_m, surface.wood(rng), rng.uniform(0.09, 0.2))
    elif kind == "across":
        turned = surface.planks(rng, columns, rows, per_m, surface.wood(rng), rng.uniform(0.12, 0.2))
        texture = turned.transpose(1, 0, 2)
    elif kind in ("tiles", "checker"):
        one = surface.paint(rng)
        other = surface.paint(rng) if rng.random() < 0.5 else times(one, rng.choice([0.55, 1.3]))
        size = rng.uniform(0.2, 0.5)
        colours = [one, other] if kind == "checker" else [one]
        texture = surface.tiles(rng, rows, columns, per_m, (size, size), colours, times(one, rng.choice([0.6, 1.2])))
    elif kind == "carpet":
        texture = surface.speckled(rng, rows, columns, surface.carpet(rng), 0.03)
    else:
        texture = surface.speckled(rng, rows, columns, surface.paint(rng), 0.012, 90)
    canvas.cover(np.ascontiguousarray(texture))


def paint_window(rng: Rng, canvas: Canvas, x0: float, y0: float, x1: float, y1: float, curtains: bool = True) -> None:
    """Paint a window: the view, a frame, a sill, curtains."""
    view, haze, _ = surface.sky(rng, 60, 60)
    outside = np.array(mixed(haze, surface.hsv(rng.uniform(0.2, 0.45), 0.4, 0.5), 0.6))
    top = 35 + 8 * surface.noise(rng, 1, 60, 1, rng.uniform(6, 14))[0]
    for column, row in enumerate(top.clip(8, 58).astype(int)):
        view[row:, column] = outside * (0.85 + 0.15 * column / 60)
    canvas.inlay(x0, y0, x1, y1, view)
    frame = (240, 238, 232) if rng.random() < 0.6 else surface.wood(rng)
    cross = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]]
    cross += [[(x, y0), (x, y1)] for x in np.linspace(x0, x1, int(rng.integers(2, 4)) + 1)[1:-1]]
    if rng.random() < 0.5:
        bar = y0 + (y1 - y0) * rng.uniform(0.55, 0.75)
        cross.append([(x0, bar), (x1, bar)])
    for bars in cross:
        canvas.line(bars, 0.06, frame)
    canvas.rect(x0 - 0.08, y0 - 0.07, x1 + 0.08, y0 - 0.02, times(frame, 0.92))
    if not curtains:
        return
    cloth, wide, foot = surface.fabric(rng), rng.uniform(0.22, 0.4), rng.choice([0.05, y0 - 0.2])
    for left in (x0 - wide + 0.08, x1 - 0.08):
        rows, columns = max(8, round((y1 + 0.15 - foot) * 100)), max(8, round(wide * 100))
        canvas.inlay(left, foot, left + wide, y1 + 0.15, surface.folds(rng, rows, columns, cloth, wide / 0.09))
    canvas.line([(x0 - wide - 0.05, y1 + 0.16), (x1 + wide + 0.05, y1 + 0.16)], 0.03, surface.furniture(rng))


def paint_picture(rng: Rng, canvas: Canvas, x: float, y: float, wide: float, high: float) -> None:
    """Paint a framed picture by its middle."""
    frame = surface.furniture(rng)
    x0, y0, x1, y1 = x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
    canvas.darken([(x0 + 0.02, y0 - 0.05, x1 + 0.05, y1 - 0.02)], 0.3, 0.03)
    canvas.rect(x0, y0, x1, y1, frame)
    canvas.inlay(x0 + 0.035, y0 + 0.035, x1 - 0.035, y1 - 0.035, surface.art(rng, 60, 60))


def paint_door(rng: Rng, canvas: Canvas, x: float, colour: Colour, glazed: bool) -> None:
    """Paint a door by its middle, with frame and handle."""
    frame = times(colour, 0.75) if rng.random() < 0.5 else (225, 222, 215)
    canvas.rect(x - 0.53, 0, x + 0.53, 2.14, frame)
    canvas.rect(x - 0.46, 0.01, x + 0.46, 2.07, colour)
    if glazed:
        canvas.rect(x - 0.16, 1.1, x + 0.16, 1.85, (170, 190, 195))
        canvas.line([(x - 0.16, 1.3), (x + 0.1, 1.85)], 0.03, (215, 225, 228))
    else:
        for low, high in ((0.2, 0.95), (1.15, 1.9)):
            canvas.rect(x - 0.34, low, x + 0.34, high, times(colour, 0.88))
            canvas.rect(x - 0.32, low, x + 0.34, high - 0.02, times(colour, 1.05))
    canvas.rect(x + 0.3, 1.0, x + 0.42, 1.04, (150, 150, 155))


def lamp(x: float, y: float, z: float, high: float, shade: Colour, width: float) -> Panel:
    """Hanging lamp: a cord from the ceiling, a lit shade."""
    canvas = Canvas(x - width, x + width, y - 0.2, high, 80)
    canvas.line([(x, y), (x, high)], 0.015, (50, 48, 46))
    canvas.trapezoid(x, width * 0.9, y - 0.12, width * 0.3, y + 0.1, shade)
    canvas.disc(x, y - 0.12, width * 0.86, 0.04, (255, 246, 214))
    return wall(canvas, z)
