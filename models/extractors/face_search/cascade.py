"""MTCNN's three-stage face detection, batched over frames and candidates, with bounded work a frame.

The networks and their weights are facenet-pytorch's. The search around them is written anew: it equals
`MTCNN.detect` on a single frame, except that

* every area-averaged picture (the pyramid, the 24 and 48 px candidates) is read from one summed-area table a frame,
  all candidates at once, where facenet-pytorch cuts and resizes candidate by candidate;
* overlap is resolved within a frame exactly. facenet-pytorch moves each frame's boxes apart by an offset in float32,
  so that a face may depend on, or vanish for, a face of another frame;
* candidates are bounded, frames too small for any scale give no face, and so do candidates outside the picture
  (facenet-pytorch raises on the first, and pairs scores with the wrong boxes on the second).

Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from facenet_pytorch import MTCNN
from torch import Tensor
from torchvision.ops import nms

from models.errors import ProfileError
from models.extractors.compiled import compiled
from models.extractors.extractor import pad_batch
from models.extractors.face_search.pyramid import CELL, Pyramid, normalised, summed_area

_RNET_SIDE, _ONET_SIDE = 24, 48  # px, what the second and the third network look at
_OVERLAP_IN_SCALE, _OVERLAP = 0.5, 0.7  # intersection over union above which the less probable box goes

# Candidates kept a frame, the highest scores first. The most seen on real clips (leaves at 1080p): 623, 961 and 30.
MAX_PER_SCALE = 2048  # of P-Net, a pyramid level, before overlaps are resolved (which costs their square)
MAX_FOR_RNET = 4096
MAX_FOR_ONET = 256

# Boxes of several frames whose overlaps are resolved in one call; its memory is their square over 8 bytes: 50 MB.
_BOXES_AT_ONCE = 20_000


@dataclass(frozen=True)
class DetectorOptions:
    """facenet-pytorch's defaults."""

    min_face_size: int = 20  # px; smaller faces are not detected
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)  # lowest probability that passes each network

    def __post_init__(self) -> None:
        # Below a window's size the pyramid would enlarge the frame: more work than the frame has pixels, no more faces.
        if self.min_face_size < CELL:
            raise ProfileError(f"min_face_size is {self.min_face_size} px; MTCNN finds no face under {CELL} px")
        if len(self.thresholds) != 3 or not all(0 < threshold < 1 for threshold in self.thresholds):
            raise ProfileError(f"face thresholds are {self.thresholds}; give three between 0 and 1")


class Detections(NamedTuple):
    """The faces of some frames, ordered by frame, then by probability, highest first."""

    frame: np.ndarray  # int64 [K]
    box: np.ndarray  # float32 [K, 4] x1, y1, x2, y2 in pixels of the frame; may reach outside it
    landmarks: np.ndarray  # float32 [K, 5, 2] x, y of left eye, right eye, nose, left and right mouth corner (as seen)
    probability: np.ndarray  # float32 [K]

    def at(self, index: np.ndarray) -> "Detections":
        return Detections(*(values[index] for values in self))


class _Candidates(NamedTuple):
    frame: Tensor  # int64 [K]
    box: Tensor  # float32 [K, 4]
    score: Tensor  # float32 [K]
    shift: Tensor  # float32 [K, 4] correction that the network asks for, in box sides

    def at(self, index: Tensor) -> "_Candidates":
        return _Candidates(*(values[index] for values in self))


class FaceCascade:
    """facenet-pytorch's P-Net, R-Net and O-Net with the weights bundled in that package.

    They run in float32 everywhere: they are small, and float16 would move boxes by pixels.

    How many candidates there are must be known to size the next network's batches, so the processor waits for a GPU
    after each of the three, once, and once for each suppression of overlaps; however many levels and frames there are.
    """

    def __init__(self, options: DetectorOptions, device: torch.device) -> None:
        bundled = MTCNN(device=device)
        self.options = options
        self.device = device
        networks = (bundled.pnet, bundled.rnet, bundled.onet)
        pnet, rnet, onet = (network.eval().requires_grad_(False) for network in networks)
        self._pyramid = Pyramid(compiled(pnet, device, sides_vary=True), options.min_face_size, device)
        self._rnet, self._onet = compiled(rnet, device), compiled(onet, device)
        # Batches have fixed sizes, so that a frame's faces do not depend on the frames around it. On a CPU one frame
        # at a time is the fastest: a second one only leaves the cache sooner.
        on_cpu = device.type == "cpu"
        self._pixels_at_once = 0 if on_cpu else 16 << 20
        self._rnet_batch = 64 if on_cpu else 2048
        self._onet_batch = 16 if on_cpu else 256

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Detections:
        """frames: uint8 RGB [N, H, W, 3] on the cascade's device."""
        count, height, width = frames.shape[:3]
        at_once = min(max(1, self._pixels_at_once // max(1, height * width)), count)
        parts = []
        for start in range(0, count, at_once or 1):
            part = self._detect(frames[start : start + at_once], at_once)
            parts.append(part._replace(frame=part.frame + start))
        return Detections(*map(np.concatenate, zip(*parts, strict=True))) if parts else _no_faces()

    def _detect(self, frames: Tensor, batch: int) -> Detections:
        height, width = frames.shape[1:3]
        sums = summed_area(frames)
        candidates = self._propose(sums, height, width, batch)
        if candidates is None:
            return _no_faces()
        candidates = _best_per_frame(candidates, MAX_FOR_RNET)
        boxes = _squared(_shifted(candidates.box, candidates.shift, side_offset=0))
        cut, inside = _cut(sums, candidates.frame, boxes, height, width, _RNET_SIDE, self._rnet_batch)
        shift, probability = self._in_batches(self._rnet, cut, self._rnet_batch)
        score = probability[:, 1]
        passed = ((score > self.options.thresholds[1]) & inside).nonzero()[:, 0]
        if not len(passed):
            return _no_faces()
        candidates = _Candidates(candidates.frame, boxes, score, shift).at(passed)
        candidates = candidates.at(_without_overlap(candidates.frame, candidates.box, candidates.score, _OVERLAP))
        candidates = _best_per_frame(candidates, MAX_FOR_ONET)
        boxes = _squared(_shifted(candidates.box, candidates.shift, side_offset=1))
        cut, inside = _cut(sums, candidates.frame, boxes, height, width, _ONET_SIDE, self._onet_batch)
        shift, points, probability = self._in_batches(self._onet, cut, self._onet_batch)
        rows = [candidates.frame[:, None], inside[:, None], probability[:, 1:], boxes, shift, points]
        return self._faces(torch.cat(rows, dim=1).cpu().numpy())

    def _faces(self, rows: np.ndarray) -> Detections:
        """The faces among O-Net's candidates, which are few: from here on all is done on the host.

        rows: float32 [K, 21] frame, whether inside it, probability, box, correction, landmarks.
        """
        rows = rows[(rows[:, 1] > 0) & (rows[:, 2] > np.float32(self.options.thresholds[2]))]
        frame, probability, box = rows[:, 0].astype(np.int64), rows[:, 2], rows[:, 3:7]
        sides = box[:, 2:] - box[:, :2] + 1
        landmarks = rows[:, 11:].reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None] + box[:, None, :2] - 1
        moved = box + rows[:, 7:11] * np.tile(sides, 2)
        return Detections(frame, moved, landmarks, probability).at(_without_nested(frame, moved, probability))

    def _propose(self, sums: Tensor, height: int, width: int, batch: int) -> _Candidates | None:
        """Candidates of P-Net over the pyramid; None: nothing in any frame looks like a face."""
        searched = self._pyramid(sums, batch)
        if searched is None:
            return None
        count, (score, shift) = len(sums), searched
        frame, place = (score >= self.options.thresholds[0]).nonzero(as_tuple=True)
        if not len(frame):
            return None
        box, level_of = self._pyramid.places(height, width)
        candidates = _Candidates(frame, box[place], score[frame, place], shift[frame, :, place])
        group = level_of[place] * count + frame
        if len(group) > MAX_PER_SCALE:
            best = best_per_frame(group, candidates.score, MAX_PER_SCALE)
            candidates, group = candidates.at(best), group[best]
        candidates = candidates.at(_without_overlap(group, candidates.box, candidates.score, _OVERLAP_IN_SCALE))
        return candidates.at(_without_overlap(candidates.frame, candidates.box, candidates.score, _OVERLAP))

    def _in_batches(self, network: Callable[[Tensor], Any], cut: list[Tensor], batch: int) -> list[Tensor]:
        """The network's outputs for pictures given in batches, each padded to `batch`."""
        outputs = [[out[: len(part)] for out in network(pad_batch(normalised(part), batch))] for part in cut]
        return _concatenated(outputs)


def _concatenated(parts: Iterable[Iterable[Tensor]]) -> list[Tensor]:
    """The tensors of several parts joined, first with first, second with second."""
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _cut(
    sums: Tensor, frame: Tensor, box: Tensor, height: int, width: int, side: int, batch: int
) -> tuple[list[Tensor], Tensor]:
    """Candidates cut from their frames and resized by area: batches of pictures, float32 [<= batch, C, side, side].

    Also returns bool [K]: whether the candidate has at least a pixel inside its frame; else its picture is any.
    """
    limits, factors, rounding = _cut_constants(height, width, side, box.device)
    low, high = box.long().view(-1, 2, 2, 1, 1).unbind(1)  # [K, 2 axes, 1, 1]
    high, first = high.minimum(limits), low.clamp(min=1).minimum(limits) - 1
    inside = ((high > first) & (low <= limits)).flatten(1).all(dim=1)
    # Of the areas along x and along y the first pixel, and that past the last.
    ends = ((high - first).clamp(min=1) * factors + rounding) // side + first  # [K, 2 axes, 2, side]
    start, stop = ends.unbind(2)
    columns, rows = (stop - start).float().unbind(1)
    x, y = ends.unbind(1)
    y = (y + (frame * sums.shape[1]).view(-1, 1, 1)) * sums.shape[2]
    corners = x.view(-1, 1, 1, 2, side), y.view(-1, 2, side, 1, 1)
    spans = columns.view(-1, 1, side, 1), rows.view(-1, side, 1, 1)
    table, pictures = sums.flatten(0, 2), []
    for x, y, columns, rows in zip(*(values.split(batch) for values in (*corners, *spans)), strict=True):
        total = table.index_select(0, (y + x).flatten()).view(-1, 2, side, 2, side, sums.shape[3])
        top, bottom = total.unbind(1)
        left, right = (bottom - top).unbind(2)
        pictures.append((right - left).float().div_(rows).div_(columns).permute(0, 3, 1, 2))
    return pictures, inside


@lru_cache
def _cut_constants(height: int, width: int, side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Width and height [2, 1, 1]; what a length is multiplied by, and what is added, before it is divided by `side`."""
    index = torch.arange(side)
    limits, rounding = torch.tensor([width, height]).view(2, 1, 1), torch.tensor([[0], [side - 1]])
    return limits.to(device), torch.stack([index, index + 1]).to(device), rounding.to(device)


def _shifted(box: Tensor, shift: Tensor, *, side_offset: int) -> Tensor:
    """Boxes moved by a network's correction. `side_offset`: pixels that a side counts more."""
    sides = box[:, 2:] - box[:, :2]
    return box + shift * (sides + side_offset if side_offset else sides).repeat(1, 2)


def _squared(box: Tensor) -> Tensor:
    """Squares around the boxes' centres, as long as their longer side."""
    low, high = box.split(2, dim=1)
    sides = high - low
    side = sides.amax(1, keepdim=True)
    corner = low + sides * 0.5 - side * 0.5
    return torch.cat([corner, corner + side], dim=1)


def _without_overlap(group: Tensor, box: Tensor, score: Tensor, overlap: float) -> Tensor:
    """Indices of the boxes that no better one of their group overlaps, by group, then by score, best first."""
    box, score = box.double(), score.double()  # so that the offset that keeps groups apart costs no precision
    if len(box) > _BOXES_AT_ONCE:
        parts = [(group == index).nonzero()[:, 0] for index in group.unique().tolist()]
        return torch.cat([part[nms(box[part], score[part], overlap)] for part in parts])
    if len(box):
        least, most = box.aminmax()
        box = box + (group * (most - least + 1)).unsqueeze(1)
    kept = nms(box, score, overlap)
    return kept[group[kept].argsort(stable=True)]


def _best_per_frame(candidates: _Candidates, most: int) -> _Candidates:
    """At most `most` candidates a frame, those with the highest scores."""
    if len(candidates.frame) <= most:
        return candidates
    return candidates.at(best_per_frame(candidates.frame, candidates.score, most))


def best_per_frame(frame: Tensor, score: Tensor, most: int) -> Tensor:
    """Indices of the `most` highest scores of each frame, by frame, then by score; equal scores keep their order."""
    order = score.argsort(descending=True, stable=True)
    order = order[frame[order].argsort(stable=True)]
    ordered = frame[order]
    rank = torch.arange(len(order), device=order.device) - torch.searchsorted(ordered, ordered)
    return order[rank < most]


def _without_nested(frame: np.ndarray, box: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Indices of the faces, by frame, then by score, without those that a better face of their frame contains.

    A face goes when more than 0.7 of the smaller of the two boxes lies in the other; among equal scores the later one
    wins, as in facenet-pytorch.
    """
    area = (box[:, 2] - box[:, 0] + 1) * (box[:, 3] - box[:, 1] + 1)
    kept: list[int] = []
    for index in np.unique(frame):
        others = np.flatnonzero(frame == index)
        others = others[np.argsort(score[others], kind="stable")[::-1]]
        while len(others):
            best, others = others[0], others[1:]
            kept.append(int(best))
            corner = np.maximum(box[best, :2], box[others, :2])
            sides = np.maximum(np.float32(0), np.minimum(box[best, 2:], box[others, 2:]) - corner + 1)
            others = others[sides[:, 0] * sides[:, 1] / np.minimum(area[best], area[others]) <= np.float32(_OVERLAP)]
    return np.array(kept, dtype=np.int64)


def _no_faces() -> Detections:
    rows = np.zeros((0, 15), np.float32)
    return Detections(np.zeros(0, np.int64), rows[:, :4], rows[:, 4:14].reshape(0, 5, 2), rows[:, 14])
