"""The benchmarks that disturb builds count what must not be, and nothing else: shown on commands that end badly."""

import argparse
import http.client
import random
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import hostile_builds, hostile_damage, hostile_disk, hostile_kills, hostile_together
from benchmarks.hostile import PARTS
from benchmarks.hostile_builds import Command, Ended, Tally, World, contents
from benchmarks.hostile_damage import KINDS, WAYS, Damage, harm, unnamed
from benchmarks.unreliable_store import GONE, UnreliableStore
from tests.support.web_server import web_server

GOOD = Ended(0, "nothing to do", 1.0)
IN_WORDS = Ended(30, "vdv: cannot write workspace/a: No space left on device; free some space there", 1.0)


def wrong(tally: Tally) -> dict[str, int]:
    return {what: count for what, count in tally.counts.items() if count}


def judged(ended: Ended, *codes: int, words: Sequence[str] = ()) -> dict[str, int]:
    tally = Tally()
    tally.judge(ended, codes or (0, 30), words)
    assert len(tally.lines) == tally.counts.total()
    return wrong(tally)


def test_every_part_has_options_and_takes_them() -> None:
    for part in PARTS.values():
        parser = argparse.ArgumentParser()
        part.add_options(parser)
        parser.parse_args([])
        assert callable(part.run)


def test_a_command_that_ends_as_it_may_counts_nothing() -> None:
    assert judged(GOOD) == judged(IN_WORDS) == judged(IN_WORDS, words=["free some space"]) == {}
    assert judged(replace(GOOD, code=-9, left=("vdv-outbox-1",)), 0, -9) == {}  # killed: it could not tidy up


@pytest.mark.parametrize(
    ("ended", "what"),
    [
        (replace(GOOD, code=1), "crashes of the run"),
        (replace(GOOD, code=-11), "crashes of the run"),
        (replace(GOOD, output="Traceback (most recent call last):\n"), "crashes of the run"),
        (replace(IN_WORDS, output="OSError"), "crashes of the run"),
        (replace(IN_WORDS, output="vdv: the disk is full"), "crashes of the run"),
        (replace(GOOD, code=-9, hung=True), "hangs"),
        (replace(GOOD, orphans=("python -m pipeline.decode.worker",)), "orphaned processes"),
        (replace(GOOD, left=("vdv-outbox-1",)), "partial files"),
    ],
)
def test_a_command_that_ends_otherwise_is_counted(ended: Ended, what: str) -> None:
    assert judged(ended, words=["free some space"]) == {what: 1}


def shell(script: str, temporary: Path) -> Command:
    return Command(["sh", "-c", script], temporary)


def test_what_a_command_leaves_behind_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile_builds, "_GRACE_S", 0.3)
    (tmp_path / "vdv-of-another").touch()
    left = shell("setsid sleep 30 & touch $TMPDIR/vdv-mine $TMPDIR/other; echo said", tmp_path).ended()
    assert (left.code, left.output, left.hung, left.left) == (0, "said\n", False, ("vdv-mine",))
    assert left.orphans == ("sleep 30",)
    hung = shell("exec sleep 30", tmp_path).ended(0.2)
    assert (hung.code, hung.hung, hung.orphans) == (-9, True, ())
    killed = shell("exec sleep 30", tmp_path).killed_after(0.2)
    assert (killed.code, killed.hung) == (-9, False)


def write_workspace(folder: Path, uri: str = "a.mp4", score: float = 0.5) -> Path:
    for name in ("features/pose/1/b/0.parquet", "runs/1/scores.parquet"):
        (folder / name).parent.mkdir(parents=True)
        pq.write_table(pa.table({"clip_id": ["a"], "score": [score]}), folder / name)
    (folder / "clips/b").mkdir(parents=True)
    pq.write_table(pa.table({"clip_id": ["a"], "uri": [uri]}), folder / "clips/b/1.parquet")
    (folder / "runs/1/report.html").write_text("one of its own each time")
    return folder


def test_a_workspace_is_like_an_undisturbed_one_or_every_difference_counts(tmp_path: Path) -> None:
    calm, tally = write_workspace(tmp_path / "calm"), Tally()
    tally.compare(calm, write_workspace(tmp_path / "alike", uri="elsewhere.mp4"))
    assert wrong(tally) == {}
    other = write_workspace(tmp_path / "other", score=0.25)
    (other / "runs/1/report.html").unlink()
    (other / "runs/1/more.json").touch()
    (other / "runs/1/.staged-1.part").touch()
    tally.compare(calm, other)
    assert wrong(tally) == {"rows or files that differ": 4, "partial files": 1}


def test_rows_of_a_feature_file_that_were_written_otherwise_count(tmp_path: Path) -> None:
    calm, other, tally = write_workspace(tmp_path / "calm"), write_workspace(tmp_path / "other"), Tally()
    for name in ("features/pose/1/b/0.parquet", "runs/1/scores.parquet"):
        pq.write_table(pq.read_table(other / name), other / name, compression="none")
    tally.compare(calm, other)
    assert tally.lines == ["rows or files that differ: features/pose/1/b/0.parquet holds something else"]


STEPS = """
import os, sys, time
workspace = sys.argv[1]
os.makedirs(workspace, exist_ok=True)
for task in ("IngestBatch", "TrainFusion", "RenderReport"):
    print(f"Worker running   {task}()", flush=True)
    path = f"{workspace}/{task}"
    if not os.path.exists(path):
        DO
    print(f"Worker done      {task}()", flush=True)
"""
CAREFUL = "time.sleep(0.15); os.close(os.open(path, os.O_CREAT))"


@dataclass(frozen=True)
class SmallWorld(World):
    """A world whose builds are a short script of three steps."""

    script: str = ""

    def command(self, workspace: Path | str, *options: str, before: Sequence[str] = (), **others: Any) -> Command:
        return Command([*before, sys.executable, "-c", self.script, str(workspace)], self.temporary)


def small_world(folder: Path, do: str, steps: str = STEPS) -> SmallWorld:
    world = SmallWorld(folder, (), 0.5, steps.replace("DO", do))
    world.temporary.mkdir()
    world.calm.mkdir()
    for name in ("IngestBatch", "TrainFusion", "RenderReport"):
        (world.calm / name).touch()
    return world


def kills(world: World, tally: Tally, most: int = 5) -> Mapping[str, int]:
    pace = {"": 0.6, "IngestBatch": 0.15, "TrainFusion": 0.15, "RenderReport": 0.15}
    return hostile_kills.kill_until_finished(world, {1: pace, 2: pace}, most, random.Random(3), tally)


def test_builds_that_survive_kills_count_nothing_and_each_kill_has_its_task(tmp_path: Path) -> None:
    tally = Tally()
    of_tasks = kills(small_world(tmp_path, CAREFUL), tally)
    assert wrong(tally) == {}
    assert 1 <= sum(of_tasks.values()) <= 5
    assert set(of_tasks) <= {"planning", "IngestBatch", "TrainFusion", "RenderReport"}


@pytest.mark.parametrize(
    ("do", "what"),
    [
        ("print('w/a is damaged (it is empty)')", hostile_kills.DAMAGED),
        ("raise ValueError(path)", "crashes of the run"),
        ("open(path + '.more', 'w').close()", "rows or files that differ"),
    ],
)
def test_builds_that_do_not_survive_kills_are_counted(tmp_path: Path, do: str, what: str) -> None:
    tally = Tally()
    kills(small_world(tmp_path, do), tally, most=1)
    assert tally.counts[what] > 0


def test_kills_are_drawn_from_what_is_left_to_do() -> None:
    pace = {"": 60.0, "ExtractBatch": 10.0, "CrossValidate": 30.0}
    assert hostile_kills.left_s(pace, set()) == 60.0
    assert hostile_kills.left_s(pace, {"ExtractBatch", "IngestBatch"}) == 50.0


def test_disks_are_full_at_one_file_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    for number in range(4):
        (tmp_path / "calm" / str(number)).write_bytes(bytes(8192))
    assert hostile_disk.sizes(tmp_path / "calm", 4) == [4096, 12288, 20480, 28672]
    assert hostile_disk.sizes(tmp_path / "calm", 2) == [4096, 20480]


FULL_DISK = """
import sys
try:
    exec(SCRIPT)
except OSError as error:
    print(WORDS)
    sys.exit(30)
"""
FILLING = STEPS.replace("DO", "open(path + '.new', 'wb').write(bytes(9000)); os.rename(path + '.new', path)")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("f'vdv: {error}; free some space there, or check that it is'", {}),
        ("'vdv: something is bad'", {"crashes of the run": 2}),
    ],
)
def test_a_disk_that_is_full_or_read_only_must_be_named(tmp_path: Path, words: str, expected: dict[str, int]) -> None:
    if not hostile_disk.can_mount():
        pytest.skip("this machine does not let users mount (unshare -rm)")
    world, tally = (
        small_world(tmp_path, "", FULL_DISK.replace("SCRIPT", repr(FILLING)).replace("WORDS", words)),
        Tally(),
    )
    (world.folder / "disk").mkdir()
    assert hostile_disk.fill(world, 16384, False, tally).code == 30
    assert hostile_disk.read_only_from(world, 0.0, tally).code != 0
    assert wrong(tally) == expected
    assert not list((world.folder / "disk").iterdir()), "it was mounted for others, too"


def test_a_store_loses_nothing_unless_it_is_told_to(tmp_path: Path) -> None:
    data = bytes(range(256)) * 400
    (tmp_path / "a b+c.bin").write_bytes(data)
    with web_server(tmp_path) as server, UnreliableStore(server.url, seed=1) as store:
        path = f"{store.address}/a%20b%2Bc.bin"

        def fetched() -> bytes:
            with urllib.request.urlopen(path, timeout=1) as answer:
                return answer.read()

        assert fetched() == data
        with urllib.request.urlopen(urllib.request.Request(path, method="HEAD")) as answer:
            assert answer.headers["Content-Length"] == str(len(data))
        assert (store.requests, store.troubles.total()) == (2, 0)
        store.share = 1.0
        while len(store.troubles) < 5:  # of every sort
            with pytest.raises((OSError, http.client.HTTPException)):
                fetched()
        store.share = 0.0
        for store.gone in GONE:
            with pytest.raises((OSError, http.client.HTTPException)):
                fetched()
        store.gone = ""
        assert fetched() == data


def test_a_build_of_fewer_clips_may_have_ended_but_all_else_must_be_there() -> None:
    calm = {"clips/b/0001-1.parquet": "x", "features/1": "x", "datasets/1/a": "x", "runs/1/a": "x"}
    grown = calm | {"clips/b/0002-2.parquet": "x", "features/2": "x", "datasets/2/a": "x", "runs/2/a": "x"}
    alone = {name: held for name, held in grown.items() if "/1/" not in name} | {"runs/1/checkpoints/a": "x"}
    again = grown | {"features/3": "x", "datasets/3/a": "x", "runs/3/a": "x"}
    late = {"features/1": "x", "features/3": "x", "datasets/3/a": "x", "runs/3/a": "x"}

    def compare(found: dict[str, str]) -> list[str]:
        return hostile_together.grown_differences([calm, grown, again], found)

    assert compare(grown) == compare(alone) == compare(again) == compare(late) == []
    for good, names in ((grown, ("features/1", "features/2", "runs/2/a")), (late, tuple(late))):
        for name in names:
            assert compare({other: held for other, held in good.items() if other != name})
            assert compare(good | {name: "y"})
    assert compare(grown | {"runs/1/a": "y"})
    assert compare(grown | {"runs/2/checkpoints/a": "x"})


def test_equal_builds_that_end_otherwise_or_make_something_else_are_counted(tmp_path: Path) -> None:
    tally, world = Tally(), small_world(tmp_path, CAREFUL)
    hostile_together.build_twice(world, 0.1, tally)
    assert wrong(tally) == {}
    broken = replace(world, script=STEPS.replace("DO", "raise ValueError(path)"))
    hostile_together.build_twice(broken, 0.0, tally)
    assert wrong(tally) == {"crashes of the run": 3, "rows or files that differ": 3}


def test_damage_of_every_kind_and_way_is_done_and_changes_the_files(tmp_path: Path) -> None:
    names = ["features/pose/1/b/0.parquet", "features/pose/1/b/.sizes.json", "clips/b/0001-1.parquet", "latest.json"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes([65 + number]) * 1000)
    done: set[tuple[str, str]] = set()
    for number in range(len(KINDS) * len(WAYS)):
        before = {name: (tmp_path / name).read_bytes() for name in names}
        (damage,) = harm(tmp_path, 1, number, random.Random(number))
        assert [name for name in names if (tmp_path / name).read_bytes() != before[name]] == [damage.name]
        assert damage.same_size == (len((tmp_path / damage.name).read_bytes()) == 1000)
        done.add((damage.kind, damage.way))
        (tmp_path / damage.name).write_bytes(before[damage.name])
    assert {kind for kind, _ in done} == {
        "shards of features",
        "sizes of shards",
        "tables of clips",
        "names and the newest",
    }
    assert {way for _, way in done} == set(WAYS)


def test_damage_that_is_not_named_is_counted_unless_its_checksum_was_damaged_too() -> None:
    weights = Damage("weights", "empty", "runs/1/model.safetensors", False)
    report, about = (Damage(kind, "empty", f"runs/1/report.{kind}", False) for kind in ("report", "json"))
    about = replace(about, kind="JSON of runs")
    ended = replace(GOOD, output="/w/runs/1/model.safetensors is damaged (it is empty); it is removed")
    assert unnamed(ended, [weights]) == []
    assert unnamed(GOOD, [weights]) == [weights]
    assert unnamed(GOOD, [report]) == [report]
    assert unnamed(GOOD, [report, about]) == [about]


def test_damage_that_nobody_names_or_mends_is_counted(tmp_path: Path) -> None:
    world, tally = small_world(tmp_path, CAREFUL), Tally()
    workspace = tmp_path / "damaged"
    workspace.mkdir()
    damages = [Damage("weights", "empty", "TrainFusion", False)]
    hostile_damage.mend(world, workspace, damages, tally)
    assert wrong(tally) == {hostile_damage.SILENT: 1, hostile_damage.NOT_DONE: 1}
    assert set(contents(workspace)) == {"IngestBatch", "TrainFusion", "RenderReport"}
