"""Shards lose the clips and nothing else, under the name of what is left; nothing is extracted for it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.options import SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.features.endings import read_endings, write_endings
from pipeline.features.plan import SIZES, FeatureSpec, Plan, endings_folder, plan_shards, record_sizes
from pipeline.features.reader import ShardReader
from pipeline.features.shards import ShardWriter
from pipeline.ingest.clip_table import IngestedBatch, newest_file, read_ingest
from pipeline.ingest.shard_assignment import shard_name
from tests.support.learnable_world import Clip, make_batch, rows_of
from tests.support.purging import purge
from tests.support.whole_files import cut, flip, read_json

CLIPS = [
    Clip("ann1", creator="ann"), Clip("bob1", creator="bob"), Clip("nobody", creator="bob", nobody=True),
    Clip("ann2", creator="ann", fails="corrupt"), Clip("broken", creator="bob", fails="truncated"),
]  # fmt: skip
MODALITIES = ("pose", "face", "scene", "appearance", "audio")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    make_batch(tmp_path / "workspace", CLIPS)
    return tmp_path / "workspace"


def folders(workspace: Path) -> list[Path]:
    return [workspace / f"features/{modality}/0000/june" for modality in MODALITIES]


def table(workspace: Path) -> tuple[str, IngestedBatch]:
    newest = newest_file(str(workspace), "june")
    assert newest is not None
    return newest.path, read_ingest(newest.path)


def test_a_shard_without_a_clip_is_the_file_that_an_extraction_of_the_others_would_have_written(
    workspace: Path,
) -> None:
    kept = [clip for clip in CLIPS if clip.creator == "bob"]
    metadata = {"profile": "test", "options": json.dumps({"extractor": {"weights": "sha256:00"}})}
    purge(workspace, creators=("ann",))
    for modality, folder in zip(MODALITIES, folders(workspace), strict=True):
        (made,) = folder.glob("*.parquet")
        wanted = workspace.parent / "elsewhere" / folder.relative_to(workspace) / made.name
        with ShardWriter(str(wanted), modality, [clip.clip_id for clip in kept], metadata) as writer:
            for clip in kept:
                if clip.fails:
                    writer.skip(clip.clip_id, clip.fails)
                else:
                    writer.add(rows_of(modality, clip))
        assert made.read_bytes() == wanted.read_bytes()


def test_the_shard_is_named_by_the_members_that_are_left_and_the_table_names_it(workspace: Path) -> None:
    _, before = table(workspace)
    ((old, members),) = before.shards.items()
    purge(workspace, creators=("ann",))
    path, after = table(workspace)
    left = tuple(member for member in members if not member[0].startswith("ann"))
    new = shard_name(0, left)
    assert after.shards == {new: left}
    assert [(clip.clip_id, clip.shard) for clip in after.clips] == [(name, new) for name, _ in left]
    assert after.next_shard == before.next_shard
    assert Path(path).name.startswith("0002-")
    assert len(list(Path(path).parent.glob("*.parquet"))) == 1  # the earlier state is gone
    assert not list(workspace.rglob(f"{old}*"))
    (endings,) = (workspace / "clips/june/endings/0000").glob("*.parquet")
    assert [ending.clip_id for ending in read_endings(str(endings))] == ["bob1", "nobody", "broken"]


def test_the_plan_has_nothing_to_extract_and_nothing_to_record(workspace: Path) -> None:
    endings = Path(endings_folder(str(workspace), "june", SamplingOptions()))
    for path in (workspace / "clips/june/endings/0000").glob("*.parquet"):
        write_endings(str(endings / path.name), read_endings(str(path)), {})
        path.unlink()
    for folder in [*folders(workspace), endings]:
        record_sizes(str(folder))
    purge(workspace, creators=("ann",))
    specs = [FeatureSpec(modality, "0000", 1, {}) for modality in MODALITIES]
    plan = plan_shards(str(workspace), "june", table(workspace)[1], specs, SamplingOptions())
    assert plan == Plan((), ())
    for folder in folders(workspace):
        (shard,) = folder.glob("*.parquet")
        assert read_json(folder / SIZES) == {shard.name: shard.stat().st_size}


def test_a_shard_of_purged_clips_alone_is_deleted(workspace: Path) -> None:
    purge(workspace, *[clip.clip_id for clip in CLIPS])
    assert not list((workspace / "features").rglob("*.parquet"))
    _, after = table(workspace)
    assert (after.clips, after.shards, after.next_shard) == ((), {}, 1)


def test_a_clip_that_left_its_manifest_before_is_purged_from_its_shard_too(workspace: Path) -> None:
    make_batch(workspace, [clip for clip in CLIPS if clip.clip_id != "ann1"])
    _, before = table(workspace)
    assert any("ann1" in str(members) for members in before.shards.values())
    _, proof = purge(workspace, "ann1")
    assert not proof.found
    for folder in folders(workspace):
        assert all("ann1" not in ShardReader(str(path)).clip_ids for path in folder.glob("*.parquet"))


def test_a_shard_that_no_table_names_any_more_keeps_its_other_clips(workspace: Path) -> None:
    for path in (workspace / "clips/june").glob("*.parquet"):
        path.unlink()
    _, proof = purge(workspace, "ann1")
    assert not proof.found
    for folder in folders(workspace):
        (shard,) = folder.glob("*.parquet")
        assert set(ShardReader(str(shard)).clip_ids) == {"bob1", "nobody"}


def test_other_batches_are_not_touched(workspace: Path) -> None:
    make_batch(workspace, [Clip("cat1", creator="cat")], name="july")
    before = {path: path.read_bytes() for path in workspace.rglob("*july*/**/*.parquet")}
    assert len(before) == 2 + len(MODALITIES)
    purge(workspace, creators=("ann",))
    assert {path: path.read_bytes() for path in workspace.rglob("*july*/**/*.parquet")} == before


@pytest.mark.parametrize("harm", [lambda path: cut(path, 0.5), lambda path: flip(path, 40)], ids=["cut", "flipped"])
def test_a_damaged_shard_goes_whole_and_the_others_are_kept(workspace: Path, harm: Callable[[Path], None]) -> None:
    (shard,) = folders(workspace)[3].glob("*.parquet")
    harm(shard)
    _, proof = purge(workspace, "ann1")
    assert not proof.found
    assert not list(folders(workspace)[3].glob("*.parquet"))
    assert all(len(list(folder.glob("*.parquet"))) == 1 for folder in folders(workspace)[:3])


def test_an_ingest_under_way_is_begun_anew(workspace: Path) -> None:
    path = workspace / "clips/june/probed.parquet"
    path.write_bytes(Path(table(workspace)[0]).read_bytes())
    _, proof = purge(workspace, "ann1")
    assert not proof.found
    assert not path.exists()


def test_an_ending_keeps_all_that_it_says(workspace: Path) -> None:
    (path,) = (workspace / "clips/june/endings/0000").glob("*.parquet")
    before = {ending.clip_id: ending for ending in read_endings(str(path))}
    purge(workspace, "ann1")
    (path,) = (workspace / "clips/june/endings/0000").glob("*.parquet")
    after = read_endings(str(path))
    assert after == [before[ending.clip_id] for ending in after]
    assert all(isinstance(ending, Ending) for ending in after)
