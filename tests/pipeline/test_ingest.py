"""What an ingest redoes, what it keeps, and what it writes."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.clips import Probe
from pipeline.errors import TooManyFailed, WorkspaceError
from pipeline.ingest import find_ingest, ingest_fingerprint, read_ingest, run_ingest
from pipeline.manifest import Batch, read_manifests
from pipeline.options import DecodeLimits
from pipeline.signatures import signatures, stat_signature

LIMITS = DecodeLimits()


class Probing:
    """Hashes files without a video decoder, and remembers which clips it was asked for."""

    def __init__(self, failing: dict[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self.failing = failing or {}  # clip_id: code

    def __call__(self, clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
        for clip_id, uri in list(clips)[::-1]:  # workers answer in any order
            self.asked.append(clip_id)
            try:
                data = storage.read_bytes(uri)
            except FileNotFoundError:
                yield Probe(clip_id, "", 0, "", "", 0, 0, 0, 0, 0, 0, "missing", f"no file at {uri}")
                continue
            digest = hashlib.sha256(data).hexdigest()
            code = self.failing.get(clip_id, "")
            yield Probe(clip_id, digest, len(data), "mp4", "h264", 720, 1280, 90, 29.97, 9.5, 285, code, code)


class World:
    """A folder of files, a manifest of them, and a workspace."""

    def __init__(self, folder: Path, workspace: str | None = None) -> None:
        self.folder = folder
        self.workspace = workspace or str(folder / "workspace")
        self.likes: dict[str, int] = {}
        (folder / "clips").mkdir()

    def put(self, *names: str, content: str = "") -> None:
        for name in names:
            (self.folder / "clips" / name).write_text(content or f"content of {name}")

    def batch(self, *names: str) -> Batch:
        lines = [f"{name},clips/{name},dance,{self.likes.get(name, 1)}" for name in names]
        (self.folder / "june.csv").write_text("\n".join(["clip_id,uri,challenge,likes", *lines]) + "\n")
        (batch,) = read_manifests(str(self.folder / "june.csv"))
        return batch

    def ingest(self, *names: str, probe: Probing | None = None, **kwargs):
        """The new state, and which clips were probed for it."""
        probe = probe or Probing()
        path = run_ingest(
            self.workspace, self.batch(*names), 1, LIMITS, kwargs.pop("shard_clips", 4), probe=probe, **kwargs
        )
        return read_ingest(path), sorted(probe.asked)

    def shards(self, ingest) -> dict[str, str | None]:
        return {clip.clip_id: clip.shard for clip in ingest.clips}


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
    assert first.signature == stat_signature(first.uri)
    digest = hashlib.sha256(b"content of b").hexdigest()
    assert first.probe == Probe("b", digest, 12, "mp4", "h264", 720, 1280, 90, 29.97, 9.5, 285)
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
    metadata = pq.read_schema(path).metadata
    assert metadata[b"vdv.schema"] == b"ingest/1"
    assert metadata[b"vdv.fingerprint"].decode() == fingerprint
    assert set(storage.listing(world.workspace)) == {path.removeprefix(world.workspace + "/")}
    again = Probing()
    assert run_ingest(world.workspace, batch, 1, LIMITS, 4, probe=again) == path
    assert not again.asked


def test_likes_change_nothing_here(world: World) -> None:
    world.put("a", "b")
    before = ingest_fingerprint(world.batch("a", "b"))
    world.likes["a"] = 99_999
    assert ingest_fingerprint(world.batch("a", "b")) == before
    assert ingest_fingerprint(world.batch("a")) != before
    assert ingest_fingerprint(world.batch("a", "b"), shard_clips=5) != before


def test_a_touched_file_is_looked_at_again_and_keeps_its_shard(world: World) -> None:
    world.put(*"abc")
    before, _ = world.ingest(*"abc")
    fingerprint = ingest_fingerprint(world.batch(*"abc"), 4)
    os.utime(world.folder / "clips" / "b", ns=(1, 1))
    assert ingest_fingerprint(world.batch(*"abc"), 4) != fingerprint
    after, probed = world.ingest(*"abc")
    assert probed == ["b"]
    assert after.shards == before.shards


def test_a_replaced_file_alone_moves(world: World) -> None:
    world.put(*"abcdef")
    before, _ = world.ingest(*"abcdef")
    world.put("b", content="another dance")
    after, probed = world.ingest(*"abcdef")
    assert probed == ["b"]
    homes = world.shards(before), world.shards(after)
    assert {name for name in "abcdef" if homes[0][name] != homes[1][name]} == {"b"}
    assert homes[1]["b"] not in before.shards


def test_a_missing_clip_that_appears_later_is_alone_new(world: World) -> None:
    world.put(*"ab")
    before, _ = world.ingest(*"abc")
    assert (before.clips[2].status, before.clips[2].code, before.clips[2].shard) == ("failed", "missing", None)
    assert before.clips[2].signature == "missing"
    world.put("c")
    after, probed = world.ingest(*"abc")
    assert probed == ["c"]
    assert {**world.shards(before), "c": None} == {**world.shards(after), "c": None}
    assert after.shards[world.shards(after)["c"]] == (("c", after.clips[2].content_hash),)


def test_an_added_row_costs_that_row_and_a_removed_one_nothing(world: World) -> None:
    world.put(*"abcdef")
    before, _ = world.ingest(*"abcde")
    more, probed = world.ingest(*"abcdef")
    assert probed == ["f"]
    assert set(more.shards) - set(before.shards) == {world.shards(more)["f"]}
    fewer, probed = world.ingest(*"bcdef")
    assert not probed
    assert fewer.shards == more.shards
    assert [clip.clip_id for clip in fewer.clips] == list("bcdef")


def test_members_that_are_gone_are_remembered_from_file_to_file(world: World) -> None:
    world.put(*"abcdef")
    whole, _ = world.ingest(*"abcd")
    world.ingest(*"bcd")
    world.put("e")
    later, _ = world.ingest(*"bcde")
    (shard,) = whole.shards
    assert later.shards[shard] == whole.shards[shard]


def test_a_clip_that_comes_back_is_done_anew_since_its_shard_may_have_been_made_without_it(world: World) -> None:
    world.put(*"abc")
    first, _ = world.ingest(*"abc")
    world.ingest(*"bc")
    back, probed = world.ingest(*"abc")
    assert probed == ["a"]
    assert world.shards(back)["a"] not in first.shards
    assert {name: world.shards(back)[name] for name in "bc"} == {name: world.shards(first)[name] for name in "bc"}
    world.put("d")
    later, _ = world.ingest(*"abcd")
    assert {name: world.shards(later)[name] for name in "abc"} == world.shards(back)


def test_a_failure_that_may_pass_is_tried_again_and_one_that_may_not_is_not(world: World) -> None:
    world.put(*"abc")
    world.ingest(*"abc", probe=Probing({"a": "crash", "b": "corrupt"}))
    world.put("d")
    after, probed = world.ingest(*"abcd")
    assert probed == ["a", "d"]
    assert [clip.status for clip in after.clips] == ["ok", "failed", "ok", "ok"]


def test_a_shard_that_was_dropped_never_returns_under_its_name(world: World) -> None:
    world.put(*"abcdef")
    before, _ = world.ingest(*"abcdef")
    world.ingest(*"abcd")
    after, probed = world.ingest(*"abcdef")
    assert probed == ["e", "f"]
    assert world.shards(before)["e"] not in after.shards


def test_a_clip_found_though_it_could_not_be_seen_is_looked_at_again(world: World) -> None:
    world.put("a")

    class Late(Probing):
        def __call__(self, clips, limits, workers):
            world.put("b")  # after the signatures were taken
            return super().__call__(clips, limits, workers)

    early, _ = world.ingest("a", "b", probe=Late())
    assert [(clip.signature == "missing", clip.status) for clip in early.clips] == [(False, "ok"), (True, "ok")]
    (world.folder / "clips" / "b").unlink()
    world.put("c")
    later, probed = world.ingest("a", "b", "c")
    assert probed == ["b", "c"]
    assert [clip.status for clip in later.clips] == ["ok", "failed", "ok"]


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


def test_the_same_history_gives_the_same_file(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        world = World(tmp_path / name)
        world.put(*"abcdef")
        world.ingest(*"abcde")
        ingest, _ = world.ingest(*"bcdef")
        files.append(ingest.shards)
    assert files[0] == files[1]


def test_an_outage_writes_nothing_and_costs_nothing_afterwards(world: World) -> None:
    names = [f"c{at}" for at in range(12)]
    world.put(*names)
    before, _ = world.ingest(*names)
    (world.folder / "clips").rename(world.folder / "unmounted")
    with pytest.raises(TooManyFailed, match=r"12 of 12 clips that could be read before cannot be now.*mounted"):
        world.ingest(*names)
    (world.folder / "unmounted").rename(world.folder / "clips")
    after, probed = world.ingest(*names)
    assert not probed
    assert after == before


def test_what_was_probed_before_an_interruption_is_not_probed_again(world: World) -> None:
    names = [f"c{at}" for at in range(10)]
    world.put(*names)

    class Interrupted(Probing):
        def __call__(self, clips, limits, workers):
            for at, probe in enumerate(super().__call__(clips, limits, workers)):
                if at == 6:
                    raise KeyboardInterrupt
                yield probe

    with pytest.raises(KeyboardInterrupt):
        world.ingest(*names, probe=Interrupted(), checkpoint_s=0)
    ingest, probed = world.ingest(*names)
    assert probed == names[:4]
    assert [clip.clip_id for clip in ingest.clips] == names
    assert len(storage.listing(world.workspace)) == 1  # the checkpoint is removed


def test_progress_counts_to_the_end(world: World) -> None:
    world.put(*"abc")
    world.ingest(*"a")
    said: list[tuple[int, int, str]] = []
    world.ingest(*"abc", progress=lambda *args: said.append(args))
    assert [(done, total) for done, total, _ in said] == [(1, 3), (2, 3), (3, 3)]


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
    with pytest.raises(WorkspaceError, match=r"is damaged .*remove it"):
        read_ingest(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(WorkspaceError, match="was written as something else"):
        read_ingest(path)


def test_an_ingest_of_another_version_is_made_anew(world: World) -> None:
    world.put(*"ab")
    path = run_ingest(world.workspace, world.batch("a"), 1, LIMITS, probe=Probing())
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"vdv.schema": b"ingest/0"}), path)
    _, probed = world.ingest("a", "b")
    assert probed == ["a", "b"]


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_clips_and_workspace_may_be_in_an_object_store(kind: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(kind)
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


_KILLED = """
import sys
from pathlib import Path
from tests.pipeline.test_ingest import Probing, LIMITS
from pipeline.ingest import run_ingest
from pipeline.manifest import read_manifests
(batch,) = read_manifests(sys.argv[1])
print("go", flush=True)
run_ingest(sys.argv[2], batch, 1, LIMITS, 4, probe=Probing(), checkpoint_s=0)
"""


def test_a_run_killed_at_any_moment_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    names = [f"c{at}" for at in range(40)]
    world.put(*names)
    batch = world.batch(*names)
    undisturbed = read_ingest(run_ingest(str(tmp_path / "calm"), batch, 1, LIMITS, 4, probe=Probing()))
    for attempt in range(4):
        run = subprocess.Popen([sys.executable, "-c", _KILLED, batch.path, world.workspace], stdout=subprocess.PIPE)
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(0.01 + 0.03 * attempt)
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
        for name in storage.listing(world.workspace):
            pq.read_table(f"{world.workspace}/{name}")  # whatever is there is whole
    ingest, probed = world.ingest(*names)
    assert ingest == undisturbed
    assert len(probed) < len(names)


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


# --- signatures


def test_a_local_signature_changes_with_size_and_time_and_says_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "clip"
    assert stat_signature(str(file)) == "missing"
    file.write_bytes(b"123")
    before = stat_signature(str(file))
    assert stat_signature(f"file://{file}") == before
    assert stat_signature(f"{file}/below") == "missing"
    os.utime(file, ns=(5, 5))
    touched = stat_signature(str(file))
    file.write_bytes(b"1234")
    os.utime(file, ns=(5, 5))
    assert len({before, touched, stat_signature(str(file))}) == 3


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_remote_signature_is_the_same_whether_listed_or_asked_for(kind: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(kind)
    uris = [f"{store}/clips/{at:03d}" for at in range(70)]
    for uri in uris[1:]:
        storage.write_bytes(uri, uri.encode())
    listed = signatures(uris)
    assert listed[0] == "missing"
    assert "missing" not in listed[1:]
    assert [stat_signature(uri) for uri in uris[:3]] == listed[:3]
    storage.write_bytes(uris[5], b"other")
    assert [at for at, now in enumerate(signatures(uris)) if now != listed[at]] == [5]


def test_many_clips_of_one_remote_folder_cost_one_listing(s3: str, caplog: pytest.LogCaptureFixture) -> None:
    filesystem = fsspec.filesystem("s3")
    filesystem.pipe({f"{s3}/clips/{at:03d}": b"x" for at in range(70)})
    with caplog.at_level("INFO", logger="werkzeug"):
        caplog.clear()
        found = signatures([f"{s3}/clips/{at:03d}" for at in range(70)])
    assert "missing" not in found
    requests = [record.getMessage() for record in caplog.records if record.name == "werkzeug"]
    assert len(requests) == 1, requests


def test_a_store_that_does_not_answer_is_unreachable_and_not_missing() -> None:
    assert stat_signature("s4://bucket/a") == "unreachable:ValueError"


def test_ten_thousand_local_signatures_take_half_a_second(tmp_path: Path) -> None:
    uris = [str(tmp_path / f"{at}.mp4") for at in range(10_000)]
    for uri in uris:
        Path(uri).touch()
    start = time.process_time()
    found = signatures(uris)
    assert time.process_time() - start < 0.5
    assert "missing" not in found


def test_the_fingerprint_of_ten_thousand_clips_takes_half_a_second() -> None:
    names = [f"c{at}" for at in range(10_000)]
    batch = Batch("b", "b.csv", "", pd.DataFrame({"clip_id": names, "uri": [f"/none/{name}" for name in names]}), ())
    marks = ["123-456"] * len(names)
    start = time.process_time()
    ingest_fingerprint(batch, 64, marks)
    assert time.process_time() - start < 0.5


def test_planning_needs_no_torch() -> None:
    modules = "pipeline.manifest, pipeline.ingest, pipeline.storage"
    code = f"import sys, {modules}; sys.exit(bool({{'torch', 'decord', 'av', 's3fs'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
