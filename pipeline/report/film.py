"""A few frames of selected clips, decoded once more: a strip with skeletons drawn over, and one picture to check."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.report.drawing import cover, draw_box, draw_person, filmstrip, fitted, head_boxes, webp_uri

FRAMES = 16  # of a strip, at most
SIDE = 240  # px of a strip's frame, the longer one
STRIP_BYTES, PICTURE_BYTES = 36_000, 24_000
_DECODED_SIDE = 480  # px: what pictures to check are shown at
_EVEN = 2  # faces are looked for in every second sampled frame: those are the ones to take


@dataclass(frozen=True)
class Subject:
    """A clip of which pictures are wanted."""

    row: int
    clip_id: str
    uri: str
    content_hash: str  # of the file that the rows are of: in another, other heads would stay uncovered; empty: any
    duration_s: float  # 0: not known
    pose: PoseRows | None
    faces: FaceRows | None
    check_s: float | None  # the moment of the picture to check; None: no such picture


@dataclass(frozen=True)
class Pictures:
    """Pictures of one clip. Without film nothing could be decoded; `code` then says why."""

    row: int
    film: dict | None = None
    picture: str | None = None  # data URI
    picture_s: float = 0.0
    code: str = ""


@dataclass(frozen=True)
class _Frame:
    rgb: np.ndarray  # uint8 [H, W, 3]
    second: float
    scale: float  # px a source px


@dataclass
class _Clip:
    subject: Subject
    attempt: int = 0
    frames: list[_Frame] = field(default_factory=list)


def film(
    subjects: Sequence[Subject], sampling: SamplingOptions, limits: DecodeLimits, workers: int, blur: bool
) -> Iterator[Pictures]:
    """Decodes clips in workers that can be killed, and yields each one's pictures, in any order. A clip that is gone,
    hangs or crashes has none.

    sampling: as the features were extracted with, so that frames and rows are of the same moments.
    blur: heads are covered (drawing.cover) before anything else is done with a picture.
    """
    small = replace(sampling, max_side=min(_DECODED_SIDE, sampling.max_side))
    if not subjects:
        return
    in_flight = {subject.clip_id: _Clip(subject) for subject in subjects}
    jobs = (
        DecodeJob(subject.clip_id, subject.uri, (_stride(subject, small),), subject.content_hash)
        for subject in subjects
    )
    with DecodePool(small, limits, max(1, min(workers, len(subjects)))) as pool:
        for event in pool.run(jobs):
            clip = in_flight[event.clip_id]
            if isinstance(event, Chunk):
                _take(clip, event)
            else:
                yield _pictures(clip, blur) if clip.frames else Pictures(clip.subject.row, code=event.code)
                del in_flight[event.clip_id]


def _stride(subject: Subject, sampling: SamplingOptions) -> int:
    seconds = min(subject.duration_s or sampling.max_seconds, sampling.max_seconds)
    return max(_EVEN, -(-int(seconds * sampling.sample_fps) // (FRAMES * _EVEN)) * _EVEN)


def _take(clip: _Clip, chunk: Chunk) -> None:
    try:
        if chunk.attempt != clip.attempt:
            clip.attempt, clip.frames = chunk.attempt, []
        for rgb, second in zip(chunk.frames, chunk.timestamp.tolist(), strict=True):
            if len(clip.frames) < 2 * FRAMES:  # a clip longer than its header says
                clip.frames.append(_Frame(rgb.copy(), second, chunk.scale))
    finally:
        chunk.release()


def _pictures(clip: _Clip, blur: bool) -> Pictures:
    subject = clip.subject
    frames = clip.frames
    if blur:
        heads = [head_boxes(subject.pose, subject.faces, frame.second) * frame.scale for frame in frames]
        frames = [replace(frame, rgb=cover(frame.rgb, boxes)) for frame, boxes in zip(frames, heads, strict=True)]
    shown = frames[:: -(-len(frames) // FRAMES)]
    small = [_with_people(fitted(frame.rgb, SIDE), frame, subject.pose, 1) for frame in shown]
    height, width = small[0].shape[:2]
    same = [rgb if rgb.shape == small[0].shape else cv2.resize(rgb, (width, height)) for rgb in small]
    entry = {
        "src": webp_uri(filmstrip(same), STRIP_BYTES), "frames": len(same), "width": width, "height": height,
        "seconds": [round(frame.second, 2) for frame in shown],
    }  # fmt: skip
    if subject.check_s is None:
        return Pictures(subject.row, entry)
    moment = subject.check_s
    nearest = min(frames, key=lambda frame: abs(frame.second - moment))
    drawn = _with_people(nearest.rgb.copy(), nearest, subject.pose, 2)
    for box in _faces_at(subject.faces, nearest.second):
        draw_box(drawn, box * nearest.scale)
    return Pictures(subject.row, entry, webp_uri(drawn, PICTURE_BYTES), nearest.second)


def _with_people(picture: np.ndarray, frame: _Frame, pose: PoseRows | None, thickness: int) -> np.ndarray:
    """Draws everybody who was detected at the frame's moment into the picture, which may be smaller than the frame."""
    at = None if pose is None else _at(pose.grid.timestamp, frame.second)
    if pose is None or at is None:
        return picture
    scale = frame.scale * picture.shape[0] / frame.rgb.shape[0]
    drawn = np.ascontiguousarray(picture)
    for track in sorted(pose.tracks, key=lambda track: track.is_lead):
        if track.valid[at]:
            draw_person(drawn, track.keypoints[at] * [scale, scale, 1], track.is_lead, thickness)
    return drawn


def _faces_at(faces: FaceRows | None, second: float) -> np.ndarray:
    """[K, 4] boxes in source pixels."""
    at = None if faces is None else _at(faces.grid.timestamp, second)
    return np.zeros((0, 4)) if faces is None or at is None else faces.box[faces.frame == at]


def _at(timestamps: np.ndarray, second: float) -> int | None:
    """Index of the grid's frame at this moment; None: no frame of the grid is."""
    if not len(timestamps):
        return None
    nearest = int(np.abs(timestamps - second).argmin())
    return nearest if abs(float(timestamps[nearest]) - second) < 1e-3 else None


def failures(pictures: Iterable[Pictures]) -> Mapping[str, int]:
    """Number of clips without pictures, by code."""
    return Counter(clip.code for clip in pictures if clip.film is None)
