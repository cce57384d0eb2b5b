"""The clip and the top clips as two skeletons side by side, what differs in colour, as an MP4."""

import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from models.virality.skeleton import COCO17, Layout
from pipeline.feedback.align import View
from pipeline.feedback.compare import Said
from pipeline.feedback.edits import typical_change
from pipeline.feedback.limbs import LIMBS, RATE, Dance, limb_joints, to_positions

SIDE, HEIGHT, CAPTION = 480, 560, 80  # px: width and height of each figure, and of the words below
_PAPER, _INK, _FAINT = (250, 250, 248), (40, 40, 44), (168, 168, 172)
# Orange and blue differ for every kind of colour vision.
_OURS, _THEIRS = (230, 97, 1), (33, 102, 204)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LINES, _LETTERS = 2, 92  # of the caption


def draw_film(path: Path, ours: Dance, views: Sequence[View], said: Sequence[Said], layout: Layout = COCO17) -> None:
    """H.264, yuv420p, RATE frames a second, as long as the dancer is seen."""
    mine = np.where(ours.seen[:, :-1, None], to_positions(ours.vectors, layout), np.nan)
    theirs = typical(ours, views, layout)
    place = _fitting([mine, theirs])
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=Fraction(RATE), options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 2 * SIDE, HEIGHT + CAPTION, "yuv420p"
        for frame, second in enumerate(ours.seconds):
            picture = np.full((HEIGHT + CAPTION, 2 * SIDE, 3), _PAPER, np.uint8)
            now = [one for one in said if one.finding.start_s <= second <= one.finding.end_s]
            differing = {joint for one in now for joint in limb_joints(layout)[one.finding.limb]}
            for left, title, points, colour in ((0, "this clip", mine[frame], _OURS),
                                                (SIDE, "the top clips, at this clip's proportions", theirs[frame],
                                                 _THEIRS)):  # fmt: skip
                _figure(picture, place(points) + np.array([left, 0]), differing, colour, layout)
                cv2.putText(picture, title, (left + 16, 30), _FONT, 0.55, _INK, 1, cv2.LINE_AA)
            cv2.putText(picture, f"{second:.1f} s", (2 * SIDE - 76, 30), _FONT, 0.55, _INK, 1, cv2.LINE_AA)
            _caption(picture, [one.sentence for one in now] or [_summary(said)])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def typical(ours: Dance, views: Sequence[View], layout: Layout = COCO17) -> np.ndarray:
    """float64 [N, V, C] the references' median motion on the clip's time line; NaN where it is not known."""
    total = ours.vectors.copy()
    for limb in LIMBS:
        total += typical_change(ours, views, limb, layout)
    return to_positions(total, layout)


def _fitting(dances: Sequence[np.ndarray]):
    """From trunk lengths to px of one figure's field."""
    points = np.concatenate([dance.reshape(-1, dance.shape[-1]) for dance in dances])[:, :2]
    points = points[np.isfinite(points).all(1)]
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    scale = min((SIDE - 60) / max(high[0] - low[0], 1e-6), (HEIGHT - 90) / max(high[1] - low[1], 1e-6))
    middle, field = (low + high) / 2, np.array([SIDE / 2, HEIGHT / 2 + 20])
    return lambda points: (points[:, :2] - middle) * scale + field


def _figure(
    picture: np.ndarray, points: np.ndarray, differing: set[int], colour: tuple[int, int, int], layout: Layout
) -> None:
    known = np.isfinite(points).all(1)
    at = np.nan_to_num(points).round().astype(int).tolist()
    bones = [*layout.edges]
    for joint, parent in bones:
        if known[joint] and known[parent]:
            marked = joint in differing
            cv2.line(picture, at[joint], at[parent], colour if marked else _FAINT, 7 if marked else 4, cv2.LINE_AA)
    for joint in np.flatnonzero(known).tolist():
        marked = joint in differing
        cv2.circle(picture, at[joint], 7 if marked else 4, colour if marked else _INK, -1, cv2.LINE_AA)


def _caption(picture: np.ndarray, sentences: Sequence[str]) -> None:
    for line, text in enumerate(sentences[:_LINES]):
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()[:_LETTERS]
        cv2.putText(picture, plain, (16, HEIGHT + 30 + 28 * line), _FONT, 0.55, _INK, 1, cv2.LINE_AA)


def _summary(said: Sequence[Said]) -> str:
    if not said:
        return "nothing stands out"
    return f"{len(said)} difference{'s' if len(said) > 1 else ''} from the top clips; see the coloured stretches"
