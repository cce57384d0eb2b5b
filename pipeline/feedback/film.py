"""MP4 of two skeletons side by side, the clip's and the top clips', with differing limbs in colour."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from models.virality.skeleton import COCO17
from pipeline.feedback.motion import RATE_HZ, Motion, limb_joints, to_positions

SIDE, HEIGHT, CAPTION = 480, 560, 80  # px: width and height of each figure, and of the words below
_PAPER, _INK, _FAINT = (250, 250, 248), (40, 40, 44), (168, 168, 172)
# Orange and blue differ for every kind of colour vision.
_CLIP_COLOUR, _TOP_COLOUR = (230, 97, 1), (33, 102, 204)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
WHOLE_BODY = "whole_body"  # in a limb's place
_LINES, _LETTERS = 2, 92  # of the caption


@dataclass(frozen=True)
class Highlight:
    """A limb to draw in colour for some time, with the sentence below."""

    limb: str  # or WHOLE_BODY
    start_s: float
    end_s: float
    sentence: str


def draw_film(path: Path, motion: Motion, top: np.ndarray, highlights: Sequence[Highlight]) -> None:
    """Write H.264, yuv420p, RATE_HZ frames a second, as long as the dancer is seen.

    top: float64 [N, V, C], the top clips' positions at the motion's moments; NaN where not known.
    """
    clip = np.where(motion.seen[:, :-1, None], to_positions(motion.vectors), np.nan)
    limbs = {**limb_joints(), WHOLE_BODY: tuple(range(len(COCO17.joints)))}
    to_pixels = _projection([clip, top])
    blank = np.full((HEIGHT + CAPTION, 2 * SIDE, 3), _PAPER, np.uint8)
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=Fraction(RATE_HZ), options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 2 * SIDE, HEIGHT + CAPTION, "yuv420p"
        for frame, second in enumerate(motion.seconds):
            picture = blank.copy()
            shown = [highlight for highlight in highlights if highlight.start_s <= second <= highlight.end_s]
            coloured = {joint for highlight in shown for joint in limbs[highlight.limb]}
            for left, title, points, colour in (
                (0, "this clip", clip[frame], _CLIP_COLOUR),
                (SIDE, "the top clips, at this clip's proportions", top[frame], _TOP_COLOUR),
            ):
                _draw_figure(picture, to_pixels(points) + np.array([left, 0]), coloured, colour)
                _write(picture, title, (left + 16, 30))
            _write(picture, f"{second:.1f} s", (2 * SIDE - 76, 30))
            sentences = [highlight.sentence for highlight in shown]
            for line, text in enumerate((sentences or [_summary(highlights)])[:_LINES]):
                plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()[:_LETTERS]
                _write(picture, plain, (16, HEIGHT + 30 + 28 * line))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def _projection(dances: Sequence[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """From trunk lengths to px of one figure's field."""
    points = np.concatenate([dance.reshape(-1, dance.shape[-1]) for dance in dances])[:, :2]
    points = points[np.isfinite(points).all(1)]
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    scale = min((SIDE - 60) / max(high[0] - low[0], 1e-6), (HEIGHT - 90) / max(high[1] - low[1], 1e-6))
    middle, field = (low + high) / 2, np.array([SIDE / 2, HEIGHT / 2 + 20])
    return lambda points: (points[:, :2] - middle) * scale + field


def _draw_figure(picture: np.ndarray, points: np.ndarray, coloured: set[int], colour: tuple[int, int, int]) -> None:
    known = np.isfinite(points).all(1)
    pixels = np.nan_to_num(points).round().astype(int).tolist()
    for joint, parent in COCO17.edges:
        if known[joint] and known[parent]:
            shade, width = (colour, 7) if joint in coloured else (_FAINT, 4)
            cv2.line(picture, pixels[joint], pixels[parent], shade, width, cv2.LINE_AA)
    for joint in np.flatnonzero(known).tolist():
        shade, radius = (colour, 7) if joint in coloured else (_INK, 4)
        cv2.circle(picture, pixels[joint], radius, shade, -1, cv2.LINE_AA)


def _write(picture: np.ndarray, text: str, place: tuple[int, int]) -> None:
    cv2.putText(picture, text, place, _FONT, 0.55, _INK, 1, cv2.LINE_AA)


def _summary(highlights: Sequence[Highlight]) -> str:
    if not highlights:
        return "nothing stands out"
    plural = "s" if len(highlights) > 1 else ""
    return f"{len(highlights)} difference{plural} from the top clips; see the coloured stretches"
