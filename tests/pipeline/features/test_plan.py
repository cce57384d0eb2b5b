"""What is still to be made of a batch, asked with a few listings however large it is."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.core import storage
from pipeline.core.options import SamplingOptions
from pipeline.features import plan as workspace
from pipeline.features.plan import (
    FeatureSpec,
    endings_folder,
    feature_spec,
    features_folder,
    plan_shards,
    record_sizes,
    shard_path,
)
from pipeline.ingest.clip_table import IngestedBatch, IngestedClip
from pipeline.modalities.registry import extracted_names
from tests.support.extraction import BATCH, endings_file, ingested, shard_file
from tests.support.extraction import specs as real_specs
from tests.support.watched_store import WatchedStore

SAMPLING = SamplingOptions()
SPECS = tuple(feature_spec(name, SAMPLING, 2, {"weights": "untrained:0"}) for name in extracted_names())


def batch(shards: int, clips: int = 2, **gone: tuple[str, ...]) -> IngestedBatch:
    paths = {f"{n:05d}-a": [Path(f"clip{n}-{at}.mp4") for at in range(clips)] for n in range(shards)}
    return ingested(paths, {name.replace("_", "-").removeprefix("s"): ids for name, ids in gone.items()})


def finish(workspace: str, ingest: IngestedBatch, specs: tuple[FeatureSpec, ...] = SPECS) -> None:
    """Files with the names that a finished extraction has; planning looks at their sizes only."""
    for shard in ingest.shards:
        for spec in specs:
            storage.write_bytes(shard_file(workspace, spec, shard), b"-")
        storage.write_bytes(endings_file(workspace, shard, SAMPLING), b"-")
    for spec in specs:
        record_sizes(features_folder(workspace, BATCH, spec))
    record_sizes(endings_folder(workspace, BATCH, SAMPLING))


def plan(workspace: str, ingest: IngestedBatch, specs: tuple[FeatureSpec, ...] = SPECS) -> list[tuple]:
    """(shard, missing modalities, whether the endings are)."""
    plans = plan_shards(workspace, BATCH, ingest, specs, SAMPLING).shards
    return [(p.shard, tuple(r.modality for r in p.missing), p.endings_missing) for p in plans]


def test_a_new_batch_lacks_everything_in_the_order_of_its_shards(store: str) -> None:
    assert plan(store, batch(3)) == [(f"{n:05d}-a", extracted_names(), True) for n in range(3)]


def test_a_finished_batch_lacks_nothing_nor_does_an_empty_one(store: str) -> None:
    assert plan(store, IngestedBatch((), {})) == []
    ingest = batch(3)
    finish(store, ingest)
    assert plan(store, ingest) == []


def test_one_lost_file_is_one_modality_of_one_shard(store: str) -> None:
    ingest = batch(3)
    finish(store, ingest)
    storage.remove(shard_file(store, SPECS[2], "00001-a"))
    assert plan(store, ingest) == [("00001-a", (extracted_names()[2],), False)]


def test_lost_endings_are_missed_though_all_rows_are_there(store: str) -> None:
    ingest = batch(2)
    finish(store, ingest)
    storage.remove(endings_file(store, "00000-a", SAMPLING))
    assert plan(store, ingest) == [("00000-a", (), True)]


def test_a_half_written_file_does_not_count(tmp_path: Path) -> None:
    ingest = batch(1)
    finish(str(tmp_path), ingest)
    whole = Path(shard_file(str(tmp_path), SPECS[0], "00000-a"))
    whole.unlink()
    with storage.staged(str(whole)) as local:
        local.write_bytes(b"h")
        assert plan(str(tmp_path), ingest) == [("00000-a", (extracted_names()[0],), False)]
    assert plan(str(tmp_path), ingest) == []


def test_another_batch_of_the_same_workspace_is_another_folder(tmp_path: Path) -> None:
    ingest = batch(1)
    finish(str(tmp_path), ingest)
    assert len(plan_shards(str(tmp_path), "july", ingest, SPECS, SAMPLING).shards) == 1


def test_clips_that_are_gone_are_members_and_are_not_decoded(tmp_path: Path) -> None:
    (plan,) = plan_shards(str(tmp_path), BATCH, batch(1, s00000_a=("old",)), SPECS, SAMPLING).shards
    assert plan.members == ("old", "clip0-0", "clip0-1")
    assert [clip.clip_id for clip in plan.clips] == ["clip0-0", "clip0-1"]


def test_clips_that_could_not_be_read_are_in_no_shard(tmp_path: Path) -> None:
    ingest = batch(1)
    (first, second) = ingest.clips
    failed = IngestedClip(second.uri, second.signature, second.probe, None)
    (plan,) = plan_shards(str(tmp_path), BATCH, IngestedBatch((first, failed), ingest.shards), SPECS, SAMPLING).shards
    assert [clip.clip_id for clip in plan.clips] == ["clip0-0"]


def test_a_shard_all_of_whose_clips_live_elsewhere_is_not_made_again(tmp_path: Path) -> None:
    ingest = batch(2)
    kept = tuple(clip for clip in ingest.clips if clip.shard == "00001-a")
    assert [
        p.shard for p in plan_shards(str(tmp_path), BATCH, IngestedBatch(kept, ingest.shards), SPECS, SAMPLING).shards
    ] == ["00001-a"]


@pytest.mark.parametrize(
    "other",
    [
        feature_spec("pose", SamplingOptions(sample_fps=5.0), 2, {"weights": "untrained:0"}),
        feature_spec("pose", SAMPLING, 3, {"weights": "untrained:0"}),
        feature_spec("pose", SAMPLING, 2, {"weights": "untrained:1"}),
        feature_spec("pose", SAMPLING, 2, {"weights": "untrained:0", "input_size": 64}),
    ],
    ids=["sampling", "stride", "weights", "options"],
)
def test_whatever_changes_the_rows_changes_the_folder(tmp_path: Path, other: FeatureSpec) -> None:
    assert features_folder("w", BATCH, other) != features_folder("w", BATCH, SPECS[0])
    ingest = batch(1)
    finish(str(tmp_path), ingest)
    assert plan(str(tmp_path), ingest, (other, *SPECS[1:])) == [("00000-a", ("pose",), False)]


def test_endings_depend_on_the_sampling_and_on_nothing_else_of_the_recipes() -> None:
    assert endings_folder("w", BATCH, SAMPLING) == endings_folder("w", BATCH, SamplingOptions())
    for other in (SamplingOptions(sample_fps=5.0), SamplingOptions(max_seconds=9.0), SamplingOptions(max_side=64)):
        assert endings_folder("w", BATCH, other) != endings_folder("w", BATCH, SAMPLING)


def test_endings_that_hold_something_else_are_made_anew_and_no_rows_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = batch(2)
    finish(str(tmp_path), ingest)
    monkeypatch.setattr(workspace, "ENDINGS_VERSION", workspace.ENDINGS_VERSION + 1)
    assert plan(str(tmp_path), ingest) == [(f"{n:05d}-a", (), True) for n in range(2)]


def test_a_recipes_identity_says_all_that_its_fingerprint_was_taken_of() -> None:
    (face,) = real_specs("face", sampling=SAMPLING)
    assert face.identity["sampling"] == SAMPLING.identity()
    assert face.identity["stride"] == face.stride == 2
    assert face.identity["extractor"]["weights"] == "untrained:0"
    assert face.identity["extractor"]["detector_weights"].startswith("sha256:")


def test_asking_what_is_missing_costs_one_listing_a_modality_and_one_of_endings_however_many_shards() -> None:
    costs = {}
    for shards in (3, 60):
        watched = WatchedStore.empty()
        ingest = batch(shards)
        finish("watched://w", ingest)
        storage.remove(shard_path(features_folder("watched://w", BATCH, SPECS[1]), "00001-a"))
        watched.calls.clear()
        assert plan("watched://w", ingest) == [("00001-a", (extracted_names()[1],), False)]
        costs[shards] = Counter(watched.calls)
    assert costs[3] == costs[60]
    assert costs[60]["list"] == len(extracted_names()) + 1
    assert costs[60]["open"] <= len(extracted_names()) + 1  # their records of sizes
