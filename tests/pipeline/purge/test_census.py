"""What a request comes to: whose clips, which go with them, which stay, and where the user's own files are."""

from pathlib import Path

import pytest

from pipeline.core.errors import OptionError
from pipeline.ingest.tombstones import add_tombstones
from pipeline.purge.census import Census, manifest_lines, resolve, take_census
from pipeline.purge.job import Job, Source
from pipeline.purge.request import Request
from tests.support.learnable_world import Clip, make_batch, make_small_dataset
from tests.support.made_once import Workspaces
from tests.support.small_run import make_run


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    return workspaces.copy(make_run)


@pytest.fixture(scope="module")
def census(workspace: Path) -> Census:
    return take_census(str(workspace))


def asked(workspace: Path, census: Census, *clip_ids: str, creators: tuple[str, ...] = ()) -> Job:
    return resolve(str(workspace), Request(clip_ids, creators), census)


def test_a_creators_clips_are_those_that_datasets_and_manifests_say(workspace: Path, census: Census) -> None:
    job = asked(workspace, census, creators=("zoe", "creator1"))
    assert job.clip_ids == ("clip004", "clip005", "clip006", "clip007", "new0", "new1")
    assert job.creators == ("creator1", "zoe")
    assert len(job.contents) == 6
    assert all(len(content) == 64 for content in job.contents)


def test_clips_of_the_same_file_go_along_and_are_named(workspace: Path, census: Census) -> None:
    job = asked(workspace, census, "twin0")
    assert (job.clip_ids, job.copies, len(job.contents)) == (("twin0", "twin1"), ("twin1",), 1)


def test_clips_that_show_the_same_in_another_file_stay_and_are_named(tmp_path: Path) -> None:
    census = Census({"a": {"h1"}, "b": {"h2"}, "c": {"h3"}}, {}, {"a": {"a", "b"}})
    assert resolve(str(tmp_path), Request(("a",)), census).alike == ("b",)
    assert resolve(str(tmp_path), Request(("c",)), census).alike == ()


def test_a_film_that_a_clip_once_was_is_refused_too(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    make_batch(workspace, [Clip("a", content="first"), Clip("b")], modalities=("scene",))
    make_batch(workspace, [Clip("a", content="second"), Clip("b")], modalities=("scene",))
    job = resolve(str(workspace), Request(("a",)), take_census(str(workspace)))
    assert job.clip_ids == ("a",)
    assert len(job.contents) == 2


def test_unknown_clips_are_all_named_with_what_was_perhaps_meant(workspace: Path, census: Census) -> None:
    with pytest.raises(OptionError, match=r"knows no clip of these ids; nothing was done:\n  'clip0001'; did you mean"):
        asked(workspace, census, "clip001", "clip0001", "nix")
    with pytest.raises(OptionError, match=r"(?s)knows no creator .*'ann,bob'\n.*give --creators once for each"):
        asked(workspace, census, creators=("ann,bob",))


def test_a_clip_that_was_purged_before_is_not_unknown(tmp_path: Path) -> None:
    make_small_dataset(tmp_path / "workspace")
    workspace = str(tmp_path / "workspace")
    add_tombstones(workspace, ["gone"], [])
    assert resolve(workspace, Request(("gone",)), take_census(workspace)).clip_ids == ("gone",)


def test_a_clip_whose_table_is_lost_is_found_in_its_shards(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    make_batch(workspace, [Clip("a"), Clip("b", fails="corrupt")], modalities=("scene",))
    for table in (workspace / "clips/june").glob("*.parquet"):
        table.unlink()
    assert resolve(str(workspace), Request(("a", "b")), take_census(str(workspace))).clip_ids == ("a", "b")


def test_the_manifests_line_and_the_clips_file_are_said(workspace: Path, census: Census) -> None:
    job = asked(workspace, census, "clip004")
    (source,) = job.sources
    assert source.manifest.endswith("/workspace-source/june.csv")
    assert list(manifest_lines(job.sources)) == [f"{source.manifest}:6: clip004 {source.uri}"]
    assert source.uri.endswith("/clip004.mp4")


def test_a_manifest_that_is_gone_or_not_known_is_said(tmp_path: Path) -> None:
    sources = [Source("a", "/x/a.mp4", "june", f"{tmp_path}/june.csv"), Source("a", "/old/a.mp4", "may", "")]
    assert list(manifest_lines(sources)) == [
        "batch may, whose manifest is not known: a /old/a.mp4", f"{tmp_path}/june.csv (names it no more): a /x/a.mp4",
    ]  # fmt: skip
