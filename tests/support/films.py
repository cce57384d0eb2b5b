"""Films of a few pictures in any codec and pixel format, tagged and oriented as asked, for tests of decoding."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode import decoders
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
    order: Sequence[str] = decoders.ORDER,
    sampling: SamplingOptions = EVERY_FRAME,
    limits: DecodeLimits | None = None,
) -> tuple[ClipDecoding, list[Frame]]:
    decoding = ClipDecoding(fetch(str(path)), sampling, limits or DecodeLimits(), lambda _: True, order)
    return decoding, list(decoding.frames())
