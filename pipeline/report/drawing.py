"""Pictures for the page: faces covered beyond recognition, people drawn over, small files."""

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from models.virality.skeleton import COCO17
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.tracks import Track

HEAD_REACH_S = (
    0.25  # a head is covered wherever it was detected so near in time: networks lose heads for a frame or two
)
CELLS = 6  # left of a face, along its longer side
COARSE = 40  # px left of the longer side of a picture without a head
_MIN_CELL = 4  # px that become one at least, also of a face of few pixels
_FACE_MARGIN = 0.35  # of a face's size, to each side: hair, ears, and motion
_HEAD, _HEAD_JOINTS = slice(0, 5), 5  # COCO-17: nose, eyes, ears
_SHOULDERS, _HIPS = [5, 6], [11, 12]
_MIN_HEAD_SCORE = 0.2  # of a key point; rather a wrong place covered than a face left
_MIN_DRAWN_SCORE = 0.3  # the threshold that mmpose draws with
# Orange and blue differ for every kind of colour vision; the dancer's left and right.
LEFT, RIGHT, MIDDLE, OTHERS, FACE = (255, 159, 64), (64, 196, 255), (245, 245, 245), (170, 170, 170), (120, 255, 150)
_FINE = 16  # cv2's coordinates are in sixteenths of a px
_QUALITIES = (60, 40, 25, 10)
_EFFORT = 2  # of WebP: 4, the default, takes more than twice the time for files a twentieth smaller


def head_boxes(pose: PoseRows | None, faces: FaceRows | None, second: float) -> np.ndarray:
    """Boxes of all heads that were detected within HEAD_REACH_S of this moment, by faces and by key points.

    Returns:
        float64 [K, 4] x1, y1, x2, y2 in source pixels.
    """
    boxes: list[np.ndarray] = []
    if faces is not None:
        near = np.abs(faces.grid.timestamp[faces.frame] - second) <= HEAD_REACH_S
        for box in faces.box[near].astype(np.float64):
            margin = _FACE_MARGIN * max(box[2] - box[0], box[3] - box[1])
            boxes.append(box + np.array([-margin, -margin, margin, margin]))
    if pose is not None:
        near = np.flatnonzero(np.abs(pose.grid.timestamp - second) <= HEAD_REACH_S)
        for track in pose.tracks:
            path = [box for at in near if (box := _head_box(track, int(at))) is not None]
            if path:  # one box for all of it: what lies between two moments is covered, too
                boxes.append(np.concatenate([np.min(path, 0)[:2], np.max(path, 0)[2:]]))
    return np.array(boxes).reshape(-1, 4)


def _head_box(track: Track, at: int) -> np.ndarray | None:
    """[4] around the head of a person in one frame; None: not seen."""
    if not track.valid[at]:
        return None
    places = track.keypoints[at, :, :2].astype(np.float64)
    seen = (track.keypoints[at, :, 2] >= _MIN_HEAD_SCORE) & np.isfinite(places).all(1)
    top, height = float(track.box[at, 1]), float(track.box[at, 3] - track.box[at, 1])
    sizes = [0.12 * height]  # the head of somebody who stands upright is an eighth
    shoulders = places[_SHOULDERS].mean(0) if seen[_SHOULDERS].all() else None
    hips = places[_HIPS].mean(0) if seen[_HIPS].all() else None
    if shoulders is not None:
        sizes.append(0.8 * float(np.linalg.norm(np.subtract(*places[_SHOULDERS]))))
    if shoulders is not None and hips is not None:
        sizes.append(0.5 * float(np.linalg.norm(shoulders - hips)))
    head = places[_HEAD][seen[_HEAD]]
    if len(head):
        sizes.append(1.4 * float(np.ptp(head, axis=0).max()))
    size = max(sizes)
    if len(head):
        centre = head.mean(0)
    elif shoulders is not None:
        up = shoulders - hips if hips is not None else np.array([0.0, -1.0])
        centre = shoulders + up / max(float(np.linalg.norm(up)), 1e-6) * 0.7 * size
    else:
        centre = np.array([(track.box[at, 0] + track.box[at, 2]) / 2, top + size / 2])
    return np.concatenate([centre - 0.8 * size, centre + 0.8 * size])


def cover(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Copy of a picture with CELLS x CELLS soft spots in place of each box.

    Averaged first, then smoothed: nothing smaller than a spot is left that could be brought back. Without boxes nobody
    knows where faces are, and the whole picture is made coarse.

    Args:
        picture: uint8 [H, W, 3]
        boxes: [K, 4] x1, y1, x2, y2 in the picture's pixels.
    """
    height, width = picture.shape[:2]
    if not len(boxes):
        return _coarse(picture, max(1.0, max(height, width) / COARSE))
    covered = picture.copy()
    for box in boxes:
        left, top = np.floor(box[:2]).astype(int).clip(0)
        right, bottom = np.ceil(box[2:]).astype(int).clip(0, [width, height])
        if right > left and bottom > top:
            part = covered[top:bottom, left:right]
            cell = max(_MIN_CELL, max(part.shape[:2]) / CELLS)
            covered[top:bottom, left:right] = _coarse(part, cell)
    return covered


def _coarse(picture: np.ndarray, cell: float) -> np.ndarray:
    """The picture averaged over cells of `cell` x `cell` px, and smoothed."""
    height, width = picture.shape[:2]
    small = (max(1, round(width / cell)), max(1, round(height / cell)))
    spots = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(cv2.resize(spots, (width, height), interpolation=cv2.INTER_LINEAR), (0, 0), cell / 3)


def draw_person(picture: np.ndarray, keypoints: np.ndarray, lead: bool, thickness: int) -> None:
    """Draws into the picture, uint8 [H, W, 3] RGB. keypoints: float [17, 3] x, y in its pixels, score 0..1."""
    places = _fine(keypoints[:, :2])
    seen = keypoints[:, 2] >= _MIN_DRAWN_SCORE
    for joint, parent in COCO17.edges:
        if seen[joint] and seen[parent]:
            name = COCO17.joints[joint]
            sided = MIDDLE if joint < _HEAD_JOINTS else LEFT if name.startswith("left") else RIGHT
            thin = 1 if joint < _HEAD_JOINTS or not lead else thickness
            cv2.line(picture, places[joint], places[parent], sided if lead else OTHERS, thin, cv2.LINE_AA, 4)


def draw_box(picture: np.ndarray, box: np.ndarray) -> None:
    """Draws into the picture. box: float [4] x1, y1, x2, y2 in its pixels."""
    low, high = _fine(box.reshape(2, 2))
    cv2.rectangle(picture, low, high, FACE, 1, cv2.LINE_AA, 4)


def _fine(places: np.ndarray) -> list[list[int]]:
    """[N, 2] in px as cv2 takes them."""
    return (np.nan_to_num(places).clip(-1e4, 1e4) * _FINE).round().astype(int).tolist()


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture with its longer side at most `side` px."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return picture if scale == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def filmstrip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one size, side by side."""
    return np.concatenate(pictures, axis=1)


def webp_uri(picture: np.ndarray, max_bytes: int) -> str:
    """Data URI of the picture as WebP, as good as fits into so many bytes; at the lowest quality it may be more."""
    for quality in _QUALITIES:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "WEBP", quality=quality, method=_EFFORT)
        if file.tell() <= max_bytes:
            break
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def read_jpeg(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3] RGB.

    Raises:
        ValueError: the data are no picture.
    """
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a face's crop is no picture that OpenCV can read")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
