"""Purged clips are refused by id and by content, from hashes that say neither; the other clips go on."""

import json
import logging
from pathlib import Path

import pytest

from pipeline.core.errors import DataError, WorkspaceError
from pipeline.dataset.failures import refuse_too_many
from pipeline.dataset.folder import BatchFiles
from pipeline.ingest.ingest_batch import without_purged
from pipeline.ingest.tombstones import TOMBSTONES, add_tombstones, read_tombstones
from tests.support.ingest_world import World
from tests.support.whole_files import flip


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.put("a", "b", "c")
    return world


def content_hash(world: World, name: str) -> str:
    ingest, _ = world.ingest("a", "b", "c")
    return next(clip.content_hash for clip in ingest.clips if clip.clip_id == name)


def test_a_purged_clip_is_known_by_its_id_and_by_its_content_and_others_are_not(store: str) -> None:
    assert not read_tombstones(store).has_clip("a17")
    add_tombstones(store, ["a17"], ["ab" * 32, ""])
    add_tombstones(store, ["a18"], [])
    stones = read_tombstones(store)
    assert [stones.has_clip(clip_id) for clip_id in ("a17", "a18", "a1", "")] == [True, True, False, False]
    assert [stones.has_content(content) for content in ("ab" * 32, "cd" * 32, "")] == [True, False, False]
    assert not stones.has_clip("ab" * 32)  # an id is no content


def test_tombstones_do_not_say_which_clips_they_are_of_and_no_two_workspaces_have_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        add_tombstones(str(tmp_path / name), ["clip17"], ["ab" * 32])
    one, two = (json.loads((tmp_path / name / TOMBSTONES).read_text()) for name in ("one", "two"))
    assert not set(one["clips"] + one["contents"]) & set(two["clips"] + two["contents"])
    assert "clip17" not in str(one)
    assert set(one) == {"$checksum", "$place", "salt", "clips", "contents"}


def test_rows_of_purged_clips_are_left_out_of_a_batch_and_named(world: World, caplog: pytest.LogCaptureFixture) -> None:
    batch = world.batch("a", "b", "c")
    add_tombstones(world.workspace, ["b"], [])
    with caplog.at_level(logging.WARNING):
        left = without_purged(batch, read_tombstones(world.workspace))
    assert left.rows["clip_id"].tolist() == ["a", "c"]
    assert list(left.rows.index) == [0, 1]
    assert f"{batch.path}: 1 left out, purged: b (line 3). They were purged from this workspace" in caplog.text


def test_a_purged_film_under_another_id_becomes_a_row_that_says_so_and_nothing_of_the_film(world: World) -> None:
    add_tombstones(world.workspace, [], [content_hash(world, "b")])
    world.put("again", content="content of b")
    ingest, _ = world.ingest("a", "c", "again")
    by_id = {clip.clip_id: clip for clip in ingest.clips}
    assert [by_id[name].status for name in ("a", "c", "again")] == ["ok", "ok", "failed"]
    refused = by_id["again"]
    assert (refused.code, refused.content_hash, refused.shard) == ("purged", "", None)
    assert "byte for byte, was purged" in refused.reason
    assert not refused.retryable
    _, asked = world.ingest("a", "c", "again", retry=["a"])
    assert asked == ["a"]  # and it is not looked at once more


def test_refused_films_are_not_too_many_failures(world: World) -> None:
    add_tombstones(world.workspace, [], [content_hash(world, "b")])
    batch = world.batch("b")
    world.ingest("b")
    (table,) = sorted(Path(world.workspace, "clips/june").glob("0002-*.parquet"))
    refuse_too_many([BatchFiles(batch, str(table), f"{world.workspace}/none", {})], 0.0)


def test_a_command_that_read_its_manifest_before_the_purge_cannot_bring_a_clip_back(world: World) -> None:
    add_tombstones(world.workspace, ["b"], [])
    with pytest.raises(
        DataError, match=r"june\.csv: 1 of its clips were purged since this command began; run it again"
    ):
        world.ingest("a", "b", "c")
    assert not Path(world.workspace, "clips").exists()


def test_damaged_tombstones_stop_a_build_and_stay(world: World) -> None:
    add_tombstones(world.workspace, ["b"], [])
    path = Path(world.workspace, TOMBSTONES)
    flip(path, -20)
    with pytest.raises(WorkspaceError, match=r"tombstones\.json is damaged .*nothing is built without it"):
        world.ingest("a", "c")
    assert path.exists()
