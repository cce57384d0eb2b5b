"""From results of single frames to rows: in source pixels, of the right width, also where there is little."""

from typing import Any

import numpy as np
import pytest

from models.extractors.audio.extractor import AudioWindow
from models.extractors.people import Face, People
from models.extractors.scene import Scene
from pipeline.decode.clips import Ending
from pipeline.features.columns import to_batch
from pipeline.modalities.record import Decoded, Grid
from pipeline.modalities.registry import extracted_names, find_extracted
from tests.support.feature_rows import jpeg

ENDING = Ending("clip", "ok", "", "", 8, 8, "pyav", 640, 480, 1, 0.1)
RANDOM = np.random.default_rng(4)


def assemble(modality: str, ending: Ending, grid: Grid, frame: np.ndarray, results: Any, scale: float) -> Any:
    return find_extracted(modality).assemble(Decoded(ending, scale), grid, frame, results)


def grid(frames: int) -> Grid:
    return Grid(np.arange(frames, dtype=np.int32) * 3, np.arange(frames, dtype=np.float32) / 10)


def indices(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def people(*tops: float, score: float = 0.9) -> People:
    """Persons 200 px high and 100 wide in a row, whose keypoints lie on the diagonal of their box."""
    boxes = np.array([[300 * place, top, 300 * place + 100, top + 200] for place, top in enumerate(tops)])
    boxes = boxes.reshape(-1, 4).astype(np.float32)
    along = np.linspace(0, 1, 17)[None, :, None]
    points = boxes[:, None, :2] + along * (boxes[:, None, 2:] - boxes[:, None, :2])
    keypoints = np.concatenate([points, np.full((len(tops), 17, 1), 0.75)], axis=2).astype(np.float32)
    return People(keypoints, boxes, np.full(len(tops), score, np.float32))


def face(left: float) -> Face:
    box = np.array([left, 20, left + 40, 70], np.float32)
    landmarks = (box[:2] + np.arange(10).reshape(5, 2)).astype(np.float32)
    return Face(box, landmarks, 0.5 + left / 1000, jpeg(int(left)), RANDOM.normal(size=512).astype(np.float16))


def scene(width: int = 24) -> Scene:
    feature = RANDOM.normal(size=width).astype(np.float16)
    category = RANDOM.permutation(365)[:5].astype(np.int16)
    return Scene(feature, category, -np.sort(-RANDOM.random(5)).astype(np.float32), 0.25)


def test_people_become_tracks_in_source_pixels_with_scores_as_they_are() -> None:
    results = [people(10), people(14), people(18)]
    full, half = (assemble("pose", ENDING, grid(3), indices(0, 1, 2), results, scale) for scale in (1.0, 0.5))
    (track,) = full.tracks
    (doubled,) = half.tracks
    np.testing.assert_array_equal(track.box[:, 1], [10, 14, 18])
    np.testing.assert_array_equal(doubled.box, 2 * track.box)
    np.testing.assert_array_equal(doubled.keypoints[..., :2], 2 * track.keypoints[..., :2])
    np.testing.assert_array_equal(doubled.keypoints[..., 2], np.full((3, 17), 0.75, np.float32))
    np.testing.assert_array_equal(doubled.score, np.float32(0.9))
    assert doubled.is_lead
    assert (doubled.box.dtype, doubled.keypoints.dtype) == (np.float32, np.float32)


def test_the_lead_is_chosen_by_the_size_of_the_source_not_of_the_frames() -> None:
    """Two dancers of equal size: the one nearer to the middle leads, and where the middle is depends on the scale."""
    results = [people(100, 100)] * 4  # middles at x = 50 and 350 of the frame
    leads = {}
    for width in (400, 1200):
        ending = Ending("clip", "ok", "", "", 4, 4, "pyav", width, 800, 1, 0.1)
        rows = assemble("pose", ending, grid(4), indices(0, 1, 2, 3), results, 0.5)
        (lead,) = [track for track in rows.tracks if track.is_lead]
        leads[width] = float(lead.box[0, 0])
    assert leads == {400: 0.0, 1200: 600.0}  # middle of the source at 200: nearer to 100 than to 700; at 600: to 700


def test_numbers_of_frames_without_the_person_stay_zero_at_any_scale() -> None:
    results = [people(10), people(), people(12)]
    (track,) = assemble("pose", ENDING, grid(3), indices(0, 1, 2), results, 0.25).tracks
    assert track.valid.tolist() == [True, False, True]
    assert not track.box[1].any()
    assert not track.keypoints[1].any()


def test_nobody_in_any_frame_gives_no_track_and_the_whole_grid() -> None:
    rows = assemble("pose", ENDING, grid(5), indices(0, 1, 2, 3, 4), [people()] * 5, 1.0)
    assert rows.tracks == ()
    assert len(rows.grid.frame_index) == 5


def test_faces_keep_their_frames_and_are_in_source_pixels() -> None:
    results = [face(10), face(90), face(40)]
    rows = assemble("face", ENDING, grid(4), indices(1, 1, 3), results, 0.5)
    assert rows.frame.tolist() == [1, 1, 3]
    np.testing.assert_array_equal(rows.box[:, 0], [20, 180, 80])
    np.testing.assert_array_equal(rows.landmarks, 2 * np.stack([result.landmarks for result in results]))
    np.testing.assert_allclose(rows.probability, [0.51, 0.59, 0.54])
    assert rows.crop == (jpeg(10), jpeg(90), jpeg(40))
    np.testing.assert_array_equal(rows.embedding, np.stack([result.embedding for result in results]))


def test_no_face_in_any_frame_gives_empty_arrays_of_the_right_shapes() -> None:
    rows = assemble("face", ENDING, grid(4), indices(), [], 0.5)
    assert (rows.box.shape, rows.landmarks.shape, rows.probability.shape) == ((0, 4), (0, 5, 2), (0,))
    assert (rows.embedding.shape, rows.embedding.dtype, rows.crop) == ((0, 512), np.float16, ())
    assert len(rows.grid.frame_index) == 4


@pytest.mark.parametrize("width", [1, 512, 2048])
def test_features_keep_their_width_and_their_bits(width: int) -> None:
    scenes = [scene(width), scene(width)]
    rows = assemble("scene", ENDING, grid(2), indices(0, 1), scenes, 0.5)
    np.testing.assert_array_equal(rows.feature, np.stack([result.feature for result in scenes]))
    np.testing.assert_array_equal(rows.top_category, np.stack([result.top_category for result in scenes]))
    np.testing.assert_array_equal(rows.top_probability, np.stack([result.top_probability for result in scenes]))
    np.testing.assert_array_equal(rows.indoor, [0.25, 0.25])
    features = [result.feature for result in scenes]
    appearance = assemble("appearance", ENDING, grid(2), indices(0, 1), features, 0.5)
    np.testing.assert_array_equal(appearance.feature, np.stack(features))


def test_rows_of_a_clip_of_one_frame_can_be_stored() -> None:
    window = AudioWindow(scene().feature, RANDOM.normal(-30, 10, (40, 64)).astype(np.float16))
    results = {
        "pose": people(5, 9), "face": face(30), "scene": scene(), "appearance": scene().feature, "audio": window,
    }  # fmt: skip
    for modality in extracted_names():
        rows = assemble(modality, ENDING, grid(1), indices(0), [results[modality]], 0.5)
        # A table's columns check shapes and types: what the rows promise.
        assert to_batch(rows).num_rows == (2 if modality == "pose" else 1)


def test_a_clip_without_frames_gives_rows_without_frames() -> None:
    for modality in extracted_names():
        rows = assemble(modality, ENDING, grid(0), indices(), [], 1.0)
        assert len(rows.grid.frame_index) == 0
        if modality in ("scene", "appearance", "audio"):
            assert rows.feature.dtype == np.float16
            assert len(rows.feature) == 0
