"""Paths of features and endings in a workspace, and the shards that are still to be made.

Every path contains a fingerprint of all that its content depends on, so that finding what is missing takes one listing
a folder and opens no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core import storage
from pipeline.core.fingerprint import fingerprint
from pipeline.core.options import PICTURES_VERSION, SamplingOptions
from pipeline.features.parquet_files import ENDINGS_VERSION, SCHEMA_VERSION
from pipeline.ingest.clip_table import IngestedBatch, IngestedClip


@dataclass(frozen=True)
class FeatureSpec:
    """The extraction of one modality: all that its files depend on beside the clips."""

    modality: str
    fingerprint: str
    stride: int  # of the sampled frames
    identity: Mapping  # the fingerprinted values; stored in every file's metadata


def feature_spec(modality: str, sampling: SamplingOptions, stride: int, identity: Mapping) -> FeatureSpec:
    """identity: the extractor's options and weights (pipeline.modalities.registry.modality_identity)."""
    values = {"schema": SCHEMA_VERSION, "pictures": PICTURES_VERSION, "sampling": sampling.identity(), "stride": stride,
              "extractor": dict(identity)}  # fmt: skip
    return FeatureSpec(modality, fingerprint(values), stride, values)


def features_folder(workspace: str, batch: str, spec: FeatureSpec) -> str:
    return storage.join(workspace, "features", spec.modality, spec.fingerprint, batch)


def endings_folder(workspace: str, batch: str, sampling: SamplingOptions) -> str:
    values = {
        "schema": SCHEMA_VERSION,
        "endings": ENDINGS_VERSION,
        "pictures": PICTURES_VERSION,
        "of": sampling.identity(),
    }
    return storage.join(workspace, "clips", batch, "endings", fingerprint(values))


def shard_path(folder: str, shard: str) -> str:
    return storage.join(folder, f"{shard}.parquet")


@dataclass(frozen=True)
class ShardPlan:
    """One shard with work left to do: `clips` are decoded once and given to the extractors of `missing`."""

    shard: str
    members: tuple[str, ...]  # clip_ids in the shard's order, including those no longer in the manifest
    clips: tuple[IngestedClip, ...]  # those to decode
    missing: tuple[FeatureSpec, ...]
    endings_missing: bool


def plan_shards(
    workspace: str, batch: str, ingest: IngestedBatch, specs: Sequence[FeatureSpec], sampling: SamplingOptions
) -> list[ShardPlan]:
    """The shards of a batch that lack a modality's file or their endings; empty when all exist."""
    present = {spec.modality: storage.listing(features_folder(workspace, batch, spec)) for spec in specs}
    endings = storage.listing(endings_folder(workspace, batch, sampling))
    by_shard: dict[str, list[IngestedClip]] = {}
    for clip in ingest.clips:
        if clip.shard is not None:
            by_shard.setdefault(clip.shard, []).append(clip)
    plans = []
    for shard in sorted(by_shard):
        name = f"{shard}.parquet"
        missing = tuple(spec for spec in specs if name not in present[spec.modality])
        if missing or name not in endings:
            members = tuple(clip_id for clip_id, _ in ingest.shards[shard])
            plans.append(ShardPlan(shard, members, tuple(by_shard[shard]), missing, name not in endings))
    return plans
