"""Films of a few pictures in any codec and pixel format, tagged and oriented as asked, for tests of decoding."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding, Frame

EVERY_FRAME = SamplingOptions(sample_fps=1000.0, max_side=8192)
RATE = 10


def picture(width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3] without any symmetry: patches of colour whose edges lie on every fourth pixel."""
    rgb = np.full((height, width, 3), 40, np.uint8)
    half, third = height // 8 * 4, width // 12 * 4
    rgb[:half, : 2 * third] = (220, 60, 60)
    rgb[half:, :third] = (60, 220, 60)
    rgb[half:, 2 * third :] = (230, 230, 230)
    return rgb


def write_film(
    path: Path,
    pictures: Iterable[av.VideoFrame],
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    matrix: Sequence[int] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Encode pictures in their own pixel format, with the colour tags of the first.

    matrix: the display matrix, nine fixed-point numbers.
    """
    frames = list(pictures)
    first = frames[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=dict(options or {}))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        context = stream.codec_context
        context.colorspace, context.color_range = first.colorspace, first.color_range
        context.color_trc, context.color_primaries = first.color_trc, first.color_primaries
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for place, frame in enumerate(frames):
            frame.pts, frame.time_base = place, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_film(
    path: Path,
    order: Sequence[str] = (),
    sampling: SamplingOptions = EVERY_FRAME,
    limits: DecodeLimits | None = None,
) -> tuple[ClipDecoding, list[Frame]]:
    decoding = ClipDecoding(fetch(str(path)), sampling, limits or DecodeLimits(), lambda _: True, order)
    return decoding, list(decoding.frames())


# Weights of red and blue in luma, by the matrix's number in ITU-T H.273.
LUMA = {
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593),
}  # fmt: skip
UNTAGGED = 2


def yuv_frame(rgb: np.ndarray, layout: str, matrix: int, full: bool) -> Any:
    """R'G'B' [H, W, 3] of 0..1 as planes of 8 to 16 bits with tags, by ITU-T H.273's formulas; colour is averaged."""
    red, blue = LUMA.get(matrix, LUMA[6])
    luma = rgb @ [red, 1 - red - blue, blue]
    planes = [luma, (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)]
    frame: Any = av.VideoFrame(rgb.shape[1], rgb.shape[0], layout)
    frame.colorspace, frame.color_range = matrix, ColorRange.JPEG if full else ColorRange.MPEG
    bits = frame.format.components[0].bits
    for place, (values, plane) in enumerate(zip(planes, frame.planes, strict=False)):
        across, down = rgb.shape[1] // plane.width, rgb.shape[0] // plane.height
        coarse = values.reshape(plane.height, down, plane.width, across).mean((1, 3))
        swing = (2**bits - 1) if full else (224 if place else 219) * 2 ** (bits - 8)
        zero = 2 ** (bits - 1) if place else 0 if full else 16 * 2 ** (bits - 8)
        depth = np.uint8 if bits == 8 else np.dtype("<u2")
        codes = np.clip(np.rint(coarse * swing + zero), 0, 2**bits - 1).astype(depth)
        lines = np.frombuffer(plane, depth).reshape(plane.height, -1)
        lines[:, : plane.width] = codes
    return frame


def patches() -> np.ndarray:
    """R'G'B' of 0..1 [16, 96, 3]: 24 flat patches, every corner of the cube and its greys among them."""
    corners = np.array(np.meshgrid(*[[0.1, 0.9]] * 3)).reshape(3, 8).T
    greys = np.linspace(0, 1, 8)[:, None].repeat(3, 1)
    colours = np.concatenate([corners, greys, 0.5 + 0.5 * (corners - 0.5)])
    return colours[None].repeat(16, 0).repeat(4, 1)


def centres(rgb: np.ndarray) -> np.ndarray:
    """The inner columns of the patches, which no neighbour's colour reaches."""
    return rgb[4:12].reshape(8, -1, 4, 3)[:, :, 1:3]
