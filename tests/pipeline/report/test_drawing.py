"""A face that is covered cannot be brought back, and none is left uncovered, whichever network missed it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from benchmarks.tiny_clips import render_clip as render_tiny
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.pool import DecodeJob
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid
from pipeline.modalities.tracks import Track
from pipeline.report import film as filming
from pipeline.report.drawing import CELLS, HEAD_REACH_S, cover, head_boxes, read_jpeg
from pipeline.report.film import Pictures, Subject, failures, film
from simulation.render import render_clip
from simulation.truth import ClipTruth, read_people
from simulation.world import WorldOptions, make_world
from tests.support.feature_rows import jpeg

SAMPLING = SamplingOptions()
LIMITS = DecodeLimits(deadline_s=60)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_of_a_covered_face_nothing_is_left_but_the_means_of_a_few_spots() -> None:
    face = noise(96, 96)
    cell = 96 // CELLS
    shuffled = face.copy()  # each spot's pixels in another order: the same means, another face
    for top in range(0, 96, cell):
        for left in range(0, 96, cell):
            spot = shuffled[top : top + cell, left : left + cell]
            spot[:] = np.random.default_rng(top * 96 + left).permutation(spot.reshape(-1, 3)).reshape(spot.shape)
    whole = np.array([[0, 0, 96, 96]], float)
    one, other = (cover(picture, whole).astype(int) for picture in (face, shuffled))
    assert np.abs(face.astype(int) - shuffled).mean() > 50
    assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize("side", [3, 7, 20, 200])
def test_a_face_of_any_size_is_covered_and_what_is_beside_it_stays(side: int) -> None:
    picture = noise(300, 300)
    box = np.array([[40, 50, 40 + side, 50 + side]], float)
    covered = cover(picture, box)
    inside = (slice(50, 50 + side), slice(40, 40 + side))
    assert np.ptp(covered[inside].astype(int), axis=(0, 1)).mean() < 0.6 * np.ptp(picture[inside], axis=(0, 1)).mean()
    outside = np.ones((300, 300), bool)
    outside[inside] = False
    assert (covered[outside] == picture[outside]).all()


def test_a_picture_in_which_nobody_was_found_is_made_coarse_as_a_whole() -> None:
    covered = cover(noise(400, 200), np.zeros((0, 4)))
    assert np.abs(np.diff(covered.astype(int), axis=1)).max() < 30, "nothing sharp is left"


def standing(x: float, y: float, frames: int = 10, hidden: tuple[int, ...] = (), seen: slice = slice(None)) -> Track:
    """Somebody 170 px tall, whose head is around (x, y)."""
    places = np.array(
        [(0, 0), (4, -4), (-4, -4), (9, -2), (-9, -2), (18, 25), (-18, 25), (25, 55), (-25, 55), (28, 80), (-28, 80),
         (11, 80), (-11, 80), (12, 120), (-12, 120), (13, 155), (-13, 155)], float,
    ) + [x, y]  # fmt: skip
    score = np.full((17, 1), 0.9)
    score[list(hidden)] = 0.0
    valid = np.zeros(frames, bool)
    valid[seen] = True
    keypoints = np.concatenate([places, score], 1)[None] * valid[:, None, None]
    box = np.array([x - 30, y - 15, x + 30, y + 160]) * valid[:, None]
    return Track(0, True, valid, keypoints.astype(np.float32), box.astype(np.float32), valid.astype(np.float32))


def grid(frames: int = 10) -> Grid:
    return Grid(np.arange(frames, dtype=np.int32), (np.arange(frames) / 10).astype(np.float32))


def holds(boxes: np.ndarray, x: float, y: float, reach: float = 0) -> bool:
    """Whether a box holds everything so near the point."""
    low, high = (boxes[:, :2] <= [x - reach, y - reach]).all(1), (boxes[:, 2:] >= [x + reach, y + reach]).all(1)
    return bool((low & high).any())


@pytest.mark.parametrize("hidden", [(), (1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 11, 12), tuple(range(17))])
def test_a_head_is_where_the_key_points_say_however_few_are_seen(hidden: tuple) -> None:
    boxes = head_boxes(PoseRows("clip", grid(), (standing(100, 60, hidden=hidden),)), None, 0.5)
    assert holds(boxes, 100, 60, reach=10)
    assert not holds(boxes, 100, 140), "the hips are no head"


def test_a_head_that_was_lost_for_a_moment_is_covered_all_the_same_but_not_for_long() -> None:
    pose = PoseRows("clip", grid(20), (standing(100, 60, 20, seen=slice(0, 8)),))
    assert holds(head_boxes(pose, None, 0.7 + HEAD_REACH_S - 0.01), 100, 60, reach=8)
    assert not len(head_boxes(pose, None, 1.5))


def test_everybodys_face_is_covered_and_not_the_lead_dancers_alone() -> None:
    beside = replace(standing(300, 60), track_id=1, is_lead=False)
    box = np.array([[490, 40, 510, 65]], np.float32)
    faces = FaceRows(
        "clip", grid(), np.array([5], np.int32), box, np.zeros((1, 5, 2), np.float32), np.ones(1, np.float32),
        np.zeros((1, 512), np.float16), (jpeg(1),),
    )  # fmt: skip
    boxes = head_boxes(PoseRows("clip", grid(), (standing(100, 60), beside)), faces, 0.5)
    for x in (100, 300, 500):
        assert holds(boxes, x, 52, reach=8), x
    assert not holds(head_boxes(None, faces, 0.5), 100, 52)


# --- on a rendered clip


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClipTruth]:
    """Half a second of a clip, and the truth of it: whose face is seen for the most part, and large."""
    folder = tmp_path_factory.mktemp("rendered")
    uploads = [one for one in make_world(WorldOptions(seed=11, clips=12, creators=4, seconds=(0.5, 0.6), broken=0))
               if not one.script.phone.rotation and len(one.script.people) == 1]  # fmt: skip
    best = None
    for upload in uploads[:3]:
        (folder / "clips").mkdir(exist_ok=True)
        render_clip(folder, upload)
        truth = read_people(folder, upload.script.clip_id)
        size = float(np.median(np.diff(truth.people[0].face_box[:, ::2], axis=1)))
        if best is None or size > best[0]:
            best = (size, folder / upload.uri, truth)
    assert best is not None
    assert best[0] > 20, "px: a face that can be recognised"
    return best[1], best[2]


def as_rows(truth: ClipTruth) -> tuple[PoseRows, FaceRows]:
    """The truth as if networks had found it in every frame."""
    person = truth.people[0]
    whole = Grid(np.arange(len(truth.timestamp), dtype=np.int32), truth.timestamp)
    score = (person.keypoints[..., 2:] > 0) * 0.9
    keypoints = np.concatenate([person.keypoints[..., :2], score], 2).astype(np.float32)
    seen = np.ones(len(truth.timestamp), bool)
    pose = PoseRows(truth.clip_id, whole, (Track(0, True, seen, keypoints, person.box, seen.astype(np.float32)),))
    frames = np.flatnonzero(np.ptp(person.face_box, axis=1)).astype(np.int32)
    faces = FaceRows(
        truth.clip_id, whole, frames, person.face_box[frames], person.landmarks[frames],
        np.ones(len(frames), np.float32), np.zeros((len(frames), 512), np.float16), (jpeg(1),) * len(frames),
    )  # fmt: skip
    return pose, faces


def picture_of(path: Path, pose: PoseRows | None, faces: FaceRows | None, blur: bool) -> tuple[np.ndarray, Pictures]:
    subject = Subject(3, "clip", str(path), "", 0.5, pose, faces, check_s=0.2)
    (pictures,) = film([subject], SAMPLING, LIMITS, 1, blur)
    assert film_of(pictures)
    assert pictures.picture is not None
    return decoded(pictures.picture), pictures


def film_of(pictures: Pictures) -> dict:
    assert pictures.film is not None
    return pictures.film


def decoded(uri: str) -> np.ndarray:
    import base64

    return read_jpeg(base64.b64decode(uri.split(",", 1)[1]))  # OpenCV looks at the bytes: WebP as well


def original_face(path: Path, truth: ClipTruth, second: float, size: tuple[int, int]) -> np.ndarray:
    """The face's pixels, as they are in the film, at the scale of a picture of this (height, width)."""
    at = int(np.abs(truth.timestamp - second).argmin())
    with av.open(str(path)) as container:
        frame = [one.to_ndarray(format="rgb24") for one in container.decode(video=0)][at]
    scale = size[0] / frame.shape[0]
    small = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = (truth.people[0].face_box[at] * scale).round().astype(int)
    return small[y1 + 2 : y2 - 1, x1 + 2 : x2 - 1]  # inside the box that is drawn


def best_match(picture: np.ndarray, face: np.ndarray) -> float:
    """-1..1: the best match of the face anywhere in the picture."""
    return float(cv2.matchTemplate(picture, face, cv2.TM_CCOEFF_NORMED).max())


def test_the_face_of_a_film_is_nowhere_in_the_page_once_it_is_blurred(rendered: tuple[Path, ClipTruth]) -> None:
    path, truth = rendered
    pose, faces = as_rows(truth)
    shown, of_shown = picture_of(path, None, faces, blur=False)
    face = original_face(path, truth, of_shown.picture_s, shown.shape[:2])
    assert best_match(shown, face) > 0.9, "else this test could not fail"
    for poses, heads in ((pose, faces), (pose, None), (None, faces)):
        blurred, pictures = picture_of(path, poses, heads, blur=True)
        assert pictures.picture_s == of_shown.picture_s
        assert best_match(blurred, face) < 0.6, (poses, heads)
    strip, plain = (decoded(film_of(one)["src"]) for one in (pictures, of_shown))
    assert strip.shape == plain.shape
    assert np.abs(strip.astype(int) - plain).max() > 40
    # What is no head is left as it was.
    low = slice(int(strip.shape[0] * 0.9), None)
    assert np.abs(strip[low].astype(int) - plain[low]).mean() < 3


def test_a_strip_says_where_its_frames_are(rendered: tuple[Path, ClipTruth]) -> None:
    path, truth = rendered
    _, pictures = picture_of(path, *as_rows(truth), blur=True)
    entry = film_of(pictures)
    assert entry["frames"] == len(entry["seconds"]) >= 2
    assert decoded(entry["src"]).shape == (entry["height"], entry["frames"] * entry["width"], 3)
    assert max(entry["width"], entry["height"]) == filming.SIDE
    assert entry["seconds"] == sorted(entry["seconds"])


def test_a_clip_that_is_gone_or_no_video_has_no_film_and_costs_no_other_its_own(tmp_path: Path) -> None:
    good = render_tiny(tmp_path / "good.mp4", seed=1)
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    subjects = [
        Subject(row, name, str(tmp_path / f"{name}.mp4"), "", 1.0, None, None, None)
        for row, name in enumerate(("good", "bad", "gone"))
    ]
    # A file whose heads nobody looked for is not shown.
    subjects.append(Subject(3, "replaced", str(good), hashlib.sha256(b"another").hexdigest(), 1.0, None, None, None))
    pictures = {one.row: one for one in film(subjects, SAMPLING, DecodeLimits(attempts=1), 2, True)}
    assert good.exists()
    assert pictures[0].film is not None
    assert (pictures[1].film, pictures[2].film, pictures[3].film) == (None, None, None)
    assert failures(pictures.values()) == {"not_a_video": 1, "missing": 1, "changed": 1}


def test_a_long_clip_gives_few_frames_and_only_those_are_decoded_to_pictures(tmp_path: Path) -> None:
    path = render_tiny(tmp_path / "long.mp4", seed=2, frames=240, fps=8)
    subject = Subject(0, "long", str(path), "", 30.0, None, None, None)
    stride = filming._stride(subject, SAMPLING)
    assert DecodeJob("long", str(path), (stride,)).strides == (20,)
    (pictures,) = film([subject], SAMPLING, LIMITS, 1, False)
    assert pictures.film is not None
    assert pictures.film["frames"] <= filming.FRAMES
    assert pictures.film["seconds"][-1] > 25
