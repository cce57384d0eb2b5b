"""The batched face search against facenet-pytorch's own, and against frames that break the latter."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from torch.nn.functional import interpolate
from torchvision.ops import nms

import models.extractors.face_search.cascade as cascade_module
from models.errors import ProfileError
from models.extractors.face_search.cascade import Detections, DetectorOptions, FaceCascade
from models.extractors.face_search.pyramid import summed_area
from tests.support.real_frames import sampled

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cascade() -> FaceCascade:
    return FaceCascade(DetectorOptions(), CPU)


@pytest.fixture(scope="module")
def reference() -> Callable[[Path, int], list[tuple[Any, Any, Any]]]:
    """What facenet-pytorch's MTCNN detects in some frames of a clip: boxes, probabilities, landmarks of each."""
    mtcnn = MTCNN(keep_all=True)

    @functools.cache
    def detected(clip: Path, frames: int) -> list[tuple[Any, Any, Any]]:
        return [mtcnn.detect(picture.numpy(), landmarks=True) for picture in sampled(clip, frames)]

    return detected


def largest_first(detections: Detections, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One frame's faces in the order of MTCNN.detect."""
    mine = detections.frame == frame
    box = detections.box[mine]
    order = np.argsort((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))[::-1]
    return box[order], detections.probability[mine][order], detections.landmarks[mine][order]


@pytest.mark.parametrize("at_once", ["one frame at a time", "all frames at once"])
@pytest.mark.parametrize(
    ("clip", "frames"),
    [
        ("mmdeploy_dance", 4),
        ("animatex_dance_2", 3),
        ("xdyna_1", 3),
        ("mmaction2_demo_skeleton", 1),
        ("mmhuman3d_single", 2),
    ],
)
def test_boxes_landmarks_and_probabilities_equal_mtcnn_detect_frame_by_frame(
    dance_clips: Path,
    cascade: FaceCascade,
    reference: Callable[[Path, int], list[tuple[Any, Any, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    clip: str,
    frames: int,
    at_once: str,
) -> None:
    pictures = sampled(dance_clips / f"{clip}.mp4", frames)
    if at_once == "all frames at once":  # as on a GPU
        monkeypatch.setattr(cascade, "_pixels_at_once", 1 << 30)
    detections = cascade(pictures)
    faces = 0
    for index, (boxes, probabilities, landmarks) in enumerate(reference(dance_clips / f"{clip}.mp4", frames)):
        box, probability, points = largest_first(detections, index)
        if boxes is None:
            assert len(box) == 0
            continue
        faces += len(boxes)
        np.testing.assert_allclose(box, boxes.astype(np.float32), atol=2e-3)  # px
        np.testing.assert_allclose(points, landmarks.astype(np.float32), atol=2e-3)  # px
        np.testing.assert_allclose(probability, probabilities.astype(np.float32), atol=1e-5)
    assert faces >= max(1, frames - 1), "without faces this compares nothing"
    assert detections.frame.tolist() == sorted(detections.frame.tolist())


def test_a_frames_faces_do_not_depend_on_the_frames_around_it(dance_clips: Path, cascade: FaceCascade) -> None:
    pictures = sampled(dance_clips / "mmdeploy_dance.mp4", 4)
    together = cascade(pictures)
    for index in range(4):
        alone = cascade(pictures[index : index + 1])
        for got, want in zip(largest_first(alone, 0), largest_first(together, index), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "shape", [(0, 100, 100), (1, 1, 1), (2, 19, 200), (1, 200, 19), (1, 20, 20), (2, 240, 320)], ids=str
)
@pytest.mark.parametrize("value", [0, 255])
def test_frames_in_which_nothing_can_be_found_give_no_faces(
    cascade: FaceCascade, shape: tuple[int, int, int], value: int
) -> None:
    detections = cascade(torch.full((*shape, 3), value, dtype=torch.uint8))
    assert len(detections.frame) == len(detections.box) == len(detections.landmarks) == len(detections.probability) == 0
    assert detections.box.shape == (0, 4)
    assert detections.landmarks.shape == (0, 5, 2)


def test_a_face_is_found_beside_frames_without_any(dance_clips: Path, cascade: FaceCascade) -> None:
    picture = sampled(dance_clips / "mmdeploy_dance.mp4", 1)
    detections = cascade(torch.cat([torch.zeros_like(picture), picture, torch.zeros_like(picture)]))
    assert set(detections.frame.tolist()) == {1}


def test_a_picture_that_is_all_candidates_costs_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds near 0 let every window of noise through, as the worst picture could."""
    monkeypatch.setattr(cascade_module, "MAX_PER_SCALE", 100)
    monkeypatch.setattr(cascade_module, "MAX_FOR_RNET", 60)
    monkeypatch.setattr(cascade_module, "MAX_FOR_ONET", 10)
    cascade = FaceCascade(DetectorOptions(thresholds=(1e-6, 1e-6, 1e-6)), CPU)
    seen: dict[str, int] = {"rnet": 0, "onet": 0}
    run = cascade._in_batches

    def counted(network: Any, cut: Any, batch: Any) -> Any:
        seen["rnet" if network is cascade._rnet else "onet"] += sum(len(part) for part in cut)
        return run(network, cut, batch)

    monkeypatch.setattr(cascade, "_in_batches", counted)
    noise = torch.randint(0, 256, (2, 120, 160, 3), dtype=torch.uint8)
    monkeypatch.setattr(cascade, "_pixels_at_once", 1 << 30)
    start = time.perf_counter()
    detections = cascade(noise)
    assert time.perf_counter() - start < 20
    assert 60 < seen["rnet"] <= 2 * 60
    assert 10 < seen["onet"] <= 2 * 10
    assert max(np.bincount(detections.frame)) <= 10


def test_candidates_wholly_outside_the_frame_are_dropped_with_their_own_scores() -> None:
    """facenet-pytorch skips such a candidate's picture but keeps its box, so that scores slip to the next box."""
    picture = torch.arange(30 * 40 * 3, dtype=torch.int32).remainder(251).byte().view(1, 30, 40, 3)
    box = torch.tensor([[-50.0, 2, -20, 30], [3, 4, 20, 25], [60, 5, 90, 20], [1, 1, 40, 30]])
    cut, inside = cascade_module._cut(summed_area(picture), torch.zeros(4, dtype=torch.long), box, 30, 40, 24, 3)
    assert inside.tolist() == [False, True, False, True]
    whole = interpolate(picture.permute(0, 3, 1, 2).float(), size=(24, 24), mode="area")
    assert torch.equal(torch.cat(cut)[3:], whole)


@pytest.mark.parametrize("at_once", [20_000, 10], ids=["in one call", "frame by frame"])
def test_overlaps_are_resolved_within_each_frame_only(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Boxes of negative corners, in frames that come in any order: every frame as if it were alone."""
    monkeypatch.setattr(cascade_module, "_BOXES_AT_ONCE", at_once)
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(400, 2, generator=random) * 60 - 30
    box = torch.cat([corner, corner + 10 + torch.rand(400, 2, generator=random) * 30], dim=1)
    frame, score = torch.randint(0, 5, (400,), generator=random), torch.rand(400, generator=random)
    kept = cascade_module._without_overlap(frame, box, score, 0.5)
    assert len(kept) < 300
    alone = [(frame == index).nonzero()[:, 0] for index in range(5)]
    assert torch.equal(kept, torch.cat([part[nms(box[part], score[part], 0.5)] for part in alone]))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ProfileError, match="min_face_size is 11"):
        DetectorOptions(min_face_size=11)
    with pytest.raises(ProfileError, match="three between 0 and 1"):
        DetectorOptions(thresholds=(0.6, 0.7, 1.0))
