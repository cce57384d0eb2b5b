"""What is left to do of a batch: clips, shards, seconds of video and bytes, by modality."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.commands.work import BatchWork, ClipWork, batch_work
from pipeline.core.options import SamplingOptions
from pipeline.features.plan import FeatureSpec, endings_folder, features_folder
from pipeline.ingest.clip_table import find_ingest
from pipeline.ingest.ingest_batch import ingest_fingerprint
from pipeline.ingest.signatures import clip_signatures
from tests.end_to_end.workspaces import contents
from tests.support.ingest_world import LIMITS, Probing, World
from tests.support.whole_files import make_whole

SHARD_CLIPS = 2
SECONDS = 9.5  # of each clip, as Probing says
SAMPLING = SamplingOptions()
SPECS = tuple(FeatureSpec(name, f"{name:0<16}", 1, {}) for name in ("pose", "face"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.put(*"abcde")
    return world


def left(
    world: World,
    names: str,
    specs: Sequence[FeatureSpec] = SPECS,
    retry: str = "",
    sampling: SamplingOptions = SAMPLING,
) -> BatchWork:
    batch = world.batch(*names)
    signatures = clip_signatures(batch.rows["uri"].tolist(), LIMITS)
    table = find_ingest(world.workspace, batch.name, ingest_fingerprint(batch, SHARD_CLIPS, signatures))
    return batch_work(
        world.workspace, batch, None if retry else table, SHARD_CLIPS, signatures, set(retry), specs, sampling
    )


def size(world: World, names: str) -> int:
    return sum((world.folder / "clips" / name).stat().st_size for name in names)


def clips(world: World, names: str, shards: int) -> ClipWork:
    return ClipWork(len(names), shards, SECONDS * len(names), size(world, names), 0)


def extract(world: World, shard: str | None, *specs: FeatureSpec) -> None:
    """The files that an extraction of a shard leaves, as far as planning looks at them."""
    folders = [features_folder(world.workspace, "june", spec) for spec in specs]
    for folder in (*folders, endings_folder(world.workspace, "june", SAMPLING)):
        make_whole(Path(folder, f"{shard}.parquet"))


def test_of_clips_that_are_not_probed_only_their_number_and_their_size_is_known(world: World) -> None:
    found = left(world, "abc")
    assert (found.clips, found.unprobed, found.unprobed_bytes, found.unprobed_unsized) == (3, 3, size(world, "abc"), 0)
    assert found.decoded == ClipWork()
    assert found.modalities == {"pose": ClipWork(), "face": ClipWork()}
    assert not found.nothing


def test_a_file_that_is_not_there_has_no_size(world: World) -> None:
    (world.folder / "clips" / "b").unlink()
    found = left(world, "abc")
    assert (found.unprobed, found.unprobed_bytes, found.unprobed_unsized) == (3, size(world, "ac"), 1)


def test_probed_clips_are_counted_by_the_modalities_that_their_shards_lack(world: World) -> None:
    ingest, _ = world.ingest(*"abc", shard_clips=SHARD_CLIPS)
    homes = world.shards(ingest)
    assert left(world, "abc").decoded == clips(world, "abc", 2)
    extract(world, homes["a"], SPECS[0])
    found = left(world, "abc")
    assert found.unprobed == 0
    assert found.modalities == {"pose": clips(world, "c", 1), "face": clips(world, "abc", 2)}
    assert found.decoded == clips(world, "abc", 2), "each clip is decoded once"
    extract(world, homes["a"], SPECS[1])
    extract(world, homes["c"], *SPECS)
    assert left(world, "abc").nothing


def test_new_clips_are_not_known_and_those_before_them_still_are(world: World) -> None:
    world.ingest(*"ab", shard_clips=SHARD_CLIPS)
    world.put("a", content="another film of that name")
    found = left(world, "abcd")
    assert (found.unprobed, found.unprobed_bytes) == (3, size(world, "acd"))
    assert found.decoded == clips(world, "b", 1)
    assert left(world, "bcd", retry="b").unprobed == 3, "a clip that is tried again is probed again"


def test_clips_that_cannot_be_decoded_and_that_are_gone_are_no_work(world: World) -> None:
    world.ingest(*"abc", shard_clips=SHARD_CLIPS, probe=Probing({"b": "empty"}))
    assert left(world, "abc").decoded == clips(world, "ac", 1)
    assert left(world, "ab").decoded == clips(world, "a", 1)
    assert left(world, "ab").unprobed == 0


def test_no_more_of_a_clip_counts_than_is_decoded_of_it(world: World) -> None:
    world.ingest(*"abc", shard_clips=SHARD_CLIPS)
    found = left(world, "abc", sampling=replace(SAMPLING, max_seconds=4.0))
    assert found.decoded.video_s == pytest.approx(12.0)


def test_an_ingest_alone_is_asked_for_without_modalities(world: World) -> None:
    found = left(world, "abc", specs=())
    assert (found.unprobed, found.modalities) == (3, {})
    world.ingest(*"abc", shard_clips=SHARD_CLIPS)
    assert left(world, "abc", specs=()).nothing


def test_looking_writes_nothing(world: World) -> None:
    world.ingest(*"ab", shard_clips=SHARD_CLIPS)
    before = contents(Path(world.workspace))
    left(world, "abc")
    assert contents(Path(world.workspace)) == before
