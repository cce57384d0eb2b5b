"""A second ingest: the work it repeats and the work it keeps, whatever happened to the files and to the first."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.core import storage
from pipeline.core.errors import TooManyFailed
from pipeline.core.options import DecodeLimits
from pipeline.decode.clips import Probe
from pipeline.files.checksums import write_parquet
from pipeline.ingest.clip_table import read_ingest
from pipeline.ingest.ingest_batch import ingest_fingerprint, run_ingest
from tests.support.ingest_world import LIMITS, Probing, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


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
    shard = world.shards(after)["c"]
    assert shard is not None
    assert after.shards[shard] == (("c", after.clips[2].content_hash),)


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
        def __call__(self, clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
            world.put("b")  # after the signatures were taken
            return super().__call__(clips, limits, workers)

    early, _ = world.ingest("a", "b", probe=Late())
    assert [(clip.signature == "missing", clip.status) for clip in early.clips] == [(False, "ok"), (True, "ok")]
    (world.folder / "clips" / "b").unlink()
    world.put("c")
    later, probed = world.ingest("a", "b", "c")
    assert probed == ["b", "c"]
    assert [clip.status for clip in later.clips] == ["ok", "failed", "ok"]


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
        def __call__(self, clips: Iterable[tuple[str, str]], limits: DecodeLimits, workers: int) -> Iterator[Probe]:
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


def test_an_ingest_of_another_version_is_made_anew(world: World) -> None:
    world.put(*"ab")
    path = run_ingest(world.workspace, world.batch("a"), 1, LIMITS, probe=Probing())
    write_parquet(path, pq.read_table(path), {"vdv.schema": "ingest/0"})
    _, probed = world.ingest("a", "b")
    assert probed == ["a", "b"]


_KILLED = """
import sys
from pathlib import Path
from tests.support.ingest_world import Probing, LIMITS
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
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
