"""Shards' files on their way to their places."""

import sys
from pathlib import Path

import pytest

from pipeline.cluster import staging
from pipeline.cluster.connection import Cluster
from pipeline.cluster.engine import extract_on_cluster
from pipeline.cluster.staging import Staging
from pipeline.core import storage
from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.decode.clips import Ending
from pipeline.extraction.owners import Extraction
from pipeline.features.endings import read_endings, write_endings
from pipeline.features.plan import ShardPlan, endings_folder, plan_again, plan_shards, shard_path
from tests.support.extraction import BATCH, LIMITS, SAMPLING, cheap, endings_file, ingested, shard_file, specs

SHARD = "00000-a"
(POSE,) = specs("pose")


def plan(workspace: str) -> ShardPlan:
    clips = ingested({SHARD: [Path("clip0.mp4"), Path("clip1.mp4")]})
    (found,) = plan_shards(workspace, BATCH, clips, specs("pose"), SAMPLING).shards
    return found


def ends(path: str, *statuses: str) -> None:
    endings = [Ending(f"clip{n}", status, "" if status == "ok" else "io", "") for n, status in enumerate(statuses)]
    write_endings(path, endings, {})


def test_the_worse_of_two_endings_stays_when_a_modality_is_added(s3: str, tmp_path: Path) -> None:
    for workspace in (s3, str(tmp_path / "w")):
        lacking = plan(workspace)
        ends(endings_file(workspace, SHARD), "ok", "failed")
        place = Staging.begin(workspace, BATCH)
        storage.write_bytes(shard_file(place.of_process(3), POSE, SHARD), b"rows")
        ends(shard_path(endings_folder(place.of_process(3), BATCH, SAMPLING), SHARD), "partial", "ok")
        place.publish(ShardPlan(SHARD, lacking.members, lacking.clips, specs("pose"), False), 3, SAMPLING, "tiny")
        assert storage.read_bytes(shard_file(workspace, POSE, SHARD)) == b"rows"
        assert [end.status for end in read_endings(endings_file(workspace, SHARD))] == ["partial", "failed"]
        place.remove()
        assert not storage.listing(storage.join(workspace, "attempts"))


def test_what_is_there_is_not_planned_again(tmp_path: Path) -> None:
    lacking = plan(str(tmp_path))
    assert plan_again(str(tmp_path), BATCH, lacking, SAMPLING) == lacking
    ends(endings_file(tmp_path, SHARD), "ok", "ok")
    storage.write_bytes(shard_file(tmp_path, POSE, SHARD), b"cut off")
    left = plan_again(str(tmp_path), BATCH, lacking, SAMPLING)
    assert left is not None
    assert (left.missing, left.endings_missing) == (specs("pose"), False)
    Path(endings_file(tmp_path, SHARD)).rename(shard_file(tmp_path, POSE, SHARD))
    ends(endings_file(tmp_path, SHARD), "ok", "ok")


def test_a_machine_that_does_not_reach_the_workspace_is_named(tmp_path: Path) -> None:
    place = Staging.begin(str(tmp_path / "w"), BATCH)
    place.check_reachable("10.0.0.2")
    place.remove()
    with pytest.raises(WorkspaceError, match=r"w cannot be seen from 10\.0\.0\.2: .* a URL"):
        place.check_reachable("10.0.0.2")


def test_folders_of_commands_that_were_killed_long_ago_are_removed(tmp_path: Path) -> None:
    for name in ("1000000000-a", "99999999999-b"):
        storage.write_bytes(str(tmp_path / f"attempts/{name}/0/features/file"), b"")
    mine = Staging.begin(str(tmp_path), BATCH)
    left = {path.name for path in (tmp_path / staging.ATTEMPTS).iterdir()}
    assert left == {"99999999999-b", mine.folder.rsplit("/", 1)[-1]}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "--ray-address 127.0.0.1:1: no Ray cluster"),
        ("auto", r"Ray: pip install 'ray>=[\d.]+' \("),
    ],
)
def test_a_cluster_that_is_not_there_and_ray_that_is_not_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    if address == "auto":
        monkeypatch.setitem(sys.modules, "ray", None)
    wanted = Extraction(
        str(tmp_path), BATCH, (plan(str(tmp_path)),), lambda m, _: cheap(m), SAMPLING, LIMITS, 1, "tiny"
    )
    with pytest.raises(OptionError, match=words):
        extract_on_cluster(wanted, Cluster(address, "cpu", 0, 1))
    assert not list(tmp_path.iterdir())
