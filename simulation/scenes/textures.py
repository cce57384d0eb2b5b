"""Random colours and surfaces: RGB, textures uint8 [h, w, 3]."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from simulation.scenes.panels import Colour

Rng = np.random.Generator


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB 0..255 from hue (which wraps), saturation and value, 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(1.0, max(0.0, saturation)), min(1.0, max(0.0, value)))
    return red * 255, green * 255, blue * 255


def times(colour: Colour, factor: float) -> Colour:
    """The colour, lighter or darker by a factor."""
    red, green, blue = (min(255.0, max(0.0, c * factor)) for c in colour)
    return red, green, blue


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """Mixture of two colours with `share` of the other."""
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return red, green, blue


def paint(rng: Rng) -> Colour:
    """Random colour of a wall: any hue, mostly muted."""
    hue, saturations = rng.random(), [rng.uniform(0, 0.1), rng.uniform(0.12, 0.5)]
    return hsv(hue, rng.choice(saturations, p=[0.35, 0.65]), rng.uniform(0.5, 0.95))


def fabric(rng: Rng) -> Colour:
    """Random colour of cloth and painted things."""
    return hsv(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.95))


def wood(rng: Rng) -> Colour:
    """Random colour of wood, from pale birch to dark walnut."""
    return hsv(rng.uniform(0.04, 0.12), rng.uniform(0.2, 0.6), rng.uniform(0.25, 0.85))


def carpet(rng: Rng) -> Colour:
    """Random colour of a carpet: any hue, muted."""
    return hsv(rng.random(), rng.uniform(0.03, 0.45), rng.uniform(0.3, 0.85))


def furniture(rng: Rng) -> Colour:
    """Random colour of furniture: wood, white, grey or paint."""
    kind = rng.random()
    if kind < 0.4:
        return wood(rng)
    if kind < 0.65:
        return hsv(rng.random(), rng.uniform(0, 0.06), rng.uniform(0.35, 0.95))
    return fabric(rng)


def noise(rng: Rng, height: int, width: int, cell_y: float, cell_x: float | None = None) -> np.ndarray:
    """Noise float32 [h, w], smooth over cells of so many texels, about -2..2."""
    cell_x = cell_y if cell_x is None else cell_x
    small = rng.standard_normal((int(height / cell_y) + 3, int(width / cell_x) + 3), np.float32)
    grown = cv2.resize(small, (int(small.shape[1] * cell_x) + 1, int(small.shape[0] * cell_y) + 1))
    return grown[int(cell_y) :, int(cell_x) :][:height, :width]


def tinted(colour: Colour, field: np.ndarray) -> np.ndarray:
    """Texture of a colour times `field`, float [h, w]."""
    base = np.array(colour, np.float32)
    return np.clip(field[..., None] * base, 0, 255).astype(np.uint8)


def plain(rng: Rng, height: int, width: int, colour: Colour, grain: float = 0.02) -> np.ndarray:
    """Painted or plastered surface."""
    return tinted(colour, 1 + grain * (noise(rng, height, width, 40) + 0.5 * noise(rng, height, width, 2)))


def speckled(rng: Rng, height: int, width: int, colour: Colour, amount: float, cell: float = 60) -> np.ndarray:
    """Asphalt, sand, carpet: fine grain on soft patches."""
    fine = rng.standard_normal((height, width), np.float32)
    patches = 0.5 * fine + noise(rng, height, width, cell) + 0.6 * noise(rng, height, width, cell / 6)
    return tinted(colour, 1 + amount * patches)


def planks(
    rng: Rng, height: int, width: int, per_m: float, colour: Colour, plank_m: float, joint: float = 0.55
) -> np.ndarray:
    """Boards running down the texture, in staggered lengths."""
    wide, long = max(3.0, plank_m * per_m), rng.uniform(0.9, 2.2) * per_m
    columns = np.arange(width)
    board = (columns / wide).astype(int)
    shift = rng.random(board.max() + 1) * long
    rows = (np.arange(height)[:, None] + shift[board][None]) / long
    piece = rows.astype(int)
    tone = rng.uniform(0.84, 1.12, (board.max() + 1, piece.max() + 1)).astype(np.float32)
    field = tone[board[None], piece] * (1 + 0.05 * noise(rng, height, width, 60, 2.5))
    field[:, np.diff(board, prepend=board[0]) > 0] *= joint
    field[(rows - piece) < 1.6 / long] *= joint
    return tinted(colour, field)


def tiles(
    rng: Rng,
    height: int,
    width: int,
    per_m: float,
    size_m: tuple[float, float],
    colours: Sequence[Colour],
    joint: Colour,
) -> np.ndarray:
    """Tiles `size_m` across and down in a checker of colours; bricks (every other row moved) where the sizes differ."""
    across, down = size_m[0] * per_m, size_m[1] * per_m
    row = np.arange(height) / down
    column = np.arange(width)[None] / across + (np.floor(row)[:, None] % 2) * (0.5 if size_m[0] != size_m[1] else 0.0)
    row_index, column_index = np.floor(row).astype(int)[:, None], np.floor(column).astype(int)
    palette = np.array(colours, np.float32)
    tone = rng.uniform(0.93, 1.05, (row_index.max() + 1, column_index.max() + 1)).astype(np.float32)
    picture = palette[(row_index + column_index) % len(colours)] * tone[row_index, column_index][..., None]
    rim_x, rim_y = 1.3 / across, 1.3 / down
    seam = ((column - column_index) < rim_x) | ((row[:, None] - row_index) < rim_y)
    picture[seam] = joint
    return np.clip(picture, 0, 255).astype(np.uint8)


def folds(rng: Rng, height: int, width: int, colour: Colour, count: float, depth: float = 0.35) -> np.ndarray:
    """Hanging cloth: soft vertical folds, a little uneven."""
    phase = np.linspace(0, count * 2 * np.pi, width, dtype=np.float32)[None]
    wave = 0.5 + 0.5 * np.sin(phase + 0.9 * noise(rng, height, width, height, width / 6))
    return tinted(colour, (1 - depth) + depth * wave**1.5 + 0.02 * noise(rng, height, width, 8, 1.5))


def grass(rng: Rng, height: int, width: int, colour: Colour) -> np.ndarray:
    """Tufts, blades and worn patches."""
    patches = noise(rng, height, width, 70)
    field = 1 + 0.07 * patches + 0.09 * noise(rng, height, width, 9, 5) + 0.14 * noise(rng, height, width, 4, 1.6)
    picture = np.array(colour, np.float32) * field[..., None]
    picture += patches[..., None] * np.array([6.0, 0.0, -3.0], np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def vertical(height: int, width: int, stops: Sequence[tuple[float, Colour]]) -> np.ndarray:
    """Gradient from the top (0) to the bottom (1) through the stops."""
    at = np.linspace(0, 1, height)
    positions = [position for position, _ in stops]
    column = np.stack([np.interp(at, positions, [c[k] for _, c in stops]) for k in range(3)], 1)
    return np.broadcast_to(column[:, None], (height, width, 3)).astype(np.uint8)


def smoothed_with_distance(texture: np.ndarray, rows_a_pixel: np.ndarray) -> np.ndarray:
    """The texture blurred down its columns by the texels that a pixel covers, so that far floors do not flicker.

    Args:
        texture: uint8 [h, w, c].
        rows_a_pixel: [h] texels that one pixel covers in each row.
    """
    result = texture.copy()
    for size in (3, 5, 9, 15):
        rows = np.flatnonzero(rows_a_pixel > size * 0.6)
        if len(rows):
            result[rows] = cv2.blur(texture, (1, size))[rows]
    return result


def art(rng: Rng, height: int, width: int) -> np.ndarray:
    """Picture for a wall: bands, blocks, hills or slanting stripes; never round things in pairs."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = fabric(rng)
    kind = rng.integers(4)
    for _ in range(int(rng.integers(3, 7))):
        colour = fabric(rng)
        if kind == 0:
            start = int(rng.integers(height))
            picture[start : start + int(rng.integers(2, max(3, height // 3)))] = colour
        elif kind == 1:
            x, y = int(rng.integers(width)), int(rng.integers(height))
            picture[y : y + height // 2, x : x + width // 2] = colour
        elif kind == 2:
            top = rng.uniform(0.2, 0.9, 6) * height
            hill = np.stack([np.linspace(0, width, 6), top], 1)
            cv2.fillPoly(picture, [np.vstack([hill, [[width, height], [0, height]]]).astype(np.int32)], colour)
        else:
            x = int(rng.integers(-width, width))
            cv2.line(picture, (x, height), (x + width, 0), colour, int(rng.integers(2, max(3, width // 5))))
    return picture


def sky(rng: Rng, height: int, width: int) -> tuple[np.ndarray, Colour, str]:
    """Sky down to the horizon, the colour of the haze there, and the time: "day", "grey", "golden" or "dusk"."""
    time = str(rng.choice(["day", "grey", "golden", "dusk"], p=[0.45, 0.22, 0.2, 0.13]))
    if time == "day":
        hue = rng.uniform(0.52, 0.62)
        top, low = hsv(hue, rng.uniform(0.35, 0.75), rng.uniform(0.7, 0.95)), hsv(hue, rng.uniform(0.05, 0.2), 0.97)
    elif time == "grey":
        value = rng.uniform(0.6, 0.9)
        top, low = hsv(0.6, 0.06, value * 0.85), hsv(rng.random(), 0.03, value)
    elif time == "golden":
        top = hsv(rng.uniform(0.55, 0.65), rng.uniform(0.15, 0.4), 0.8)
        low = hsv(rng.uniform(0.04, 0.13), rng.uniform(0.3, 0.55), 0.98)
    else:
        top = hsv(rng.uniform(0.62, 0.78), rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.55))
        low = hsv(rng.choice([rng.uniform(0.93, 1.0), rng.uniform(0.03, 0.08)]), rng.uniform(0.3, 0.5), 0.8)
    picture = vertical(height, width, [(0, top), (0.55, mixed(top, low, 0.5)), (1, low)])
    clouds = noise(rng, height, width, height / 7, width / 9) + 0.6 * noise(rng, height, width, height / 18, width / 26)
    clouds = np.clip((clouds - rng.uniform(-0.2, 1.0)) * 0.5, 0, 0.75)[..., None]
    white = np.array(mixed((250, 250, 250), low, 0.5 if time != "day" else 0.1), np.float32)
    return (picture * (1 - clouds) + clouds * white).astype(np.uint8), low, time
