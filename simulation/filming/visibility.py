"""Ground-truth labels of drawn people: keypoints, boxes, face landmarks, and their visibility."""

from dataclasses import dataclass

import numpy as np

from simulation.geometry import HEAD_POINTS, JOINT, Camera

VISIBLE, OCCLUDED, OUTSIDE = 2, 1, 0

BODY_KEYPOINTS = tuple(
    JOINT[f"{side}_{joint}"]
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)
# Depth of a joint under the skin, in metres, with a margin: what is nearer than this in front of it is its own limb.
_UNDER_SKIN = np.repeat([0.12, 0.065, 0.055, 0.15, 0.085, 0.085], 2)
_HEAD_KEYPOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
HEAD_PLACES = np.array([HEAD_POINTS[name] for name in _HEAD_KEYPOINTS])
# Normal of the skin around each, and the least cosine to the camera at which it is still visible.
_NORMALS = np.array([[0, 0, 1], [0.45, 0, 0.89], [-0.45, 0, 0.89], [1, 0, 0], [-1, 0, 0]], float)
_LEAST_COSINES = np.array([-0.2, 0.08, 0.08, -0.25, -0.25])
FACE_TURNED_DEG = 75.0  # beyond this no face is boxed
# The face as detectors box it: brow, chin and cheeks, metres in the head's axes.
_FACE_OUTLINE = np.array(
    [[0, 0.100, 0.07], [0, -0.123, 0.075], [0.088, 0.01, 0.03], [-0.088, 0.01, 0.03], [0.066, -0.085, 0.04]]
    + [[-0.066, -0.085, 0.04], [0.06, 0.08, 0.06], [-0.06, 0.08, 0.06], [0, -0.02, 0.112]]
)


@dataclass(frozen=True)
class PersonLabels:
    """Labels of one person in one picture, in its pixels."""

    keypoints: np.ndarray  # float32 [17, 3] COCO: x, y; 2 visible, 1 occluded but inside the picture, 0 outside of it
    box: np.ndarray  # float32 [4] x1, y1, x2, y2 of the whole person, clipped to the picture; zeros: nothing inside
    face_box: np.ndarray  # float32 [4] brow to chin, cheek to cheek; zeros: turned over 75 degrees away, or outside
    landmarks: np.ndarray  # float32 [5, 2] viewer's left eye, right eye, nose, left and right mouth corner
    yaw_deg: float  # 0..180 between the head's forward axis and the direction to the camera


@dataclass(frozen=True)
class PersonGeometry:
    """Geometry of a drawn person, which the labels follow from."""

    head: np.ndarray  # float64 [3] metres, the middle of the skull
    rotation: np.ndarray  # float64 [3, 3] columns left, up, forward of the head
    head_size: float
    mouth: np.ndarray  # float64 [2, 3] the mouth's left and right corner in the head's axes, metres
    joints: np.ndarray  # float64 [20, 3] metres
    spheres: np.ndarray  # float64 [M, 4] centre and radius, metres, filling the body; the head's come first
    head_spheres: int  # how many of them are the head's own and hide none of its features
    box: np.ndarray  # float64 [4] x1, y1, x2, y2 px around all that was drawn inside the picture; zeros: nothing was


def label_people(people: list[PersonGeometry], camera: Camera) -> list[PersonLabels]:
    """Labels of people who occlude each other."""
    spheres = [person.spheres for person in people]
    return [_label_person(person, spheres, index, camera) for index, person in enumerate(people)]


def _label_person(person: PersonGeometry, everyone: list[np.ndarray], index: int, camera: Camera) -> PersonLabels:
    """Labels of the person whose spheres are `everyone[index]`."""
    to_camera = camera.position - person.head
    distance = float(np.linalg.norm(to_camera))
    view = person.rotation.T @ to_camera / distance  # in the head's axes
    angle = float(np.degrees(np.arccos(np.clip(view[2], -1, 1))))

    def on_head(places: np.ndarray) -> np.ndarray:
        return person.head + person.head_size * places @ person.rotation.T

    world = np.concatenate([on_head(HEAD_PLACES), person.joints[list(BODY_KEYPOINTS)]])
    beside_head = [
        spheres if other != index else spheres[person.head_spheres :] for other, spheres in enumerate(everyone)
    ]
    occluded = np.concatenate(
        [
            (_NORMALS @ view < _LEAST_COSINES) | _behind(world[:5], np.concatenate(beside_head), 0.02, camera.position),
            _behind(world[5:], np.concatenate(everyone), _UNDER_SKIN, camera.position),
        ]
    )
    pixels, depth = camera.project(world)
    outside = ~_inside(pixels, depth, camera)
    flags = np.where(outside, OUTSIDE, np.where(occluded, OCCLUDED, VISIBLE))

    face_box, landmarks = np.zeros(4), np.zeros((5, 2))
    if depth[0] > 0:
        mouth, _ = camera.project(on_head(person.mouth))
        # The dancer's right is the viewer's left while the face is visible.
        landmarks = np.stack([pixels[2], pixels[1], pixels[0], mouth[1], mouth[0]])
        if angle <= FACE_TURNED_DEG:
            face, _ = camera.project(on_head(_FACE_OUTLINE))
            face_box = _clipped(np.concatenate([face.min(0), face.max(0)]), camera)
    return PersonLabels(
        keypoints=np.column_stack([pixels, flags]).astype(np.float32),
        box=person.box.astype(np.float32),
        face_box=face_box.astype(np.float32),
        landmarks=landmarks.astype(np.float32),
        yaw_deg=angle,
    )


def _behind(points: np.ndarray, spheres: np.ndarray, under_skin: np.ndarray | float, eye: np.ndarray) -> np.ndarray:
    """Whether a sphere [M, 4] more than `under_skin` metres nearer hides each point [K, 3] from `eye`: bool [K]."""
    ray = points - eye
    far = np.sqrt((ray * ray).sum(1))
    ray = ray / far[:, None]
    centre = spheres[:, :3] - eye
    along = ray @ centre.T  # [K, M]
    room = spheres[:, 3] ** 2 - ((centre * centre).sum(1) - along**2)
    entry = along - np.sqrt(np.maximum(room, 0))
    nearest = np.where((room > 0) & (entry > 0), entry, np.inf).min(1)
    return nearest < far - under_skin


def _inside(pixels: np.ndarray, depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Whether each point is in the picture: bool [...]."""
    x, y = pixels[..., 0], pixels[..., 1]
    return (depth > 0) & (x >= -0.5) & (x < camera.width - 0.5) & (y >= -0.5) & (y < camera.height - 0.5)


def _clipped(box: np.ndarray, camera: Camera) -> np.ndarray:
    """Part of a box inside the picture; zeros where there is none."""
    low = np.maximum(box[:2], -0.5)
    high = np.minimum(box[2:], [camera.width - 0.5, camera.height - 0.5])
    return np.concatenate([low, high]) if (high > low).all() else np.zeros(4)
