"""Places at home: a bedroom and a kitchen."""

from itertools import pairwise

import numpy as np

from simulation.scenes import textures as surface
from simulation.scenes.panels import Canvas, Colour, wall
from simulation.scenes.rooms import (
    Place,
    Room,
    draw_light,
    lamp,
    paint_door,
    paint_floor,
    paint_picture,
    paint_roof,
    paint_walls,
    paint_window,
)
from simulation.scenes.textures import Rng, fabric, furniture, times


def bedroom(rng: Rng) -> Place:
    """A bed with its head at the wall, a window with curtains, a wardrobe, a rug, pictures."""
    side = int(rng.choice([-1, 1]))  # of the bed; the wardrobe stands on the other
    light = draw_light(rng, side, (0.45, 0.65), rng.uniform(-0.3, 1.0), (0.3, 0.5))
    room = Room(rng.uniform(2.0, 2.5), rng.uniform(2.8, 3.4), rng.uniform(2.4, 2.75), light)
    paint_walls(rng, room, surface.paint(rng))
    paint_roof(rng, room)
    paint_floor(rng, room, ["planks", "across", "carpet", "carpet"])
    if rng.random() < 0.75:
        _rug(rng, room)

    middle = side * rng.uniform(0.75, 1.0)
    paint_window(
        rng, room.back, middle - rng.uniform(0.4, 0.6), 1.2, middle + rng.uniform(0.4, 0.6), rng.uniform(2.05, 2.25)
    )
    _bed(rng, room, middle, rng.uniform(1.3, 1.55))
    _wardrobe(rng, room, -side)
    if rng.random() < 0.7:
        paint_picture(
            rng, room.back, -side * rng.uniform(0.15, 0.5), rng.uniform(1.5, 1.75), rng.uniform(0.3, 0.6), 0.5
        )
    paint_door(rng, room.left if side > 0 else room.right, 0.8 * side, furniture(rng), glazed=False)
    table = middle - side * 1.05
    wood = furniture(rng)
    room.add_box((table - 0.2, table + 0.2), (0, 0.5), (-room.depth, -room.depth + 0.4), wood, wood)
    stand = Canvas(table - 0.18, table + 0.18, 0.5, 1.0, 120)
    stand.rect(table - 0.02, 0.5, table + 0.02, 0.8, times(wood, 0.5))
    stand.trapezoid(table, 0.16, 0.74, 0.1, 0.97, (255, 236, 190))
    room.add(-room.depth + 0.21, [wall(stand, -room.depth + 0.2)])
    room.back.pool(table, 0.95, 0.6, 0.5, 0.3, (255, 225, 170))
    if rng.random() < 0.6:
        room.add(-1.3, [lamp(rng.uniform(-0.4, 0.4), room.high - 0.45, -1.3, room.high, fabric(rng), 0.22)])
    return room.finish()


def _rug(rng: Rng, room: Room) -> None:
    half, near, far = rng.uniform(0.9, 1.5), rng.uniform(-1.2, -0.6), rng.uniform(0.7, 1.2)
    colour, trim = fabric(rng), fabric(rng)
    room.ground.darken([(-half, near, half, far)], 0.3, 0.05)
    room.ground.rect(-half, near, half, far, trim)
    rows, columns = round((far - near) * 100), round(half * 200)
    weave = surface.speckled(rng, rows, columns, colour, 0.04)
    room.ground.inlay(-half + 0.08, near + 0.08, half - 0.08, far - 0.08, weave)
    kind = rng.integers(3)
    for step in np.arange(0.25, far - near - 0.15, rng.uniform(0.2, 0.45)) if kind == 0 else ():
        room.ground.rect(-half + 0.08, near + step, half - 0.08, near + step + 0.08, trim)
    if kind == 1:
        room.ground.rect(-half + 0.2, near + 0.2, half - 0.2, far - 0.2, times(trim, 1.1))
        room.ground.rect(-half + 0.26, near + 0.26, half - 0.26, far - 0.26, colour)


def _bed(rng: Rng, room: Room, middle: float, wide: float) -> None:
    back, long = -room.depth, min(2.0, room.depth - 1.15)
    x = (middle - wide / 2, middle + wide / 2)
    wood = furniture(rng)
    sheet = surface.hsv(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.8, 0.97))
    blanket = fabric(rng)
    head = rng.uniform(0.85, 1.15)
    room.add_box((x[0] - 0.06, x[1] + 0.06), (0, head), (back, back + 0.08), wood, times(wood, 1.1))
    top = Canvas(*x, -back - long, -back, 90)
    top.cover(surface.plain(rng, *top.size, blanket, 0.05))
    if rng.random() < 0.6:
        stripe = fabric(rng)
        for y in np.arange(top.y0, top.y1, rng.uniform(0.25, 0.5)):
            top.rect(x[0], y, x[1], y + 0.1, stripe)
    top.rect(x[0], top.y1 - 0.75, x[1], top.y1, sheet)
    top.rect(x[0], top.y1 - 0.78, x[1], top.y1 - 0.7, times(sheet, 0.85))
    room.add_box((x[0] - 0.03, x[1] + 0.03), (0.05, 0.28), (back, back + long), wood, wood)
    face = Canvas(*x, 0.2, 0.52, 60)
    face.cover(surface.folds(rng, *face.size, times(blanket, 0.85), wide / 0.3, 0.2))
    room.add_box(x, (0.2, 0.52), (back, back + long), face, top, times(blanket, 0.9))
    for place in (-0.24, 0.24) if rng.random() < 0.8 else (0.0,):
        pillow = middle + place * wide
        colour = sheet if rng.random() < 0.5 else fabric(rng)
        across, z = (pillow - 0.27, pillow + 0.27), (back + 0.1, back + 0.45)
        room.add_box(across, (0.52, 0.68), z, times(colour, 0.95), colour)


def _wardrobe(rng: Rng, room: Room, side: int) -> None:
    wide, high, colour = rng.uniform(0.9, 1.2), rng.uniform(1.85, 2.2), furniture(rng)
    outer = side * (room.half - 0.05)
    x = (min(outer, outer - side * wide), max(outer, outer - side * wide))
    face = Canvas(*x, 0, high, 100)
    face.cover(surface.planks(rng, *face.size, 100, colour, 0.6, 0.95))
    doors = np.linspace(x[0], x[1], int(rng.integers(2, 4)) + 1)
    for number, (left, right) in enumerate(pairwise(doors)):
        face.rect(left + 0.015, 0.08, right - 0.015, high - 0.04, times(colour, 0.8))
        face.rect(left + 0.025, 0.09, right - 0.015, high - 0.05, times(colour, rng.uniform(0.98, 1.06)))
        knob = right - 0.07 if number % 2 == 0 else left + 0.07
        face.rect(knob - 0.012, high * 0.45, knob + 0.012, high * 0.45 + 0.16, times(colour, 0.35))
    if rng.random() < 0.35:
        mirror = surface.vertical(8, 8, [(0, (205, 215, 220)), (1, (150, 160, 165))])
        face.inlay(doors[0] + 0.06, 0.3, doors[1] - 0.06, high - 0.2, mirror)
    room.add_box(x, (0, high), (-room.depth, -room.depth + 0.58), face, times(colour, 0.9), colour)


def kitchen(rng: Rng) -> Place:
    """A counter with sink, hob and oven, cabinets above, an extractor hood, a fridge, tiles."""
    side = int(rng.choice([-1, 1]))  # of the fridge
    light = draw_light(rng, -side, (0.5, 0.7), rng.uniform(-0.5, 0.8), (0.25, 0.45))
    room = Room(rng.uniform(2.0, 2.5), rng.uniform(2.5, 3.1), rng.uniform(2.4, 2.7), light)
    paint_walls(rng, room, surface.paint(rng))
    paint_roof(rng, room)
    paint_floor(rng, room, ["tiles", "checker", "checker", "planks", "lino"])
    front, worktop = furniture(rng), surface.furniture(rng)
    splash = surface.paint(rng)
    size = (rng.uniform(0.1, 0.2),) * 2 if rng.random() < 0.6 else (0.2, 0.1)
    rows, columns = round(0.75 * 100), room.back.size[1]
    shades = [splash, surface.paint(rng)] if rng.random() < 0.3 else [splash]
    strip = surface.tiles(rng, rows, columns, 100, size, shades, times(splash, rng.choice([0.75, 1.2])))
    room.back.inlay(-room.half, 0.85, room.half, 1.6, strip)

    back, deep = -room.depth, 0.62
    cold = 0.68  # how wide the fridge is
    low, high = (-room.half, room.half - cold) if side > 0 else (-room.half + cold, room.half)
    hob = -side * rng.uniform(0.75, 1.15)
    _cabinets(rng, room, (low, high), hob, front, worktop, deep)
    hood = Canvas(hob - 0.32, hob + 0.32, 1.55, room.high, 100)
    steel = (185, 188, 192) if rng.random() < 0.7 else (60, 60, 64)
    hood.poly([(hob - 0.32, 1.55), (hob + 0.32, 1.55), (hob + 0.32, 1.62), (hob + 0.12, 1.9), (hob + 0.12, room.high)]
              + [(hob - 0.12, room.high), (hob - 0.12, 1.9), (hob - 0.32, 1.62)], steel)  # fmt: skip
    hood.rect(hob - 0.32, 1.55, hob + 0.32, 1.6, times(steel, 0.7))
    room.add(back + 0.45, [wall(hood, back + 0.45)])
    upper = front if rng.random() < 0.6 else furniture(rng)
    opening = hob + side * rng.uniform(0.5, 0.6)
    if rng.random() < 0.5:  # a window over the sink instead of cabinets beside the fridge
        left, right = sorted((opening, opening + side * 0.95))
        paint_window(rng, room.back, left + 0.1, 1.2, right - 0.05, 2.1, curtains=False)
        _wall_cabinets(rng, room, sorted((opening + side * 1.0, side * (room.half - cold))), upper)
    else:
        _wall_cabinets(rng, room, sorted((opening, side * (room.half - cold))), upper)
    _wall_cabinets(rng, room, sorted((hob - side * 0.36, -side * room.half)), upper)
    _fridge(rng, room, side, cold)
    for _ in range(int(rng.integers(2, 6))):
        x, wide, tall = rng.uniform(low + 0.1, high - 0.3), rng.uniform(0.06, 0.2), rng.uniform(0.12, 0.34)
        z = back + rng.uniform(0.1, 0.3)
        if abs(x - hob) > 0.5:
            thing = fabric(rng)
            room.add_box((x, x + wide), (0.92, 0.92 + tall), (z, z + wide), thing, times(thing, 1.15))
    for x in rng.uniform(-0.5, 0.0) + np.arange(int(rng.integers(0, 4))) * 0.5:
        room.add(-1.4, [lamp(x, room.high - 0.5, -1.4, room.high, furniture(rng), 0.13)])
    return room.finish()


def _cabinets(
    rng: Rng, room: Room, x: tuple[float, float], hob: float, front: Colour, worktop: Colour, deep: float
) -> None:
    """Add the row under the worktop, with the oven below the hob, and the worktop with hob and sink."""
    back = -room.depth
    face = Canvas(*x, 0, 0.88, 100)
    face.cover(surface.plain(rng, *face.size, times(front, 0.75)))
    face.rect(x[0], 0, x[1], 0.1, (40, 38, 36))
    steel, drawers = (170, 172, 176), rng.random() < 0.4
    for left in np.arange(hob - 0.3 - 0.6 * np.floor((hob - 0.3 - x[0]) / 0.6), x[1] - 0.2, 0.6):
        if abs(left + 0.3 - hob) < 0.05:
            continue
        face.rect(left + 0.012, 0.11, left + 0.588, 0.86, front)
        for y in (0.36, 0.61, 0.86) if drawers else (0.86,):
            face.line([(left + 0.01, y), (left + 0.59, y)], 0.015, times(front, 0.7))
            face.rect(left + 0.18, y - 0.1, left + 0.42, y - 0.075, steel)
    face.rect(hob - 0.29, 0.12, hob + 0.29, 0.86, (52, 52, 56))
    face.rect(hob - 0.23, 0.2, hob + 0.23, 0.62, (24, 24, 28))
    face.rect(hob - 0.24, 0.66, hob + 0.24, 0.69, steel)
    for knob in (-0.2, -0.07, 0.07, 0.2):
        face.rect(hob + knob - 0.02, 0.755, hob + knob + 0.02, 0.795, steel)
    top = Canvas(*x, room.depth - deep, room.depth, 90)
    top.cover(surface.speckled(rng, *top.size, worktop, 0.04, 12))
    top.rect(hob - 0.28, top.y0 + 0.08, hob + 0.28, top.y1 - 0.08, (22, 22, 25))
    for ring_x, ring_y in ((-0.14, 0.2), (0.14, 0.2), (-0.14, 0.42), (0.14, 0.42)):
        top.disc(hob + ring_x, top.y0 + ring_y, 0.085, 0.085, (88, 88, 92))
        top.disc(hob + ring_x, top.y0 + ring_y, 0.07, 0.07, (30, 30, 33))
    sink = hob + (0.95 if hob < 0 else -0.95)
    top.rect(sink - 0.27, top.y0 + 0.1, sink + 0.27, top.y1 - 0.14, (190, 192, 196))
    top.rect(sink - 0.23, top.y0 + 0.13, sink + 0.23, top.y1 - 0.17, (120, 123, 128))
    room.add_box(x, (0, 0.88), (back, back + deep - 0.04), face, worktop, front)
    room.add_box(x, (0.88, 0.92), (back, back + deep), times(worktop, 0.85), top, worktop)
    tap = Canvas(sink - 0.03, sink + 0.2, 0.92, 1.25, 120)
    spout = [(sink, 0.92), (sink, 1.2), (sink + 0.06, 1.23), (sink + 0.14, 1.2), (sink + 0.15, 1.12)]
    tap.line(spout, 0.025, (200, 203, 208))
    room.add(back + deep + 0.01, [wall(tap, back + 0.1)])


def _wall_cabinets(rng: Rng, room: Room, x: list[float], colour: Colour) -> None:
    if x[1] - x[0] < 0.3:
        return
    face = Canvas(x[0], x[1], 1.45, 2.15, 100)
    face.cover(surface.plain(rng, *face.size, times(colour, 0.75)))
    edges = np.linspace(x[0], x[1], max(1, round((x[1] - x[0]) / 0.45)) + 1)
    glass = rng.random() < 0.25
    for left, right in pairwise(edges):
        face.rect(left + 0.01, 1.46, right - 0.01, 2.14, colour)
        if glass:
            face.rect(left + 0.07, 1.53, right - 0.07, 2.07, (150, 165, 170))
            face.line([(left + 0.07, 1.8), (right - 0.07, 1.8)], 0.02, times(colour, 0.9))
        face.rect(right - 0.06, 1.5, right - 0.04, 1.62, (165, 167, 170))
    room.add_box((x[0], x[1]), (1.45, 2.15), (-room.depth, -room.depth + 0.34), face, colour, colour)


def _fridge(rng: Rng, room: Room, side: int, wide: float) -> None:
    colour = surface.hsv(rng.random(), rng.choice([0.02, 0.45]), rng.uniform(0.6, 0.95))
    high = rng.uniform(1.75, 1.98)
    outer = side * room.half
    x = (min(outer, outer - side * wide), max(outer, outer - side * wide))
    face = Canvas(*x, 0, high, 90)
    face.cover(surface.vertical(*face.size, [(0, colour), (1, times(colour, 0.82))]))
    seam, handle = rng.choice([0.7, 1.25]), x[0] + 0.08 if side > 0 else x[1] - 0.08
    face.line([(x[0], seam), (x[1], seam)], 0.02, times(colour, 0.45))
    for low, top in ((seam + 0.08, seam + 0.4), (seam - 0.45, seam - 0.08)):
        face.rect(handle - 0.015, low, handle + 0.015, top, times(colour, 0.55))
    room.add_box(x, (0.03, high), (-room.depth, -room.depth + 0.7), face, colour, colour)
