"""Public places with a roof: a gymnasium, a corridor and a stage."""

import numpy as np

from simulation.scenes import textures as surface
from simulation.scenes.panels import Canvas, Colour, Panel, wall
from simulation.scenes.rooms import (
    Place,
    Room,
    draw_light,
    paint_door,
    paint_floor,
    paint_picture,
    paint_roof,
    paint_walls,
    paint_window,
)
from simulation.scenes.textures import Rng, fabric, mixed, times


def gymnasium(rng: Rng) -> Place:
    """Wall bars, a hoop, a mirror, stacked mats, court lines on a sprung floor, windows high up, beams."""
    side = int(rng.choice([-1, 1]))
    light = draw_light(rng, side, (0.55, 0.75), rng.uniform(-0.5, 0.5), (0.2, 0.4))
    room = Room(rng.uniform(3.8, 5.0), rng.uniform(3.3, 4.0), rng.uniform(4.2, 5.2), light)
    low, high = surface.paint(rng), surface.paint(rng) if rng.random() < 0.5 else (228, 226, 220)
    edge = rng.uniform(1.3, 2.2)
    for canvas in room.walls:
        canvas.cover(surface.plain(rng, *canvas.size, high))
        canvas.inlay(canvas.x0, 0, canvas.x1, edge, surface.planks(rng, 120, 200, 30, low, 0.3, 0.8))
        canvas.rect(canvas.x0, edge, canvas.x1, edge + 0.06, times(low, 0.7))
    paint_floor(rng, room, ["planks", "across", "lino"])
    _court_lines(rng, room)

    spots = list(np.array([-1.75, -0.6, 0.6, 1.75]) + rng.uniform(-0.1, 0.1))
    if side < 0:
        spots.reverse()
    bars = int(rng.integers(1, 3))
    for x in spots[:bars]:
        _wall_bars(rng, room, x, surface.wood(rng))
    if rng.random() < 0.6:
        _mirror(room, spots[-1], edge, low)
    else:
        _rack(rng, room, spots[-1])
    if rng.random() < 0.75:
        _hoop(rng, room, rng.uniform(-0.7, 0.7))
    _mats(rng, room, spots[2] if bars == 2 else spots[1], int(rng.integers(2, 6)))
    for _ in range(int(rng.integers(1, 4))):
        _ball(rng, room, rng.uniform(1.2, 1.9) * rng.choice([-1, 1]), -rng.uniform(1.6, 2.6))
    if rng.random() < 0.7:
        for x in np.arange(-room.half + 0.6, room.half - 1, 1.5):
            paint_window(rng, room.back, x, room.high - 1.1, x + 1.1, room.high - 0.35, curtains=False)
    paint_roof(rng, room)
    beam = times(surface.furniture(rng), 0.8)
    for z in np.arange(-room.depth + 0.5, 2, 1.4):
        room.roof.rect(-room.half, z, room.half, z + 0.22, beam)
        for x in np.arange(-room.half + 1, room.half, 2.0):
            room.roof.rect(x, z + 0.5, x + 1.1, z + 0.75, (255, 252, 240))
    return room.finish()


def _court_lines(rng: Rng, room: Room) -> None:
    ground = room.ground
    for _ in range(int(rng.integers(2, 4))):
        colour, wide = surface.hsv(rng.random(), rng.choice([0.0, 0.8]), 0.95), 0.05
        kind = rng.integers(3)
        if kind == 0:
            z = rng.uniform(-1.5, 2.5)
            ground.line([(-room.half, z), (room.half, z)], wide, colour)
        elif kind == 1:
            x = rng.uniform(-1.4, 1.4)
            ground.line([(x, -3.6), (x, room.depth - 0.5)], wide, colour)
        else:
            turn = np.linspace(0, 2 * np.pi, 60)
            radius, x, y = rng.uniform(0.9, 1.8), rng.uniform(-0.8, 0.8), rng.uniform(-1, 1.5)
            ground.line([(x + radius * np.cos(a), y + radius * np.sin(a)) for a in turn], wide, colour)


def _wall_bars(rng: Rng, room: Room, x: float, wood: Colour) -> None:
    bars = Canvas(x - 0.48, x + 0.48, 0.05, 2.6, 90)
    for y in np.arange(0.2, 2.55, 0.17):
        bars.rect(x - 0.47, y, x + 0.47, y + 0.045, wood)
        bars.rect(x - 0.47, y, x + 0.47, y + 0.015, times(wood, 0.7))
    for post in (-0.46, 0.0, 0.46):
        bars.rect(x + post - 0.03, 0.05, x + post + 0.03, 2.6, times(wood, 0.88))
    room.back.darken([(x - 0.5, 0.05, x + 0.55, 2.55)], 0.3, 0.05)
    room.add(-room.depth + 0.12, [wall(bars, -room.depth + 0.12)])


def _mirror(room: Room, x: float, edge: float, low: Colour) -> None:
    glass = mixed((198, 210, 214), low, 0.15)
    for left in (x - 0.75, x, x + 0.75):
        texture = surface.vertical(16, 4, [(0, glass), (0.55, times(glass, 0.86)), (1, times(glass, 0.7))])
        room.back.inlay(left, 0.15, left + 0.73, 2.1, texture)
        for start in (0.1, 0.3):
            room.back.line([(left + start, 0.5), (left + start + 0.3, 1.7)], 0.05, times(glass, 1.12))
    for y in (0.9, edge) if edge < 1.2 else (0.95,):
        room.back.line([(x - 0.8, y), (x + 1.5, y)], 0.045, (150, 120, 90))


def _rack(rng: Rng, room: Room, x: float) -> None:
    colour, back = fabric(rng), -room.depth
    for y in (0.25, 0.6, 0.95):
        room.add_box((x - 0.6, x + 0.6), (y, y + 0.05), (back + 0.15, back + 0.5), (60, 60, 64), (75, 75, 80))
        for left in np.arange(x - 0.55, x + 0.45, 0.22):
            tone = colour if rng.random() < 0.6 else (48, 48, 52)
            room.add_box((left, left + 0.15), (y + 0.05, y + 0.17), (back + 0.2, back + 0.48), tone, times(tone, 1.1))


def _hoop(rng: Rng, room: Room, x: float) -> None:
    board = Canvas(x - 0.75, x + 0.75, 2.55, 3.6, 80)
    face = (240, 240, 238) if rng.random() < 0.7 else fabric(rng)
    board.rect(x - 0.72, 2.62, x + 0.72, 3.55, times(face, 0.6))
    board.rect(x - 0.69, 2.65, x + 0.69, 3.52, face)
    square = [(x - 0.26, 2.8), (x - 0.26, 3.2), (x + 0.26, 3.2), (x + 0.26, 2.8), (x - 0.26, 2.8)]
    board.line(square, 0.045, fabric(rng))
    net = Canvas(x - 0.25, x + 0.25, 2.3, 2.8, 100)
    net.line([(x - 0.22, 2.75), (x + 0.22, 2.75)], 0.03, (220, 90, 40))
    for step in np.linspace(-0.2, 0.2, 6):
        net.line([(x + step, 2.73), (x + step * 0.5 + 0.03, 2.4)], 0.012, (235, 235, 235))
        net.line([(x + step, 2.73), (x + step * 0.5 - 0.03, 2.4)], 0.012, (235, 235, 235))
    room.back.darken([(x - 0.7, 2.5, x + 0.8, 3.45)], 0.25, 0.06)
    room.add(-room.depth + 0.5, [wall(board, -room.depth + 0.4), wall(net, -room.depth + 0.65)])


def _mats(rng: Rng, room: Room, x: float, count: int) -> None:
    back, one, other = -room.depth, fabric(rng), fabric(rng)
    for number in range(count):
        colour, shift = (one, other)[number % 2], rng.uniform(-0.05, 0.05)
        y = (number * 0.13, number * 0.13 + 0.12)
        room.add_box((x - 0.6 + shift, x + 0.6 + shift), y, (back + 0.2, back + 1.0), times(colour, 0.95), colour)


def _ball(rng: Rng, room: Room, x: float, z: float) -> None:
    size, colour = rng.uniform(0.11, 0.32), fabric(rng)
    ball = Canvas(x - size * 1.05, x + size * 1.05, 0, size * 2.1, 100)
    for share in np.linspace(1, 0.15, 8):  # towards the light, brighter
        place = 0.35 * size * (1 - share)
        tone = times(colour, 0.7 + 0.5 * (1 - share))
        ball.disc(x + place * np.sign(room.light.direction[0]), size + place, size * share, size * share, tone)
    room.ground.darken([(x - size * 0.6, -z - size * 0.4, x + size * 0.6, -z + size * 0.4)], 0.5, 0.08)
    room.add(z, [wall(ball, z)])


def corridor(rng: Rng) -> Place:
    """Long walls with doors, lockers or notice boards, a row of ceiling lamps, a door or window at the far end."""
    side = int(rng.choice([-1, 1]))
    light = draw_light(rng, side, (0.55, 0.75), rng.uniform(-0.8, 0.5), (0.2, 0.4))
    room = Room(rng.uniform(1.6, 1.95), rng.uniform(8.0, 12.0), rng.uniform(2.45, 2.9), light)
    paint_walls(rng, room, surface.paint(rng))
    paint_floor(rng, room, ["lino", "lino", "tiles", "checker", "carpet"])
    if rng.random() < 0.5:
        border = surface.paint(rng)
        for x in (-room.half, room.half - 0.25):
            room.ground.rect(x, -3.6, x + 0.25, room.depth, border)
    paint_roof(rng, room)
    gap = rng.uniform(1.6, 2.6)
    wide = rng.uniform(0.15, 0.6)
    for z in np.arange(-room.depth + 0.6, 2, gap):
        room.roof.rect(-wide - 0.04, z - 0.04, wide + 0.04, z + 0.64, (120, 120, 118))
        room.roof.rect(-wide, z, wide, z + 0.6, (255, 255, 246))
        room.ground.pool(0, -z - 0.3, 0.7, 0.6, 0.16)

    door, glazed, spacing = surface.furniture(rng), bool(rng.random() < 0.5), rng.uniform(2.0, 2.8)
    lockers = rng.random() < 0.4
    for canvas, sign in ((room.left, 1), (room.right, -1)):
        has_lockers = lockers and sign == side
        start = rng.uniform(1.2, 2.2)
        for far in np.arange(start, room.depth - 0.7, spacing):
            middle = far * sign
            if has_lockers:
                _lockers(rng, canvas, middle, spacing, door)
                continue
            paint_door(rng, canvas, middle, door, glazed)
            canvas.rect(middle + 0.6, 1.5, middle + 0.75, 1.62, (235, 235, 230))
            beside = middle + spacing / 2
            if canvas.x0 + 0.6 < beside < canvas.x1 - 0.6:
                _between_doors(rng, canvas, beside)
    end = rng.integers(3)
    if end == 0:
        paint_window(rng, room.back, -0.6, 0.9, 0.6, 2.1, curtains=False)
    elif end == 1:
        for x in (-0.48, 0.48):
            paint_door(rng, room.back, x, times(door, 0.9), glazed=True)
    else:
        paint_door(rng, room.back, rng.uniform(-0.4, 0.4), surface.furniture(rng), glazed=False)
    sign_z = -rng.uniform(2.5, 5.0)
    exit_sign = Canvas(-0.28, 0.28, room.high - 0.42, room.high, 100)
    exit_sign.rect(-0.02, room.high - 0.2, 0.02, room.high, (90, 90, 90))
    green_or_red = (24, 140, 74) if rng.random() < 0.7 else (190, 40, 40)
    exit_sign.rect(-0.27, room.high - 0.41, 0.27, room.high - 0.2, green_or_red)
    exit_sign.rect(-0.16, room.high - 0.33, 0.08, room.high - 0.28, (245, 255, 245))
    exit_sign.poly([(0.06, room.high - 0.38), (0.18, room.high - 0.305), (0.06, room.high - 0.23)], (245, 255, 245))
    room.add(sign_z, [wall(exit_sign, sign_z)])
    if rng.random() < 0.6:
        _bench_along(rng, room, side)
    return room.finish()


def _lockers(rng: Rng, canvas: Canvas, middle: float, spacing: float, colour: Colour) -> None:
    for left in np.arange(middle - spacing / 2, middle + spacing / 2 - 0.1, 0.4):
        canvas.rect(left, 0.08, left + 0.39, 1.9, times(colour, 0.7))
        canvas.rect(left + 0.02, 0.1, left + 0.37, 1.88, times(colour, rng.uniform(0.95, 1.08)))
        for y in (1.6, 1.66, 1.72):
            canvas.rect(left + 0.1, y, left + 0.29, y + 0.02, times(colour, 0.5))
        canvas.rect(left + 0.3, 0.95, left + 0.33, 1.1, (60, 60, 62))


def _between_doors(rng: Rng, canvas: Canvas, x: float) -> None:
    kind = rng.integers(4)
    if kind == 0:  # a notice board with sheets
        canvas.rect(x - 0.45, 1.1, x + 0.45, 1.8, surface.wood(rng))
        for _ in range(5):
            left, low = x + rng.uniform(-0.4, 0.2), rng.uniform(1.14, 1.5)
            canvas.rect(left, low, left + 0.18, low + 0.25, surface.hsv(rng.random(), rng.uniform(0, 0.4), 0.95))
    elif kind == 1:  # a fire extinguisher
        canvas.rect(x - 0.07, 0.6, x + 0.07, 1.05, (196, 30, 30))
        canvas.rect(x - 0.03, 1.05, x + 0.05, 1.14, (30, 30, 30))
    elif kind == 2:
        paint_picture(rng, canvas, x, 1.55, 0.6, 0.5)
    else:  # a radiator
        canvas.rect(x - 0.4, 0.15, x + 0.4, 0.7, (210, 210, 206))
        for step in np.arange(x - 0.38, x + 0.38, 0.08):
            canvas.rect(step, 0.17, step + 0.05, 0.68, (236, 236, 232))


def _bench_along(rng: Rng, room: Room, side: int) -> None:
    wood, far = surface.furniture(rng), rng.uniform(2.4, 4.0)
    x = (-room.half, -room.half + 0.4) if side < 0 else (room.half - 0.4, room.half)
    room.add_box(x, (0.4, 0.46), (-far - 1.3, -far), wood, times(wood, 1.1))
    for z in (-far - 1.2, -far - 0.15):
        room.add_box(x, (0, 0.4), (z, z + 0.08), (60, 60, 62), (60, 60, 62))


def stage(rng: Rng) -> Place:
    """Boards under spot lights, a curtain or a glowing screen at the back, side curtains, a lighting bar."""
    side = int(rng.choice([-1, 1]))
    light = draw_light(rng, side, (0.4, 0.55), rng.uniform(-0.3, 0.6), (0.4, 0.65))
    room = Room(4.6, rng.uniform(3.2, 3.9), rng.uniform(5.0, 5.6), light)
    cloth, dark = fabric(rng), surface.hsv(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.08, 0.18))
    lamps = [surface.hsv(rng.random(), rng.uniform(0.15, 0.8), 1.0) for _ in range(int(rng.integers(2, 5)))]
    for canvas in room.walls:
        canvas.cover(surface.plain(rng, *canvas.size, dark))
    room.roof.cover(surface.plain(rng, *room.roof.size, times(dark, 0.6)))
    boards = times(surface.wood(rng), rng.uniform(0.55, 0.9))
    rows, columns = room.ground.size
    if rng.random() < 0.5:
        texture = surface.planks(rng, rows, columns, room.ground.per_m, boards, rng.uniform(0.12, 0.22), 0.45)
    else:
        texture = surface.planks(rng, columns, rows, room.ground.per_m, boards, 0.16, 0.45).transpose(1, 0, 2)
    room.ground.cover(np.ascontiguousarray(texture))
    if rng.random() < 0.6:
        rows, columns = room.back.size
        room.back.cover(surface.folds(rng, rows, columns, cloth, rng.uniform(18, 34), 0.6))
    else:
        _screen(rng, room, lamps)
    for tint, x in zip(lamps, rng.permutation(np.linspace(-1.6, 1.6, len(lamps))), strict=True):
        room.ground.pool(x, rng.uniform(-0.6, 1.6), 0.9, 0.75, 0.75, tint)
        room.back.pool(x * 1.3, rng.uniform(0.8, 3.0), 0.9, 1.5, 0.45, tint)
    room.ground.pool(0, -0.1, 1.2, 0.9, 0.5, (255, 246, 226))

    legs = times(cloth, 0.8) if rng.random() < 0.5 else times(fabric(rng), 0.7)
    for z, edge in ((-room.depth + 0.5, rng.uniform(1.6, 1.8)), (-1.7, rng.uniform(1.45, 1.6))):
        for sign in (-1, 1):
            x = sorted((sign * edge, sign * 3.4))
            leg = Canvas(x[0], x[1], 0.02, room.high, 60)
            leg.cover(surface.folds(rng, *leg.size, legs, rng.uniform(5, 8), 0.6))
            leg.shade(np.linspace(0.7, 1.0, leg.size[0])[:, None])
            room.add(z, [wall(leg, z)])
            room.ground.darken([(x[0], -z - 0.05, x[1], -z + 0.15)], 0.5, 0.08)
    _valance(rng, room, legs)
    room.add(-1.5, _lighting_bar(room, lamps))
    if rng.random() < 0.7:
        for sign in (-1, 1) if rng.random() < 0.6 else (side,):
            _speaker(rng, room, sign * rng.uniform(1.55, 1.75))
    room.add(-1.2, _beams(rng, room, lamps))
    return room.finish()


def _screen(rng: Rng, room: Room, lamps: list[Colour]) -> None:
    rows, columns = room.back.size
    glow = surface.vertical(rows, columns, [(0, times(lamps[0], 0.35)), (0.6, times(lamps[0], 0.75)), (1, lamps[-1])])
    room.back.cover(glow)
    shape, tone = rng.integers(3), times(mixed(lamps[0], lamps[-1], 0.5), 0.45)
    for x in np.arange(-2.6, 2.6, rng.uniform(0.5, 0.9)):
        if shape == 0:
            room.back.rect(x, 0, x + 0.4, rng.uniform(0.6, 2.2), tone)
        elif shape == 1:
            room.back.poly([(x - 0.7, 0), (x, rng.uniform(0.8, 2.4)), (x + 0.7, 0)], tone)
        else:
            room.back.line([(x, 0), (x + 0.6, room.high)], 0.1, tone)


def _valance(rng: Rng, room: Room, cloth: Colour) -> None:
    low = rng.uniform(2.9, 3.2)
    canvas = Canvas(-2.6, 2.6, low - 0.25, room.high, 60)
    canvas.cover(surface.folds(rng, *canvas.size, cloth, rng.uniform(14, 24), 0.55))
    columns = np.linspace(-2.6, 2.6, canvas.size[1])
    edge = low - 0.2 + 0.18 * np.abs(np.sin(columns * rng.uniform(2, 4)))
    heights = np.linspace(canvas.y1, canvas.y0, canvas.size[0])
    canvas.image[heights[:, None] < edge[None]] = 0
    canvas.shade(np.linspace(0.5, 1.0, canvas.size[0])[:, None])
    room.add(-1.6, [wall(canvas, -1.65)])


def _lighting_bar(room: Room, lamps: list[Colour]) -> list[Panel]:
    y = 2.95
    canvas = Canvas(-1.9, 1.9, y - 0.35, y + 0.25, 80)
    for level in (y, y + 0.18):
        canvas.line([(-1.9, level), (1.9, level)], 0.035, (96, 98, 102))
    for x in np.arange(-1.9, 1.8, 0.2):
        canvas.line([(x, y), (x + 0.1, y + 0.18), (x + 0.2, y)], 0.02, (80, 82, 86))
    for tint, x in zip(lamps, np.linspace(-1.3, 1.3, len(lamps)), strict=True):
        canvas.trapezoid(x, 0.1, y, 0.14, y - 0.22, (32, 32, 34))
        canvas.disc(x, y - 0.22, 0.13, 0.05, mixed(tint, (255, 255, 255), 0.6))
    return [wall(canvas, -1.5)]


def _beams(rng: Rng, room: Room, lamps: list[Colour]) -> list[Panel]:
    """Light made visible by haze, thin, so that nothing behind is hidden."""
    canvas = Canvas(-2.4, 2.4, 0.0, 2.75, 30)
    picture = np.zeros((*canvas.size, 4), np.float32)
    for tint, x in zip(lamps, np.linspace(-1.3, 1.3, len(lamps)), strict=True):
        beam = Canvas(-2.4, 2.4, 0.0, 2.75, 30)
        foot, wide = x * 0.4 + rng.uniform(-0.7, 0.7), rng.uniform(0.3, 0.55)
        beam.poly([(x - 0.1, 2.75), (x + 0.1, 2.75), (foot + wide, 0), (foot - wide, 0)], tint)
        picture += beam.image * np.linspace(0.2, 0.03, canvas.size[0], dtype=np.float32)[:, None, None]
    canvas.image[:] = np.clip(picture, 0, 255)
    canvas.image[..., 3] = np.maximum(canvas.image.max(axis=2) // 3, canvas.image[..., :3].max(axis=2))
    return [wall(canvas, -1.3)]


def _speaker(rng: Rng, room: Room, x: float) -> None:
    high, back = rng.uniform(0.7, 1.2), -room.depth + 0.6
    face = Canvas(x - 0.25, x + 0.25, 0, high, 80)
    face.cover(surface.plain(rng, *face.size, (38, 38, 41)))
    face.rect(x - 0.22, 0.05, x + 0.22, high - 0.05, (52, 52, 56))
    for y in np.arange(0.08, high - 0.08, 0.05):
        face.line([(x - 0.21, y), (x + 0.21, y)], 0.012, (30, 30, 33))
    room.add_box((x - 0.25, x + 0.25), (0, high), (back + 0.1, back + 0.55), face, (60, 60, 64), (34, 34, 37))
