"""A posed person below the head as solids: limbs, trunk, clothes, shoes and hands."""

from dataclasses import dataclass

import numpy as np

from simulation.dancers.solids import STATIONS, Solids, Strips, brightness, cross, project_strips, scaled, unit
from simulation.geometry import JOINT, Camera
from simulation.script import Light, Outfit, Person, Rgb

_CLOTH = 0.007  # metres that cloth stands off
_SOLE = (232.0, 230.0, 226.0)


@dataclass(frozen=True)
class _Limb:
    """Flesh of a limb's two bones: radii in metres at start, middle and end."""

    first: tuple[float, float, float]
    second: tuple[float, float, float]
    bend: float  # of elbow or knee, as a share of the whole length
    depth_bias: tuple[float, float]  # metres, of each bone: what hangs beside the trunk joins on behind it


_ARM = _Limb((0.048, 0.046, 0.038), (0.038, 0.0375, 0.027), 0.56, (-0.035, 0.06))
_LEG = _Limb((0.083, 0.078, 0.056), (0.055, 0.058, 0.036), 0.5, (-0.08, -0.075))

# Rings of the trunk: position along pelvis (0) - chest - neck (1); half width, in shares of the shoulders' and of the
# hips' half widths plus metres of flesh; half depth in metres.
_TOP_RINGS = np.array(
    [
        [1.12, 0.00, 0.0, 0.055, 0.056],
        [1.09, 0.40, 0.0, 0.020, 0.066],
        [1.055, 0.78, 0.0, 0.012, 0.076],
        [1.01, 1.02, 0.0, 0.008, 0.086],
        [0.94, 1.08, 0.0, 0.006, 0.098],
        [0.80, 0.98, 0.0, 0.000, 0.114],
        [0.66, 0.90, 0.0, 0.000, 0.120],
        [0.50, 0.70, 0.2, 0.000, 0.110],
        [0.34, 0.34, 0.6, 0.018, 0.104],
        [0.16, 0.04, 1.0, 0.058, 0.110],
        [0.00, 0.00, 1.0, 0.084, 0.118],
    ]
)
_BOTTOM_RINGS = np.array(
    [
        [0.22, 0.08, 0.9, 0.036, 0.100],
        [0.16, 0.00, 1.0, 0.052, 0.104],
        [0.10, 0.00, 1.0, 0.062, 0.108],
        [0.04, 0.00, 1.0, 0.072, 0.113],
        [0.00, 0.00, 1.0, 0.079, 0.116],
        [-0.05, 0.00, 1.0, 0.084, 0.117],
        [-0.10, 0.00, 1.0, 0.084, 0.114],
        [-0.14, 0.00, 1.0, 0.076, 0.106],
        [-0.17, 0.00, 1.0, 0.058, 0.096],
        [-0.19, 0.00, 0.9, 0.034, 0.080],
        [-0.205, 0.00, 0.5, 0.010, 0.056],
    ]
)
COLLAR = ((0.0, 0.7),)
STRIPES = ((4.0, 4.6), (5.3, 5.85), (6.5, 7.0), (7.6, 8.15), (8.75, 9.3))  # from station to station of the top
SLEEVE_STRIPES = ((4.3, 5.1), (5.9, 6.7))
_DOT_ANGLES = np.radians(np.arange(0, 360, 40.0))
_DOT_RINGS = (4.3, 5.6, 6.9, 8.2, 9.4)
_DOT_RADIUS = 0.021
_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 14, endpoint=False)) for f in (np.cos, np.sin)], 1)


@dataclass(frozen=True)
class Trunk:
    """Rings of the top garment and of the bottom one."""

    centres: np.ndarray  # float64 [2, STATIONS, 3] metres
    lateral: np.ndarray  # float64 [2, STATIONS, 3] half width to the left, metres
    forward: np.ndarray  # float64 [2, STATIONS, 3] half depth to the front, metres
    up: np.ndarray  # float64 [3] unit


def body_scale(person: Person) -> float:
    """Thickness of a body against an ordinary one of 1.70 m."""
    return person.body.girth * person.body.height_m / 1.7


def trunk_rings(person: Person, points: np.ndarray) -> Trunk:
    """Cross-sections of the trunk of a person with joints `points` [20, 3] metres."""
    pelvis, chest, neck = points[JOINT["pelvis"]], points[JOINT["chest"]], points[JOINT["neck"]]
    shoulders = (points[JOINT["left_shoulder"]] - points[JOINT["right_shoulder"]]) / 2
    hips = (points[JOINT["left_hip"]] - points[JOINT["right_hip"]]) / 2
    rings = np.stack([_TOP_RINGS, _BOTTOM_RINGS])
    share = rings[..., 0]
    length = np.linalg.norm(chest - pelvis), np.linalg.norm(neck - chest)
    knot = length[0] / (length[0] + length[1])
    below, above = share / knot, (share - knot) / (1 - knot)
    centres = np.where(
        share[..., None] < knot, pelvis + below[..., None] * (chest - pelvis), chest + above[..., None] * (neck - chest)
    )
    rise = np.clip(share / 0.9, 0, 1)[..., None]
    lateral = unit(hips * (1 - rise) + shoulders * rise)
    up = unit(neck - pelvis)
    scale = body_scale(person)
    width = rings[..., 1] * np.linalg.norm(shoulders) + rings[..., 2] * np.linalg.norm(hips) + rings[..., 3] * scale
    width[0] += _CLOTH
    forward = unit(cross(lateral, np.broadcast_to(up, lateral.shape)))
    depth = rings[..., 4] * scale
    return Trunk(centres, lateral * width[..., None], forward * depth[..., None], up)


def trunk_strips(trunk: Trunk, camera: Camera, light: Light) -> Strips:
    """Top and bottom garment as two solids."""
    middle = trunk.centres.mean(1)
    side = unit(cross(np.broadcast_to(trunk.up, (2, 3)), unit(camera.position - middle)))
    if np.abs(side).max() < 1e-6:  # looked at along the spine
        side = np.broadcast_to(camera.rotation()[0], (2, 3))
    front = cross(side, np.broadcast_to(trunk.up, (2, 3)))
    # The ends of an elliptic ring's silhouette, along `side`.
    a, b = (np.einsum("nsc,nc->ns", axis, side)[..., None] for axis in (trunk.lateral, trunk.forward))
    halves = (trunk.lateral * a + trunk.forward * b) / np.sqrt(a * a + b * b)
    return project_strips(trunk.centres, halves, side, front, camera, light)


def dot_polygons(trunk: Trunk, camera: Camera, light: Light) -> tuple[np.ndarray, np.ndarray]:
    """Dots of the top that face the camera: px [n, 14, 2] and brightness [n]."""
    at = np.arange(STATIONS)
    rings = np.array(_DOT_RINGS)
    centre, lateral, forward = (
        np.stack([np.interp(rings, at, axis[0, :, c]) for c in range(3)], -1)[:, None]
        for axis in (trunk.centres, trunk.lateral, trunk.forward)
    )
    angle = _DOT_ANGLES[None, :] + np.where(np.arange(len(rings)) % 2, np.radians(20.0), 0.0)[:, None]
    cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
    place = (centre + lateral * cos + forward * sin).reshape(-1, 3)
    wide, deep = (np.sqrt((axis * axis).sum(-1, keepdims=True)) for axis in (lateral, forward))
    normal = unit((lateral / wide * deep * cos + forward / deep * wide * sin).reshape(-1, 3))
    facing = (normal * unit(camera.position - place)).sum(1) > 0.12
    place, normal = place[facing], normal[facing]
    around = unit(cross(np.broadcast_to(trunk.up, normal.shape), normal))
    rim = _DOT_RADIUS * (_CIRCLE[:, :1] * around[:, None] + _CIRCLE[:, 1:] * trunk.up)
    drawn, _ = camera.project(place[:, None] + rim)
    return drawn, brightness(normal @ light.direction * 0.68 + 0.25, light.ambient)


def add_limbs(solids: Solids, person: Person, points: np.ndarray, fingers: bool) -> list[int]:
    """Add arms, legs, hands, shoes and neck; returns the indices of the sleeves."""
    scale, size = body_scale(person), person.body.height_m / 1.7
    skin, outfit = person.face.skin, person.outfit
    across = unit(points[JOINT["left_shoulder"]] - points[JOINT["right_shoulder"]])
    up = unit(points[JOINT["neck"]] - points[JOINT["pelvis"]])
    ahead = unit(cross(across, up))
    sleeves = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        shoulder, elbow, wrist, hand = (
            points[JOINT[f"{side}_{name}"]] for name in ("shoulder", "elbow", "wrist", "hand")
        )
        sleeves += _add_limb(solids, (shoulder, elbow, wrist), _ARM, scale, skin, outfit.top, outfit.sleeves)
        inwards = 0.6 * -sign * across + 0.35 * up + 0.7 * ahead
        _add_hand(solids, wrist, hand, inwards, 0.5 * (scale + size), skin, fingers)
        hip, knee, ankle, toe = (points[JOINT[f"{side}_{name}"]] for name in ("hip", "knee", "ankle", "toe"))
        _add_limb(solids, (hip, knee, ankle), _LEG, scale, skin, outfit.bottom, outfit.legs)
        _add_shoe(solids, knee, ankle, toe, size, outfit)
    neck, head = points[JOINT["neck"]], points[JOINT["head"]]
    top = head + (neck - head) * 0.3
    radii = (0.052 * size, 0.05 * size, 0.05 * size)
    solids.add(neck - (head - neck) * 0.12, top, radii, scaled(skin, 0.9), 0.012, (0.35, 1))
    return sleeves


def _add_limb(
    solids: Solids,
    joints: tuple[np.ndarray, np.ndarray, np.ndarray],
    kind: _Limb,
    scale: float,
    skin: Rgb,
    cloth: Rgb,
    covered: float,
) -> list[int]:
    """Add both bones of a limb, clothed over the share `covered` of its length; returns the indices of the cloth."""
    clothed = []
    spans = ((0.0, kind.bend, kind.first, kind.depth_bias[0]), (kind.bend, 1.0, kind.second, kind.depth_bias[1]))
    for (begin, finish, radii, depth_bias), start, end in zip(spans, joints[:-1], joints[1:], strict=True):
        share = min((covered - begin) / (finish - begin), 1.0)
        bare = solids.add(start, end, scaled(radii, scale), skin, depth_bias) if share < 0.97 else None
        if share > 0.06:
            first, middle, last = (_radius(radii, at * share) + _CLOTH for at in (0.0, 0.5, 1.0))
            sleeve = scaled((first, middle, last + (0.004 if share < 1 else 0)), scale)
            cut = 0.0 if share < 1 or finish == 1.0 else 1.0
            begins = 1.0 if begin == 0 or covered > begin else 0.0
            clothed.append(
                solids.add(start, start + share * (end - start), sleeve, cloth, depth_bias + 0.005, (begins, cut), bare)
            )
    return clothed


def _radius(radii: tuple[float, float, float], at: float) -> float:
    """Radius at the share `at`, on the parabola through start, middle and end."""
    start, middle, end = radii
    return start + at * (4 * middle - 3 * start - end) + at * at * 2 * (start + end - 2 * middle)


def _add_hand(
    solids: Solids, wrist: np.ndarray, hand: np.ndarray, inwards: np.ndarray, scale: float, skin: Rgb, fingers: bool
) -> None:
    """Add palm, thumb and fingers. A pose does not tell how the hand is turned: the thumb points `inwards`."""
    along = hand - wrist
    if not fingers:
        solids.add(wrist, hand + 0.5 * along, scaled((0.024, 0.04, 0.022), scale), skin, 0.07)
        return
    length = along / np.linalg.norm(along)
    across = unit(inwards - (inwards @ length) * length)
    palm = solids.add(wrist - 0.05 * along, hand, scaled((0.026, 0.038, 0.036), scale), skin, 0.07)
    thumb = wrist + 0.25 * along
    radii = scaled((0.013, 0.012, 0.009), scale)
    solids.add(thumb, thumb + 0.5 * along + across * 0.048 * scale, radii, skin, 0.069, covers=palm)
    for finger in (-1.5, -0.5, 0.5, 1.5):
        knuckle = hand + across * (finger * 0.0175 * scale)
        reach = 0.8 - 0.12 * abs(finger) - (0.1 if finger < -1 else 0)
        tip = knuckle + reach * along + across * (finger * 0.005 * scale)
        solids.add(knuckle, tip, scaled((0.0105, 0.0095, 0.008), scale), skin, 0.071, covers=palm)


def _add_shoe(
    solids: Solids, knee: np.ndarray, ankle: np.ndarray, toe: np.ndarray, size: float, outfit: Outfit
) -> None:
    down, ahead = unit(ankle - knee), unit(toe - ankle)
    heel = ankle + (0.05 * down - 0.035 * ahead) * size
    tip = toe + 0.03 * ahead * size
    drop = unit(down - (down @ unit(tip - heel)) * unit(tip - heel))
    solids.add(heel + 0.02 * drop * size, tip + 0.012 * drop * size, scaled((0.036, 0.04, 0.032), size), _SOLE, -0.06)
    solids.add(heel, tip, scaled((0.04, 0.044, 0.032), size), outfit.shoes, -0.05)
    solids.add(ankle - 0.03 * down, heel + 0.4 * (tip - heel), scaled((0.04, 0.044, 0.036), size), outfit.shoes, -0.049)
