"""People from the outputs of RTMO's head, all pictures of a batch at once and without waiting for the device.

mmpose's `RTMOHead.predict` takes picture by picture, and makes the processor wait for a GPU ten times in each: for the
number of candidates, of those that suppression leaves, and for every copy. The rules here are its own, in shapes that
do not depend on what is found: a picture has as many candidates and as many people as it may have at most, and those
that are not there have the score NOBODY.
"""

from typing import Any

import torch
from torch import Tensor

NOBODY = -1.0


class PeopleDecoder:
    """Decodes what `RTMOHead.forward` returns.

    Args:
        head: mmpose's RTMOHead.
        max_candidates: most anchors of a picture that enter suppression, best score first.
        max_persons: kept a picture, best score first; at most `max_candidates`.
        score_threshold: candidates at or below it are dropped.
        nms_threshold: of two people whose boxes overlap more than this (IoU), the better one stays.
        input_size: width, height of the network's input, px; boxes are cut to it.
    """

    def __init__(
        self,
        head: Any,
        *,
        max_candidates: int,
        max_persons: int,
        score_threshold: float,
        nms_threshold: float,
        input_size: tuple[int, int],
    ) -> None:
        self._head = head
        self._max_candidates = max_candidates
        self._max_persons = max_persons
        self._score_threshold = score_threshold
        self._nms_threshold = nms_threshold
        self._input_size = input_size
        self._anchors: dict[tuple[torch.Size, ...], tuple[Tensor, Tensor, Tensor]] = {}  # by the sizes of the maps

    def __call__(self, outputs: tuple[list[Tensor], ...]) -> Tensor:
        """float32 [B, max_persons, 56], best score first: 17 x (x, y), 17 scores of joints, the box and its score.

        Coordinates are pixels of the network's input. outputs: maps of B pictures, float32.
        """
        from mmpose.structures.bbox import bbox_xyxy2cs

        head = self._head
        score_maps, box_maps, _, joint_maps, pose_maps = outputs
        places, strides, limits = self._anchors_of(score_maps)
        score = head._flatten_predictions(score_maps).sigmoid()[..., 0]  # [B, N]: one class
        # A sort, not topk: equal scores then keep their order on every device.
        score, candidate = (part[:, : self._max_candidates] for part in score.sort(dim=1, descending=True, stable=True))
        boxes = _at(_boxes(head._flatten_predictions(box_maps), places, strides), candidate)
        chosen, present = suppressed(boxes, score > self._score_threshold, self._nms_threshold, self._max_persons)
        candidate, score, boxes = candidate.gather(1, chosen), score.gather(1, chosen), _at(boxes, chosen)
        found = (
            _at(head._flatten_predictions(pose_maps), candidate),
            torch.cat(bbox_xyxy2cs(boxes, head.bbox_padding), dim=2),
            places[candidate],
        )
        keypoints = self._keypoints(found, present)
        joints = _at(head._flatten_predictions(joint_maps).sigmoid(), candidate)  # of the few, rounded otherwise
        boxes = boxes.clamp(min=0).minimum(limits)
        score = score.masked_fill(~present, NOBODY)
        return torch.cat([keypoints, joints, boxes, score[..., None]], dim=2)

    def _keypoints(self, found: tuple[Tensor, Tensor, Tensor], present: Tensor) -> Tensor:
        """[B, P, 34] of people, given by their pose vectors [B, P, C], boxes (centre, size) and anchors [B, P, 2]."""
        decode = self._head.dcc.forward_test
        if present.device.type != "cpu":
            return decode(*(values.flatten(0, 1) for values in found)).view(*present.shape, -1)
        # A CPU knows how many there are. mmpose decodes these together, and so come its bits.
        keypoints = present.new_zeros((*present.shape, 2 * self._head.num_keypoints), dtype=torch.float32)
        for picture, count in enumerate(present.sum(1).tolist()):
            keypoints[picture, :count] = decode(*(values[picture, :count] for values in found)).flatten(1)
        return keypoints

    def _anchors_of(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Places [N, 2] and strides [N, 1] of the anchors, and what a box is cut to [4]; kept for good, where what was
        recorded (models.extractors.recorded) finds them.
        """
        sizes = tuple(scores.shape[2:] for scores in maps)
        if sizes not in self._anchors:
            levels = self._head.prior_generator.grid_priors(list(sizes), dtype=maps[0].dtype, device=maps[0].device)
            pairs = zip(levels, self._head.featmap_strides, strict=True)
            strides = torch.cat([level.new_full((len(level), 1), stride) for level, stride in pairs])
            limits = torch.tensor(self._input_size * 2, dtype=maps[0].dtype).to(maps[0].device)
            self._anchors[sizes] = torch.cat(levels), strides, limits
        return self._anchors[sizes]


def _boxes(predicted: Tensor, places: Tensor, strides: Tensor) -> Tensor:
    """[B, N, 4] x1, y1, x2, y2 of boxes given by the head's offsets and logarithms of sides, as its decode_bbox."""
    centre = predicted[..., :2] * strides + places
    half = predicted[..., 2:].exp() * strides / 2
    return torch.cat([centre - half, centre + half], dim=2)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """values [B, N, C] at index [B, K] -> [B, K, C]."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))


def suppressed(boxes: Tensor, valid: Tensor, threshold: float, most: int) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression of several pictures, in shapes that do not depend on its outcome.

    The best `most` boxes of each picture that no better one kept overlaps by more than `threshold` (IoU), as
    torchvision.ops.nms has them, whose result a GPU has to be waited for.

    Args:
        boxes: float32 [B, K, 4] x1, y1, x2, y2, best first.
        valid: bool [B, K]; all others are left out.

    Returns:
        index: int64 [B, most] into the K; any where nobody is left.
        present: bool [B, most].
    """
    low, high = boxes.split(2, dim=2)
    area = (high - low).prod(2, keepdim=True)
    sides = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    shared = sides.clamp(min=0).prod(3)
    # [B, K, K]; two empty boxes, whose overlap is NaN, leave each other alone.
    apart = ~(shared / (area + area.mT - shared) > threshold)
    apart.diagonal(dim1=1, dim2=2).fill_(False)  # a box goes when it is chosen, also an empty one
    picture = torch.arange(len(boxes), device=boxes.device)
    index, present = [], []
    for _ in range(most):
        is_left, best = valid.max(1)  # the first that is left: they are sorted
        index.append(best)
        present.append(is_left)
        valid = valid & apart[picture, best]
    return torch.stack(index, 1), torch.stack(present, 1)
