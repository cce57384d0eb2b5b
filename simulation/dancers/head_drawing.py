"""Heads in three dimensions: skull with face and hair, cast along each pixel's ray, exact from every side."""

from dataclasses import dataclass

import cv2
import numpy as np

from simulation.dancers.face_drawing import HALF_HEIGHT, HALF_WIDTH, RELIEF_PX_PER_M, face_map, relief, shine
from simulation.dancers.solids import Solids, brightness, scaled, unit
from simulation.geometry import HEAD_POINTS, Camera
from simulation.script import Face, Light, Person

# The skull, half axes in metres of a head of size 1.
_WIDE, _HIGH, _FRONT, _BACK = 0.093, 0.129, 0.099, 0.106
_HAIR_CENTRE = np.array([0.0, 0.004, -0.010])
_CROPPED, _BOB, _LONG, _BUN, _PONYTAIL = range(5)
_HAIR_AXES = {  # half axes of the hair's shell
    _CROPPED: (0.100, 0.137, 0.114), _BOB: (0.112, 0.150, 0.119), _LONG: (0.108, 0.148, 0.118),
    _BUN: (0.100, 0.136, 0.114), _PONYTAIL: (0.100, 0.137, 0.114),
}  # fmt: skip
# The hairline: its height, against its position on the shell from -1 (behind) to 1 (in front).
_HAIRLINE_AT = (-1.0, -0.35, -0.12, 0.20, 0.38, 0.50, 0.62, 0.74, 0.86, 1.0)
_HAIRLINES = {
    _CROPPED: (-0.085, -0.075, -0.030, -0.030, -0.020, 0.020, 0.046, 0.066, 0.074, 0.078),
    _BOB: (-0.200, -0.200, -0.135, -0.100, -0.090, -0.030, 0.030, 0.058, 0.066, 0.070),
    _LONG: (-0.200, -0.200, -0.135, -0.100, -0.080, -0.010, 0.036, 0.062, 0.070, 0.076),
    _BUN: (-0.070, -0.060, 0.000, 0.004, 0.010, 0.034, 0.056, 0.074, 0.082, 0.086),
    _PONYTAIL: (-0.070, -0.060, 0.000, -0.006, 0.004, 0.026, 0.048, 0.064, 0.070, 0.074),
}
_RAYS_HIGH = 76  # most rows of rays across a head; what lies between rays is interpolated
_SAMPLES = 9  # along a ray
_KEY, _FILL = 0.68, 0.32  # shares of the main light and of light from the viewer, as on solids
_SHEEN = 20.0  # RGB levels of the skin's shine where it faces the light
_STRANDS = np.random.default_rng(7).normal(size=257).astype(np.float32)


@dataclass(frozen=True)
class Head:
    """A head, and its place in the picture."""

    face: Face
    centre: np.ndarray  # float64 [3] metres
    rotation: np.ndarray  # float64 [3, 3] columns left, up, forward
    size: float
    depth: float  # metres ahead of the camera
    px_per_m: float
    box: np.ndarray  # float64 [4] x1, y1, x2, y2 px that holds skull, face and hair


def place_head(person: Person, centre: np.ndarray, rotation: np.ndarray, camera: Camera) -> Head:
    """The head of a person whose skull is at `centre` [3] metres and turned by `rotation` [3, 3]."""
    size = person.body.head_size
    middle, depth = camera.project(centre)
    right, up, _ = camera.rotation()
    # The silhouette of an ellipsoid reaches |R axes| in every direction of the picture.
    wide, high, deep = _HAIR_AXES[person.face.hair_style]
    axes = rotation * (np.array([max(wide, _WIDE * person.face.width), high + 0.008, deep + 0.016]) * size)
    reach = np.linalg.norm(axes.T @ np.stack([right, up], 1), axis=0)
    px_per_m = camera.focal_px / float(depth)
    return Head(
        face=person.face,
        centre=centre,
        rotation=rotation,
        size=size,
        depth=float(depth),
        px_per_m=px_per_m * size,
        box=np.concatenate([middle - reach * px_per_m * 1.03, middle + reach * px_per_m * 1.03]),
    )


def add_ears(solids: Solids, head: Head, person: Person) -> None:
    """Add the ears, unless hair covers them."""
    if person.face.hair_style in (_BOB, _LONG):
        return
    for side in ("left", "right"):
        x, y, z = HEAD_POINTS[f"{side}_ear"]
        x *= person.face.width * 0.95
        upper = head.centre + head.size * head.rotation @ np.array([x, y + 0.020, z - 0.006])
        lower = head.centre + head.size * head.rotation @ np.array([0.95 * x, y - 0.022, z + 0.004])
        radii = (0.0150 * head.size, 0.0165 * head.size, 0.0105 * head.size)
        solids.add(upper, lower, radii, scaled(person.face.skin, 0.92), 0.03)


def add_hair(solids: Solids, head: Head, person: Person) -> None:
    """Add hair that hangs or stands off the head; it hangs with half of the head's tilt."""
    colour, style, size = person.face.hair, person.face.hair_style, head.size
    down = unit(-head.rotation[:, 1] - np.array([0.0, 1.0, 0.0]))

    def at(x: float, y: float, z: float) -> np.ndarray:
        return head.centre + size * head.rotation @ np.array([x, y, z])

    def tube(start: np.ndarray, end: np.ndarray, radii: tuple[float, float, float], depth_bias: float = 0.0) -> None:
        solids.add(start, end, scaled(radii, size), colour, depth_bias)

    if style == _BOB:
        start = at(0, 0.0, -0.03)
        tube(start, start + 0.085 * size * down, (0.108, 0.110, 0.088))
    elif style == _LONG:
        start = at(0, 0.0, -0.035)
        tube(start, start + 0.26 * size * down, (0.104, 0.108, 0.07))
        for sign in (1.0, -1.0):
            start = at(sign * 0.090, -0.05, -0.005)
            fall = down + head.rotation @ np.array([0.16 * sign, 0.0, 0.25])
            tube(start, start + 0.24 * size * fall, (0.022, 0.028, 0.012), 0.03)
    elif style == _BUN:
        tube(at(0, 0.115, -0.075), at(0, 0.15, -0.095), (0.05, 0.056, 0.046))
    elif style == _PONYTAIL:
        start = at(0, 0.065, -0.125)
        end = start + head.rotation @ np.array([0, 0.0, -0.06]) * size + 0.25 * size * down
        tube(start, end, (0.03, 0.05, 0.014), 0.02)


def paint_head(
    picture: np.ndarray, head: Head, expression: float, eyes_open: float, camera: Camera, light: Light
) -> None:
    """Draw skull, face and hair into uint8 [H, W, 3] RGB."""
    step = max(1, int(np.ceil((head.box[3] - head.box[1]) / _RAYS_HIGH)))
    low = np.floor(np.maximum(head.box[:2] - 1, 0)).astype(int)
    high = np.ceil(np.minimum(head.box[2:] + 2, [camera.width, camera.height])).astype(int)
    if (high - low).min() < 2:
        return
    cells = -(-(high - low) // step)  # rays across, rounded up
    origin, rays = _rays(head, camera, low, cells, step)
    view = -rays
    key = _KEY * (head.rotation.T @ light.direction).astype(np.float32) + _FILL * view
    px = np.float32(head.px_per_m)
    skull, face = _cast_skull(head.face, origin, rays, key, light.ambient)
    hair = _cast_hair(head.face, origin, rays, key, light.ambient, px)
    size = (int(cells[0] * step), int(cells[1] * step))
    skull, face, hair = (cv2.resize(field, size) if step > 1 else field for field in (skull, face, hair))
    skull, face, hair = (field[: high[1] - low[1], : high[0] - low[0]] for field in (skull, face, hair))

    colours = face_map(head.face, expression, eyes_open, head.px_per_m)
    to_px = colours.shape[1] / (2 * HALF_WIDTH)
    painted = cv2.remap(
        colours,
        (face[..., 0] + HALF_WIDTH) * to_px - 0.5,
        (HALF_HEIGHT - face[..., 1]) * to_px - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # A quadric's value grows by about 2 over its half axis per metre beyond its silhouette.
    edge = px * 0.105 / 2.1
    bare = np.clip(0.5 - skull[..., 0] * edge, 0, 1)
    covered = np.clip(0.5 - hair[..., 0] * edge, 0, 1) * np.clip(0.5 + hair[..., 1], 0, 1)
    bare *= 1 - covered
    tint = np.array(light.colour, np.float32)
    part = picture[low[1] : high[1], low[0] : high[0]]
    shown = part * (1 - bare - covered)[..., None]
    skin = painted * skull[..., 1:2] + np.float32(_SHEEN * shine(head.face)) * skull[..., 2:]
    shown += skin * (bare[..., None] * tint)
    shown += (covered * hair[..., 2])[..., None] * (np.array(head.face.hair, np.float32) * tint)
    shown += (covered * hair[..., 3])[..., None] * tint
    part[:] = np.clip(shown, 0, 255)


def _rays(head: Head, camera: Camera, low: np.ndarray, cells: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Camera position float32 [3] and unit rays float32 [h, w, 3], in the head's axes and size."""
    x = low[0] + (np.arange(cells[0]) + 0.5) * step - 0.5 - (camera.width - 1) / 2
    y = low[1] + (np.arange(cells[1]) + 0.5) * step - 0.5 - (camera.height - 1) / 2
    to_head = (head.rotation.T @ camera.rotation().T) / camera.focal_px  # camera axes -> the head's
    rays = (x[None, :, None] * to_head[:, 0] - y[:, None, None] * to_head[:, 1]) - camera.focal_px * to_head[:, 2]
    rays /= np.sqrt((rays * rays).sum(-1, keepdims=True))
    origin = head.rotation.T @ (camera.position - head.centre) / head.size
    return origin.astype(np.float32), rays.astype(np.float32)


def _cast_skull(
    face: Face, origin: np.ndarray, rays: np.ndarray, key: np.ndarray, ambient: float
) -> tuple[np.ndarray, np.ndarray]:
    """Skull along each ray, and where the ray hits the face map.

    float32 [h, w, 3]: least value of the surface along the ray (below 0: hit), brightness, and sheen (0..1); float32
    [h, w, 2]: metres on the face map.
    """
    wide = np.float32(_WIDE * face.width)
    jaw = np.float32(face.jaw)
    # Sampled from where the ray enters a larger ellipsoid to where it is nearest to the head's middle.
    room = np.array([1 / (wide + 0.012), 1 / (_HIGH + 0.012), 1 / (_BACK + 0.022)], np.float32)
    scaled, start = rays * room, origin * room
    a = (scaled * scaled).sum(-1)
    b = scaled @ start
    missed = np.maximum(b * b - a * ((start * start).sum() - 1), 0)
    nearest = -b / a
    enter = nearest - np.sqrt(missed) / a
    share = np.linspace(0, 1, _SAMPLES, dtype=np.float32)[:, None, None]
    along = enter + (nearest + np.float32(0.004) - enter) * share  # [S, h, w]
    bumps = relief(face)

    def value(along: np.ndarray) -> tuple[np.ndarray, ...]:
        x, y, z = (origin[axis] + along * rays[..., axis] for axis in range(3))
        flat = (len(x) if x.ndim == 2 else x.shape[0] * x.shape[1], x.shape[-1])
        table = cv2.remap(
            bumps,
            (((x + np.float32(HALF_WIDTH)) * np.float32(RELIEF_PX_PER_M)) - np.float32(0.5)).reshape(flat),
            (((np.float32(HALF_HEIGHT) - y) * np.float32(RELIEF_PX_PER_M)) - np.float32(0.5)).reshape(flat),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ).reshape(*x.shape, 3)
        fade = np.clip(z * np.float32(30), 0, 1)
        above = z - table[..., 0] * fade
        below = np.clip(-y * np.float32(1 / _HIGH), 0, 1)
        deep = np.where(z > 0, np.float32(1 / _FRONT), np.float32(1 / _BACK) / (1 - np.float32(0.5) * below))
        taper = wide * (1 - np.float32(0.35) / jaw * below * below)
        across, depth, height = x / taper, above * deep, np.abs(y) * np.float32(1 / _HIGH)
        total = across * across + depth * depth + height * height * height - 1
        return total, x, y, z, across / taper, depth * deep, table[..., 1] * fade, table[..., 2] * fade

    values = value(along)[0]
    inside = values < 0
    first = np.maximum(inside.argmax(0), 1)[None]
    after, before = (np.take_along_axis(values, place, 0)[0] for place in (first, first - 1))
    far, near = (np.take_along_axis(along, place, 0)[0] for place in (first, first - 1))
    crossing = np.clip(before / np.maximum(before - after, 1e-6), 0, 1)
    lowest = np.take_along_axis(along, values.argmin(0)[None], 0)[0]
    hit = np.where(inside.any(0), near + (far - near) * crossing, lowest)
    _, x, y, z, nx, nz, slope_x, slope_y = value(hit)
    ny = np.float32(1.5 / _HIGH**3) * y * np.abs(y) - nz * slope_y
    nx = nx - nz * slope_x
    lit = (nx * key[..., 0] + ny * key[..., 1] + nz * key[..., 2]) / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-9)
    # Behind the ears there is no paint: the map's edge, plain skin. The interpolation between two rays must never run
    # across the face.
    behind = z < 0
    on_map_x = np.where(behind, np.copysign(np.float32(HALF_WIDTH), x), x)
    on_map_y = np.where(behind & (y > np.float32(-0.112)), np.float32(HALF_HEIGHT), y)
    sheen = np.clip((lit / np.sqrt((key * key).sum(-1))) * 1.02 - 0.02, 0, 1) ** 10
    return np.stack([values.min(0), brightness(lit, ambient), sheen], -1), np.stack([on_map_x, on_map_y], -1)


def _cast_hair(
    face: Face, origin: np.ndarray, rays: np.ndarray, key: np.ndarray, ambient: float, px: np.float32
) -> np.ndarray:
    """Hair along each ray, float32 [h, w, 4].

    Least value of the shell along the ray (below 0: hit), px inside the hairline, brightness, gloss (RGB levels).
    """
    axes = np.array(_HAIR_AXES[face.hair_style], np.float32)
    inverse = 1 / axes
    scaled, start = rays * inverse, (origin - _HAIR_CENTRE.astype(np.float32)) * inverse
    a, b = (scaled * scaled).sum(-1), scaled @ start
    missed = (start * start).sum() - b * b / a - 1
    along = (-b - np.sqrt(np.maximum(-missed * a, 0))) / a
    at = start + along[..., None] * scaled  # on the unit sphere
    normal = at * inverse
    normal /= np.sqrt((normal * normal).sum(-1, keepdims=True))
    turn = np.arctan2(at[..., 0], at[..., 2] + np.float32(0.35))
    parting = np.float32(0.5 if (face.hair[0] + face.eyes[0]) % 2 else -0.5)
    comb = (turn + parting * at[..., 1]) * 9
    texels = np.arange(257)
    strand = np.interp(comb + 64, texels, _STRANDS) * 0.055 + np.interp(3.1 * comb + 128, texels, _STRANDS) * 0.04
    forward = at[..., 2]
    line = np.interp(forward, _HAIRLINE_AT, _HAIRLINES[face.hair_style])
    line = line + 0.004 * np.interp(comb * 1.7 + 100, texels, _STRANDS)
    line += 0.012 * np.clip(forward, 0, 1) * np.abs(at[..., 0] - 0.35 * parting) ** 2  # lifted at the parting
    above = (at[..., 1] * axes[1] + _HAIR_CENTRE[1] - line) * px
    lit = (normal * key).sum(-1)
    gloss = 46 * np.clip(lit, 0, 1) ** 8 * (0.6 + 2 * strand)
    bright = brightness(lit, ambient) * (1 + strand)
    return np.stack([missed, above, bright, gloss], -1).astype(np.float32)
