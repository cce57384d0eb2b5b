"""The pyramid of pictures that P-Net looks at, and pictures of one size cut from frames: all by averaging areas.

Averages are read from one summed-area table a frame. On a processor P-Net gets level after level, which stay in its
cache. On a GPU, to which each of the hundred steps of that would have to be given by itself, all levels lie side by
side on one canvas, which is read and searched at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from models.extractors.extractor import pad_batch

CELL = 12  # px: P-Net's window, so the smallest face that a pyramid level shows
STRIDE = 2  # px between P-Net's windows
_FACTOR = 0.709  # between pyramid levels: about sqrt(1/2), half the area

# Frame sizes whose windows are kept, 4 MB at 720p; on a GPU also whose canvas is, 20 MB there; and sides of levels.
_FRAME_SIZES, _CANVASES, _LEVEL_SIDES = 16, 8, 512


def pyramid(height: int, width: int, min_face_size: int) -> list[float]:
    """The scales at which a frame is searched, largest picture first; empty where no face of that size fits."""
    scale = CELL / min_face_size
    side = min(height, width) * scale
    scales = []
    while side >= CELL:
        scales.append(scale)
        scale *= _FACTOR
        side *= _FACTOR
    return scales


def level_sides(height: int, width: int, scales: list[float]) -> list[tuple[int, int]]:
    """Height and width of the picture at each scale."""
    return [(int(height * scale + 1), int(width * scale + 1)) for scale in scales]


def windows_along(side: int) -> int:
    """Number of P-Net's windows along a side of a picture."""
    return _pooled(side) - 4  # two convolutions by 3


def _pooled(side: int) -> int:
    """Cells along a side that P-Net's pooling, behind a convolution by 3, makes of it; the last may be half a one."""
    return (side - 2 + 1) // 2


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
    top, bottom, heights = _areas(sums.shape[1] - 1, size[0])
    left, right, widths = _areas(sums.shape[2] - 1, size[1])
    rows = sums.index_select(1, bottom).sub_(sums.index_select(1, top))
    total = rows.index_select(2, right).sub_(rows.index_select(2, left)).float()
    return total.div_(heights.view(-1, 1, 1)).div_(widths.view(-1, 1)).permute(0, 3, 1, 2)


@lru_cache(_LEVEL_SIDES)
def _areas(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """First and past-the-end source pixel of every target pixel, as in adaptive average pooling; their distance."""
    index = torch.arange(target)
    first, last = index * source // target, ((index + 1) * source + target - 1) // target
    return first, last, last - first


def normalised(values: Tensor) -> Tensor:
    """Levels 0..255 as MTCNN's networks expect them; `values` are written over."""
    return values.sub_(127.5).mul_(0.0078125)


class Pyramid:
    """P-Net's outputs for all of its windows in all levels, level after level.

    Args:
        pnet: as models.extractors.compiled makes it of facenet-pytorch's on a CPU; else that itself.
    """

    def __init__(self, pnet: Callable[..., Any], min_face_size: int, device: torch.device) -> None:
        self.pnet = pnet if device.type == "cpu" else _SideBySide(pnet)
        self._min_face_size = min_face_size
        self._device = device
        self._places = lru_cache(_FRAME_SIZES)(self._new_places)
        self._canvas = lru_cache(_CANVASES)(self._new_canvas)

    def __call__(self, sums: Tensor, batch: int) -> tuple[Tensor, Tensor] | None:
        """Probabilities of a face [N, S] and corrections of boxes [N, 4, S] of S windows; None: there are no levels.

        sums: of N frames, at most `batch`; as many pass the network.
        """
        count, height, width = len(sums), sums.shape[1] - 1, sums.shape[2] - 1
        scales = pyramid(height, width, self._min_face_size)
        if not scales:
            return None
        if self._device.type != "cpu":
            return self._searched(sums, self._canvas(height, width), batch)
        scores, shifts = [], []
        for size in level_sides(height, width, scales):
            shift, probability = self.pnet(pad_batch(normalised(resampled(sums, size)), batch))
            scores.append(probability[:count, 1].flatten(1))
            shifts.append(shift[:count].flatten(2))
        return torch.cat(scores, dim=1), torch.cat(shifts, dim=2)

    def places(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The windows' boxes float32 [S, 4] in pixels of a frame, and their levels int64 [S]."""
        return self._places(height, width)

    def _searched(self, sums: Tensor, canvas: "_Canvas", batch: int) -> tuple[Tensor, Tensor]:
        count, table = len(sums), sums.flatten(1, 2)
        total = table.index_select(1, canvas.corners[3])
        for corner, sign in ((1, -1), (2, -1), (0, 1)):
            total.add_(table.index_select(1, canvas.corners[corner]), alpha=sign)
        levels = normalised(total.float().div_(canvas.heights).div_(canvas.widths))
        levels = levels.unflatten(1, canvas.size).permute(0, 3, 1, 2)
        shift, probability = self.pnet(pad_batch(levels, batch), canvas.between, canvas.between_cells)
        score = probability[:count, 1].flatten(1).index_select(1, canvas.windows)
        return score, shift[:count].flatten(2).index_select(2, canvas.windows)

    def _new_places(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        boxes, levels = [], []
        scales = pyramid(height, width, self._min_face_size)
        for level, (scale, size) in enumerate(zip(scales, level_sides(height, width, scales), strict=True)):
            sides = (torch.arange(windows_along(side)) for side in size)
            row, column = (index.flatten() for index in torch.meshgrid(*sides, indexing="ij"))
            corner = torch.stack([column, row], dim=1).float()
            boxes.append(torch.cat([STRIDE * corner + 1, STRIDE * corner + CELL], dim=1).div(scale).floor())
            levels.append(torch.full((len(corner),), level))
        return torch.cat(boxes).to(self._device), torch.cat(levels).to(self._device)

    def _new_canvas(self, height: int, width: int) -> "_Canvas":
        sides = level_sides(height, width, pyramid(height, width, self._min_face_size))
        return _drawn(height, width, sides, self._device)


class _SideBySide(nn.Module):
    """P-Net on a canvas: what it says of a level's windows does not depend on what lies beside the level.

    It could at the edges alone, where a level ends in the middle of one of the cells that are pooled.
    """

    def __init__(self, pnet: Any) -> None:
        super().__init__()
        self.pnet = pnet

    def forward(self, canvas: Tensor, between: Tensor, between_cells: Tensor) -> tuple[Tensor, Tensor]:
        """Corrections [N, 4, h, w] and probabilities [N, 2, h, w]. canvas: [N, 3, H, W]; masks: see _Canvas."""
        net = self.pnet
        x = net.prelu1(net.conv1(canvas)).masked_fill_(between, -torch.inf)
        # No infinite number may reach a convolution: fast ones add up what they take away again.
        x = net.pool1(x).masked_fill_(between_cells, 0)
        x = net.prelu3(net.conv3(net.prelu2(net.conv2(x))))
        return net.conv4_2(x), net.softmax4_1(net.conv4_1(x))


@dataclass(frozen=True)
class _Canvas:
    """All levels of a frame's pyramid side by side, [H, W] pixels; tensors on the device."""

    size: tuple[int, int]  # H, W
    corners: Tensor  # int32 [4, H * W] places in a summed-area table: left and right of the top, then of the bottom
    heights: Tensor  # float32 [H * W, 1] of the area that a pixel averages; 1 between the levels
    widths: Tensor  # likewise
    between: Tensor  # bool [H - 2, W - 2] what P-Net's first convolution makes of no level
    between_cells: Tensor  # bool, the same of the pooling behind it
    windows: Tensor  # int64 [S] places of the windows in the network's outputs


def _drawn(height: int, width: int, sides: list[tuple[int, int]], device: torch.device) -> _Canvas:
    """The canvas for levels of a frame, given by their heights and widths."""
    corners_of, size = _packed(sides)
    corners = torch.zeros(4, *size, dtype=torch.int32)
    heights, widths = torch.ones(2, *size)
    between = torch.ones(size[0] - 2, size[1] - 2, dtype=torch.bool)
    between_cells = torch.ones(_pooled(size[0]), _pooled(size[1]), dtype=torch.bool)
    windows, windows_wide = [], windows_along(size[1])
    for (top, left), (rows, columns) in zip(corners_of, sides, strict=True):
        (y0, y1, high), (x0, x1, wide) = _areas(height, rows), _areas(width, columns)
        inside = slice(top, top + rows), slice(left, left + columns)
        for corner, (y, x) in enumerate(((y0, x0), (y0, x1), (y1, x0), (y1, x1))):
            corners[corner][inside] = (y[:, None] * (width + 1) + x).int()
        heights[inside], widths[inside] = high[:, None].float(), wide.float()
        between[top : top + rows - 2, left : left + columns - 2] = False
        between_cells[top // 2 : top // 2 + _pooled(rows), left // 2 : left // 2 + _pooled(columns)] = False
        row, column = torch.arange(windows_along(rows)), torch.arange(windows_along(columns))
        windows.append(((top // 2 + row[:, None]) * windows_wide + left // 2 + column).flatten())
    return _Canvas(
        size, corners.flatten(1).to(device), heights.view(-1, 1).to(device), widths.view(-1, 1).to(device),
        between.to(device), between_cells.to(device), torch.cat(windows).to(device),
    )  # fmt: skip


def _packed(sides: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Top and left of each level on the canvas, even, so that it is pooled as it is alone; and the canvas's size.

    sides: heights and widths, largest first. Each goes into the first column in which there is room; all take a fifth
    more than their own area.
    """
    room = sides[0][0] + sides[0][0] % 2
    columns: list[list[int]] = []  # of each its left, and where it is free from
    corners, right = [], 0
    for height, width in sides:
        column = next((column for column in columns if column[1] + height <= room), None)
        if column is None:
            column = [right, 0]
            columns.append(column)
            right += width + width % 2
        corners.append((column[1], column[0]))
        column[1] += height + height % 2
    return corners, (room, right)
