"""Of every clip there is exactly one ending, and one that fails costs no other."""

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np

from benchmarks.tiny_clips import render_clip
from pipeline.features.reader import ShardReader
from tests.support.extraction import (
    CHEAP,
    bits,
    cheap,
    endings_by_clip,
    extract,
    rows_by_clip,
    shard_file,
    specs,
    tiny,
)
from tests.support.square_finder import SquareFinder


def test_a_clip_whose_worker_died_once_has_each_frame_once(tmp_path: Path, hostile: None) -> None:
    good = render_clip(tmp_path / "good.mp4", seed=5, frames=96, fps=24, size=(320, 240))
    bad = tmp_path / "once-segfault-1.mp4"
    bad.write_bytes(good.read_bytes())
    wanted = specs(*CHEAP, pose=1)
    finder = SquareFinder("pose")
    shards = {"00000-a": [bad, good]}
    ended = extract(tmp_path, shards, wanted, build=lambda name: finder if name == "pose" else tiny(name))
    assert ended == {"ok": 2}
    assert finder.frames_seen > 80  # frames of the dead attempt did reach the extractor
    for spec in wanted:
        rows = rows_by_clip(tmp_path, spec)
        assert bits(rows[bad.stem]) == bits(rows["good"])
    assert len(rows_by_clip(tmp_path, wanted[0])[bad.stem].grid.frame_index) == 40
    endings = endings_by_clip(tmp_path, "00000-a")
    assert [(endings[name].attempts, endings[name].frames) for name in (bad.stem, "good")] == [(2, 40), (1, 40)]


def test_a_clip_that_fails_is_skipped_in_every_modality_and_costs_no_other(tmp_path: Path, hostile: None) -> None:
    good = [render_clip(tmp_path / f"good{i}.mp4", seed=i, frames=30, fps=24, size=(320, 240)) for i in range(2)]
    crash = render_clip(tmp_path / "segfault-1.mp4", seed=8, frames=96, fps=24, size=(320, 240))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    wanted = specs(*CHEAP)
    ended = extract(tmp_path, {"00000-a": [good[0], crash, text, good[1]]}, wanted, build=cheap)
    assert ended == {"ok": 2, "failed": 2}
    for spec in wanted:
        shard = ShardReader(shard_file(tmp_path, spec, "00000-a"))
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
    wanted = specs(*CHEAP, pose=1)
    assert extract(tmp_path, {"00000-a": [cut, whole]}, wanted, build=cheap) == {"partial": 1, "ok": 1}
    ending = endings_by_clip(tmp_path, "00000-a")["cut"]
    assert (ending.status, ending.code, ending.expected) == ("partial", "truncated", 60)
    assert 5 < ending.frames < 55
    for spec in wanted:
        rows = rows_by_clip(tmp_path, spec)
        frames = -(-ending.frames // spec.stride)
        assert len(rows["cut"].grid.frame_index) == frames
        np.testing.assert_array_equal(rows["cut"].grid.timestamp, rows["whole"].grid.timestamp[:frames])


def test_clips_that_left_the_manifest_are_named_in_their_shard_and_not_decoded(
    clips: list[Path], tmp_path: Path
) -> None:
    wanted = specs("scene")
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
    extract(tmp_path / "workspace", shards, specs("scene"), progress=progress, workers=2)
    assert [(done, total) for done, total, _ in calls] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert calls[-1][2] == {"ok": 2, "failed": 1}
