"""Faces made unrecognisable: where heads are, by the faces and the key points that were found, and what covers them."""

import cv2
import numpy as np

from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.tracks import Track

REACH_S = 0.25  # a head is covered wherever it was found so near in time: networks lose heads for a frame or two
CELLS = 6  # of a face, along its longer side: what is left of it to be seen
COARSE = 40  # px that are left of a whole picture's longer side
_SHRUNK = 4  # px at least that become one, also of a face of few pixels
_FACE_MARGIN = 0.35  # of a face's size, to each side: hair, ears, and motion
_HEAD = slice(0, 5)  # COCO-17: nose, eyes, ears
_SHOULDERS, _HIPS = [5, 6], [11, 12]
_LEAST_SCORE = 0.2  # of a key point; rather a wrong place covered than a face left


def head_boxes(pose: PoseRows | None, faces: FaceRows | None, second: float) -> np.ndarray:
    """float64 [K, 4] x1, y1, x2, y2 in source pixels: every head found within REACH_S of this moment."""
    found: list[np.ndarray] = []
    if faces is not None:
        near = np.abs(faces.grid.timestamp[faces.frame] - second) <= REACH_S
        for box in faces.box[near].astype(np.float64):
            margin = _FACE_MARGIN * max(box[2] - box[0], box[3] - box[1])
            found.append(box + np.array([-margin, -margin, margin, margin]))
    if pose is not None:
        near = np.flatnonzero(np.abs(pose.grid.timestamp - second) <= REACH_S)
        for track in pose.tracks:
            way = [box for at in near if (box := _head_box(track, int(at))) is not None]
            if way:  # one box for all of it: what lies between two moments is covered, too
                found.append(np.concatenate([np.min(way, 0)[:2], np.max(way, 0)[2:]]))
    return np.array(found).reshape(-1, 4)


def _head_box(track: Track, at: int) -> np.ndarray | None:
    """[4] around the head of a person in one frame; None: not seen."""
    if not track.valid[at]:
        return None
    places = track.keypoints[at, :, :2].astype(np.float64)
    told = (track.keypoints[at, :, 2] >= _LEAST_SCORE) & np.isfinite(places).all(1)
    top, height = float(track.box[at, 1]), float(track.box[at, 3] - track.box[at, 1])
    sizes = [0.12 * height]  # of somebody who stands upright a head is an eighth
    shoulders = places[_SHOULDERS].mean(0) if told[_SHOULDERS].all() else None
    hips = places[_HIPS].mean(0) if told[_HIPS].all() else None
    if shoulders is not None:
        sizes.append(0.8 * float(np.linalg.norm(np.subtract(*places[_SHOULDERS]))))
    if shoulders is not None and hips is not None:
        sizes.append(0.5 * float(np.linalg.norm(shoulders - hips)))
    head = places[_HEAD][told[_HEAD]]
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
    """A copy of the picture, uint8 [H, W, 3], of which the boxes [K, 4] (its own pixels) hold CELLS x CELLS soft spots.

    Averaged first, then smoothed: nothing smaller than a spot is left that could be brought back. Where there is no box
    nobody knows where faces are, and the whole picture is made coarse.
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
            cell = max(_SHRUNK, max(part.shape[:2]) / CELLS)
            covered[top:bottom, left:right] = _coarse(part, cell)
    return covered


def _coarse(picture: np.ndarray, cell: float) -> np.ndarray:
    """Each `cell` x `cell` px averaged to one number, and these smoothed over."""
    height, width = picture.shape[:2]
    small = (max(1, round(width / cell)), max(1, round(height / cell)))
    spots = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(cv2.resize(spots, (width, height), interpolation=cv2.INTER_LINEAR), (0, 0), cell / 3)
