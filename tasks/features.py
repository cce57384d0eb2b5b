"""From a manifest to a labelled dataset: ingest, extract, assemble."""

from functools import cache
from typing import TYPE_CHECKING, ClassVar

import luigi

from pipeline.core import storage
from pipeline.core.fingerprint import fingerprint
from pipeline.dataset.folder import STATISTICS, DatasetFolder
from pipeline.features.plan import ShardPlan, endings_folder, features_folder, plan_shards
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.modalities.registry import load_profile
from tasks.console import Progress, note_parts
from tasks.number_option import NumberOption
from tasks.options import ExtractOptions, Snapshot, WorkspaceTask, ingest_table, snapshot, snapshots
from tasks.world import RenderWorld, world_of

if TYPE_CHECKING:
    from models.extractors.extractor import Extractor
    from pipeline.dataset.assemble import BatchFiles

DATASET_VERSION = 4  # raised when the dataset's files change meaning


class IngestBatch(WorkspaceTask):
    """Probes and hashes the clips of one manifest file, and assigns them to shards."""

    manifest = luigi.Parameter(description="one manifest file")
    retry = luigi.ListParameter(default=(), description="clip_ids to begin anew though nothing of them has changed")

    retried: ClassVar[set[tuple[str, str]]] = set()  # (workspace, clip_id) that this process began anew

    def requires(self) -> list[luigi.Task]:
        world = world_of(self.manifest)
        return [RenderWorld(folder=world)] if world else []

    def complete(self) -> bool:
        return self._again() <= self.retried and self.ingest_path(snapshot(self.manifest)) is not None

    def make(self) -> None:
        seen = snapshot(self.manifest)
        with Progress(self, f"ingest {seen.batch.name}") as progress:
            run_ingest(
                self.workspace,
                seen.batch,
                self.worker_count,
                self.limits,
                self.shard_clips,
                progress=progress,
                retry=frozenset(self.retry),
                signatures=seen.signatures,
            )
        self.retried.update(self._again())

    def _again(self) -> set[tuple[str, str]]:
        return {(self.workspace, clip_id) for clip_id in list[str](self.retry)}


class ExtractBatch(ExtractOptions):
    """Decodes the clips of one manifest file once and writes the shards that its modalities lack."""

    manifest = luigi.Parameter(description="one manifest file")

    def requires(self) -> luigi.Task:
        return IngestBatch(
            manifest=self.manifest,
            workspace=self.workspace,
            shard_clips=self.shard_clips,
            decode_workers=self.decode_workers,
            deadline_s=self.deadline_s,
            memory_limit_mb=self.memory_limit_mb,
            retry=self._to_retry(),
        )

    def complete(self) -> bool:
        seen = snapshot(self.manifest)
        return self.ingest_path(seen) is not None and not self._to_retry() and not self.plan(seen)

    def make(self) -> None:
        # torch and the networks are imported only by a run that has work to do.
        from pipeline.features.extract import extract_shards

        seen = snapshot(self.manifest)
        storage.remove_stale(self.workspace)
        device = self.torch_device
        with Progress(self, f"extract {seen.batch.name}") as progress:
            extracted = extract_shards(
                self.workspace,
                seen.batch.name,
                self.plan(seen),
                lambda modality: _extractor(modality, self.profile, str(device), self.weights_cache),
                self.sampling,
                self.limits,
                workers=self.worker_count,
                device=device,
                profile=self.loaded_profile.name,
                progress=progress,
            )
        note_parts(self, extracted.seconds)

    def _to_retry(self) -> tuple[str, ...]:
        """With --retry-failed: the clips whose failure may have passed, once a process."""
        seen = snapshot(self.manifest)
        path = self.ingest_path(seen) if self.retry_failed else None
        if path is None:
            return ()
        from pipeline.dataset.failures import failures

        found = failures(ingest_table(path), endings_folder(self.workspace, seen.batch.name, self.sampling))
        begun = IngestBatch.retried
        return tuple(sorted(f.clip_id for f in found if f.retryable and (self.workspace, f.clip_id) not in begun))

    def plan(self, seen: Snapshot) -> list[ShardPlan]:
        """The shards that lack something."""
        path = self.ingest_path(seen)
        assert path is not None, "Luigi runs a task only after what it requires"
        return plan_shards(self.workspace, seen.batch.name, ingest_table(path), self.specs, self.sampling)


@cache
def _extractor(modality: str, profile: str, device: str, weights_cache: str) -> "Extractor":
    """Kept for the next batch of the same run: a network takes seconds to build."""
    import torch

    from pipeline.modalities.registry import build_extractor

    return build_extractor(modality, load_profile(profile), torch.device(device), weights_cache or None)


class DatasetOptions(ExtractOptions):
    """What decides which clips, features and labels make up a dataset."""

    manifest = luigi.Parameter(default="data_manifest/demo", description="manifest file, folder of them, or glob")
    max_failed = NumberOption(float, 0.0, 1.0, default=0.05, description="fail when a larger share of the clips failed")
    label = luigi.Parameter(default="auto", description="auto, adjusted, likes, views, comments or shares")
    max_followers = NumberOption(
        int, 0, 10**12, default=0, description="leave bigger creators' clips unlabelled; 0: nobody's"
    )

    def extractions(self) -> list[ExtractBatch]:
        names = ExtractBatch.get_param_names(include_significant=True)
        shared = {name: getattr(self, name) for name in names if name != "manifest"}
        return [ExtractBatch(manifest=seen.batch.path, **shared) for seen in snapshots(self.manifest)]

    @property
    def dataset_id(self) -> str | None:
        """None while a batch is still to be ingested."""
        batches = self.ingested(self.manifest)
        if batches is None:
            return None
        specs = {spec.modality: spec.fingerprint for spec in self.specs}
        labels = [self.label, self.max_followers]
        return fingerprint({"version": DATASET_VERSION, "batches": batches, "specs": specs, "labels": labels})

    def dataset_folder(self) -> DatasetFolder:
        return DatasetFolder.of(self.workspace, str(self.dataset_id))

    def dataset_complete(self) -> bool:
        if self.dataset_id is None or not all(task.complete() for task in self.extractions()):
            return False
        return self.dataset_folder().has(STATISTICS)


class AssembleDataset(DatasetOptions):
    """Joins all batches' clips with their features, labels and split into `datasets/<id>/`."""

    def requires(self) -> list[ExtractBatch]:
        return self.extractions()

    def complete(self) -> bool:
        return self.dataset_complete()

    def make(self) -> None:
        from pipeline.dataset.assemble import assemble
        from pipeline.dataset.failures import refuse_too_many
        from pipeline.dataset.labels import LabelOptions

        files = [batch_files(self, seen) for seen in snapshots(self.manifest)]
        refuse_too_many(files, self.max_failed)
        options = LabelOptions(self.label, self.max_followers or None)
        with Progress(self, "assemble") as progress:
            assemble(self.dataset_folder(), files, options, progress)


def batch_files(task: ExtractOptions, seen: Snapshot) -> "BatchFiles":
    """Where a batch's files lie that a task's extraction has made."""
    from pipeline.dataset.assemble import BatchFiles

    ingest = task.ingest_path(seen)
    assert ingest is not None, "Luigi runs a task only after what it requires"
    folders = {spec.modality: features_folder(task.workspace, seen.batch.name, spec) for spec in task.specs}
    return BatchFiles(seen.batch, ingest, endings_folder(task.workspace, seen.batch.name, task.sampling), folders)
