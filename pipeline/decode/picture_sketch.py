"""Sketches: 100 numbers of a picture that hardly change when it is encoded anew, scaled, captioned or cropped.

They are the lowest frequencies of the small grey picture, as pHash takes them (C. Zauner, "Implementation and
Benchmarking of Perceptual Image Hash Functions", 2010), but not reduced to their signs, as in PDQF (Meta, "The TMK+PDQF
Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019). Signs say too little of what moves: only those of
numbers near zero turn, and a crop of 5 % turns others. In dances cropped so, changes of 64 signs correlate with the
original's by 0.2 to 0.5, of the most similar strangers by 0.3; those of these numbers by 0.66 or more, of strangers by
0.43 at most. So no library of hashes (imagehash, pdqhash) is used.

A change of which pictures are sketched, or how, raises ENDINGS_VERSION of pipeline.features.parquet_files.
"""

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from pipeline.core.options import SamplingOptions

SKETCH = 100  # numbers in a sketch
SKETCHES_A_SECOND = 5.0  # at most; a dancer's arm crosses a tenth of the picture in 0.2 s

_SIDE = 32  # px of the small picture
_COARSE = 128  # px that the shorter side keeps at least while only every n-th pixel is looked at
_TO_GREY = VideoReformatter()  # keeps its tables from picture to picture; for one thread of a process
_FLAT = 2.0  # grey levels of standard deviation; what is below, as a black screen, shows the encoder's noise

# The lowest frequencies beside (0, 0), down and across, by their length. Pictures hold the less of a frequency the
# higher it is, about in inverse proportion; times its length, all count alike. (More of them tell strangers apart even
# better, and lose more reposts that are cropped.)
_FREQUENCIES = sorted(
    ((down, across) for down in range(_SIDE) for across in range(_SIDE)),
    key=lambda at: (at[0] ** 2 + at[1] ** 2, at[0]),
)[1 : 1 + SKETCH]
_DOWN, _ACROSS = np.array(_FREQUENCIES).T
_WEIGHT = np.hypot(_DOWN, _ACROSS).astype(np.float32)
MIRROR = np.where(_ACROSS % 2, -1, 1).astype(np.int8)  # times a sketch: that of the picture with left and right swapped
# DCT-II, orthonormal.
_COSINES = np.cos(np.pi / _SIDE * np.outer(np.arange(_SIDE), np.arange(_SIDE) + 0.5)).astype(np.float32)
_COSINES[0] /= np.sqrt(2)


def sketch_stride(sampling: SamplingOptions) -> int:
    """Spacing of the sketched frames among a clip's sampled ones: those with `position % stride == 0`."""
    return max(1, round(sampling.sample_fps / SKETCHES_A_SECOND))


def picture_sketch(rgb: np.ndarray) -> np.ndarray | None:
    """Sketch of a picture, or None where it shows next to nothing (black, white, fog).

    A sketch is int8 [100], of Euclidean length 127 but for rounding. The cosine of two sketches is near 1 for one
    picture encoded twice, near 0 for pictures of different places.

    rgb: uint8 [H, W, 3], of any size and shape.
    """
    small = _small(rgb)
    if small.std() < _FLAT:
        return None
    frequencies = (_COSINES @ small @ _COSINES.T)[_DOWN, _ACROSS] * _WEIGHT
    return np.rint(127 * frequencies / np.linalg.norm(frequencies)).astype(np.int8)


def _small(rgb: np.ndarray) -> np.ndarray:
    """Averaged luma, float32 [32, 32]. A part of a large picture's pixels is enough, and takes a tenth of the time."""
    step = max(1, min(rgb.shape[:2]) // _COARSE)
    # A colour at a time: NumPy copies three bytes at once four times as slowly.
    coarse = av.VideoFrame.from_ndarray(np.stack([rgb[::step, ::step, at] for at in range(3)], 2), format="rgb24")
    grey = _TO_GREY.reformat(coarse, _SIDE, _SIDE, "gray", interpolation="AREA", threads=1)
    return grey.to_ndarray().astype(np.float32)
