"""Suppression in fixed shapes: what torchvision's keeps, best first, as many as asked."""

import pytest
import torch
from torchvision.ops import nms

from models.extractors.rtmo import suppressed


@pytest.mark.parametrize("most", [3, 100])
def test_the_best_people_are_those_that_torchvision_keeps(most: int) -> None:
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(5, 60, 2, generator=random) * 50
    boxes = torch.cat([corner, corner + 5 + torch.rand(5, 60, 2, generator=random) * 40], dim=2)
    score = torch.rand(5, 60, generator=random).sort(1, descending=True).values
    valid = score > torch.tensor([0.0, 0.2, 0.5, 0.9, 2.0])[:, None]  # of the last picture none
    index, present = suppressed(boxes, valid, 0.5, most)
    assert index.shape == present.shape == (5, most)
    for picture in range(5):
        kept = nms(boxes[picture][valid[picture]], score[picture][valid[picture]], 0.5)  # valid ones come first
        assert index[picture][present[picture]].tolist() == kept[:most].tolist()
    assert present.sum(1)[-1] == 0
    assert most > 10 or present[0].all()


def test_empty_boxes_come_once_each() -> None:
    boxes = torch.zeros(1, 3, 4)
    index, present = suppressed(boxes, torch.ones(1, 3, dtype=torch.bool), 0.5, 5)
    assert index[present].tolist() == nms(boxes[0], torch.tensor([3.0, 2.0, 1.0]), 0.5).tolist() == [0, 1, 2]
