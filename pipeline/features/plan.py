"""Paths of features and endings in a workspace, and the shards that are still to be made.

Every path contains a fingerprint of all that its content depends on, so that finding what is missing takes one listing
a folder. Each folder of shards records the sizes that they were written with, so that one that was cut off is found by
the same listing; what is in a shard is checked when it is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.core.fingerprint import fingerprint
from pipeline.core.options import PICTURES_VERSION, SOUND_HZ, SOUND_VERSION, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.features.parquet_files import ENDINGS_VERSION, SCHEMA_VERSION
from pipeline.files.checksums import check_parquet_end
from pipeline.files.folder import Folder, discard, is_intact
from pipeline.ingest.clip_table import IngestedBatch, IngestedClip
from pipeline.modalities.registry import find_modality


@dataclass(frozen=True)
class FeatureSpec:
    """The extraction of one modality: all that its files depend on beside the clips."""

    modality: str
    fingerprint: str
    stride: int  # of the sampled frames
    identity: Mapping  # the fingerprinted values; stored in every file's metadata


def feature_spec(modality: str, sampling: SamplingOptions, stride: int, identity: Mapping) -> FeatureSpec:
    """identity: the extractor's options and weights (pipeline.modalities.registry.modality_identity)."""
    values: dict = {"schema": SCHEMA_VERSION, "extractor": dict(identity)}
    if find_modality(modality).reads == "sound":  # whose zero and end are the pictures'; which are sampled is nothing
        sound = {"version": SOUND_VERSION, "hz": SOUND_HZ, "max_seconds": sampling.max_seconds}
        values |= {"pictures": PICTURES_VERSION, "sound": sound}
    else:
        values |= {"pictures": PICTURES_VERSION, "sampling": sampling.identity(), "stride": stride}
    return FeatureSpec(modality, fingerprint(values), stride, values)


def features_folder(workspace: str, batch: str, spec: FeatureSpec) -> str:
    return storage.join(workspace, FEATURES, spec.modality, spec.fingerprint, batch)


def endings_folder(workspace: str, batch: str, sampling: SamplingOptions) -> str:
    values = {
        "schema": SCHEMA_VERSION,
        "endings": ENDINGS_VERSION,
        "pictures": PICTURES_VERSION,
        "of": sampling.identity(),
    }
    return storage.join(workspace, "clips", batch, "endings", fingerprint(values))


FEATURES = "features"  # folder of a workspace: a folder a modality
ATTEMPTS = "attempts"  # a workspace's folder of shards that have no place yet (pipeline.cluster.staging)
SIZES = ".sizes.json"  # in each folder of shards: {file name: bytes}


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
    failed: tuple[Ending, ...] = ()  # of those of `clips` that are not to be decoded, for how they end is known


@dataclass(frozen=True)
class Plan:
    """All that is left to do of a batch."""

    shards: tuple[ShardPlan, ...]  # those with work left to do
    unrecorded: tuple[str, ...]  # folders that lack the size of a shard in them; see `record_sizes`


def plan_shards(
    workspace: str, batch: str, ingest: IngestedBatch, specs: Sequence[FeatureSpec], sampling: SamplingOptions
) -> Plan:
    """The shards of a batch that lack a modality's file or their endings.

    A file that is not of its recorded size, or has none and a damaged footer, is removed with a warning.
    """
    unrecorded: list[str] = []
    present = {spec.modality: _present(features_folder(workspace, batch, spec), unrecorded) for spec in specs}
    endings = _present(endings_folder(workspace, batch, sampling), unrecorded)
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
    return Plan(tuple(plans), tuple(unrecorded))


def plan_again(workspace: str, batch: str, plan: ShardPlan, sampling: SamplingOptions) -> ShardPlan | None:
    """What a shard still lacks of what a plan of it lacked; None: nothing.

    A damaged file is removed with a warning.
    """
    missing = tuple(
        spec
        for spec in plan.missing
        if not is_intact(shard_path(features_folder(workspace, batch, spec), plan.shard), check_parquet_end)
    )
    endings = shard_path(endings_folder(workspace, batch, sampling), plan.shard)
    endings_missing = plan.endings_missing and not is_intact(endings, check_parquet_end)
    return replace(plan, missing=missing, endings_missing=endings_missing) if missing or endings_missing else None


def record_sizes(folder: str) -> None:
    """Record the size of every shard in a folder, for the planning of later commands."""
    files = storage.listing(folder, recursive=False)
    Folder(folder).write_json(SIZES, {name: size for name, size in sorted(files.items()) if name.endswith(".parquet")})


def forget_sizes(folder: str, shards: Iterable[str]) -> None:
    """Take shards out of the record, since they are to be written again, of whatever size."""
    place = Folder(folder)
    recorded = place.read_intact_json(SIZES) or {}
    names = {f"{shard}.parquet" for shard in shards}
    if names & set(recorded):
        place.write_json(SIZES, {name: size for name, size in recorded.items() if name not in names})


def note_sizes(folder: str, shards: Iterable[str]) -> None:
    """Add shards that were just written to a folder's record; where it has none, the next command makes one."""
    place = Folder(folder)
    recorded = place.read_intact_json(SIZES)
    if recorded is not None:
        files = storage.listing(folder, recursive=False)
        sizes = {f"{shard}.parquet": files[f"{shard}.parquet"] for shard in shards}
        place.write_json(SIZES, dict(sorted((recorded | sizes).items())))


def _present(folder: str, unrecorded: list[str]) -> set[str]:
    """The names of the whole shards in a folder; the folder joins `unrecorded` where it has one without a record."""
    files = storage.listing(folder, recursive=False)
    shards = {name: size for name, size in files.items() if name.endswith(".parquet")}
    place = Folder(folder)
    recorded = (place.read_intact_json(SIZES) if SIZES in files else None) or {}
    present = set()
    for name, size in shards.items():
        try:
            if name not in recorded:  # of a command that was killed, or is under way
                check_parquet_end(place.file(name))
                unrecorded += [folder] * (folder not in unrecorded)
            elif size != recorded[name]:
                raise DamagedFile(place.file(name), f"it has {size} bytes of {recorded[name]}")
        except DamagedFile as damaged:
            discard(damaged)
        else:
            present.add(name)
    return present
