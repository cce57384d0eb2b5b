"""Reposts of clips for tests and benchmarks: encoded anew, and changed in the ways in which reposts are."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from pipeline.decode.orientation import orientation_of

_TIME_BASE = Fraction(1, 90_000)
_CAPTION = "follow for more"


@dataclass(frozen=True)
class Repost:
    """Changes of a repost.

    crf: x264's; 23 is its default, 35 shows blocks.
    scale: of both sides.
    crop: share of both sides that is cut away, `crop_at` of it left and above.
    caption: a line of white capitals on a dark band, across the lower third.
    skip_s, cut_s: seconds left out at the start and at the end.
    fps: frames a second at most; 0: all.
    gain: contrast and brightness are multiplied by it.
    mirror: left and right are swapped.
    """

    crf: int = 23
    scale: float = 1.0
    crop: float = 0.0
    crop_at: float = 0.5
    caption: bool = False
    skip_s: float = 0.0
    cut_s: float = 0.0
    fps: float = 0.0
    gain: float = 1.0
    mirror: bool = False


# Near-duplicates by definition. Times are odd, so that no two grids of frames coincide.
REPOSTS = {
    "encoded anew, crf 35": Repost(crf=35),
    "half the size": Repost(scale=0.5),
    "cropped by 5 %": Repost(crop=0.05),
    "cropped by 5 %, off centre": Repost(crop=0.05, crop_at=0.0),
    "caption over it": Repost(caption=True),
    "first second cut": Repost(skip_s=1.07),
    "last second cut": Repost(cut_s=1.07),
    "20 frames a second": Repost(fps=20),
    "brighter": Repost(gain=1.2),
    "mirrored": Repost(mirror=True),
    "all of it": Repost(crf=32, scale=0.5, crop=0.05, caption=True, skip_s=1.07, fps=20),
}


def repost(source: Path, target: Path, changes: Repost) -> Path:
    """Writes `source` as H.264 to `target`, changed as `changes` says. Returns `target`.

    Raises:
        av.FFmpegError: `source` is damaged.
        ValueError: no frame is left of it.
    """
    frames = _kept(_read(source), changes)
    if not frames:
        raise ValueError(f"nothing of {source} is left after {changes}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(target), "w") as container:
        stream = container.add_stream(
            "libx264", options={"crf": str(changes.crf), "preset": "veryfast", "threads": "1"}
        )
        stream.time_base = stream.codec_context.time_base = _TIME_BASE
        first = _changed(frames[0][1], changes)
        stream.height, stream.width, stream.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
        for time_s, rgb in frames:
            picture = av.VideoFrame.from_ndarray(_changed(rgb, changes), format="rgb24")
            picture.pts, picture.time_base = round((time_s - frames[0][0]) / _TIME_BASE), _TIME_BASE
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return target


def _read(source: Path) -> list[tuple[float, np.ndarray]]:
    """(seconds from the first frame, uint8 [H, W, 3] upright) of every frame."""
    frames = []
    with av.open(str(source)) as container:
        for picture in container.decode(video=0):
            upright = orientation_of(picture).apply(picture.to_ndarray(format="rgb24"))
            frames.append((float(picture.time), upright))
    return [(time_s - frames[0][0], rgb) for time_s, rgb in frames]


def _kept(frames: list[tuple[float, np.ndarray]], changes: Repost) -> list[tuple[float, np.ndarray]]:
    last_s = frames[-1][0] - changes.cut_s
    kept: list[tuple[float, np.ndarray]] = []
    for time_s, rgb in frames:
        due = not kept or not changes.fps or time_s - kept[-1][0] >= 1 / changes.fps - 1e-3
        if changes.skip_s <= time_s <= last_s and due:
            kept.append((time_s, rgb))
    return kept


def _changed(rgb: np.ndarray, changes: Repost) -> np.ndarray:
    height, width = rgb.shape[:2]
    top, left = (round(side * changes.crop * changes.crop_at) for side in (height, width))
    size = [round(side * (1 - changes.crop)) for side in (height, width)]
    rgb = rgb[top : top + size[0], left : left + size[1]]
    if changes.mirror:
        rgb = rgb[:, ::-1]
    if changes.gain != 1:
        rgb = np.clip(rgb.astype(np.float32) * changes.gain, 0, 255).astype(np.uint8)
    if changes.caption:
        rgb = _captioned(rgb)
    # An encoder of 4:2:0 takes even sides only.
    target = tuple(max(2, round(side * changes.scale) // 2 * 2) for side in rgb.shape[1::-1])
    return cv2.resize(np.ascontiguousarray(rgb), target, interpolation=cv2.INTER_AREA)


def _captioned(rgb: np.ndarray) -> np.ndarray:
    rgb = rgb.copy()
    height, width = rgb.shape[:2]
    top, bottom = round(0.72 * height), round(0.80 * height)
    rgb[top:bottom, round(0.1 * width) : round(0.9 * width)] //= 4
    size = 0.7 * width / cv2.getTextSize(_CAPTION, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)[0][0]
    at = (round(0.15 * width), round((top + bottom) / 2 + 9 * size))
    cv2.putText(rgb, _CAPTION, at, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), max(1, round(2 * size)))
    return rgb
