"""Street, seen across, with house fronts beyond the road, or along, with houses on both sides."""

import numpy as np

from simulation.scenes import textures as surface
from simulation.scenes.outdoors import GROUND_M, Outdoors, cloud_of_leaves, lamp_post, tree
from simulation.scenes.panels import Canvas, Colour, left_side, right_side, wall
from simulation.scenes.rooms import FRONT_M, Place, lit, plate
from simulation.scenes.textures import Rng, fabric, furniture, hsv, mixed, times


def street(rng: Rng) -> Place:
    """House fronts with windows, doors, shops and awnings, a road with kerbs and markings, cars, lamps."""
    place = Outdoors(rng)
    asphalt = hsv(rng.random(), rng.uniform(0, 0.1), rng.uniform(0.28, 0.55))
    place.plain_ground(asphalt, asphalt)
    place.ground.cover(surface.speckled(rng, *place.ground.size, asphalt, 0.05))
    if rng.random() < 0.6:
        _across(rng, place)
    else:
        _along(rng, place)
    return place.finish()


def _across(rng: Rng, place: Outdoors) -> None:
    kerb, far_kerb, front = rng.uniform(1.2, 1.7), rng.uniform(4.2, 4.8), rng.uniform(5.6, 6.6)
    ground = place.ground
    _pavement(rng, ground, -6.5, -FRONT_M, 6.5, kerb)
    _pavement(rng, ground, -6.5, far_kerb, 6.5, GROUND_M)
    for y in (kerb, far_kerb - 0.12):
        ground.rect(-6.5, y, 6.5, y + 0.12, (176, 174, 170))
    middle, white = (kerb + far_kerb) / 2, (222, 220, 212)
    for x in np.arange(-6.5, 6.5, 1.6):
        ground.rect(x, middle - 0.05, x + 0.9, middle + 0.05, white)
    if rng.random() < 0.3:  # a crossing
        x0 = rng.uniform(-1.5, 0.5)
        for y in np.arange(kerb + 0.25, far_kerb - 0.3, 0.45):
            ground.rect(x0, y, x0 + 1.6, y + 0.24, white)
    x = -9 + rng.uniform(-2, 0)
    while x < 9:
        wide, high = rng.uniform(2.6, 4.6), rng.uniform(5.2, 10.5)
        house = Canvas(x, x + wide, 0, high, 45)
        _house(rng, house, mixed(place.haze, (255, 255, 255), 0.3))
        house.shade(np.full((1, 1), lit(place.light, (0, 0, 1)), np.float32))
        place.add(-front, [wall(house, -front)])
        x += wide
    place.ground.darken([(-6.5, front - 0.05, 6.5, front + 0.4)], 0.5, 0.3)
    spots = rng.permutation([-2.6, -0.2, 2.4])
    for x in spots[: int(rng.integers(1, 4))]:
        _car(rng, place, x + rng.uniform(-0.3, 0.3), -far_kerb + 0.25)
    lamp_post(rng, place, rng.uniform(0.9, 1.5) * rng.choice([-1, 1]), -kerb + 0.1)
    if rng.random() < 0.5:
        z = -far_kerb - 0.5
        leaf = hsv(rng.uniform(0.18, 0.36), 0.55, rng.uniform(0.4, 0.7))
        place.add(z, [tree(rng, z, rng.uniform(0.8, 2.2) * rng.choice([-1, 1]), leaf, place.light)])


def _along(rng: Rng, place: Outdoors) -> None:
    half, front = rng.uniform(2.2, 2.6), rng.uniform(3.1, 3.6)
    ground = place.ground
    for sign in (-1, 1):
        inner, outer = sorted((sign * half, sign * 6.5))
        _pavement(rng, ground, inner, -FRONT_M, outer, GROUND_M)
        kerb = sorted((sign * half, sign * (half + 0.12)))
        ground.rect(kerb[0], -FRONT_M, kerb[1], GROUND_M, (176, 174, 170))
    for y in np.arange(-FRONT_M, GROUND_M, 1.8):
        ground.rect(-0.05, y, 0.05, y + 1.0, (222, 220, 212))
    sky = mixed(place.haze, (255, 255, 255), 0.3)
    for sign in (-1, 1):
        far, nearer = 0.0, 0.0  # metres away; height of the nearer house, which hides this one's side up to it
        while far < 46:
            wide, high = rng.uniform(4, 7) * (1 if far < 15 else 1.6), rng.uniform(5, 10)
            per_m, fog = 40 if far < 15 else 20, min(0.6, far / 80)
            canvas = Canvas(far, far + wide, 0, high, per_m) if sign < 0 else Canvas(-far - wide, -far, 0, high, per_m)
            colour = _house(rng, canvas, sky)
            canvas.shade(np.full((1, 1), lit(place.light, (-sign, 0, 0)), np.float32))
            canvas.image[..., :3] = canvas.image[..., :3] * (1 - fog) + np.array(place.haze) * fog
            side = mixed(times(colour, 0.9 * lit(place.light, (0, 0, 1))), place.haze, fog)
            outside = sorted((sign * front, sign * (front + 6)))
            end = [wall(plate(outside[0], outside[1], nearer, high, side), -far)] if high > nearer else []
            place.add(-far - wide, [*end, left_side(canvas, -front) if sign < 0 else right_side(canvas, front)])
            far, nearer = far + wide, high
    view = Canvas(-12, 12, 0, 16, 10)
    tone = mixed(fabric(rng), place.haze, 0.6)
    if rng.random() < 0.5:
        cloud_of_leaves(rng, view, 0, 4, 9, 5, mixed(hsv(0.28, 0.5, 0.55), place.haze, 0.5), place.light, 120)
        view.rect(-12, 0, 12, 2.5, mixed(hsv(0.28, 0.5, 0.4), place.haze, 0.5))
    else:
        for x in np.arange(-12, 12, 4.0):
            view.rect(x, 0, x + 4, rng.uniform(4, 14), times(tone, rng.uniform(0.85, 1.1)))
    place.add(-48, [wall(view, -48)])
    for sign in (-1, 1):
        for z in np.arange(-rng.uniform(2.6, 4.5), -16, -rng.uniform(4.8, 7)):
            if rng.random() < 0.75:
                _car_along(rng, place, sign * (half - 0.1), z)
    for sign, z in ((-1, -rng.uniform(2.5, 5)), (1, -rng.uniform(5, 9))):
        lamp_post(rng, place, sign * (half + 0.3), z)


def _pavement(rng: Rng, ground: Canvas, x0: float, y0: float, x1: float, y1: float) -> None:
    stone, size = hsv(rng.uniform(0, 0.7), rng.uniform(0, 0.15), rng.uniform(0.5, 0.8)), rng.uniform(0.3, 0.6)
    brick = (size, size) if rng.random() < 0.6 else (0.4, 0.2)
    rows, columns = round((y1 - y0) * ground.per_m), round((x1 - x0) * ground.per_m)
    shades = [stone, times(stone, rng.uniform(0.85, 1.0))]
    ground.inlay(x0, y0, x1, y1, surface.tiles(rng, rows, columns, ground.per_m, brick, shades, times(stone, 0.75)))


def _house(rng: Rng, canvas: Canvas, pane: Colour) -> Colour:
    """Paint a house front over the canvas and return the colour of its walls.

    Ground floor with a door or a shop, rows of windows above, a cornice.
    """
    x0, x1, high = canvas.x0, canvas.x1, canvas.y1
    colour, trim = surface.paint(rng), furniture(rng)
    rows, columns = round(high * canvas.per_m), round((x1 - x0) * canvas.per_m)
    if rng.random() < 0.4:
        brick = (0.5, 0.17) if canvas.per_m < 50 else (0.24, 0.08)
        canvas.inlay(
            x0, 0, x1, high, surface.tiles(rng, rows, columns, canvas.per_m, brick, [colour], times(colour, 1.15))
        )
    else:
        canvas.inlay(x0, 0, x1, high, surface.plain(rng, rows, columns, colour))
    canvas.rect(x0, high - 0.25, x1, high, times(colour, 0.7))
    canvas.rect(x0, high - 0.12, x1, high, times(colour, 1.15))
    canvas.rect(x0, 0, x0 + 0.06, high, times(colour, 0.75))
    canvas.rect(x0, 0, x1, 0.35, times(colour, 0.65))
    count = max(2, int((x1 - x0) / 1.15))
    gap = (x1 - x0) / count
    half, glass = gap * rng.uniform(0.27, 0.36), mixed(pane, (60, 75, 95), rng.uniform(0.45, 0.75))
    shutters = fabric(rng) if rng.random() < 0.35 else None
    for y in np.arange(3.3, high - 1.9, 2.6):
        for middle in x0 + gap * (np.arange(count) + 0.5):
            canvas.rect(middle - half - 0.07, y - 0.07, middle + half + 0.07, y + 1.57, trim)
            canvas.rect(middle - half, y, middle + half, y + 1.5, times(glass, rng.uniform(0.85, 1.15)))
            canvas.poly(
                [(middle - half, y + 0.9), (middle - half, y + 1.5), (middle + half * 0.4, y + 1.5)], times(glass, 1.2)
            )
            canvas.rect(middle - 0.03, y, middle + 0.03, y + 1.5, trim)
            canvas.rect(middle - half - 0.12, y - 0.14, middle + half + 0.12, y - 0.07, times(colour, 0.7))
            if shutters:
                for left in (middle - half - 0.26, middle + half + 0.08):
                    canvas.rect(left, y - 0.03, left + 0.18, y + 1.53, shutters)
    door = x0 + gap * (rng.integers(count) + 0.5)
    if rng.random() < 0.5:
        shop = fabric(rng)
        canvas.rect(x0 + 0.15, 0.1, x1 - 0.15, 2.9, shop)
        canvas.rect(x0 + 0.3, 0.55, x1 - 0.3, 2.3, times(glass, 0.8))
        canvas.poly([(x0 + 0.4, 0.55), (x0 + 1.2, 2.3), (x0 + 1.7, 2.3), (x0 + 0.9, 0.55)], times(glass, 0.95))
        canvas.rect(door - 0.5, 0.1, door + 0.5, 2.35, times(shop, 0.7))
        canvas.rect(door - 0.38, 0.5, door + 0.38, 2.2, times(glass, 0.7))
        stripes = [fabric(rng), (240, 238, 232)]
        for number, x in enumerate(np.arange(x0 + 0.15, x1 - 0.3, 0.3)):
            canvas.poly([(x, 2.25), (x + 0.3, 2.25), (x + 0.28, 2.75), (x + 0.02, 2.75)], stripes[number % 2])
        canvas.rect(x0 + 0.15, 2.15, x1 - 0.15, 2.25, times(stripes[0], 0.55))
    else:
        for middle in x0 + gap * (np.arange(count) + 0.5):
            if abs(middle - door) > gap / 2:
                canvas.rect(middle - half - 0.07, 0.93, middle + half + 0.07, 2.42, trim)
                canvas.rect(middle - half, 1.0, middle + half, 2.35, glass)
                canvas.rect(middle - 0.03, 1.0, middle + 0.03, 2.35, trim)
        leaf = fabric(rng)
        canvas.rect(door - 0.56, 0, door + 0.56, 2.5, trim)
        canvas.rect(door - 0.46, 0, door + 0.46, 2.1, leaf)
        canvas.rect(door - 0.46, 2.15, door + 0.46, 2.42, glass)
        for low in (0.25, 1.2):
            canvas.rect(door - 0.33, low, door + 0.33, low + 0.75, times(leaf, 0.82))
    return colour


def _car(rng: Rng, place: Outdoors, x: float, z: float) -> None:
    """Add a parked car from its side."""
    paint, glass = fabric(rng) if rng.random() < 0.6 else hsv(0, 0, rng.uniform(0.15, 0.95)), (58, 68, 80)
    half, roof = rng.uniform(1.9, 2.2), rng.uniform(1.38, 1.65)
    back, flip = rng.uniform(0.55, 0.95), float(rng.choice([-1, 1]))
    canvas = Canvas(x - 2.3, x + 2.3, 0, 1.75, 70)

    def at(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x + flip * px * half, py) for px, py in points]

    body = [(-1, 0.32), (-1, 0.72), (-0.94, 0.86), (-back, 0.92), (0.45, 0.92), (0.9, 0.8), (1, 0.62), (1, 0.32)]
    canvas.poly(at([(-back, 0.9), (-back + 0.16, roof), (0.1, roof), (0.5, 0.9)]), times(paint, 0.95))
    canvas.poly(at([(-back + 0.07, 0.93), (-back + 0.19, roof - 0.08), (-0.2, roof - 0.08), (-0.2, 0.93)]), glass)
    canvas.poly(at([(-0.15, 0.93), (-0.15, roof - 0.08), (0.08, roof - 0.08), (0.41, 0.93)]), times(glass, 1.2))
    canvas.poly(at(body), paint)
    canvas.poly(at([(-1, 0.32), (-1, 0.48), (1, 0.48), (1, 0.32)]), times(paint, 0.72))
    canvas.line(at([(-0.92, 0.8), (0.85, 0.78)]), 0.03, times(paint, 1.25))
    for seam in (-0.18, 0.32):
        canvas.line(at([(seam, 0.4), (seam, 0.9)]), 0.015, times(paint, 0.6))
    canvas.poly(at([(0.93, 0.64), (1.0, 0.62), (1.0, 0.72), (0.9, 0.76)]), (250, 246, 224))
    canvas.poly(at([(-1, 0.62), (-0.95, 0.62), (-0.95, 0.76), (-1, 0.76)]), (190, 30, 30))
    for wheel in (-0.62, 0.62):
        canvas.disc(x + wheel * half, 0.33, 0.36, 0.36, times(paint, 0.35))
        canvas.disc(x + wheel * half, 0.31, 0.31, 0.31, (28, 28, 30))
        canvas.disc(x + wheel * half, 0.31, 0.18, 0.18, (150, 152, 156))
        canvas.disc(x + wheel * half, 0.31, 0.06, 0.06, (80, 80, 84))
    place.add(z, [wall(canvas, z)])
    place.shadow((x - half, x + half), (z - 1.5, z + 0.1))


def _car_along(rng: Rng, place: Outdoors, kerb: float, z: float) -> None:
    """Add a parked car from behind: body and cabin as blocks."""
    paint = fabric(rng) if rng.random() < 0.6 else hsv(0, 0, rng.uniform(0.15, 0.95))
    outwards = np.sign(kerb)
    edges = sorted((kerb + outwards * 0.4, kerb - outwards * 0.85))  # partly on the pavement, as cars stand
    x = (edges[0], edges[1])
    low, high = rng.uniform(0.8, 0.95), rng.uniform(1.4, 1.65)
    rear = Canvas(*x, 0.25, low, 70)
    rear.cover(surface.vertical(*rear.size, [(0, times(paint, 1.05)), (1, times(paint, 0.7))]))
    for left in (x[0] + 0.03, x[1] - 0.25):
        rear.rect(left, low - 0.25, left + 0.22, low - 0.12, (200, 36, 36))
    rear.rect((x[0] + x[1]) / 2 - 0.22, 0.45, (x[0] + x[1]) / 2 + 0.22, 0.56, (236, 234, 226))
    rear.rect(x[0], 0.25, x[1], 0.34, (40, 40, 42))
    for left in (x[0] + 0.06, x[1] - 0.26) if z > -9 else ():
        place.add_box((left, left + 0.2), (0, 0.3), (z - 3.6, z - 0.1), (26, 26, 28), (26, 26, 28))
    place.add_box(x, (0.25, low), (z - 4.0, z), rear, paint, times(paint, 0.95))
    cabin = (x[0] + 0.07, x[1] - 0.07)
    window = Canvas(*cabin, low, high, 70)
    window.cover(surface.plain(rng, *window.size, times(paint, 0.9)))
    window.rect(cabin[0] + 0.08, low + 0.03, cabin[1] - 0.08, high - 0.08, (56, 66, 78))
    glare = [(cabin[0] + 0.1, low + 0.05), (cabin[0] + 0.35, high - 0.1), (cabin[0] + 0.5, high - 0.1)]
    window.poly(glare, (96, 108, 120))
    place.add_box(cabin, (low, high), (z - 2.6, z - 0.3), window, paint, (66, 76, 88))
    place.shadow(x, (z - 4.0, z + 0.1))
