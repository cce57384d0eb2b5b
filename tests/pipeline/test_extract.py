"""What the engine makes of clips: the same rows whatever else it does, and of every clip exactly one ending."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from models.extractor import Extractor
from pipeline import storage
from pipeline.decoders import ClipDecoding, fetch
from pipeline.errors import WorkspaceError
from pipeline.options import DecodeLimits, SamplingOptions
from pipeline.reader import ShardReader
from pipeline.workspace import endings_folder, plan_shards
from tests.end_to_end.workspaces import contents, written
from tests.pipeline.extraction import (
    BATCH,
    LIMITS,
    SAMPLING,
    SquareFinder,
    bits,
    cheap,
    endings_by_clip,
    endings_file,
    extract,
    ingested,
    no_worker_is_left,
    person_box,
    recipes,
    rows_by_clip,
    shard_file,
    tiny,
)
from tests.pipeline.test_decode import HOSTILE
from tests.pipeline.watched_store import WatchedStore
from tests.tiny_clips import render_clip

CHEAP = ("pose", "scene")  # the finder of squares, and a real network


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small batches on all cores of a busy machine, which also decodes, take four times as long as on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders that do their worst on clips named after it, in the decode workers."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HOSTILE), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five clips of three sizes, from one frame to several chunks of them."""
    folder = tmp_path_factory.mktemp("clips")
    kinds = [(6, (96, 160)), (75, (160, 96)), (1, (128, 128)), (40, (96, 160)), (23, (128, 128))]
    return [
        render_clip(folder / f"clip{place}.mp4", seed=place, frames=frames, fps=10, size=size)
        for place, (frames, size) in enumerate(kinds)
    ]


def all_bits(workspace: Path | str, wanted: Any) -> dict[tuple[str, str], Any]:
    return {
        (recipe.modality, clip_id): bits(rows)
        for recipe in wanted
        for clip_id, rows in rows_by_clip(workspace, recipe).items()
    }


# --- rows


@pytest.mark.parametrize(
    ("split", "workers"),
    [(((4, 3, 2, 1, 0),), 1), (((0, 1, 2, 3, 4),), 2), (((3, 0), (4,), (1, 2)), 2)],
    ids=["reversed", "two workers", "three shards"],
)
def test_a_clips_rows_are_those_it_has_alone(
    clips: list[Path], tmp_path: Path, split: tuple[tuple[int, ...], ...], workers: int
) -> None:
    wanted = recipes("pose", "scene", "appearance", pose=1, scene=4, appearance=3)
    extract(tmp_path / "alone", {f"{place:05d}-a": [clip] for place, clip in enumerate(clips)}, wanted, build=cheap)
    alone = all_bits(tmp_path / "alone", wanted)
    assert len(alone) == 3 * len(clips)
    shards = {f"{number:05d}-b": [clips[at] for at in places] for number, places in enumerate(split)}
    extract(tmp_path / "together", shards, wanted, build=cheap, workers=workers)
    assert all_bits(tmp_path / "together", wanted) == alone


def test_the_number_of_workers_changes_no_byte_of_any_shard(clips: list[Path], tmp_path: Path) -> None:
    wanted = recipes(*CHEAP)
    shards = {"00000-a": clips[:3], "00001-b": clips[3:]}
    for workers in (1, 2):
        extract(tmp_path / str(workers), shards, wanted, build=cheap, workers=workers)
    made = contents(tmp_path / "1" / "features")
    assert len(made) == 4
    assert contents(tmp_path / "2" / "features") == made


def test_real_faces_do_not_depend_on_what_shares_their_batch(dance_clips: Path, tmp_path: Path) -> None:
    sampling = SamplingOptions(sample_fps=2.0, max_seconds=2.0, max_side=640)
    wanted = recipes("face", "appearance", sampling=sampling, face=1, appearance=1)
    paths = [dance_clips / f"{name}.mp4" for name in ("mmaction2_demo_skeleton", "musepose_dance", "xdyna_1")]
    options: dict[str, Any] = {"sampling": sampling, "limits": DecodeLimits(slot_mb=2)}  # two or three frames a chunk
    extract(tmp_path / "alone", {f"{i:05d}-a": [path] for i, path in enumerate(paths)}, wanted, **options)
    extract(tmp_path / "together", {"00000-b": paths[::-1]}, wanted, **options, workers=2)
    faces = rows_by_clip(tmp_path / "together", wanted[0])
    assert sum(len(rows.crop) for rows in faces.values()) > sum(len(rows.grid.frame_index) for rows in faces.values())
    assert all_bits(tmp_path / "together", wanted) == all_bits(tmp_path / "alone", wanted)


def test_a_modality_sees_every_stride_th_sampled_frame_and_each_row_is_of_its_frame(tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "clip.mp4", seed=1, frames=240, fps=30, size=(320, 240))
    strides = {"pose": 1, "face": 3, "scene": 10, "appearance": 7}
    wanted = recipes(*strides, sampling=SAMPLING, **strides)
    # Four frames of 320 x 240 px fill a chunk: strides go across chunks.
    extract(tmp_path / "workspace", {"00000-a": [clip]}, wanted, build=cheap)
    frames = torch.stack([
        torch.from_numpy(frame.rgb.copy())
        for frame in ClipDecoding(fetch(str(clip)), SAMPLING, LIMITS, lambda _: True).frames()
    ])  # fmt: skip
    assert len(frames) == 80
    rows = {recipe.modality: rows_by_clip(tmp_path / "workspace", recipe)["clip"] for recipe in wanted}
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


def test_boxes_and_keypoints_are_in_pixels_of_the_source_however_small_the_frames(tmp_path: Path) -> None:
    clip = render_clip(tmp_path / "clip.mp4", seed=3, frames=6, fps=10, size=(512, 320))
    found = {}
    for side in (512, 128):
        sampling = SamplingOptions(10.0, 20.0, side)
        wanted = recipes("pose", "face", sampling=sampling, pose=1, face=1)
        extract(tmp_path / str(side), {"00000-a": [clip]}, wanted, build=cheap, sampling=sampling)
        pose, face = (rows_by_clip(tmp_path / str(side), recipe)["clip"] for recipe in wanted)
        (lead,) = pose.tracks
        assert lead.is_lead
        found[side] = (lead.keypoints[..., :2], face.box, face.landmarks, lead.box)
        np.testing.assert_array_equal(lead.keypoints[..., 2], np.float32(0.9))
        np.testing.assert_array_equal(face.probability, np.float32(0.7))
    assert found[512][0].max() > 140  # outside the small frame
    # A pixel of the small frame is four of the source, and a person's box is six squares wide.
    for large, small, atol in zip(found[512], found[128], (4, 4, 4, 24), strict=True):
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
    wanted = recipes("pose", "face", pose=1, face=2)
    lit = render_clip(tmp_path / "lit.mp4", seed=1, frames=5, fps=10)
    extract(tmp_path, {"00000-a": [dark, lit]}, wanted, build=cheap)
    pose, face = (rows_by_clip(tmp_path, recipe) for recipe in wanted)
    assert pose["dark"].tracks == ()
    assert len(pose["lit"].tracks) == 1
    assert (face["dark"].box.shape, face["lit"].box.shape) == ((0, 4), (3, 4))
    assert pose["dark"].grid.frame_index.tolist() == list(range(5))
    assert face["dark"].grid.frame_index.tolist() == [0, 2, 4]


# --- endings


def test_a_clip_whose_worker_died_once_has_each_frame_once(tmp_path: Path, hostile: None) -> None:
    good = render_clip(tmp_path / "good.mp4", seed=5, frames=96, fps=24, size=(320, 240))
    bad = tmp_path / "once-segfault-1.mp4"
    bad.write_bytes(good.read_bytes())
    wanted = recipes(*CHEAP, pose=1)
    finder = SquareFinder("pose")
    shards = {"00000-a": [bad, good]}
    ended = extract(tmp_path, shards, wanted, build=lambda name: finder if name == "pose" else tiny(name))
    assert ended == {"ok": 2}
    assert finder.frames_seen > 80  # frames of the dead attempt did reach the extractor
    for recipe in wanted:
        rows = rows_by_clip(tmp_path, recipe)
        assert bits(rows[bad.stem]) == bits(rows["good"])
    assert len(rows_by_clip(tmp_path, wanted[0])[bad.stem].grid.frame_index) == 40
    endings = endings_by_clip(tmp_path, "00000-a")
    assert [(endings[name].attempts, endings[name].frames) for name in (bad.stem, "good")] == [(2, 40), (1, 40)]


def test_a_clip_that_fails_is_skipped_in_every_modality_and_costs_no_other(tmp_path: Path, hostile: None) -> None:
    good = [render_clip(tmp_path / f"good{i}.mp4", seed=i, frames=30, fps=24, size=(320, 240)) for i in range(2)]
    crash = render_clip(tmp_path / "segfault-1.mp4", seed=8, frames=96, fps=24, size=(320, 240))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    wanted = recipes(*CHEAP)
    ended = extract(tmp_path, {"00000-a": [good[0], crash, text, good[1]]}, wanted, build=cheap)
    assert ended == {"ok": 2, "failed": 2}
    for recipe in wanted:
        shard = ShardReader(shard_file(tmp_path, recipe, "00000-a"))
        assert shard.clip_ids == ("good0", "good1")
        assert shard.skipped == {"segfault-1": "crash", "text": "not_a_video"}
    endings = endings_by_clip(tmp_path, "00000-a")
    assert list(endings) == ["good0", "segfault-1", "text", "good1"]  # the shard's order
    assert [(e.status, e.code, e.attempts) for e in endings.values()] == [
        ("ok", "", 1), ("failed", "crash", 2), ("failed", "not_a_video", 1), ("ok", "", 1),
    ]  # fmt: skip


def test_what_can_be_read_of_a_cut_off_file_is_used(tmp_path: Path) -> None:
    whole = render_clip(tmp_path / "whole.mp4", seed=2, frames=60, fps=10)
    with (
        av.open(str(whole)) as source,
        av.open(str(tmp_path / "f.mp4"), "w", options={"movflags": "+faststart"}) as out,
    ):
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    data = (tmp_path / "f.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    wanted = recipes(*CHEAP, pose=1)
    assert extract(tmp_path, {"00000-a": [cut, whole]}, wanted, build=cheap) == {"partial": 1, "ok": 1}
    ending = endings_by_clip(tmp_path, "00000-a")["cut"]
    assert (ending.status, ending.code, ending.expected) == ("partial", "truncated", 60)
    assert 5 < ending.frames < 55
    for recipe in wanted:
        rows = rows_by_clip(tmp_path, recipe)
        there = -(-ending.frames // recipe.stride)
        assert len(rows["cut"].grid.frame_index) == there
        np.testing.assert_array_equal(rows["cut"].grid.timestamp, rows["whole"].grid.timestamp[:there])


def test_clips_that_left_the_manifest_are_named_in_their_shard_and_not_decoded(
    clips: list[Path], tmp_path: Path
) -> None:
    wanted = recipes("scene")
    assert extract(tmp_path, {"00000-a": clips[:1]}, wanted, gone={"00000-a": ["old"]}) == {"ok": 1}
    shard = ShardReader(shard_file(tmp_path, wanted[0], "00000-a"))
    assert (shard.clip_ids, shard.skipped) == (("clip0",), {"old": "no longer in the manifest"})
    assert list(endings_by_clip(tmp_path, "00000-a")) == ["clip0"]


def test_progress_counts_every_clip_and_how_it_ended(clips: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    calls: list[tuple[int, int, dict]] = []

    def progress(done: int, total: int, counts: Mapping[str, int]) -> None:
        calls.append((done, total, dict(counts)))

    shards = {"00000-a": [clips[0], text], "00001-b": [clips[2]]}
    extract(tmp_path / "workspace", shards, recipes("scene"), progress=progress, workers=2)
    assert [(done, total) for done, total, _ in calls] == [(1, 3), (2, 3), (3, 3)]
    assert calls[-1][2] == {"ok": 2, "failed": 1}


# --- what is made again, and in which order


def test_only_the_missing_modality_is_extracted_and_it_comes_out_the_same(clips: list[Path], tmp_path: Path) -> None:
    wanted, shards = recipes("face", "scene", "appearance"), {"00000-a": clips[:2], "00001-b": clips[2:4]}
    extract(tmp_path, shards, wanted)
    made, when = contents(tmp_path / "features"), written(tmp_path)
    lost = Path(shard_file(tmp_path, wanted[1], "00001-b"))
    lost.unlink()
    built: list[str] = []

    def build(modality: str) -> Extractor:
        built.append(modality)
        return tiny(modality)

    assert extract(tmp_path, shards, wanted, build=build) == {"ok": 2}
    assert built == ["scene"]
    now = written(tmp_path)
    assert {path for path in now if now[path] != when.get(path)} == {str(lost.relative_to(tmp_path))}
    assert contents(tmp_path / "features") == made
    assert extract(tmp_path, shards, wanted, build=build) == {}
    assert built == ["scene"]


def test_lost_endings_are_made_again_without_any_network(clips: list[Path], tmp_path: Path) -> None:
    wanted, shards = recipes("scene"), {"00000-a": clips[:2]}
    extract(tmp_path, shards, wanted)
    before = endings_by_clip(tmp_path, "00000-a")
    Path(endings_file(tmp_path, "00000-a")).unlink()

    def build(modality: str) -> Extractor:
        raise AssertionError("no network is needed")

    extract(tmp_path, shards, wanted, build=build)
    after = endings_by_clip(tmp_path, "00000-a")
    assert {name: (e.status, e.frames) for name, e in after.items()} == {"clip0": ("ok", 6), "clip1": ("ok", 75)}
    assert list(after) == list(before)


@pytest.mark.parametrize("fails_at", ["first", "second"])
def test_a_clip_that_any_modality_lacks_is_never_called_ok(clips: list[Path], tmp_path: Path, fails_at: str) -> None:
    pose, scene = recipes(*CHEAP)
    flaky, away = tmp_path / "flaky.mp4", tmp_path / "away.mp4"
    flaky.write_bytes(clips[0].read_bytes())
    shards = {"00000-a": [clips[2], flaky]}
    for recipe, moment in ((pose, "first"), (scene, "second")):
        if moment == fails_at:
            flaky.rename(away)
        extract(tmp_path, shards, [recipe], build=cheap)
        if moment == fails_at:
            away.rename(flaky)
    endings = endings_by_clip(tmp_path, "00000-a")
    assert [(e.clip_id, e.status, e.code) for e in endings.values()] == [
        ("clip2", "ok", ""),
        ("flaky", "failed", "missing"),
    ]
    lacking, whole = (pose, scene) if fails_at == "first" else (scene, pose)
    assert set(rows_by_clip(tmp_path, lacking)) == {"clip2"}
    assert set(rows_by_clip(tmp_path, whole)) == {"clip2", "flaky"}


@pytest.fixture
def watched() -> type[WatchedStore]:
    return WatchedStore.empty()


def test_a_shards_endings_come_after_all_of_its_rows(clips: list[Path], watched: type[WatchedStore]) -> None:
    shards = {"00000-a": clips[:2], "00001-b": clips[2:4]}
    extract("watched://w", shards, recipes(*CHEAP, "appearance"), build=cheap)
    for shard in shards:
        kinds = [path.split("/")[-5 if "/clips/" in path else -4] for path in watched.uploads if shard in path]
        assert sorted(kinds[:3]) == ["appearance", "pose", "scene"]
        assert kinds[3:] == ["clips"]


def test_a_shard_that_cannot_be_written_whole_has_no_endings(clips: list[Path], watched: type[WatchedStore]) -> None:
    watched.refused = "/scene/"
    shards, wanted = {"00000-a": clips[:2]}, recipes(*CHEAP)
    with pytest.raises(WorkspaceError, match="scene"):
        extract("watched://w", shards, wanted, build=cheap)
    assert storage.listing(endings_folder("watched://w", BATCH, SAMPLING)) == {}
    assert no_worker_is_left()
    watched.refused = ""
    (plan,) = plan_shards("watched://w", BATCH, ingested(shards), wanted, SAMPLING)
    assert plan.endings_missing
    assert "scene" in {recipe.modality for recipe in plan.missing}


class Broken(SquareFinder):
    """Breaks on clips of one size, where its network would, or before."""

    def __init__(self, modality: str, at: str, height: int):
        super().__init__(modality)
        self.at, self.height = at, height

    def prepare(self, frames: torch.Tensor) -> Any:
        if self.at == "prepare" and frames.shape[1] == self.height:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().prepare(frames)

    def infer(self, inputs: torch.Tensor, extras: list[Any]) -> list[Any]:
        if self.at == "infer" and self.frames_seen > 6:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().infer(inputs, extras)


@pytest.mark.parametrize("at", ["prepare", "infer"])
def test_an_error_in_a_network_names_the_clip_and_leaves_no_file_and_no_worker(
    clips: list[Path], tmp_path: Path, at: str
) -> None:
    shards, wanted = {"00000-a": clips[:1], "00001-b": [clips[1], clips[2]]}, recipes(*CHEAP, pose=1)
    broken = Broken("pose", at, height=96)  # that of clip1; clip0 has six frames
    with pytest.raises(RuntimeError, match="CUDA error") as caught:
        extract(tmp_path, shards, wanted, build=lambda name: broken if name == "pose" else tiny(name))
    (note,) = caught.value.__notes__
    assert "clip1" in note
    assert "clip0" not in note
    assert "pose" in note
    assert no_worker_is_left()
    kept = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.endswith("00000-a.parquet") for path in kept)  # what was finished before, and nothing half-written
    (plan,) = [p for p in plan_shards(str(tmp_path), BATCH, ingested(shards), wanted, SAMPLING) if p.shard == "00001-b"]
    assert len(plan.missing) == 2
