"""Beside a GPU: how often each extractor makes the processor wait for it, and that it finds what it finds on a CPU.

The device is the make-believe one of benchmarks.counted_device: every branch for a GPU runs but those for CUDA alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.counted_device import Counts, counted_device
from models.extractors.appearance import AppearanceExtractor
from models.extractors.extractor import Extractor, Prepared
from models.extractors.face import FaceExtractor
from models.extractors.people import Face
from models.extractors.pose import PoseExtractor
from models.extractors.resnet import Preprocessing
from models.extractors.scene import SceneExtractor
from tests.support.real_frames import sampled

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("float32")
RTMO = "rtmo-t_8xb32-600e_body7-416x416"
# The face search waits after each of three networks and three suppressions.
FACE_WAITS = 6
# Most operators that a GPU is given for four frames: the owner launches each. A network that is recorded counts as one.
MOST = {"pose": 30, "scene": 40, "appearance": 32, "face": 320}


@pytest.fixture
def counted() -> Iterator[tuple[torch.device, Counts]]:
    with counted_device() as (device, counts):
        yield device, counts


def build(modality: str, device: torch.device) -> Extractor:
    small: dict[str, Any] = {"device": device, "batch_size": 4, "architecture": "resnet18"}
    if modality == "pose":
        return PoseExtractor(RTMO, None, device, 4, 96, max_persons=3, score_threshold=0.0, nms_threshold=0.65)
    if modality == "scene":
        return SceneExtractor(None, **small, preprocessing=Preprocessing((36, 36), 32))
    if modality == "appearance":
        return AppearanceExtractor(None, **small, preprocessing=Preprocessing(36, 32))
    return FaceExtractor(None, device=device, batch_size=4, architecture="resnet10-w32")


FRAMES = torch.randint(0, 256, (4, 48, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("modality", ["pose", "scene", "appearance"])
def test_nothing_is_waited_for_until_results_are_collected(modality: str, counted: tuple[torch.device, Counts]) -> None:
    device, counts = counted
    extractor = build(modality, device)
    frames = FRAMES.to(device)
    prepared = extractor.prepare(frames)
    first = extractor.infer(prepared.inputs, prepared.extras)  # constants are made once
    before = replace(counts)
    prepared = extractor.prepare(frames)
    outputs = extractor.launch(prepared.inputs, prepared.extras)
    assert (counts.waits, counts.uploads) == (before.waits, before.uploads)
    assert 0 < counts.operators - before.operators <= MOST[modality]
    again = extractor.collect(outputs, prepared.extras)
    fields = 4 if modality == "scene" else 1
    assert counts.waits == before.waits + fields
    assert len(first) == len(again) == 4


@pytest.mark.parametrize("modality", ["pose", "scene", "appearance"])
def test_results_are_those_of_a_cpu(modality: str) -> None:
    on_cpu = build(modality, CPU)
    prepared = on_cpu.prepare(FRAMES)
    expected = on_cpu.infer(prepared.inputs[:3], prepared.extras[:3])
    with counted_device() as (device, _):
        found = build(modality, device).infer(prepared.inputs[:3].to(device), prepared.extras[:3])
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("keypoints", "boxes", "scores") if modality == "pose" else ("feature",):
            value, want = (np.asarray(getattr(of, name, of), np.float32) for of in (ours, theirs))
            np.testing.assert_allclose(value, want, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def frames_and_faces(dance_clips: Path) -> tuple[torch.Tensor, Prepared, list[Face]]:
    """The upper parts of real frames, the faces that a CPU finds there, and what it makes of the first two."""
    frames, on_cpu = sampled(dance_clips / "mmdeploy_dance.mp4", 4)[:, :160], build("face", CPU)
    expected = on_cpu.prepare(frames)
    assert len(expected.frame) >= 3
    return frames, expected, on_cpu.infer(expected.inputs[:2], expected.extras[:2])


def test_the_face_search_waits_as_often_for_many_frames_as_for_one_and_finds_the_same(
    frames_and_faces: tuple[torch.Tensor, Prepared, list[Face]], counted: tuple[torch.device, Counts]
) -> None:
    frames, expected, faces = frames_and_faces
    device, counts = counted
    beside = build("face", device)
    assert isinstance(beside, FaceExtractor)
    # Batches of a GPU's size have room for the candidates of many more frames, and here each of them is computed.
    beside._cascade._rnet_batch, beside._cascade._onet_batch = 256, 64
    beside.prepare(frames.to(device))  # constants are made once
    for count in (1, 4):
        before = replace(counts)
        found = beside.prepare(frames[:count].to(device))
        assert len(found.frame)
        assert counts.waits - before.waits == FACE_WAITS
        assert counts.uploads - before.uploads == 1  # the frames
        assert counts.operators - before.operators <= MOST["face"]
    assert found.frame == expected.frame
    for ours, theirs in zip(found.extras, expected.extras, strict=True):
        np.testing.assert_allclose(ours.box, theirs.box, atol=1e-2)
        np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=1e-2)
    before = replace(counts)
    outputs = beside.launch(found.inputs[:2], found.extras[:2])
    assert (counts.waits, counts.uploads) == (before.waits, before.uploads)
    for ours, theirs in zip(beside.collect(outputs, found.extras[:2]), faces, strict=True):
        assert ours.crop == theirs.crop
        np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=1e-3)
