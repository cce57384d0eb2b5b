"""Flat textured panels that places are made of, drawn by the camera's homography.

A panel is exact under perspective, so the floor stands still under a dancer whatever the camera does. Panels are drawn
in their order, the far ones first, without sorting or depth tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from simulation.geometry import Camera

Colour = tuple[float, float, float]  # RGB 0..255

NEAR_M = 0.25  # nearer parts are cut off: behind the camera the homography folds back
# Backgrounds are drawn at this share of the picture's size and enlarged, which costs half, smooths the panels' edges,
# and leaves the background a little soft, as a lens does.
DRAWN_SCALE = 0.75


@dataclass(frozen=True)
class Panel:
    """Flat rectangle, visible from the side that `down x across` points to."""

    corner: tuple[float, float, float]  # the texture's top left, metres
    across: tuple[float, float, float]  # from its left edge to its right, metres
    down: tuple[float, float, float]  # from its top edge to its bottom, metres
    texture: np.ndarray  # uint8 [h, w, 4] RGB times alpha, and alpha
    opaque: bool  # alpha is 255 everywhere


class PanelDrawer:
    """Drawer of a list of panels; holds their corners and axes as arrays, so that a frame is one matrix product."""

    def __init__(self, panels: Sequence[Panel]):
        # An opaque panel is drawn only where all four neighbours of a sample exist: a rim of one texel closes the seam.
        self._textures = [
            cv2.copyMakeBorder(p.texture, 1, 1, 1, 1, cv2.BORDER_REPLICATE) if p.opaque else p.texture for p in panels
        ]
        self._opaque = [p.opaque for p in panels]
        sizes = np.array([p.texture.shape[1::-1] for p in panels], np.float64)  # [P, 2] texels across, down
        rim = np.array(self._opaque, np.float64)[:, None]
        across = np.array([p.across for p in panels], np.float64) / sizes[:, :1]  # metres a texel
        down = np.array([p.down for p in panels], np.float64) / sizes[:, 1:]
        first = np.array([p.corner for p in panels], np.float64) + (0.5 - rim) * (across + down)  # middle of texel 0, 0
        self._normals = np.cross(down, across)
        self._first = first
        self._axes = np.stack([across, down, first], axis=2)  # [P, 3, 3] texel (i, j, 1) -> metres
        last = sizes + 2 * rim - 1
        zero, one = np.zeros(len(panels)), np.ones(len(panels))
        right, bottom = last[:, 0], last[:, 1]
        corners = [(zero, zero, one), (right, zero, one), (right, bottom, one), (zero, bottom, one)]
        self._corners = np.stack([np.stack(c, axis=1) for c in corners], axis=2)  # [P, 3, 4] texels, homogeneous

    def draw(self, camera: Camera, picture: np.ndarray) -> None:
        """Draw the camera's view onto `picture`, uint8 [h, w, 4] of any size."""
        height, width = picture.shape[:2]
        to_picture = _texels_to_pixels(camera, width, height)
        axes = self._axes.copy()
        axes[:, :, 2] -= camera.position
        homographies = to_picture @ axes  # [P, 3, 3]; the third row is the depth in metres
        projected = homographies @ self._corners
        depth = projected[:, 2]
        facing = np.einsum("pc,pc->p", self._normals, camera.position - self._first) > 0
        xs, ys = projected[:, :2].transpose(1, 0, 2) / np.maximum(depth, 1e-6)[None]
        boxes = np.stack([np.floor(xs.min(1)), np.floor(ys.min(1)), np.ceil(xs.max(1)) + 1, np.ceil(ys.max(1)) + 1], 1)
        whole = depth.min(1) >= NEAR_M
        boxes = np.clip(boxes, 0, [width, height, width, height]).astype(int)
        # Each panel is drawn into its box: move the homographies there, all at once.
        moved = homographies.copy()
        moved[:, :2] -= boxes[:, :2, None] * homographies[:, 2:]
        visible = facing & (depth.max(1) > NEAR_M) & ((boxes[:, 2:] > boxes[:, :2]).all(1) | ~whole)
        for index in np.flatnonzero(visible):
            if whole[index]:
                texture, homography, (left, top, right, bottom) = self._textures[index], moved[index], boxes[index]
            else:
                texture, homography, box = _cut_near(self._textures[index], homographies[index], width, height)
                left, top, right, bottom = box
                if right <= left or bottom <= top:
                    continue
                homography = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]]) @ homography
            _paint(picture[top:bottom, left:right], texture, homography, self._opaque[index])


def _paint(target: np.ndarray, texture: np.ndarray, homography: np.ndarray, opaque: bool) -> None:
    """Draw one texture onto `target`, uint8 [h, w, 4], a view into the picture."""
    size = (target.shape[1], target.shape[0])
    if opaque:
        cv2.warpPerspective(
            texture, homography, size, dst=target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
        )
        return
    over = cv2.warpPerspective(texture, homography, size, flags=cv2.INTER_LINEAR)
    uncovered = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(over, 3)), cv2.COLOR_GRAY2RGBA)
    cv2.multiply(target, uncovered, dst=target, scale=1 / 255)
    cv2.add(target, over, dst=target)


def _texels_to_pixels(camera: Camera, width: int, height: int) -> np.ndarray:
    """Matrix float64 [3, 3] from metres from the camera, in world axes, to pixels of such a picture, times depth."""
    axes = camera.rotation() * np.array([[1.0], [-1.0], [-1.0]])  # right, down, ahead
    lens = np.array(
        [[camera.focal_px, 0, (camera.width - 1) / 2], [0, camera.focal_px, (camera.height - 1) / 2], [0, 0, 1.0]]
    )
    x, y = width / camera.width, height / camera.height
    resize = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1.0]])  # of pixels' middles, as cv2.resize
    return resize @ lens @ axes


def _cut_near(
    texture: np.ndarray, homography: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """Part of a panel further than NEAR_M, its homography, and its box in the picture (empty where nothing is left).

    The panel is cut along the side that leads towards the camera.
    """
    rows, columns = texture.shape[:2]
    slope, at_first = homography[2, :2], homography[2, 2]  # depth = at_first + slope . texel
    spans = slope * (columns - 1, rows - 1)
    axis = int(np.argmax(np.abs(spans)))
    worst = at_first + min(0.0, spans[1 - axis])
    length = (columns, rows)[axis]
    start, stop = 0, length
    if slope[axis] > 0:
        start = min(length, max(0, int(np.ceil((NEAR_M - worst) / slope[axis]))))
    elif slope[axis] < 0:
        stop = min(length, max(0, int(np.floor((worst - NEAR_M) / -slope[axis])) + 1))
    if stop - start < 2:
        return texture, homography, (0, 0, 0, 0)
    if axis == 0:
        texture = texture[:, start:stop]
        moved = homography @ np.array([[1.0, 0, start], [0, 1, 0], [0, 0, 1]])
    else:
        texture = texture[start:stop]
        moved = homography @ np.array([[1.0, 0, 0], [0, 1, start], [0, 0, 1]])
    right, bottom = texture.shape[1] - 1, texture.shape[0] - 1
    projected = moved @ np.array([[0.0, right, right, 0], [0, 0, bottom, bottom], [1, 1, 1, 1]])
    if projected[2].min() < NEAR_M / 2:  # edge-on and across both sides: too near to be anything but a smear
        return texture, moved, (0, 0, 0, 0)
    xs, ys = projected[:2] / projected[2]
    low = np.floor([xs.min(), ys.min()]).clip(0, (width, height)).astype(int)
    high = (np.ceil([xs.max(), ys.max()]) + 1).clip(0, (width, height)).astype(int)
    return texture, moved, (low[0], low[1], high[0], high[1])


class Canvas:
    """Texture painted in metres: x to the right, y up (on a floor: y is -z); transparent at first."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float, per_m: float):
        self.x0, self.x1, self.y0, self.y1, self.per_m = x0, x1, y0, y1, per_m
        self.image = np.zeros((max(2, round((y1 - y0) * per_m)), max(2, round((x1 - x0) * per_m)), 4), np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in texels."""
        return self.image.shape[0], self.image.shape[1]

    def texel(self, x: float, y: float) -> tuple[float, float]:
        """Column and row in the texture of a point in metres."""
        return (x - self.x0) * self.per_m - 0.5, (self.y1 - y) * self.per_m - 0.5

    def cover(self, texture: np.ndarray) -> "Canvas":
        """Fill the canvas with uint8 [h, w, 3]."""
        self.image[..., :3] = texture
        self.image[..., 3] = 255
        return self

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def poly(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        cv2.fillPoly(self.image, [self._fixed_point(points)], _rgba(colour), cv2.LINE_AA, 4)

    def trapezoid(self, x: float, half0: float, y0: float, half1: float, y1: float, colour: Colour) -> None:
        """Draw a trapezoid about x, from half its width at y0 to half its width at y1."""
        self.poly([(x - half0, y0), (x + half0, y0), (x + half1, y1), (x - half1, y1)], colour)

    def disc(self, x: float, y: float, across: float, up: float, colour: Colour) -> None:
        """Draw an ellipse by its half axes."""
        column, row = self.texel(x, y)
        centre = (round(column * 16), round(row * 16))
        axes = (max(1, round(across * self.per_m * 16)), max(1, round(up * self.per_m * 16)))
        cv2.ellipse(self.image, centre, axes, 0, 0, 360, _rgba(colour), -1, cv2.LINE_AA, 4)

    def line(self, points: Sequence[tuple[float, float]], width_m: float, colour: Colour) -> None:
        """Draw a line through the points."""
        thick = max(1, round(width_m * self.per_m))
        cv2.polylines(self.image, [self._fixed_point(points)], False, _rgba(colour), thick, cv2.LINE_AA, 4)

    def _fixed_point(self, points: Sequence[tuple[float, float]]) -> np.ndarray:
        """Texels in OpenCV's fixed point with 4 binary places, int32 [n, 2]."""
        return np.round(np.array([self.texel(x, y) for x, y in points]) * 16).astype(np.int32)

    def inlay(self, x0: float, y0: float, x1: float, y1: float, texture: np.ndarray) -> None:
        """Fill a rectangle with a texture uint8 [h, w, 3], stretched to fit."""
        left, top = (round(v + 0.5) for v in self.texel(x0, y1))
        right, bottom = (round(v + 0.5) for v in self.texel(x1, y0))
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, self.size[1]), min(bottom, self.size[0])
        if right > left and bottom > top:
            self.image[top:bottom, left:right, :3] = cv2.resize(texture, (right - left, bottom - top))
            self.image[top:bottom, left:right, 3] = 255

    def shade(self, factor: np.ndarray) -> None:
        """Multiply the colours by `factor`, broadcast to [h, w] or [h, w, 3]."""
        self._shade(factor, slice(0, self.size[0]), slice(0, self.size[1]))

    def _shade(self, factor: np.ndarray, rows: slice, columns: slice) -> None:
        part = self.image[rows, columns]
        whole = np.ones(part.shape, np.float32)  # alpha stays
        whole[..., :3] = factor[..., None] if factor.ndim == 2 else factor
        part[:] = np.minimum(cv2.multiply(part, whole, dtype=cv2.CV_8U), part[..., 3:])

    def darken(self, boxes: Sequence[tuple[float, float, float, float]], amount: float, soft_m: float) -> None:
        """Paint soft shadows of things that stand on rectangles x0, y0, x1, y1."""
        if not boxes:
            return
        edges = np.array(boxes)
        reach = 3 * soft_m
        left, top = self.texel(edges[:, 0].min() - reach, edges[:, 3].max() + reach)
        right, bottom = self.texel(edges[:, 2].max() + reach, edges[:, 1].min() - reach)
        rows = slice(max(0, round(top)), max(0, round(bottom)))
        columns = slice(max(0, round(left)), max(0, round(right)))
        part = self.image[rows, columns]
        if not part.size:
            return
        coarse = max(1.0, soft_m * self.per_m / 3)  # a soft shadow needs no more texels than this
        mask = np.zeros((int(part.shape[0] / coarse) + 1, int(part.shape[1] / coarse) + 1), np.float32)
        for x0, y0, x1, y1 in boxes:
            first, last = self.texel(x0, y1), self.texel(x1, y0)
            corners = [
                (round((x - columns.start) / coarse), round((y - rows.start) / coarse)) for x, y in (first, last)
            ]
            cv2.rectangle(mask, corners[0], corners[1], 1.0, -1)
        soft = cv2.GaussianBlur(mask, (0, 0), soft_m * self.per_m / coarse)
        self._shade(1 - amount * cv2.resize(soft, part.shape[1::-1]), rows, columns)

    def pool(self, x: float, y: float, across: float, up: float, gain: float, colour: Colour = (255, 255, 255)) -> None:
        """Paint a soft pool of light: colours grow by up to `gain` in the middle, tinted."""
        left, top = self.texel(x - 2 * across, y + 2 * up)
        right, bottom = self.texel(x + 2 * across, y - 2 * up)
        rows = slice(max(0, round(top)), min(self.size[0], round(bottom)))
        columns = slice(max(0, round(left)), min(self.size[1], round(right)))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        column, row = self.texel(x, y)
        far_x = (np.arange(columns.start, columns.stop, dtype=np.float32) - column) / (across * self.per_m)
        far_y = (np.arange(rows.start, rows.stop, dtype=np.float32) - row) / (up * self.per_m)
        glow = np.maximum(0.0, np.exp(-(far_x**2))[None] * np.exp(-(far_y**2))[:, None] - np.float32(np.exp(-4.0)))
        tint = gain * np.array(colour, np.float32) / 255
        self._shade(1 + glow[..., None] * tint, rows, columns)


def _rgba(colour: Colour) -> tuple[float, float, float, float]:
    red, green, blue = (float(min(255, max(0, c))) for c in colour)
    return red, green, blue, 255.0


def wall(canvas: Canvas, z: float) -> Panel:
    """Canvas standing upright at depth z and facing the viewer; transparent where nothing was painted."""
    return _panel((canvas.x0, canvas.y1, z), (canvas.x1 - canvas.x0, 0, 0), (0, canvas.y0 - canvas.y1, 0), canvas)


def floor(canvas: Canvas, y: float = 0.0) -> Panel:
    """Canvas lying at height y, seen from above."""
    return _panel((canvas.x0, y, -canvas.y1), (canvas.x1 - canvas.x0, 0, 0), (0, 0, canvas.y1 - canvas.y0), canvas)


def ceiling(canvas: Canvas, y: float) -> Panel:
    """Canvas hanging at height y, seen from below; its y is z."""
    return _panel((canvas.x0, y, canvas.y1), (canvas.x1 - canvas.x0, 0, 0), (0, 0, canvas.y0 - canvas.y1), canvas)


def left_side(canvas: Canvas, x: float) -> Panel:
    """Canvas standing along z and facing +x; its x is -z."""
    return _panel((x, canvas.y1, -canvas.x0), (0, 0, canvas.x0 - canvas.x1), (0, canvas.y0 - canvas.y1, 0), canvas)


def right_side(canvas: Canvas, x: float) -> Panel:
    """Canvas standing along z and facing -x; its x is z."""
    return _panel((x, canvas.y1, canvas.x0), (0, 0, canvas.x1 - canvas.x0), (0, canvas.y0 - canvas.y1, 0), canvas)


def _panel(
    corner: tuple[float, float, float],
    across: tuple[float, float, float],
    down: tuple[float, float, float],
    canvas: Canvas,
) -> Panel:
    return Panel(corner, across, down, canvas.image, bool((canvas.image[..., 3] == 255).all()))
