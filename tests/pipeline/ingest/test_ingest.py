"""A first ingest: the table of clips, wherever they lie, and the messages on files that are no table."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError
from pipeline.core.options import DecodeLimits
from pipeline.decode.clips import Probe
from pipeline.ingest.clip_table import find_ingest, read_ingest
from pipeline.ingest.ingest_batch import ingest_fingerprint, run_ingest
from pipeline.ingest.manifest import Batch, read_manifests
from pipeline.ingest.signatures import clip_signatures
from tests.support.ingest_world import LIMITS, Probing, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_clip_is_a_row_with_what_was_found(world: World) -> None:
    world.put("a", "b", "bad")
    ingest, probed = world.ingest("b", "a", "bad", "gone", probe=Probing({"bad": "not_a_video"}))
    assert probed == ["a", "b", "bad", "gone"]
    assert [(clip.clip_id, clip.status, clip.code, clip.retryable) for clip in ingest.clips] == [
        ("b", "ok", "", False),
        ("a", "ok", "", False),
        ("bad", "failed", "not_a_video", False),
        ("gone", "failed", "missing", True),
    ]
    first = ingest.clips[0]
    assert first.uri == f"{world.folder}/clips/b"
    assert [first.signature] == clip_signatures([first.uri], LIMITS)
    digest = hashlib.sha256(b"content of b").hexdigest()
    assert first.probe == Probe("b", digest, 12, "mp4", "h264", 720, 1280, 90, True, 29.97, 9.5, 285)
    assert ingest.clips[2].shard is None
    assert list(ingest.shards.values()) == [(("b", digest), ("a", ingest.clips[1].content_hash))]


def test_the_file_is_named_by_sequence_and_fingerprint_and_found_by_it(world: World) -> None:
    world.put("a", "b")
    batch = world.batch("a", "b")
    fingerprint = ingest_fingerprint(batch, 4)
    assert find_ingest(world.workspace, "june", fingerprint) is None
    path = run_ingest(world.workspace, batch, 1, LIMITS, 4, probe=Probing())
    assert path == f"{world.workspace}/clips/june/0001-{fingerprint}.parquet"
    assert find_ingest(world.workspace, "june", fingerprint) == path
    metadata = pq.read_metadata(path).metadata
    assert metadata[b"vdv.schema"] == b"ingest/3"
    assert metadata[b"vdv.fingerprint"].decode() == fingerprint
    assert set(storage.listing(world.workspace)) == {path.removeprefix(world.workspace + "/")}
    again = Probing()
    assert run_ingest(world.workspace, batch, 1, LIMITS, 4, probe=again) == path
    assert not again.asked


def test_two_clips_of_one_content_are_both_there(world: World) -> None:
    world.put("a", "b", content="same")
    ingest, _ = world.ingest("a", "b")
    assert len({clip.content_hash for clip in ingest.clips}) == 1
    assert [clip.status for clip in ingest.clips] == ["ok", "ok"]


def test_a_batch_whose_clips_are_all_removed_is_empty(world: World) -> None:
    (world.folder / "june.csv").write_text("clip_id,uri,challenge,removed\na,clips/a,x,true\n")
    (batch,) = read_manifests(str(world.folder / "june.csv"))
    ingest = read_ingest(run_ingest(world.workspace, batch, 1, LIMITS, probe=Probing()))
    assert ingest.clips == ()
    assert ingest.shards == {}


def test_progress_counts_to_the_end(world: World) -> None:
    world.put(*"abc")
    world.ingest(*"a")
    calls: list[tuple[int, int, str]] = []
    world.ingest(*"abc", progress=lambda *args: calls.append(args))
    assert [(done, total) for done, total, _ in calls] == [(1, 3), (2, 3), (3, 3)]


def test_a_probe_that_forgets_a_clip_is_caught(world: World) -> None:
    world.put(*"ab")

    def forgetful(clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
        return iter(list(Probing()(clips, limits, workers))[1:])

    with pytest.raises(RuntimeError, match="no answer for 1 of 2"):
        run_ingest(world.workspace, world.batch(*"ab"), 1, LIMITS, probe=forgetful)


def test_a_file_that_is_no_ingest_says_what_to_do(world: World) -> None:
    world.put("a")
    path = run_ingest(world.workspace, world.batch("a"), 1, LIMITS, probe=Probing())
    with pytest.raises(WorkspaceError, match="is not there"):
        read_ingest(path + "x")
    Path(path).write_bytes(b"not parquet")
    with pytest.raises(WorkspaceError, match=r"is damaged .*delete it"):
        read_ingest(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(WorkspaceError, match="was written as something else"):
        read_ingest(path)


def test_clips_and_workspace_may_be_in_an_object_store(s3: str) -> None:
    store = s3
    for name in "abc":
        storage.write_bytes(f"{store}/clips/{name}", name.encode())
    storage.write_bytes(
        f"{store}/june.csv", b"clip_id,uri,challenge\na,clips/a,x\nb,clips/b,x\nc,clips/c,x\nd,clips/d,x\n"
    )

    def run() -> tuple[dict[str, str | None], list[str]]:
        (batch,) = read_manifests(f"{store}/june.csv")
        probe = Probing()
        ingest = read_ingest(run_ingest(f"{store}/ws", batch, 1, LIMITS, probe=probe))
        assert find_ingest(f"{store}/ws", "june", ingest_fingerprint(batch))
        return {clip.clip_id: clip.shard for clip in ingest.clips}, sorted(probe.asked)

    before, probed = run()
    assert probed == list("abcd")
    assert [name for name, shard in before.items() if shard is None] == ["d"]
    assert run() == (before, [])
    storage.write_bytes(f"{store}/clips/b", b"other")
    after, probed = run()
    assert probed == ["b", "d"]
    assert {name for name in "abcd" if before[name] != after[name]} == {"b"}


def test_real_clips_are_probed_with_the_real_decoder(dance_clips: Path, hard_clips: Path, tmp_path: Path) -> None:
    lines = [f"{path.stem},{path},dance" for path in sorted([*dance_clips.iterdir(), *hard_clips.iterdir()])]
    (tmp_path / "real.csv").write_text("\n".join(["clip_id,uri,challenge", *lines, "gone,nowhere.mp4,dance"]) + "\n")
    (batch,) = read_manifests(str(tmp_path / "real.csv"))
    ingest = read_ingest(run_ingest(str(tmp_path / "ws"), batch, 2, LIMITS))
    assert [clip.clip_id for clip in ingest.clips] == batch.rows["clip_id"].tolist()
    for clip in ingest.clips:
        if clip.code not in ("missing", "empty"):
            assert clip.content_hash == hashlib.sha256(Path(clip.uri).read_bytes()).hexdigest(), clip
    by_id = {clip.clip_id: clip for clip in ingest.clips}
    for path in dance_clips.iterdir():
        clip = by_id[path.stem]
        assert clip.status == "ok"
        assert clip.probe.codec == "h264"
        assert min(clip.probe.width, clip.probe.height, clip.probe.fps, clip.probe.duration_s) > 0
    assert {name: by_id[name].code for name in ("gone", "syn_empty", "syn_text", "syn_audio_only")} == {
        "gone": "missing",
        "syn_empty": "empty",
        "syn_text": "not_a_video",
        "syn_audio_only": "no_video_stream",
    }
    assert by_id["decord_video_90"].probe.rotation in (90, 270)


def test_the_fingerprint_of_ten_thousand_clips_takes_half_a_second() -> None:
    names = [f"c{at}" for at in range(10_000)]
    batch = Batch("b", "b.csv", "", pd.DataFrame({"clip_id": names, "uri": [f"/none/{name}" for name in names]}), ())
    signatures = ["123-456"] * len(names)
    start = time.process_time()
    ingest_fingerprint(batch, 64, signatures)
    assert time.process_time() - start < 0.5


def test_planning_needs_neither_torch_nor_scipy() -> None:
    modules = "pipeline.ingest.manifest, pipeline.ingest.ingest_batch, pipeline.core.storage, tasks"
    code = f"import sys, {modules}; sys.exit(bool({{'torch', 'scipy', 'decord', 'av', 's3fs'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
