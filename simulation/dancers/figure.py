"""Dancers drawn into a picture, with their ground-truth labels."""

from dataclasses import dataclass

import cv2
import numpy as np

from simulation.dancers.dressed_body import (
    COLLAR,
    SLEEVE_STRIPES,
    STRIPES,
    Trunk,
    add_limbs,
    dot_polygons,
    trunk_rings,
    trunk_strips,
)
from simulation.dancers.face_drawing import mouth_corners
from simulation.dancers.head_drawing import Head, add_ears, add_hair, paint_head, place_head
from simulation.dancers.solids import (
    STATIONS,
    Solids,
    Strips,
    fill_polygon,
    join_strips,
    to_fixed_point,
    tone_colours,
    tone_polygons,
    tube_strips,
)
from simulation.filming.visibility import PersonGeometry, PersonLabels, label_people
from simulation.geometry import JOINT, Camera
from simulation.script import Light, Person, Rgb

_NEAREST = 0.25  # metres from the camera: a person with any nearer point is not drawn
_FINGERS_PX = 14.0  # length of a hand from which fingers can be told apart
_STRIPED, _DOTTED = 1, 2  # of Outfit.pattern
_SHADOW_SIDE = 72  # px of the small picture in which a shadow is drawn and blurred
_NO_LIGHT = Light(direction=np.array([0.0, 1.0, 0.0]), ambient=1.0, colour=(1.0, 1.0, 1.0), shadow=0.0)


@dataclass(frozen=True)
class PosedPerson:
    """Pose of one person at one moment."""

    person: Person
    points: np.ndarray  # float64 [20, 3] metres, world axes
    head: np.ndarray  # float64 [3, 3] columns: the head's left, up and forward in world axes
    expression: float  # 0..1: blank face to broad smile
    eyes_open: float  # 0..1


@dataclass(frozen=True)
class _Drawable:
    """One person as solids in the picture."""

    posed: PosedPerson
    head: Head
    trunk: Trunk
    solids: Solids
    strips: Strips  # the solids, then top and bottom of the trunk
    sleeves: list[int]
    first_head_solid: int  # the solids from here on are the head's: hair and ears
    depth: float  # metres


def draw_people(picture: np.ndarray, camera: Camera, people: list[PosedPerson], light: Light) -> list[PersonLabels]:
    """Draw people, the farthest first, and return the labels of each, in the order given.

    Args:
        picture: uint8 [H, W, 3] RGB of the camera's size, drawn into.
        camera: of the picture.
        people: poses. A person who reaches within 25 cm of the camera, or behind it, is not drawn.
        light: falls on everybody alike.

    Raises:
        ValueError: the picture is not of the camera's size and type.
    """
    if picture.shape != (camera.height, camera.width, 3) or picture.dtype != np.uint8:
        raise ValueError(f"picture is {picture.dtype} {picture.shape}; give uint8 {(camera.height, camera.width, 3)}")
    drawables = [_prepare(posed, camera, light) for posed in people]
    shown = [drawable for drawable in drawables if drawable is not None]
    for drawable in shown:
        _paint_shadow(picture, drawable.posed, camera, light)
    for drawable in sorted(shown, key=lambda drawable: -drawable.depth):
        _paint(picture, drawable, camera, light)
    return label_people([_geometry(*pair, camera) for pair in zip(people, drawables, strict=True)], camera)


def label_undrawn(camera: Camera, people: list[PosedPerson]) -> list[PersonLabels]:
    """The labels that `draw_people` returns, without a picture, in a tenth of its time."""
    geometries = [_geometry(posed, _prepare(posed, camera, _NO_LIGHT), camera) for posed in people]
    return label_people(geometries, camera)


def _prepare(posed: PosedPerson, camera: Camera, light: Light) -> _Drawable | None:
    _, depth = camera.project(posed.points)
    if depth.min() < _NEAREST:
        return None
    person, points = posed.person, posed.points
    head = place_head(person, points[JOINT["head"]], posed.head, camera)
    solids = Solids()
    hand_m = np.linalg.norm(points[JOINT["left_hand"]] - points[JOINT["left_wrist"]])
    hand_px = camera.focal_px * hand_m / depth[JOINT["left_hand"]]
    sleeves = add_limbs(solids, person, points, fingers=hand_px > _FINGERS_PX)
    first_head_solid = len(solids.ends)
    add_hair(solids, head, person)
    add_ears(solids, head, person)
    trunk = trunk_rings(person, points)
    strips = join_strips([tube_strips(solids, camera, light), trunk_strips(trunk, camera, light)])
    return _Drawable(posed, head, trunk, solids, strips, sleeves, first_head_solid, float(depth[JOINT["pelvis"]]))


def _paint(picture: np.ndarray, drawable: _Drawable, camera: Camera, light: Light) -> None:
    strips, outfit = drawable.strips, drawable.posed.person.outfit
    tubes = len(drawable.solids.ends)
    top, bottom, head = tubes, tubes + 1, tubes + 2
    colours = np.array([*drawable.solids.colours, outfit.top, outfit.bottom], float)
    depth = strips.depth[[*drawable.solids.covers, top, bottom]] - np.array([*drawable.solids.depth_bias, 0.012, -0.16])
    key = np.concatenate([depth, [drawable.head.depth - 0.05]])
    polygons = tone_polygons(strips.left, strips.right, strips.bands)
    tones = tone_colours(colours, strips.brightness, light)
    # Thin solids need fewer tones.
    width = np.abs(strips.left - strips.right).max((1, 2))
    strides = np.select([width > 28, width > 12], [1, 2], 4).tolist()
    for index in np.argsort(-key, kind="stable").tolist():
        if index == head:
            paint_head(picture, drawable.head, drawable.posed.expression, drawable.posed.eyes_open, camera, light)
            continue
        stride = strides[index]
        for polygon, colour in zip(polygons[index][::stride], tones[index][::stride], strict=True):
            fill_polygon(picture, polygon, colour, convex=index not in (top, bottom))
        if index == top:
            _paint_stripes(picture, strips, index, COLLAR, outfit.accent, light)
        if outfit.pattern == _STRIPED and (index == top or index in drawable.sleeves):
            _paint_stripes(picture, strips, index, STRIPES if index == top else SLEEVE_STRIPES, outfit.accent, light)
        if outfit.pattern == _DOTTED and index == top:
            drawn, bright = dot_polygons(drawable.trunk, camera, light)
            shades = tone_colours(np.array([outfit.accent] * len(drawn), float), bright[:, None], light)
            for polygon, colour in zip(to_fixed_point(drawn), shades, strict=True):
                fill_polygon(picture, polygon, colour[0])


def _paint_stripes(
    picture: np.ndarray,
    strips: Strips,
    index: int,
    stripes: tuple[tuple[float, float], ...],
    colour: Rgb,
    light: Light,
) -> None:
    """Draw bands across a solid between fractional stations."""
    at = np.array(stripes)
    low = np.clip(at.astype(int), 0, STATIONS - 2)
    share = (at - low)[..., None]
    left, right = (
        edge[index][low] * (1 - share) + edge[index][low + 1] * share for edge in (strips.left, strips.right)
    )
    bands = strips.bands[index, ::2]  # half of the tones are enough
    tones = tone_colours(np.array([colour], float), strips.brightness[index : index + 1, ::2], light)[0]
    for stripe in tone_polygons(left, right, np.broadcast_to(bands, (len(at), *bands.shape))):
        for polygon, tone in zip(stripe, tones, strict=True):
            fill_polygon(picture, polygon, tone)


def _paint_shadow(picture: np.ndarray, posed: PosedPerson, camera: Camera, light: Light) -> None:
    """Draw the body's soft shadow on the floor, cast by the main light as if it stood at least 55 degrees high."""
    points = posed.points
    flat = light.direction * [1.0, 0.0, 1.0]
    slope = flat / max(light.direction[1], 1.43 * np.hypot(flat[0], flat[2]), 0.2)
    pairs = [("pelvis", "neck", 0.15), ("neck", "head", 0.1)]
    for side in ("left", "right"):
        pairs += [(f"{side}_shoulder", f"{side}_elbow", 0.05), (f"{side}_elbow", f"{side}_wrist", 0.045)]
        pairs += [(f"{side}_hip", f"{side}_knee", 0.09), (f"{side}_knee", f"{side}_ankle", 0.065)]
        pairs += [(f"{side}_ankle", f"{side}_toe", 0.065)]
    ends = np.array([[points[JOINT[first]], points[JOINT[second]]] for first, second, _ in pairs])
    ends = (ends - slope * ends[..., 1:2]) * [1.0, 0.0, 1.0]
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    ring = np.stack([np.cos(turn), 0 * turn, np.sin(turn)], 1)
    rims = ends[:, :, None] + np.array([radius for *_, radius in pairs])[:, None, None, None] * ring  # [n, 2, 10, 3]
    drawn, depth = camera.project(rims.reshape(len(pairs), -1, 3))
    if depth.min() < _NEAREST:
        return
    soft = 0.05 * camera.focal_px / depth.mean()  # px over which it fades
    low = np.floor(np.maximum(drawn.min((0, 1)) - 3 * soft, 0)).astype(int)
    high = np.ceil(np.minimum(drawn.max((0, 1)) + 3 * soft, [camera.width, camera.height])).astype(int)
    if (high - low).min() < 2:
        return
    size = np.minimum(high - low, _SHADOW_SIDE)
    scale = size / (high - low)
    mask = np.zeros((size[1], size[0]), np.uint8)
    for hull in ((drawn - low + 0.5) * scale - 0.5).astype(np.float32):
        fill_polygon(mask, to_fixed_point(cv2.convexHull(hull)[:, 0]), (255, 255, 255))
    mask = cv2.GaussianBlur(mask, (0, 0), sigmaX=max(soft * scale[0], 0.4), sigmaY=max(0.5 * soft * scale[1], 0.4))
    left = 255 - cv2.resize(mask, (int(high[0] - low[0]), int(high[1] - low[1]))) * float(0.75 * light.shadow)
    part = picture[low[1] : high[1], low[0] : high[0]]
    cv2.multiply(part, cv2.cvtColor(left.astype(np.uint8), cv2.COLOR_GRAY2RGB), dst=part, scale=1 / 255)


def _geometry(posed: PosedPerson, drawable: _Drawable | None, camera: Camera) -> PersonGeometry:
    if drawable is None:
        box, spheres, head_spheres = np.zeros(4), np.zeros((0, 4)), 0
    else:
        box = _box(drawable, camera)
        spheres, head_spheres = _spheres(drawable)
    return PersonGeometry(
        head=posed.points[JOINT["head"]],
        rotation=posed.head,
        head_size=posed.person.body.head_size,
        mouth=mouth_corners(posed.person.face, posed.expression),
        joints=posed.points,
        spheres=spheres,
        head_spheres=head_spheres,
        box=box,
    )


def _box(drawable: _Drawable, camera: Camera) -> np.ndarray:
    """Box float64 [4] x1, y1, x2, y2 px around all that was drawn inside the picture; zeros where nothing was."""
    x1, y1, x2, y2 = drawable.head.box
    turn = np.linspace(0, 2 * np.pi, 48)
    rim = np.stack([(x1 + x2 + (x2 - x1) * np.cos(turn)) / 2, (y1 + y2 + (y2 - y1) * np.sin(turn)) / 2], 1)
    edges = np.stack([drawable.strips.left, drawable.strips.right])  # [2, N, STATIONS, 2]
    size = np.array([camera.width, camera.height])
    low, high = (reach(edges, axis=(0, 1, 2)) for reach in (np.min, np.max))
    if (low < 0).any() or (high > size - 1).any():  # where a limb leaves the picture it must not widen the box
        share = np.arange(8)[:, None, None, None, None] / 8
        edges = edges[:, :, :-1] * (1 - share) + edges[:, :, 1:] * share
    points = np.concatenate([edges.reshape(-1, 2), rim])
    inside = points[((points >= -0.5) & (points <= size - 0.5)).all(1)]
    return np.concatenate([inside.min(0), inside.max(0)]) if len(inside) else np.zeros(4)


def _spheres(drawable: _Drawable) -> tuple[np.ndarray, int]:
    """Spheres [M, 4] that fill the body, and the number of those, the first, that are the head's own."""
    head, trunk = drawable.head, drawable.trunk
    skull = np.array([[0, 0.03, -0.01, 0.098], [0, -0.03, 0.0, 0.09], [0, -0.07, 0.02, 0.06]])
    skull[:, 3] *= head.size
    skull[:, :3] = head.centre + head.size * skull[:, :3] @ head.rotation.T
    ends, radii = np.array(drawable.solids.ends), np.array(drawable.solids.radii)
    share = np.linspace(0, 1, 7)[:, None]
    axis = ends[:, :1] * (1 - share) + ends[:, 1:] * share
    radius = radii[:, :1] * (1 - share[:, 0]) + radii[:, 2:] * share[:, 0]
    tubes = np.concatenate([axis, radius[..., None]], -1)
    deep = np.linalg.norm(trunk.forward, axis=-1, keepdims=True)
    wide = np.linalg.norm(trunk.lateral, axis=-1, keepdims=True)
    deep = np.minimum(deep, wide)
    shift = trunk.lateral * (1 - deep / wide)
    centres = np.stack(
        [trunk.centres - shift, trunk.centres - 0.5 * shift, trunk.centres]
        + [trunk.centres + 0.5 * shift, trunk.centres + shift]
    )
    body = np.concatenate([centres, np.broadcast_to(deep, (5, *deep.shape))], -1)
    of_head = np.concatenate([skull, tubes[drawable.first_head_solid :].reshape(-1, 4)])
    of_body = tubes[: drawable.first_head_solid].reshape(-1, 4)
    return np.concatenate([of_head, of_body, body.reshape(-1, 4)]), len(of_head)
