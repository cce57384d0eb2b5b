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

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from torch import Tensor, nn
from torchvision.ops import nms

from models.errors import ProfileError
from models.extractors.extractor import pad_batch

_CELL = 12  # px: P-Net's window, so the smallest face that a pyramid level shows
_STRIDE = 2  # px between P-Net's windows
_FACTOR = 0.709  # between pyramid levels: about sqrt(1/2), half the area
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
        if self.min_face_size < _CELL:
            raise ProfileError(f"min_face_size is {self.min_face_size} px; MTCNN finds no face under {_CELL} px")
        if len(self.thresholds) != 3 or not all(0 < threshold < 1 for threshold in self.thresholds):
            raise ProfileError(f"face thresholds are {self.thresholds}; give three between 0 and 1")


class Detections(NamedTuple):
    """The faces of some frames, ordered by frame, then by probability, highest first."""

    frame: Tensor  # int64 [K]
    box: Tensor  # float32 [K, 4] x1, y1, x2, y2 in pixels of the frame; may reach outside it
    landmarks: Tensor  # float32 [K, 5, 2] x, y of left eye, right eye, nose, left and right mouth corner (in the image)
    probability: Tensor  # float32 [K]

    def at(self, index: Tensor) -> "Detections":
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
    """

    def __init__(self, options: DetectorOptions, device: torch.device) -> None:
        bundled = MTCNN(device=device)
        self.options = options
        self.device = device
        self._pnet: nn.Module = bundled.pnet.eval().requires_grad_(False)
        self._rnet: nn.Module = bundled.rnet.eval().requires_grad_(False)
        self._onet: nn.Module = bundled.onet.eval().requires_grad_(False)
        # Batches have fixed sizes, so that a frame's faces do not depend on the frames around it. On a CPU one frame
        # at a time is the fastest: a second one only leaves the cache sooner.
        on_cpu = device.type == "cpu"
        self._pixels_at_once = 0 if on_cpu else 16 << 20
        self._rnet_batch = 64 if on_cpu else 512
        self._onet_batch = 16 if on_cpu else 128

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Detections:
        """frames: uint8 RGB [N, H, W, 3] on the cascade's device."""
        count, height, width = frames.shape[:3]
        at_once = min(max(1, self._pixels_at_once // max(1, height * width)), count)
        parts = []
        for start in range(0, count, at_once or 1):
            part = self._detect(frames[start : start + at_once], at_once)
            parts.append(part._replace(frame=part.frame + start))
        return Detections(*_concatenated(parts)) if parts else _no_faces(self.device)

    def _detect(self, frames: Tensor, batch: int) -> Detections:
        height, width = frames.shape[1:3]
        sums = summed_area(frames)
        candidates = self._propose(sums, height, width, batch)
        if candidates is None:
            return _no_faces(self.device)
        candidates = _best_per_frame(candidates, MAX_FOR_RNET)
        boxes = _squared(_shifted(candidates.box, candidates.shift, side_offset=0))
        cut, inside = _cut(sums, candidates.frame, boxes, height, width, _RNET_SIDE, self._rnet_batch)
        shift, probability = self._in_batches(self._rnet, cut, self._rnet_batch)
        score = probability[:, 1]
        passed = score > self.options.thresholds[1]
        candidates = _Candidates(candidates.frame[inside][passed], boxes[inside][passed], score[passed], shift[passed])
        candidates = candidates.at(_without_overlap(candidates, _OVERLAP))
        candidates = _best_per_frame(candidates, MAX_FOR_ONET)
        boxes = _squared(_shifted(candidates.box, candidates.shift, side_offset=1))
        cut, inside = _cut(sums, candidates.frame, boxes, height, width, _ONET_SIDE, self._onet_batch)
        shift, points, probability = self._in_batches(self._onet, cut, self._onet_batch)
        score = probability[:, 1]
        passed = score > self.options.thresholds[2]
        frame, boxes, score = candidates.frame[inside][passed], boxes[inside][passed], score[passed]
        landmarks = _landmarks(boxes, points[passed])
        boxes = _shifted(boxes, shift[passed], side_offset=1)
        return Detections(frame, boxes, landmarks, score).at(_without_nested(frame, boxes, score))

    def _propose(self, sums: Tensor, height: int, width: int, batch: int) -> _Candidates | None:
        """Candidates of P-Net over the pyramid; None: nothing in any frame looks like a face."""
        levels = []
        for scale in pyramid(height, width, self.options.min_face_size):
            size = (int(height * scale + 1), int(width * scale + 1))
            level = _normalised(resampled(sums, size))
            shift, probability = self._pnet(pad_batch(level, batch))
            score = probability[: len(level), 1]
            passed = score >= self.options.thresholds[0]
            frame, row, column = passed.nonzero(as_tuple=True)
            if len(frame) == 0:
                continue
            corner = torch.stack([column, row], dim=1).float()
            box = torch.cat(
                [((_STRIDE * corner + 1) / scale).floor(), ((_STRIDE * corner + _CELL) / scale).floor()], dim=1
            )
            candidates = _Candidates(frame, box, score[passed], shift[: len(level)].permute(0, 2, 3, 1)[passed])
            candidates = _best_per_frame(candidates, MAX_PER_SCALE)
            levels.append(candidates.at(_without_overlap(candidates, _OVERLAP_IN_SCALE)))
        if not levels:
            return None
        candidates = _Candidates(*_concatenated(levels))
        return candidates.at(_without_overlap(candidates, _OVERLAP))

    def _in_batches(self, network: nn.Module, cut: list[Tensor], batch: int) -> list[Tensor]:
        """The network's outputs for pictures given in batches, each padded to `batch`."""
        outputs = [[out[: len(part)] for out in network(pad_batch(_normalised(part), batch))] for part in cut]
        return _concatenated(outputs)


def _concatenated(parts: Iterable[Iterable[Tensor]]) -> list[Tensor]:
    """The tensors of several parts joined, first with first, second with second."""
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def pyramid(height: int, width: int, min_face_size: int) -> list[float]:
    """The scales at which a frame is searched, largest picture first; empty where no face of that size fits."""
    scale = _CELL / min_face_size
    side = min(height, width) * scale
    scales = []
    while side >= _CELL:
        scales.append(scale)
        scale *= _FACTOR
        side *= _FACTOR
    return scales


def summed_area(frames: Tensor) -> Tensor:
    """uint8 [N, H, W, C] -> int32 [N, H+1, W+1, C]: the sum of all values above and to the left.

    Sums of very large frames wrap around in int32; the differences taken of them wrap back, since no window that is
    averaged holds 2^31 / 255 = 8 million pixels.
    """
    if frames.device.type == "cpu":
        tables = [torch.from_numpy(cv2.integral(frame.numpy())) for frame in frames]  # five times as fast as cumsum
        return torch.stack(tables) if len(tables) > 1 else tables[0][None]
    count, height, width, channels = frames.shape
    sums = frames.new_zeros((count, height + 1, width + 1, channels), dtype=torch.int32)
    sums[:, 1:, 1:] = frames.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    return sums


def resampled(sums: Tensor, size: tuple[int, int]) -> Tensor:
    """Whole frames at another size, float32 [N, C, h, w]: equal to interpolate(mode="area")."""
    top, bottom = _windows(sums.shape[1] - 1, size[0], sums.device)
    left, right = _windows(sums.shape[2] - 1, size[1], sums.device)
    rows = sums.index_select(1, bottom).sub_(sums.index_select(1, top))
    total = rows.index_select(2, right).sub_(rows.index_select(2, left)).float()
    return total.div_((bottom - top).view(-1, 1, 1)).div_((right - left).view(-1, 1)).permute(0, 3, 1, 2)


def _windows(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First and past-the-end source pixel of every target pixel, as in adaptive average pooling."""
    index = torch.arange(target, device=device)
    return index * source // target, ((index + 1) * source + target - 1) // target


def _cut(
    sums: Tensor, frame: Tensor, box: Tensor, height: int, width: int, side: int, batch: int
) -> tuple[list[Tensor], Tensor]:
    """Candidates cut from their frames and resized by area: batches of pictures, float32 [<= batch, C, side, side].

    Also returns the candidates' indices, int64: those with at least a pixel inside the frame.
    """
    whole = box.trunc().long()
    left, top = whole[:, 0].clamp(min=1) - 1, whole[:, 1].clamp(min=1) - 1
    right, bottom = whole[:, 2].clamp(max=width), whole[:, 3].clamp(max=height)
    inside = ((right > left) & (bottom > top)).nonzero()[:, 0]
    table = sums.view(-1, sums.shape[3])
    index = torch.arange(side, device=box.device)

    def windows(start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        length = (stop - start)[:, None]
        first = index * length // side
        last = ((index + 1) * length + side - 1) // side
        return start[:, None] + first, start[:, None] + last, (last - first).float()

    pictures = []
    for part in inside.split(batch) if len(inside) else [inside]:
        y0, y1, rows = windows(top[part], bottom[part])
        x0, x1, columns = windows(left[part], right[part])
        base = frame[part][:, None] * sums.shape[1]

        def at(y: Tensor, x: Tensor, base: Tensor = base) -> Tensor:
            return table[(((base + y) * sums.shape[2])[:, :, None] + x[:, None, :]).flatten()]

        total = (at(y1, x1) - at(y0, x1) - at(y1, x0) + at(y0, x0)).view(len(part), side, side, sums.shape[3]).float()
        mean = total / rows[:, :, None, None] / columns[:, None, :, None]
        pictures.append(mean.permute(0, 3, 1, 2))
    return pictures, inside


def _normalised(values: Tensor) -> Tensor:
    return (values - 127.5) * 0.0078125


def _shifted(box: Tensor, shift: Tensor, *, side_offset: int) -> Tensor:
    """Boxes moved by a network's correction. `side_offset`: pixels that a side counts more."""
    width = box[:, 2] - box[:, 0] + side_offset
    height = box[:, 3] - box[:, 1] + side_offset
    return box + shift * torch.stack([width, height, width, height], dim=1)


def _squared(box: Tensor) -> Tensor:
    """Squares around the boxes' centres, as long as their longer side."""
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    side = torch.maximum(width, height)
    x, y = box[:, 0] + width * 0.5 - side * 0.5, box[:, 1] + height * 0.5 - side * 0.5
    return torch.stack([x, y, x + side, y + side], dim=1)


def _landmarks(box: Tensor, points: Tensor) -> Tensor:
    """O-Net's points (five x, five y, in box sides) -> [K, 5, 2] in pixels."""
    sides = box[:, 2:] - box[:, :2] + 1
    return points.view(-1, 2, 5).permute(0, 2, 1) * sides[:, None] + box[:, None, :2] - 1


def _without_overlap(candidates: _Candidates, overlap: float) -> Tensor:
    """Indices of the candidates that no better one of their frame overlaps, by frame, then by score, best first."""
    frame, score = candidates.frame, candidates.score.double()
    box = candidates.box.double()  # so that the offset that keeps the frames' boxes apart costs no precision
    if len(box) > _BOXES_AT_ONCE:
        parts = [(frame == index).nonzero()[:, 0] for index in frame.unique().tolist()]
        return torch.cat([part[nms(box[part], score[part], overlap)] for part in parts])
    if len(box):
        box = box + (frame * (box.max() - box.min() + 1))[:, None]
    kept = nms(box, score, overlap)
    return kept[frame[kept].argsort(stable=True)]


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


def _without_nested(frame: Tensor, box: Tensor, score: Tensor) -> Tensor:
    """Indices of the faces, by frame, then by score, without those that a better face of their frame contains.

    A face goes when more than 0.7 of the smaller of the two boxes lies in the other. Few are left here, so this runs
    on the CPU; among equal scores the later one wins, as in facenet-pytorch.
    """
    frames, boxes, scores = frame.cpu().numpy(), box.cpu().numpy(), score.cpu().numpy()
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    kept: list[int] = []
    for index in np.unique(frames):
        others = np.flatnonzero(frames == index)
        others = others[np.argsort(scores[others], kind="stable")[::-1]]
        while len(others):
            best, others = others[0], others[1:]
            kept.append(int(best))
            corner = np.maximum(boxes[best, :2], boxes[others, :2])
            sides = np.maximum(np.float32(0), np.minimum(boxes[best, 2:], boxes[others, 2:]) - corner + 1)
            others = others[sides[:, 0] * sides[:, 1] / np.minimum(area[best], area[others]) <= np.float32(_OVERLAP)]
    return torch.tensor(kept, dtype=torch.long, device=box.device)


def _no_faces(device: torch.device) -> Detections:
    return Detections(
        torch.zeros(0, dtype=torch.long, device=device),
        torch.zeros(0, 4, device=device),
        torch.zeros(0, 5, 2, device=device),
        torch.zeros(0, device=device),
    )
