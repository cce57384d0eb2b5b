"""Parts of outdoor places: sky, ground to the horizon, time of day, trees; and two places, a park and a beach."""

from itertools import pairwise

import numpy as np

from simulation.scenes import textures as surface
from simulation.scenes.panels import Canvas, Colour, Panel, floor, wall
from simulation.scenes.rooms import FRONT_M, Furnishing, Place, calm, graded
from simulation.scenes.textures import Rng, fabric, furniture, hsv, mixed, times
from simulation.script import Light

FAR_M = 220.0  # distance of the sky; nearer things hide that it is a wall
GROUND_M = 9.0  # the detailed ground ends here, a plain one goes on
_GROUND_HALF_M = 6.5
_GAINS: dict[str, Colour] = {  # of colours, by time of day
    "day": (1.05, 1.03, 0.98),
    "grey": (0.86, 0.88, 0.9),
    "golden": (1.06, 0.93, 0.76),
    "dusk": (0.66, 0.62, 0.74),
}


class Outdoors(Furnishing):
    """An open place being furnished, with a sky and a time of day."""

    def __init__(self, rng: Rng):
        texture, self.haze, self.time = surface.sky(rng, 170, 340)
        sky = Canvas(-340, 340, -2, 230, 0.5)
        sky.inlay(-340, -2, 340, 230, texture)
        sky.cover(sky.image[..., :3])
        side = rng.choice([-1, 1])
        direction = np.array([side * rng.uniform(0.2, 1.0), rng.uniform(0.4, 1.1), rng.uniform(-0.1, 0.9)])
        sunny = self.time in ("day", "golden")
        gain = _GAINS[self.time]
        level = sum(gain) / 3
        light = Light(
            direction / np.linalg.norm(direction),
            float(rng.uniform(0.35, 0.5) if sunny else rng.uniform(0.65, 0.8)),
            (gain[0] / level, gain[1] / level, gain[2] / level),
            float(rng.uniform(0.4, 0.6) if sunny else rng.uniform(0.12, 0.25)),
        )
        super().__init__(light, Canvas(-_GROUND_HALF_M, _GROUND_HALF_M, -FRONT_M, GROUND_M, 70))
        self._sky = wall(sky, -FAR_M)

    def plain_ground(self, near: Colour, far: Colour) -> None:
        """Add the ground beyond the detailed one and to its sides, fading to the haze."""
        # Two pieces: a wide one that came near would be cut off where the camera's turn brings its side behind it.
        inner = Canvas(-28, 28, -3.0, 32, 2)
        inner.cover(surface.vertical(*inner.size, [(0, mixed(far, near, 0.2)), (0.6, near)]))
        outer = Canvas(-160, 160, 31, FAR_M - 1, 0.6)
        ends = [(0, mixed(far, self.haze, 0.5)), (0.7, far), (1, mixed(far, near, 0.2))]
        outer.cover(surface.vertical(*outer.size, ends))
        self.add(-FAR_M + 1, [floor(outer), floor(inner)])

    def finish(self) -> Place:
        """Shade the ground, sort the panels and colour all by the time of day."""
        self.ground.darken(self._footprints, 0.25 + 0.5 * self.light.shadow, 0.15)
        calm(self.ground)
        things = sorted([*self._things, (-FAR_M + 2, [floor(self.ground)])], key=lambda item: item[0])
        panels = (self._sky, *(panel for _, group in things for panel in group))
        return graded(Place(panels, self.light, self.haze), _GAINS[self.time], frozenset([0]))


def cloud_of_leaves(
    rng: Rng, canvas: Canvas, x: float, y: float, half: float, high: float, colour: Colour, light: Light, count: int
) -> None:
    """Paint a crown of leaves about a middle: clumps, brighter towards the light, dark ones first."""
    clumps = rng.standard_normal((count, 2)) * 0.45
    clumps = clumps[(clumps**2).sum(axis=1) < 1]
    towards = np.array([np.sign(light.direction[0]) * 0.6, 0.9])
    bright = 0.75 + 0.3 * (clumps @ towards) + rng.uniform(-0.1, 0.1, len(clumps))
    for at, tone in sorted(zip(clumps, bright, strict=True), key=lambda item: item[1]):
        size = half * rng.uniform(0.12, 0.28)
        canvas.disc(x + at[0] * half, y + at[1] * high, size, size * 0.85, times(colour, float(tone)))


def tree(rng: Rng, z: float, x: float, colour: Colour, light: Light) -> Panel:
    """Broad-leaved or needle tree on one panel."""
    high, bark = rng.uniform(4.0, 7.5), hsv(rng.uniform(0.03, 0.1), rng.uniform(0.2, 0.5), rng.uniform(0.25, 0.5))
    if rng.random() < 0.7:
        half, low = high * rng.uniform(0.28, 0.38), high * rng.uniform(0.3, 0.42)
        canvas = Canvas(x - half * 1.3, x + half * 1.3, 0, high * 1.1, 45)
        wide = high * 0.035
        canvas.trapezoid(x, wide * 1.4, 0, wide * 0.7, low * 1.5, bark)
        canvas.poly([(x, 0), (x + wide * 1.4, 0), (x + wide * 0.7, low * 1.5), (x, low * 1.5)], times(bark, 0.8))
        for lean in (-0.5, 0.45):
            canvas.line([(x, low), (x + lean * half, low * 1.5)], wide * 0.8, times(bark, 0.9))
        cloud_of_leaves(rng, canvas, x, (low + high) / 2 + low * 0.15, half, (high - low) / 2, colour, light, 170)
    else:
        half = high * rng.uniform(0.2, 0.28)
        colour = hsv(rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.65), rng.uniform(0.35, 0.6))
        canvas = Canvas(x - half * 1.1, x + half * 1.1, 0, high * 1.02, 45)
        canvas.rect(x - high * 0.02, 0, x + high * 0.02, high * 0.3, bark)
        for level in np.linspace(0.12, 0.78, 6):
            wide, foot = half * (1.05 - level), high * level
            for share, tone in ((1.0, 0.62), (0.75, 0.8), (0.45, 0.95)):
                shift = np.sign(light.direction[0]) * wide * 0.2 * (1 - share)
                left, right = x - wide * share + shift, x + wide * share + shift
                top = (x + shift * 0.5, foot + high * 0.26)
                canvas.poly([(left, foot), (right, foot), top], times(colour, tone))
    return wall(canvas, z)


def park(rng: Rng) -> Place:
    """Grass, a path, trees near and far, a bench, bushes, flowers."""
    place = Outdoors(rng)
    lawn = hsv(rng.uniform(0.14, 0.34), rng.uniform(0.3, 0.65), rng.uniform(0.4, 0.72))
    leaf = _leaf(rng)
    ground, light = place.ground, place.light
    ground.cover(surface.grass(rng, *ground.size, lawn))
    place.plain_ground(lawn, times(lawn, 0.9))
    _path(rng, ground)
    for _ in range(int(rng.integers(0, 5))):  # flower beds
        x, y, petals = rng.uniform(1.2, 3.0) * rng.choice([-1, 1]), rng.uniform(1.5, 5), hsv(rng.random(), 0.7, 0.95)
        for _ in range(60):
            at = rng.normal(0, 0.22, 2)
            ground.disc(x + at[0], y + at[1], 0.03, 0.03, petals if rng.random() < 0.6 else times(leaf, 0.7))

    edge = Canvas(-45, 45, -0.5, 13, 8)
    for x in np.arange(-42, 43, 3.0):
        half, high = rng.uniform(2.5, 4.0), rng.uniform(2.0, 4.5)
        cloud_of_leaves(rng, edge, x, high * 0.8, half, high, mixed(_leaf(rng), place.haze, 0.45), light, 26)
    edge.rect(-45, -0.5, 45, 1.2, mixed(times(leaf, 0.55), place.haze, 0.4))
    place.add(-45, [wall(edge, -45)])
    for _ in range(int(rng.integers(5, 8))):
        z = -rng.uniform(4.5, 20)
        x = rng.uniform(0.25, 0.45) * (3 - z) * rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
        place.add(z, [tree(rng, z, x, leaf if rng.random() < 0.6 else _leaf(rng), light)])
        if -z < GROUND_M:
            place.shadow((x - 0.9, x + 0.9), (z - 0.6, z + 0.5))
    if rng.random() < 0.8:
        side = rng.choice([-1, 1])
        _bench(rng, place, side * rng.uniform(0.8, 1.3), -rng.uniform(1.9, 2.8))
    for _ in range(int(rng.integers(1, 5))):
        x, z, half = rng.uniform(1.1, 2.6) * rng.choice([-1, 1]), -rng.uniform(2.4, 5), rng.uniform(0.4, 0.8)
        bush = Canvas(x - half * 1.2, x + half * 1.2, 0, half * 1.6, 60)
        cloud_of_leaves(rng, bush, x, half * 0.6, half, half * 0.75, _leaf(rng), light, 90)
        place.add(z, [wall(bush, z)])
        place.shadow((x - half * 0.8, x + half * 0.8), (z - 0.3, z + 0.25))
    if rng.random() < 0.5:
        lamp_post(rng, place, rng.uniform(1.0, 1.8) * rng.choice([-1, 1]), -rng.uniform(2.5, 5.5))
    return place.finish()


def _leaf(rng: Rng) -> Colour:
    """Random colour of leaves: mostly green, autumn or blossom now and then."""
    if rng.random() < 0.72:
        return hsv(rng.uniform(0.2, 0.38), rng.uniform(0.4, 0.75), rng.uniform(0.4, 0.75))
    hue = rng.choice([rng.uniform(0.03, 0.14), rng.uniform(0.9, 0.97)])
    return hsv(hue, rng.uniform(0.3, 0.8), rng.uniform(0.6, 0.95))


def _path(rng: Rng, ground: Canvas) -> None:
    gravel = hsv(rng.uniform(0.04, 0.14), rng.uniform(0.05, 0.35), rng.uniform(0.5, 0.85))
    along = np.linspace(-FRONT_M, GROUND_M, 40)
    bend, phase, half = rng.uniform(0.2, 0.8), rng.uniform(0, 6), rng.uniform(0.6, 1.3)
    if rng.random() < 0.65:
        middle = rng.uniform(-0.4, 0.4) + bend * np.sin(along * 0.6 + phase)
        points = [(m - half, y) for m, y in zip(middle, along, strict=True)]
        points += [(m + half, y) for m, y in zip(middle[::-1], along[::-1], strict=True)]
    else:
        across, y0 = np.linspace(-7, 7, 30), rng.uniform(0.5, 1.5)
        line = y0 + 0.4 * bend * np.sin(across * 0.5 + phase)
        points = [*zip(across, line - half * 0.8, strict=True)]
        points += zip(across[::-1], line[::-1] + half * 0.8, strict=True)
    mask = Canvas(ground.x0, ground.x1, ground.y0, ground.y1, ground.per_m)
    mask.poly(points, (255, 255, 255))
    share = mask.image[..., :1].astype(np.float32) / 255
    stones = surface.speckled(rng, *ground.size, gravel, 0.06)
    ground.image[..., :3] = ground.image[..., :3] * (1 - share) + stones * share


def _bench(rng: Rng, place: Outdoors, x: float, z: float) -> None:
    wood, iron, half = furniture(rng), (52, 54, 56), rng.uniform(0.6, 0.8)
    for leg in (x - half + 0.1, x + half - 0.14):
        place.add_box((leg, leg + 0.05), (0, 0.43), (z - 0.38, z - 0.02), iron, iron)
    place.add_box((x - half, x + half), (0.43, 0.47), (z - 0.4, z), wood, times(wood, 1.1))
    back = Canvas(x - half, x + half, 0.43, 0.95, 80)
    for y in (0.55, 0.68, 0.81):
        back.rect(x - half, y, x + half, y + 0.1, times(wood, 0.95))
        back.rect(x - half, y, x + half, y + 0.02, times(wood, 0.6))
    for leg in (x - half + 0.12, x + half - 0.12):
        back.rect(leg - 0.02, 0.43, leg + 0.02, 0.93, iron)
    place.add(z - 0.39, [wall(back, z - 0.41)])
    place.shadow((x - half, x + half), (z - 0.4, z))


def lamp_post(rng: Rng, place: Outdoors, x: float, z: float) -> None:
    """Add a lamp post with a lantern or an arm."""
    iron, high = hsv(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.15, 0.45)), rng.uniform(3.2, 4.5)
    canvas = Canvas(x - 0.75, x + 0.75, 0, high + 0.4, 60)
    canvas.rect(x - 0.035, 0, x + 0.035, high, iron)
    canvas.rect(x - 0.075, 0, x + 0.075, 0.5, iron)
    if rng.random() < 0.5:
        canvas.trapezoid(x, 0.17, high + 0.3, 0.1, high - 0.05, (250, 244, 214))
        canvas.poly([(x - 0.2, high + 0.28), (x + 0.2, high + 0.28), (x, high + 0.4)], iron)
    else:
        reach = 0.6 * rng.choice([-1, 1])
        canvas.line([(x, high), (x + reach * 0.4, high + 0.15), (x + reach, high + 0.12)], 0.05, iron)
        left, right = sorted((x + reach * 0.6, x + reach * 1.1))
        canvas.rect(left, high + 0.02, right, high + 0.1, (246, 240, 214))
    place.add(z, [wall(canvas, z)])
    place.shadow((x - 0.15, x + 0.15), (z - 0.15, z + 0.15))


def beach(rng: Rng) -> Place:
    """Sand, waves, the sea to the horizon, umbrellas, towels, a palm or rocks, a sail or a headland far out."""
    place = Outdoors(rng)
    sand = hsv(rng.uniform(0.05, 0.14), rng.uniform(0.08, 0.45), rng.uniform(0.5, 0.95))
    water = hsv(rng.uniform(0.42, 0.62), rng.uniform(0.25, 0.75), rng.uniform(0.4, 0.8))
    shore = rng.uniform(3.6, 7.0)
    ground = place.ground
    rows, columns = ground.size
    sandy = surface.speckled(rng, rows, columns, sand, 0.045, 45)
    ground.cover(sandy)
    ground.shade(1 + 0.04 * surface.noise(rng, rows, columns, 9, 40))
    _shore(rng, ground, shore, sand, water)
    place.plain_ground(water, times(water, 0.7))
    _far_out(rng, place)
    first = rng.choice([-1, 1])
    for x in (first * 1.35, *rng.permutation([-first * 1.5, first * 2.6, -first * 2.6])[: int(rng.integers(0, 3))]):
        _umbrella(rng, place, float(x) * rng.uniform(0.9, 1.1), -rng.uniform(1.8, min(3.6, shore - 0.5)))
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0.9, 2.2) * rng.choice([-1, 1]), rng.uniform(1.3, 2.6)
        ground.darken([(x - 0.4, y, x + 0.4, y + 0.9)], 0.3, 0.04)
        ground.inlay(x - 0.4, y, x + 0.4, y + 0.9, surface.art(rng, 40, 40))
    side = rng.choice([-1, 1])
    if rng.random() < 0.55:
        _palm(rng, place, side * rng.uniform(1.3, 2.2), -rng.uniform(2.2, 4.0))
    for _ in range(int(rng.integers(0, 5))):
        _rock(rng, place, -side * rng.uniform(1.2, 3.2), -rng.uniform(1.8, shore + 1.5))
    return place.finish()


def _shore(rng: Rng, ground: Canvas, shore: float, sand: Colour, water: Colour) -> None:
    columns = ground.size[1]
    rows = round((ground.y1 - shore + 1.5) * ground.per_m)  # further up, all is dry
    strip = ground.image[:rows, :, :3]
    x = np.linspace(ground.x0, ground.x1, columns, dtype=np.float32)[None]
    y = ground.y1 - np.arange(rows, dtype=np.float32)[:, None] / ground.per_m
    phase = rng.uniform(0, 6, 3).astype(np.float32)
    out = y - shore + 0.25 * np.sin(1.1 * x + phase[0]) + 0.12 * np.sin(2.7 * x + phase[1])  # metres into the sea
    wet = np.clip(1 + out / 0.9, 0, 1)[..., None] * np.float32(0.45)
    picture = strip * (1 - wet) + np.array(times(sand, 0.6), np.float32) * wet
    deep = np.clip(out / 0.25, 0, 1)[..., None]
    shallow = np.clip(1 - out / 3.0, 0, 1)[..., None] * 0.35
    waves = 1 + 0.06 * np.sin(out * 5 + 0.8 * np.sin(x + phase[2])) + 0.05 * surface.noise(rng, rows, columns, 5, 40)
    sea = np.array(water, np.float32) * waves[..., None] * (1 - shallow)
    sea = sea + np.array(mixed(water, (255, 255, 255), 0.6), np.float32) * shallow
    picture = picture * (1 - deep) + sea * deep
    foam = np.zeros((rows, columns), np.float32)
    for at, width in ((0.08, 0.1), (0.75, 0.09), (1.7, 0.12)):
        foam = np.maximum(foam, np.exp(-(((out - at - 0.06 * np.sin(4 * x + at * 9)) / width) ** 2)))
    foam = foam * np.clip(0.6 + 0.35 * surface.noise(rng, rows, columns, 5, 16), 0, 1)
    strip[:] = np.clip(picture * (1 - foam[..., None]) + 250 * foam[..., None], 0, 255)


def _far_out(rng: Rng, place: Outdoors) -> None:
    if rng.random() < 0.5:  # a headland on one side
        land = Canvas(-150, 150, -1, 30, 2)
        side, far = rng.choice([-1, 1]), mixed(hsv(rng.uniform(0.2, 0.6), 0.3, 0.45), place.haze, 0.45)
        x = np.linspace(rng.uniform(-5, 25), 150, 12)
        heights = np.linspace(0, rng.uniform(8, 20), 12) + rng.uniform(-1, 1.5, 12)
        points = [(side * a, float(h)) for a, h in zip(x, heights, strict=True)]
        land.poly([*points, (side * 150, -1), (side * x[0], -1)], far)
        place.add(-200, [wall(land, -200)])
    for _ in range(int(rng.integers(0, 3))):
        middle, size = float(rng.uniform(-22, 22)), float(rng.uniform(3, 6))
        boat = Canvas(middle - size, middle + size, 0, size * 2.2, 12)
        sail = hsv(rng.random(), rng.choice([0.02, 0.6]), 0.97)
        boat.trapezoid(middle, size * 0.6, size * 0.3, size * 0.4, 0, fabric(rng))
        boat.poly([(middle, size * 0.4), (middle, size * 2.1), (middle + size * 0.6, size * 0.4)], sail)
        mast = middle - 0.1 * size
        boat.poly([(mast, size * 0.4), (mast, size * 1.8), (middle - size * 0.55, size * 0.4)], times(sail, 0.88))
        place.add(-90, [wall(boat, -90)])


def _umbrella(rng: Rng, place: Outdoors, x: float, z: float) -> None:
    one, other, half, high = fabric(rng), fabric(rng), rng.uniform(0.75, 1.0), rng.uniform(1.9, 2.3)
    canvas = Canvas(x - half * 1.05, x + half * 1.05, 0, high + 0.1, 80)
    canvas.line([(x, 0), (x, high)], 0.04, (226, 222, 214))
    spans = np.linspace(-1, 1, 8)
    arc = high - 0.55
    for number, (left, right) in enumerate(pairwise(spans)):
        tone = 0.85 + 0.18 * np.sign(place.light.direction[0]) * (left + right) / 2
        edge = [(x + half * b, arc + 0.55 * np.sqrt(max(0.0, 1 - b * b)) * 0.95) for b in np.linspace(left, right, 5)]
        middle = (left + right) / 2
        colour = times(one if number % 2 else other, tone)
        canvas.poly([(x + half * left, arc), *edge, (x + half * right, arc), (x + half * middle, arc + 0.06)], colour)
    place.add(z, [wall(canvas, z)])
    place.shadow((x - half * 0.8, x + half * 0.8), (z - 0.5, z + 0.4))
    if rng.random() < 0.7:  # a lounger beneath
        cloth = fabric(rng)
        place.add_box((x - 0.3, x + 0.3), (0.28, 0.33), (z - 0.6, z + 0.35), cloth, cloth)
        for leg in (x - 0.28, x + 0.22):
            place.add_box((leg, leg + 0.06), (0, 0.28), (z - 0.5, z + 0.25), (214, 210, 200), (214, 210, 200))


def _palm(rng: Rng, place: Outdoors, x: float, z: float) -> None:
    high, lean, bark = rng.uniform(3.0, 4.6), rng.uniform(-0.8, 0.8), hsv(0.08, 0.35, rng.uniform(0.4, 0.6))
    canvas = Canvas(x - 2.6, x + 2.6, 0, high + 1.2, 55)
    stem = [(x + lean * s * s, high * s) for s in np.linspace(0, 1, 14)]
    for number, (a, b) in enumerate(pairwise(stem)):
        canvas.line([a, b], 0.2 - 0.006 * number, times(bark, 0.85 + 0.2 * (number % 2)))
    leaf = hsv(rng.uniform(0.22, 0.36), rng.uniform(0.45, 0.7), rng.uniform(0.4, 0.65))
    for turn in np.linspace(-0.5, 3.6, 11) + rng.uniform(-0.1, 0.1, 11):
        long, tone = rng.uniform(1.3, 1.8), times(leaf, rng.uniform(0.7, 1.15))
        at = np.linspace(0, 1, 9)
        px, py = x + lean + long * at * np.cos(turn), high + long * (at * np.sin(turn) * 0.7 - 0.6 * at**2)
        width = 0.17 * np.sin(np.pi * at**0.7) + 0.01
        canvas.poly([*zip(px, py + width, strict=True), *zip(px[::-1], (py - width)[::-1], strict=True)], tone)
        canvas.line(list(zip(px, py, strict=True)), 0.02, times(tone, 0.7))
    place.add(z, [wall(canvas, z)])
    place.shadow((x - 0.4, x + 0.4), (z - 0.3, z + 0.3))


def _rock(rng: Rng, place: Outdoors, x: float, z: float) -> None:
    half, stone = rng.uniform(0.2, 0.6), hsv(rng.uniform(0, 0.7), rng.uniform(0.02, 0.2), rng.uniform(0.3, 0.6))
    canvas = Canvas(x - half * 1.1, x + half * 1.1, 0, half * 1.2, 80)
    turn = np.linspace(0, np.pi, 8)
    reach = rng.uniform(0.75, 1.0, 8) * half
    outline = [(x + r * np.cos(a), r * np.sin(a) * 1.05) for a, r in zip(turn, reach, strict=True)]
    canvas.poly(outline, times(stone, 0.7))
    lit_side = np.sign(place.light.direction[0])
    canvas.poly([(x + (px - x) * 0.7 + lit_side * half * 0.18, py * 0.85) for px, py in outline], stone)
    place.add(z, [wall(canvas, z)])
    place.shadow((x - half * 0.8, x + half * 0.8), (z - 0.2, z + 0.15))
