"""The parameters that tasks share, and what follows from them."""

import os
from functools import cached_property

import luigi

from models.build import modality_identity
from models.profiles import Profile, load_profile
from pipeline.errors import ProfileError
from pipeline.ingest import find_ingest, ingest_fingerprint
from pipeline.manifest import Batch, read_manifests
from pipeline.options import MODALITIES, SamplingOptions
from pipeline.shard_assignment import SHARD_CLIPS
from pipeline.workspace import Recipe, recipe


class WorkspaceTask(luigi.Task):
    """A task that reads clips and writes into a workspace."""

    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds everything made")
    shard_clips = luigi.IntParameter(default=SHARD_CLIPS, description="clips a shard, the unit of resuming")
    decode_workers = luigi.IntParameter(
        default=0, significant=False, description="decode processes; 0: one a processor core"
    )

    @property
    def worker_count(self) -> int:
        return self.decode_workers or len(os.sched_getaffinity(0))

    def ingest_path(self, batch: Batch) -> str | None:
        """The batch's ingest table as its clips' files are now, or None when it is still to be made."""
        return find_ingest(self.workspace, batch.name, ingest_fingerprint(batch, self.shard_clips))


class ExtractOptions(WorkspaceTask):
    """What decides which features exist, and how they are made."""

    profile = luigi.Parameter(
        default="untrained", description="networks and weights: full, light, untrained, or the path of a TOML file"
    )
    modalities = luigi.Parameter(default=",".join(MODALITIES), description="which cues, comma-separated")
    device = luigi.Parameter(default="auto", significant=False, description="auto, cpu, cuda or cuda:N")
    engine = luigi.ChoiceParameter(
        choices=["local"], default="local", significant=False, description="what runs the extraction: this machine"
    )
    weights_cache = luigi.Parameter(
        default="", significant=False, description="folder of downloaded weights; default: $VDV_WEIGHTS or user cache"
    )
    retry_failed = luigi.BoolParameter(
        significant=False, description="try clips again that failed for a reason that may pass"
    )

    @cached_property
    def loaded_profile(self) -> Profile:
        return load_profile(self.profile)

    @cached_property
    def sampling(self) -> SamplingOptions:
        given = self.loaded_profile.sampling
        return SamplingOptions(given["sample_fps"], given["max_seconds"], int(given["max_side"]))

    @cached_property
    def recipes(self) -> tuple[Recipe, ...]:
        """One a chosen modality, in the order of MODALITIES."""
        chosen = {name.strip() for name in self.modalities.split(",") if name.strip()}
        if not chosen or not chosen <= set(MODALITIES):
            raise ProfileError(f"--modalities {self.modalities!r}: choose from {', '.join(MODALITIES)}")
        profile = self.loaded_profile
        return tuple(
            recipe(name, self.sampling, profile.entry(name).stride, modality_identity(name, profile))
            for name in MODALITIES
            if name in chosen
        )


def one_batch(manifest: str) -> Batch:
    """The batch of a manifest file."""
    (batch,) = read_manifests(manifest)
    return batch
