"""The parameters that tasks share, and what follows from them."""

import os
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import luigi

from models.weights.profiles import Profile
from pipeline.core.errors import ProfileError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.features.plan import FeatureSpec, feature_spec
from pipeline.ingest.clip_table import IngestedBatch, find_ingest, read_ingest
from pipeline.ingest.ingest_batch import ingest_fingerprint
from pipeline.ingest.manifest import Batch, read_manifests
from pipeline.ingest.shard_assignment import SHARD_CLIPS
from pipeline.ingest.signatures import file_signatures
from pipeline.modalities.registry import load_profile, modality_identity, modality_names
from tasks.number_option import NumberOption

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Snapshot:
    """A batch and its clips' files as they were when the run first looked: all of its tasks agree on what there is."""

    batch: Batch
    signatures: tuple[str, ...]  # of the files at the rows' uris; pipeline.ingest.signatures

    @cache  # noqa: B019  snapshots live as long as the process
    def fingerprint(self, shard_clips: int) -> str:
        return ingest_fingerprint(self.batch, shard_clips, self.signatures)


_seen: dict[str, Snapshot] = {}  # by the manifest file's path


@cache
def snapshots(manifest: str) -> tuple[Snapshot, ...]:
    """Of every batch of a manifest file, folder or glob. Raises ManifestError where any row of any file is wrong."""
    for batch in (batches := read_manifests(manifest)):
        if batch.path not in _seen:
            _seen[batch.path] = Snapshot(batch, tuple(file_signatures(batch.rows["uri"].tolist())))
    return tuple(_seen[batch.path] for batch in batches)


def snapshot(path: str) -> Snapshot:
    """Of the batch of one manifest file."""
    if path in _seen:
        return _seen[path]
    (seen,) = snapshots(path)
    return seen


def forget_snapshots() -> None:
    """Files that the manifests name have been made since the run first looked."""
    _seen.clear()
    snapshots.cache_clear()


@cache
def ingest_table(path: str) -> IngestedBatch:
    """An ingest file never changes once it is there."""
    return read_ingest(path)


class WorkspaceTask(luigi.Task):
    """A task that reads clips and writes into a workspace."""

    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds everything made")
    shard_clips = NumberOption(int, 1, 100_000, default=SHARD_CLIPS, description="clips a shard, the unit of resume")
    decode_workers = NumberOption(
        int, 0, 1024, default=0, significant=False, description="decode processes; 0: one a processor core"
    )
    deadline_s = NumberOption(
        float,
        0.1,
        86_400.0,
        default=DecodeLimits.deadline_s,
        significant=False,
        description="seconds that decoding one clip may take",
    )
    memory_limit_mb = NumberOption(
        int,
        1,
        2**20,
        default=DecodeLimits.memory_limit_mb,
        significant=False,
        description="memory that decoding one clip may take",
    )

    def run(self) -> None:
        # Luigi chose its tasks before it ran any. Touched files, looked at again, may turn out to be what they were.
        if not self.complete():
            self.make()

    @abstractmethod
    def make(self) -> None:
        """The task's work."""

    @property
    def worker_count(self) -> int:
        return self.decode_workers or len(os.sched_getaffinity(0))

    @property
    def limits(self) -> DecodeLimits:
        return DecodeLimits(deadline_s=self.deadline_s, memory_limit_mb=self.memory_limit_mb)

    def ingested(self, manifest: str) -> list[list[str]] | None:
        """Name and contents of each batch of a manifest, for fingerprints; None while one is still to be ingested."""
        parts = []
        for seen in snapshots(manifest):
            path = self.ingest_path(seen)
            if path is None:
                return None
            parts.append([seen.batch.name, seen.batch.content_hash, ingest_table(path).content()])
        return parts

    def ingest_path(self, seen: Snapshot) -> str | None:
        """The batch's ingest table, or None when it is still to be made."""
        return find_ingest(self.workspace, seen.batch.name, seen.fingerprint(self.shard_clips))


class ExtractOptions(WorkspaceTask):
    """What decides which features exist, and how they are made."""

    profile = luigi.Parameter(
        default="demo", description="networks and weights: full, light, demo, untrained, or the path of a TOML file"
    )
    modalities = luigi.Parameter(default=",".join(modality_names()), description="which modalities, comma-separated")
    device = luigi.Parameter(default="auto", significant=False, description="auto, cpu, cuda or cuda:N")
    weights_cache = luigi.Parameter(
        default="", significant=False, description="folder of downloaded weights; default: $VDV_WEIGHTS or user cache"
    )
    retry_failed = luigi.BoolParameter(
        significant=False, description="try clips again that failed for a reason that may pass"
    )

    @property
    def torch_device(self) -> "torch.device":
        from models.device import resolve_device

        return resolve_device(self.device)

    @cached_property
    def loaded_profile(self) -> Profile:
        return load_profile(self.profile)

    @cached_property
    def sampling(self) -> SamplingOptions:
        return SamplingOptions(**self.loaded_profile.sampling)

    @cached_property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """One a chosen modality, in the order of modality_names()."""
        chosen = {name.strip() for name in self.modalities.split(",") if name.strip()}
        if not chosen or not chosen <= set(modality_names()):
            raise ProfileError(f"--modalities {self.modalities!r}: choose from {', '.join(modality_names())}")
        profile = self.loaded_profile
        return tuple(
            feature_spec(name, self.sampling, profile.entry(name).stride, modality_identity(name, profile))
            for name in modality_names()
            if name in chosen
        )
