"""Averages of areas equal those of torch, and P-Net says the same of a level on a canvas as of the level alone."""

import pytest
import torch
from facenet_pytorch import MTCNN
from torch.nn.functional import interpolate

from benchmarks.counted_device import counted_device
from models.extractors.face_search.pyramid import Pyramid, level_sides, pyramid, resampled, summed_area

MIN_FACE = 20


@pytest.mark.parametrize("size", [(24, 24), (7, 99), (150, 80), (12, 12)])
def test_summed_areas_resample_exactly_as_area_interpolation_does(size: tuple[int, int]) -> None:
    frames = torch.randint(0, 256, (2, 97, 61, 3), dtype=torch.uint8)
    want = interpolate(frames.permute(0, 3, 1, 2).float(), size=size, mode="area")
    assert torch.equal(resampled(summed_area(frames), size), want)


def test_summed_areas_hold_where_their_sums_pass_32_bits() -> None:
    frames = torch.full((1, 4000, 4000, 3), 255, dtype=torch.uint8)
    assert torch.equal(resampled(summed_area(frames), (10, 10)), torch.full((1, 3, 10, 10), 255.0))


@pytest.mark.parametrize("size", [(20, 20), (20, 90), (97, 61), (150, 84), (240, 321)])
def test_levels_side_by_side_are_searched_as_each_alone(size: tuple[int, int]) -> None:
    frames = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    sides = level_sides(*size, pyramid(*size, MIN_FACE))
    assert len({side % 2 for level in sides for side in level}) == 2 or len(sides) == 1, "levels of odd sides, too"
    network = MTCNN().pnet.eval().requires_grad_(False)
    alone = Pyramid(network, MIN_FACE, torch.device("cpu"))(summed_area(frames), batch=3)
    assert alone is not None
    with counted_device() as (device, counts):
        search = Pyramid(network.to(device), MIN_FACE, device)
        finite = []
        network.conv2.register_forward_pre_hook(lambda _, inputs: finite.append(inputs[0].cpu().isfinite().all()))
        search(summed_area(frames.to(device)), batch=3)  # the canvas is made once
        before = counts.operators
        together = search(summed_area(frames.to(device)), batch=3)
        assert together is not None
        assert counts.operators - before < 60  # however many levels
        assert all(finite), "a fast convolution would make NaN of it, also elsewhere"
        score, shift = (values.cpu() for values in together)
        box, level = (values.cpu() for values in search.places(*size))
    assert score.shape == alone[0].shape == (2, len(box))
    assert level.bincount().tolist() == [((height - 1) // 2 - 4) * ((width - 1) // 2 - 4) for height, width in sides]
    torch.testing.assert_close(score, alone[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(shift, alone[1], atol=1e-5, rtol=0)


def test_a_frame_without_levels_is_not_searched() -> None:
    search = Pyramid(MTCNN().pnet, MIN_FACE, torch.device("cpu"))
    assert search(summed_area(torch.zeros(1, 19, 200, 3, dtype=torch.uint8)), batch=1) is None
