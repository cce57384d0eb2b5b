"""Labelled frames on disk: rendered once, in parallel, then read by every network's training.

A file holds the frames of one small world: pictures as JPEG, labels as arrays, nothing pickled. A file appears whole or
not at all, so an interrupted rendering is resumed.
"""

import functools
import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from pipeline.core.child_processes import called_in_processes
from pipeline.core.errors import DataError
from simulation.script import Outfit
from simulation.training.labelled_frames import LabelledFrame, LabelledPerson, labelled_frames

# Its loss is small beside that of a phone's video, at 80 KB a picture of 540 x 960.
_JPEG_QUALITY = 93
_BY_PERSON = ("keypoints", "face_box", "yaw_deg", "identity", "expression", "outfit")  # fields of FrameSet
OUTFIT = ("top", "bottom", "shoes", "accent", "pattern", "sleeves", "legs")  # of script.Outfit; `look` is left out


@dataclass(frozen=True)
class FrameSet:
    """N frames with M people and their labels. People are in the order of the frames, the lead of each first."""

    jpegs: tuple[bytes, ...]  # [N]
    scene: np.ndarray  # int64 [N] indices in script.SCENES
    first: np.ndarray  # int64 [N + 1]: the people of frame n are first[n] .. first[n + 1]
    keypoints: np.ndarray  # float32 [M, 17, 3] x, y px; 2 visible, 1 occluded, 0 outside the picture
    face_box: np.ndarray  # float32 [M, 4] px; zeros: no face
    yaw_deg: np.ndarray  # float32 [M]
    identity: np.ndarray  # int64 [M] number of the person, unique over all worlds
    expression: np.ndarray  # float32 [M] 0..1
    outfit: np.ndarray  # float32 [M, 15] OUTFIT's fields; colours are three numbers

    def __len__(self) -> int:
        return len(self.jpegs)

    def picture(self, index: int) -> np.ndarray:
        """Picture of a frame, uint8 [H, W, 3] RGB."""
        return decode_jpeg(self.jpegs[index])

    def tensor(self, index: int) -> torch.Tensor:
        """Picture of a frame as extractors take it, uint8 [1, H, W, 3] RGB."""
        return torch.from_numpy(self.picture(index))[None]

    def thinned(self, most: int) -> "FrameSet":
        """At most `most` frames, evenly spread, with their people."""
        kept = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int))
        people = np.concatenate([np.arange(self.first[frame], self.first[frame + 1]) for frame in kept])
        counts = np.diff(self.first)[kept]
        return FrameSet(
            jpegs=tuple(self.jpegs[frame] for frame in kept),
            scene=self.scene[kept],
            first=np.concatenate(([0], counts.cumsum())).astype(np.int64),
            **{name: getattr(self, name)[people] for name in _BY_PERSON},
        )

    def people(self, index: int) -> slice:
        """Slice of a frame's people among all people."""
        return slice(int(self.first[index]), int(self.first[index + 1]))


def decode_jpeg(jpeg: bytes) -> np.ndarray:
    """Picture uint8 [H, W, 3] RGB of a JPEG file."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, "no JPEG file"
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def render_frame_set(folder: Path, seeds: Sequence[int], clips: int, frames_a_clip: int, processes: int) -> FrameSet:
    """Frames of the worlds of these seeds; those missing in `folder` are rendered into it.

    Other numbers of clips and frames are other files, in the same folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {seed: folder / f"world-{seed}-{clips}x{frames_a_clip}.npz" for seed in seeds}
    missing = [(path, seed) for seed, path in paths.items() if not path.exists()]
    if missing:
        render = functools.partial(_render, clips=clips, frames_a_clip=frames_a_clip)
        for _ in tqdm(called_in_processes(processes, render, missing), "rendering worlds", len(missing)):
            pass
    return _joined([_read(path) for path in paths.values()])


def _render(path: Path, seed: int, clips: int, frames_a_clip: int) -> None:
    cv2.setNumThreads(1)
    frames = frame_set(labelled_frames(seed, clips, frames_a_clip), seed)
    arrays = {item.name: getattr(frames, item.name) for item in fields(frames) if item.name != "jpegs"}
    arrays["jpeg_size"] = np.array([len(jpeg) for jpeg in frames.jpegs], np.int64)
    arrays["jpeg"] = np.frombuffer(b"".join(frames.jpegs), np.uint8)
    whole = io.BytesIO()
    np.savez(whole, **arrays)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(whole.getbuffer())
    unfinished.replace(path)


def frame_set(frames: Iterable[LabelledFrame], seed: int) -> FrameSet:
    """FrameSet of one world; `seed`, below 2^20, tells its people from those of other worlds."""
    jpegs, scene, first = [], [], [0]
    people: list[LabelledPerson] = []
    for frame in frames:
        encoded, jpeg = cv2.imencode(
            ".jpg", cv2.cvtColor(frame.picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        assert encoded
        jpegs.append(jpeg.tobytes())
        scene.append(frame.scene)
        people += frame.people
        first.append(len(people))
    return FrameSet(
        jpegs=tuple(jpegs),
        scene=np.array(scene, np.int64),
        first=np.array(first, np.int64),
        keypoints=np.array([person.keypoints for person in people], np.float32).reshape(-1, 17, 3),
        face_box=np.array([person.face_box for person in people], np.float32).reshape(-1, 4),
        yaw_deg=np.array([person.yaw_deg for person in people], np.float32),
        identity=np.array([(seed << 32) + person.creator for person in people], np.int64),
        expression=np.array([person.expression for person in people], np.float32),
        outfit=np.array([outfit_values(person.outfit) for person in people], np.float32).reshape(-1, 15),
    )


def outfit_values(outfit: Outfit) -> np.ndarray:
    """OUTFIT's fields in a row, float32 [15]."""
    return np.concatenate([np.atleast_1d(getattr(outfit, name)) for name in OUTFIT]).astype(np.float32)


def _read(path: Path) -> FrameSet:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # each has a CRC
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and run the same command again") from error
    data, ends = arrays.pop("jpeg").tobytes(), arrays.pop("jpeg_size").cumsum()
    starts = np.concatenate(([0], ends[:-1]))
    return FrameSet(tuple(data[start:end] for start, end in zip(starts, ends, strict=True)), **arrays)


def _joined(parts: Sequence[FrameSet]) -> FrameSet:
    counts = np.cumsum([0, *(part.first[-1] for part in parts)])
    first = np.concatenate([[0], *(part.first[1:] + count for part, count in zip(parts, counts, strict=False))])
    arrays = {
        item.name: np.concatenate([getattr(part, item.name) for part in parts])
        for item in fields(FrameSet)
        if item.name not in ("jpegs", "first")
    }
    return FrameSet(tuple(jpeg for part in parts for jpeg in part.jpegs), first=first.astype(np.int64), **arrays)
