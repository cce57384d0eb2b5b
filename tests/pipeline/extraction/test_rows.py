"""A clip's rows: the same whatever else the engine does, and each of the frame that it says."""

from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from benchmarks.counted_device import CountedTensor, counted_device
from benchmarks.tiny_clips import render_clip
from models.extractors.extractor import Extractor
from models.weights.profiles import BatchSize
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding
from pipeline.modalities.registry import build_extractor, load_profile
from tests.end_to_end.workspaces import TINY_PROFILE, contents
from tests.support.extraction import (
    CHEAP,
    CPU,
    LIMITS,
    SAMPLING,
    bits,
    cheap,
    extract,
    rows_by_clip,
    specs,
    tiny,
)
from tests.support.square_finder import SquareFinder, person_box


def all_bits(workspace: Path | str, wanted: Any) -> dict[tuple[str, str], Any]:
    return {
        (spec.modality, clip_id): bits(rows)
        for spec in wanted
        for clip_id, rows in rows_by_clip(workspace, spec).items()
    }


WANTED = specs("pose", "scene", "appearance", pose=1, scene=4, appearance=3)


@pytest.fixture(scope="module")
def alone(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """Rows of each clip, extracted in a shard of its own."""
    workspace = tmp_path_factory.mktemp("alone")
    extract(workspace, {f"{place:05d}-a": [clip] for place, clip in enumerate(clips)}, WANTED, build=cheap)
    return all_bits(workspace, WANTED)


@pytest.mark.parametrize(
    ("split", "workers"),
    [(((4, 3, 2, 1, 0),), 1), (((0, 1, 2, 3, 4),), 2), (((3, 0), (4,), (1, 2)), 2)],
    ids=["reversed", "two workers", "three shards"],
)
def test_a_clips_rows_are_those_it_has_alone(
    clips: list[Path],
    alone: dict[tuple[str, str], Any],
    tmp_path: Path,
    split: tuple[tuple[int, ...], ...],
    workers: int,
) -> None:
    assert len(alone) == 3 * len(clips)
    shards = {f"{number:05d}-b": [clips[at] for at in places] for number, places in enumerate(split)}
    extract(tmp_path / "together", shards, WANTED, build=cheap, workers=workers)
    assert all_bits(tmp_path / "together", WANTED) == alone


def test_the_number_of_workers_changes_no_byte_of_any_shard(clips: list[Path], tmp_path: Path) -> None:
    wanted = specs(*CHEAP)
    shards = {"00000-a": clips[:3], "00001-b": clips[3:]}
    for workers in (1, 2):
        extract(tmp_path / str(workers), shards, wanted, build=cheap, workers=workers)
    files = contents(tmp_path / "1" / "features")
    assert len(files) == 4
    assert contents(tmp_path / "2" / "features") == files


def test_real_faces_do_not_depend_on_what_shares_their_batch(dance_clips: Path, tmp_path: Path) -> None:
    sampling = SamplingOptions(sample_fps=2.0, max_seconds=2.0, max_side=640)
    wanted = specs("face", "appearance", sampling=sampling, face=1, appearance=1)
    paths = [dance_clips / f"{name}.mp4" for name in ("mmaction2_demo_skeleton", "musepose_dance", "xdyna_1")]

    # In batches of four, which frames share, and with more faces than frames.
    @cache
    def build(modality: str) -> Extractor:
        profile = load_profile(TINY_PROFILE).with_options("face", min_face_size=40)
        return build_extractor(modality, profile.with_options(modality, batch_size=BatchSize(cpu=4, cuda=4)), CPU)

    limits = DecodeLimits(slot_mb=2)  # two or three frames a chunk
    options: dict[str, Any] = {"sampling": sampling, "limits": limits, "build": build}
    extract(tmp_path / "alone", {f"{i:05d}-a": [path] for i, path in enumerate(paths)}, wanted, **options)
    extract(tmp_path / "together", {"00000-b": paths[::-1]}, wanted, **options, workers=2)
    faces = rows_by_clip(tmp_path / "together", wanted[0])
    assert sum(len(rows.crop) for rows in faces.values()) > sum(len(rows.grid.frame_index) for rows in faces.values())
    assert all_bits(tmp_path / "together", wanted) == all_bits(tmp_path / "alone", wanted)


def test_a_modality_sees_every_stride_th_sampled_frame_and_each_row_is_of_its_frame(tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "clip.mp4", seed=1, frames=240, fps=30, size=(320, 240))
    strides = {"pose": 1, "face": 3, "scene": 10, "appearance": 7}
    wanted = specs(*strides, sampling=SAMPLING, **strides)
    # Four frames of 320 x 240 px fill a chunk: strides go across chunks.
    extract(tmp_path / "workspace", {"00000-a": [clip]}, wanted, build=cheap)
    frames = torch.stack([
        torch.from_numpy(frame.rgb.copy())
        for frame in ClipDecoding(fetch(str(clip)), SAMPLING, LIMITS, lambda _: True).frames()
    ])  # fmt: skip
    assert len(frames) == 80
    rows = {spec.modality: rows_by_clip(tmp_path / "workspace", spec)["clip"] for spec in wanted}
    for modality, stride in strides.items():
        grid = rows[modality].grid
        assert grid.frame_index.tolist() == list(range(0, 240, 3 * stride)), modality
        np.testing.assert_allclose(grid.timestamp, np.arange(0, 80, stride) / 10, atol=1e-4)
    for modality in ("scene", "appearance"):
        for row, position in enumerate(range(0, 80, strides[modality])):
            prepared = tiny(modality).prepare(frames[position : position + 1])
            (expected,) = tiny(modality).infer(prepared.inputs, prepared.extras)
            np.testing.assert_array_equal(rows[modality].feature[row], getattr(expected, "feature", expected))
    boxes = np.stack(SquareFinder("face").prepare(frames).extras)
    assert len(np.unique(boxes, axis=0)) > 70  # the square moves: a box says which frame it is of
    np.testing.assert_array_equal(rows["face"].frame, np.arange(27))
    np.testing.assert_array_equal(rows["face"].box, boxes[::3])
    valid = np.stack([track.valid for track in rows["pose"].tracks])
    np.testing.assert_array_equal(valid.sum(axis=0), np.ones(80))  # one person a frame, whichever track it belongs to
    np.testing.assert_array_equal(sum(track.box for track in rows["pose"].tracks), person_box(boxes))


def test_beside_a_gpu_the_same_rows_come_from_other_threads_and_processes(clips: list[Path], tmp_path: Path) -> None:
    """On a make-believe GPU, whose results are copied, and whose tracks are linked in a process."""
    shards = {"00000-a": clips[:2], "00001-b": clips[3:]}
    extract(tmp_path / "cpu", shards, WANTED, build=cheap, workers=2)
    with counted_device() as (device, counts):
        beside = {
            spec.modality: build_extractor(spec.modality, load_profile(TINY_PROFILE), device) for spec in WANTED[1:]
        }
        found = extract(
            tmp_path / "gpu", shards, WANTED, build=lambda name: beside.get(name) or HostFinder(name), device=device
        )  # fmt: skip
        assert counts.operators > 100
        assert counts.waits == 0  # of the thread that feeds the networks
    assert found == {"ok": 4}
    for spec in WANTED:
        ours, theirs = (rows_by_clip(tmp_path / side, spec) for side in ("gpu", "cpu"))
        assert list(ours) == list(theirs)
        for clip_id, rows in ours.items():
            if spec.modality == "pose":
                assert bits(rows) == bits(theirs[clip_id])
            else:
                np.testing.assert_allclose(rows.feature, theirs[clip_id].feature, atol=1e-2)


class HostFinder(SquareFinder):
    """Finds squares in frames on any device."""

    def prepare(self, frames: torch.Tensor) -> Any:
        return super().prepare(frames.held.values if isinstance(frames, CountedTensor) else frames)


def test_boxes_and_keypoints_are_in_pixels_of_the_source_however_small_the_frames(tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "clip.mp4", seed=3, frames=6, fps=10, size=(512, 320))
    by_side = {}
    for side in (512, 128):
        sampling = SamplingOptions(10.0, 20.0, side)
        wanted = specs("pose", "face", sampling=sampling, pose=1, face=1)
        extract(tmp_path / str(side), {"00000-a": [clip]}, wanted, build=cheap, sampling=sampling)
        pose, face = (rows_by_clip(tmp_path / str(side), spec)["clip"] for spec in wanted)
        (lead,) = pose.tracks
        assert lead.is_lead
        by_side[side] = (lead.keypoints[..., :2], face.box, face.landmarks, lead.box)
        np.testing.assert_array_equal(lead.keypoints[..., 2], np.float32(0.9))
        np.testing.assert_array_equal(face.probability, np.float32(0.7))
    assert by_side[512][0].max() > 140  # outside the small frame
    # A pixel of the small frame is four of the source, and a person's box is six squares wide.
    for large, small, atol in zip(by_side[512], by_side[128], (4, 4, 4, 24), strict=True):
        np.testing.assert_allclose(small, large, atol=atol)


def test_a_clip_without_anybody_has_its_grid_and_no_person_and_no_face(tmp_path: Path) -> None:
    dark = tmp_path / "dark.mp4"
    with av.open(str(dark), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    wanted = specs("pose", "face", pose=1, face=2)
    lit = render_clip(tmp_path / "lit.mp4", seed=1, frames=5, fps=10)
    extract(tmp_path, {"00000-a": [dark, lit]}, wanted, build=cheap)
    pose, face = (rows_by_clip(tmp_path, spec) for spec in wanted)
    assert pose["dark"].tracks == ()
    assert len(pose["lit"].tracks) == 1
    assert (face["dark"].box.shape, face["lit"].box.shape) == ((0, 4), (3, 4))
    assert pose["dark"].grid.frame_index.tolist() == list(range(5))
    assert face["dark"].grid.frame_index.tolist() == [0, 2, 4]
