"""Conversion of decoded pictures to 8-bit RGB of standard dynamic range, as a person would see them on a usual screen.

The rules, in the order in which they apply:

* Matrix and range are those that the picture is tagged with: BT.601, BT.709, BT.2020, FCC, SMPTE 240M; limited or full.
  Untagged pictures are BT.601, limited; FFmpeg's default, whatever their size. Matrices without a conversion (ICtCp,
  YCgCo, IPT) end the clip as `unsupported`.
* Of an interlaced picture the upper field is used, with the lines between interpolated.
* HDR (HLG, PQ) becomes SDR (`sdr_of`): light by ITU-R BT.2100, HLG for a display of 1000 cd/m2; HDR's reference white
  of 203 cd/m2 (BT.2408) is SDR's white; what is brighter is rolled off by the curve of BT.2390, from 1000 cd/m2, by the
  largest of R, G and B so that hues stay; wider primaries are turned into those of BT.709 and what lies outside is
  clipped (BT.2087, BT.2407); the result is encoded for a display of gamma 2.4 (BT.1886). Dolby Vision 8.4 is HLG with
  hints on top, and 8.1 PQ: the hints are not used.
  Profile 5 is told from PQ by its matrix alone, where the file is tagged with it.
* SDR of wider primaries (BT.2020, P3) is turned into BT.709's by the same steps, without the curve.
* What is transparent shows black, as in a player.

Ordinary pictures (8-bit SDR) take one call of swscale, as before these rules.
"""

import errno
import tempfile
from functools import cache
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from pipeline.core.errors import ClipError

_UNSPECIFIED, _RESERVED = 2, 3  # of AVColorSpace; PyAV numbers what it names alike

REFERENCE_WHITE = 203.0  # cd/m2 of HDR's diffuse white (BT.2408), which SDR shows as its white
HDR_PEAK = 1000.0  # cd/m2 of the nominal display (BT.2100); what is brighter shows as white
_GRAPHS = 8  # kept at most; a stream may change its size with every picture
_LUT_SIDE = 33  # points an axis; see `_cube`

# x, y of red, green, blue, white (ITU-T H.273).
_D65 = (0.3127, 0.3290)
_CHROMATICITIES = {
    ColorPrimaries.BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    ColorPrimaries.BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    ColorPrimaries.SMPTE431: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    ColorPrimaries.SMPTE432: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


class PictureConverter:
    """Conversion of one stream's pictures to RGB; keeps the tables that FFmpeg makes for it."""

    def __init__(self) -> None:
        self._scaling, self._colours, self._last = VideoReformatter(), VideoReformatter(), VideoReformatter()
        self._graphs: dict[tuple, Graph] = {}

    def __call__(self, picture: Any, size: tuple[int, int]) -> np.ndarray:
        """A PyAV picture as uint8 [H, W, 3], averaged down to `size` (width, height); not turned.

        Raises:
            ClipError: unsupported, or memory.
        """
        try:
            return self._converted(picture, size)
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise ClipError("memory", "converting a picture went over the worker's memory limit") from error
            raise ClipError(
                "unsupported",
                f"no conversion to RGB of pictures in {picture.format.name} with colour matrix "
                f"{int(picture.colorspace)} (of ITU-T H.273): {error.strerror}",
            ) from error

    def _converted(self, picture: Any, size: tuple[int, int]) -> np.ndarray:
        if picture.colorspace == _RESERVED:
            picture.colorspace = _UNSPECIFIED
        tone = _tone(picture)
        if tone is not None and tone[1] == ColorPrimaries.BT2020 and picture.colorspace == _UNSPECIFIED:
            picture.colorspace = Colorspace.BT2020
        if picture.interlaced_frame:
            picture = self._filtered(picture, "field", "type=top")
        if _is_limited_gray(picture):
            picture = self._as_luma(picture)
        alpha = has_alpha(picture)
        rgb = "rgba" if alpha else "rgb24"
        if tone is not None:
            rgb = "gbrap16le" if alpha else "gbrp16le"
        if size != (picture.width, picture.height):
            # Scaling the planes before turning them into RGB takes half the time of FFmpeg doing both at once (2.0 and
            # 4.1 ms, 1080x1920 to 720x1280) and comes closer to averaging the full RGB picture.
            planes = picture.format.name if picture.format.name.startswith("yuv") else rgb
            picture = self._scaling.reformat(picture, *size, format=planes, interpolation="AREA", threads=1)
        picture = self._colours.reformat(picture, format=rgb, threads=1)
        if tone is not None:
            picture = self._filtered(picture, "lut3d", *tone)
            picture = self._last.reformat(picture, format="rgba" if alpha else "rgb24", threads=1)
        return _over_black(_pixels(picture, 4)) if alpha else _pixels(picture, 3)

    def _as_luma(self, picture: Any) -> Any:
        """Grey of limited range as YUV without colour: swscale takes every grey for full range."""
        planes = "yuv444p" + picture.format.name.removeprefix("gray")
        full = ColorRange.JPEG
        picture = picture.reformat(format=planes, src_color_range=full, dst_color_range=full, threads=1)
        picture.color_range = ColorRange.MPEG
        return picture

    def _filtered(self, picture: Any, name: str, *arguments: Any) -> Any:
        """The picture through one of FFmpeg's filters that makes one picture of each, `lut3d` or `field`."""
        tags = (picture.width, picture.height, picture.format.name, int(picture.colorspace), int(picture.color_range))
        key = (name, *arguments, *tags)
        if key not in self._graphs:
            if len(self._graphs) == _GRAPHS:
                self._graphs.clear()
            self._graphs[key] = _graph(name, arguments, *tags)
        self._graphs[key].vpush(picture)
        return self._graphs[key].vpull()


def scale_rgb(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average an RGB picture down to `size` (width, height), in half of cv2.INTER_AREA's time for the same pixels."""
    if size == (rgb.shape[1], rgb.shape[0]):
        return rgb
    return PictureConverter()(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"), size)


def fit_rgb(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an RGB picture to fit into `size` (width, height), its shape kept, with black beside or above and below."""
    width, height = size
    scale = min(width / rgb.shape[1], height / rgb.shape[0])
    inner = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    fitted = scale_rgb(rgb, inner)
    if inner == size:
        return fitted
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    framed = np.zeros((height, width, 3), np.uint8)
    framed[top : top + inner[1], left : left + inner[0]] = fitted
    return framed


def is_plain(picture: Any) -> bool:
    """Whether swscale's RGB is all that there is to a picture, so that any decoder's will do."""
    return not (has_alpha(picture) or picture.interlaced_frame or _is_limited_gray(picture) or _tone(picture))


def has_alpha(picture: Any) -> bool:
    layout = picture.format
    return layout.has_palette or any(component.is_alpha for component in layout.components)


def _is_limited_gray(picture: Any) -> bool:
    return picture.format.name.startswith("gray") and picture.color_range == ColorRange.MPEG


def _tone(picture: Any) -> tuple[int, int] | None:
    """(transfer, primaries) of a picture that `sdr_of` is to convert; None of one in plain SDR."""
    transfer, primaries = picture.color_trc, picture.color_primaries
    hdr = transfer in _HDR
    if primaries == ColorPrimaries.UNSPECIFIED and (hdr or picture.colorspace == Colorspace.BT2020):
        primaries = ColorPrimaries.BT2020
    if primaries not in _CHROMATICITIES:
        primaries = ColorPrimaries.BT709  # those of BT.601 are so near that players leave them alone
    if not hdr and primaries == ColorPrimaries.BT709:
        return None
    return int(transfer if hdr else ColorTrc.BT709), int(primaries)


def _pixels(picture: Any, channels: int) -> np.ndarray:
    """uint8 [H, W, channels] of a packed picture, seen in place: PyAV's `to_ndarray` would copy it once more."""
    plane = picture.planes[0]
    lines = np.frombuffer(plane, np.uint8)[: plane.line_size * picture.height]
    lines = lines.reshape(picture.height, plane.line_size)
    return lines[:, : picture.width * channels].reshape(picture.height, picture.width, channels)


def _over_black(rgba: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of [H, W, 4] with straight alpha."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return rgb
    return ((rgb.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _graph(name: str, arguments: tuple, width: int, height: int, layout: str, matrix: int, spread: int) -> Graph:
    graph = Graph()
    graph.threads = 1
    start = graph.add(
        "buffer",
        f"video_size={width}x{height}:pix_fmt={layout}:time_base=1/1:colorspace={matrix}:range={spread}",
    )
    end = graph.add("buffersink")
    if name == "lut3d":
        with tempfile.NamedTemporaryFile("w", suffix=".cube") as file:
            file.write(_cube(*arguments))
            file.flush()
            change = graph.add(name, file=file.name)
    else:
        change = graph.add(name, *arguments)
    start.link_to(change)
    change.link_to(end)
    graph.configure()
    return graph


@cache
def _cube(transfer: int, primaries: int) -> str:
    """`sdr_of` as a table in Iridas' format. FFmpeg interpolates between 33 points an axis.

    That errs by 0.5 of 255 on average, for greys by 1.5 at most; more only of colours at the edge of what BT.709 has.
    """
    axis = np.linspace(0, 1, _LUT_SIDE)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red runs fastest
    table = sdr_of(np.stack([red, green, blue], -1).reshape(-1, 3), transfer, primaries)
    return f"LUT_3D_SIZE {_LUT_SIDE}\n" + "\n".join(f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in table)


def sdr_of(signal: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """SDR signal [N, 3] of R'G'B' in BT.709, 0..1, from a signal [N, 3] of another standard, 0..1.

    transfer: as ColorTrc; anything but HLG or PQ counts as SDR. primaries: as ColorPrimaries.
    """
    to_xyz = _rgb_to_xyz(primaries)
    if transfer in _HDR:
        light = _hlg_light(signal, to_xyz[1]) if transfer == ColorTrc.ARIB_STD_B67 else _pq_light(signal)
        largest = light.max(-1, keepdims=True)
        light = light * _rolled_off(largest) / np.maximum(largest, 1e-9) / REFERENCE_WHITE
    else:
        light = signal**2.4
    light = light @ (np.linalg.inv(_rgb_to_xyz(ColorPrimaries.BT709)) @ to_xyz).T
    return np.clip(light, 0, 1) ** (1 / 2.4)


def _hlg_light(signal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """cd/m2 [N, 3] on a display of HDR_PEAK (BT.2100-2, table 5, gamma 1.2). luminance: [3] weights of R, G, B."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return HDR_PEAK * scene * (scene @ luminance)[:, None] ** 0.2


_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # of SMPTE ST 2084


def _pq_light(signal: np.ndarray) -> np.ndarray:
    """cd/m2 of a PQ signal (BT.2100-2, table 4)."""
    root = signal ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_signal(light: np.ndarray | float) -> np.ndarray:
    root = (np.asarray(light) / 10_000) ** _M1
    return ((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2


def _rolled_off(light: np.ndarray) -> np.ndarray:
    """cd/m2 of 0..HDR_PEAK brought to 0..REFERENCE_WHITE, the darker part unchanged (BT.2390-10, 5.4.1)."""
    peak = _pq_signal(HDR_PEAK)
    top = _pq_signal(REFERENCE_WHITE) / peak
    knee = 1.5 * top - 0.5
    level = np.minimum(_pq_signal(light) / peak, 1)
    t = np.maximum(level - knee, 0) / (1 - knee)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    return _pq_light(np.where(level < knee, level, curve) * peak)


def _rgb_to_xyz(primaries: int) -> np.ndarray:
    """Matrix [3, 3] from linear R, G, B to CIE X, Y, Z, of white at Y = 1 (SMPTE RP 177)."""
    *colours, white = _CHROMATICITIES[ColorPrimaries(primaries)]
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in colours]).T
    x, y = white
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])
