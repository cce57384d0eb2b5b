"""From a manifest to a labelled dataset: ingest, extract, assemble."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import luigi

from models.device import owner_devices, resolve_device
from models.weights.profiles import Profile
from pipeline.commands.summary import clip_counts
from pipeline.commands.work import shards_work
from pipeline.core.errors import OptionError
from pipeline.core.fingerprint import fingerprint
from pipeline.core.options import SamplingOptions
from pipeline.dataset.folder import CLIPS, FACES, REFERENCES, STATISTICS, BatchFiles, DatasetFolder
from pipeline.features.chosen import Features
from pipeline.features.plan import (
    FeatureSpec,
    Plan,
    ShardPlan,
    endings_folder,
    features_folder,
    forget_sizes,
    plan_shards,
    record_sizes,
)
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import Batch
from pipeline.ingest.tombstones import read_tombstones
from pipeline.modalities.registry import derived_modalities, extracted_names, load_profile
from pipeline.runs.run import WITH_ADJUSTED
from tasks.console import Progress, Summary
from tasks.option_types import ChoiceOption, DeviceOption, NumberOption
from tasks.options import WorkspaceTask, changed_meanwhile
from tasks.snapshots import BatchSnapshot, Retry, Snapshot, failed_before, ingest_table, take_snapshot
from tasks.terminal_text import clips_text, dataset_text, demo_profile_text
from tasks.world import DEMO, world_of

if TYPE_CHECKING:
    import torch

    from models.extractors.extractor import Extractor
    from pipeline.cluster.connection import Cluster
    from pipeline.extraction.extract import Extracted
    from pipeline.extraction.extract import Progress as Report
    from pipeline.extraction.owners import Extraction

DATASET_VERSION = 7  # raised when the dataset's files change meaning


class IngestBatch(WorkspaceTask):
    """Probes and hashes the clips of one manifest file, and assigns them to shards."""

    manifest = luigi.Parameter(description="one manifest file")

    @property
    def work(self) -> str:
        return f"clips/{only_batch(self).batch.name}"  # each table of a batch goes on from the one before

    @property
    def batch_name(self) -> str:
        return only_batch(self).batch.name

    def done(self) -> bool:
        return self.ingest_path(only_batch(self)) is not None

    def make(self) -> None:
        seen = only_batch(self)
        with Progress(self, f"ingest {seen.batch.name}") as progress:
            run_ingest(
                self.workspace, seen.batch, self.worker_count, self.limits, self.shard_clips, progress=progress,
                retry=frozenset(seen.retry.clip_ids), signatures=seen.signatures,
            )  # fmt: skip
        self.stage.measure(clips=progress.did, workers=self.worker_count)

    def summary(self) -> Summary:
        path = self.table_of(only_batch(self))
        clips = ingest_table(path).clips
        failed = [clip for clip in clips if clip.status == "failed"]
        content = clip_counts({"readable": len(clips) - len(failed), "failed": len(failed)}, failed)
        retry = "give ExtractBatch or BuildVDV --retry-failed"
        return Summary(clips_text(content, retry=retry), {"table_of_clips": path}, content)


class ExtractOptions(WorkspaceTask):
    """What decides which features exist, and how they are made."""

    profile = luigi.Parameter(
        default="demo", description="networks and weights: full, light, demo, untrained, or the path of a TOML file"
    )
    modalities = luigi.Parameter(default=",".join(extracted_names()), description="which modalities, comma-separated")
    device = DeviceOption()
    owners = NumberOption(
        int, 0, 64, default=0, significant=False,
        description="processes that run the extractors' networks and share the decode processes, on each machine; 0:"
        " one a GPU of --device, or one on a CPU",
    )  # fmt: skip
    engine = ChoiceOption(
        "local", "ray", default="local", significant=False, description="where clips are extracted and folds trained"
    )  # fmt: skip
    ray_address = luigi.Parameter(
        default="auto", significant=False, description="the Ray cluster: auto, host:port of its head, or local"
    )
    weights_cache = luigi.Parameter(
        default="", significant=False, description="folder of downloaded weights; default: $VDV_WEIGHTS or user cache"
    )
    retry_failed = luigi.BoolParameter(
        significant=False, description="try clips again that failed for a reason that may pass"
    )

    @property
    def cluster(self) -> "Cluster | None":  # None: this machine
        if self.engine == "local":
            return None
        from pipeline.cluster.connection import Cluster

        return Cluster(self.ray_address, self.device, self.owners, self.decode_workers)

    def take_snapshot(self) -> Snapshot:
        features = self.choose_features()

        def retry(batch: Batch) -> Retry:
            return failed_before(self.workspace, batch, features.sampling) if self.retry_failed else Retry()

        stones = read_tombstones(self.workspace)
        return take_snapshot(self.manifest, self.shard_clips, self.limits, features, retry, stones)

    def choose_features(self) -> Features:
        return Features.of(load_profile(self.profile), self.modalities)

    def first_words(self) -> str:
        manifests = [seen.batch.path for seen in self.snapshot.batches]
        real = any(world_of(manifest) is None for manifest in manifests)
        return demo_profile_text(self.manifest) if real and self.loaded_profile.name == "demo" else ""

    def made_with(self) -> tuple[str, str]:
        return self.loaded_profile.name, self.torch_device.type

    def clip_endings(self) -> dict[str, Any]:
        from pipeline.dataset.failures import outcomes

        clips = [
            clip
            for seen in self.snapshot.batches
            for clip in outcomes(
                ingest_table(self.table_of(seen)), endings_folder(self.workspace, seen.batch.name, self.sampling)
            )
        ]
        counts = {status: sum(clip.status == status for clip in clips) for status in ("ok", "partial", "failed")}
        return clip_counts(counts, clips)

    def check_options(self) -> None:
        self.choose_features()  # a snapshot does, and there is none before a world is rendered
        if self.device not in ("auto", "cpu"):
            resolve_device(self.device)

    @property
    def torch_device(self) -> "torch.device":
        return resolve_device(self.device)

    @property
    def features(self) -> Features:
        features = self.snapshot.features
        assert features is not None, "taken by take_snapshot of this class"
        return features

    @property
    def loaded_profile(self) -> Profile:
        return self.features.profile

    @property
    def sampling(self) -> SamplingOptions:
        return self.features.sampling

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        return self.features.specs


class ExtractBatch(ExtractOptions):
    """Decodes the clips of one manifest file once and writes the shards that its modalities lack."""

    manifest = luigi.Parameter(description="one manifest file")

    def needs(self) -> luigi.Task:
        return self.clone(IngestBatch, seen=self.snapshot.without_features())

    @property
    def work(self) -> str:
        return f"features of {only_batch(self).batch.name}"  # tables of clips that differ share most of their shards

    @property
    def batch_name(self) -> str:
        return only_batch(self).batch.name

    def done(self) -> bool:
        if self.ingest_path(only_batch(self)) is None:
            return False
        plan = self.plan()
        return not plan.shards and not plan.unrecorded

    def make(self) -> None:
        plan = self.plan()
        if plan.shards:
            self._extract(plan.shards)
        for folder in self.plan().unrecorded:
            record_sizes(folder)

    def _extract(self, shards: Sequence[ShardPlan]) -> None:
        # torch and the networks are imported only by a run that has work to do.
        from pipeline.extraction.owners import Extraction

        seen = only_batch(self)
        forget_sizes(endings_folder(self.workspace, seen.batch.name, self.sampling), [plan.shard for plan in shards])
        for spec in self.specs:
            lacking = [plan.shard for plan in shards if spec in plan.missing]
            forget_sizes(features_folder(self.workspace, seen.batch.name, spec), lacking)
        extraction = Extraction(
            self.workspace, seen.batch.name, shards, partial(_extractor, self.features, self.weights_cache),
            self.sampling, self.limits, self.worker_count, self.loaded_profile.name,
        )  # fmt: skip
        with Progress(self, f"extract {seen.batch.name}") as progress:
            extracted = self._run(extraction, progress)
        decoded, modalities = shards_work(shards, self.sampling)
        self.stage.measure(
            profile=self.loaded_profile.name,
            device=extracted.device,
            owners=extracted.owners,
            workers=self.worker_count,
            **asdict(decoded),
            modalities={
                name: {"took_s": round(extracted.seconds[name], 3), **asdict(work)}
                for name, work in modalities.items()
                if name in extracted.seconds
            },
            parts={name: round(took, 3) for name, took in extracted.seconds.items()},
        )

    def _run(self, extraction: "Extraction", progress: "Report") -> "Extracted":
        if self.cluster:
            from pipeline.cluster.engine import extract_on_cluster

            return extract_on_cluster(extraction, self.cluster, progress)
        import torch

        from pipeline.extraction.owners import extract_by_owners

        devices = owner_devices(self.torch_device, self.owners, torch.cuda.device_count())
        return extract_by_owners(extraction, devices, progress)

    def plan(self) -> Plan:
        """What is left to do."""
        seen = only_batch(self)
        table = ingest_table(self.table_of(seen))
        return plan_shards(self.workspace, seen.batch.name, table, self.specs, self.sampling)

    def summary(self) -> Summary:
        content = self.clip_endings()
        folders = [features_folder(self.workspace, self.batch_name, spec) for spec in self.specs]
        return Summary(clips_text(content), {"features": folders}, content)


_built: dict[str, tuple[Hashable, "Extractor"]] = {}  # the last one of each modality, with all that made it


def _extractor(features: Features, weights_cache: str, modality: str, device: "torch.device") -> "Extractor":
    """A modality's extractor, kept for the next batch: a network takes seconds to build."""
    from pipeline.modalities.registry import build_extractor

    (made,) = [spec.fingerprint for spec in features.specs if spec.modality == modality]
    key = (made, features.profile.entry(modality), device, weights_cache)
    if modality not in _built or _built[modality][0] != key:
        extractor = build_extractor(modality, features.profile, device, weights_cache or None)
        _built[modality] = key, extractor
    return _built[modality][1]


class DatasetOptions(ExtractOptions):
    """What decides which clips, features and labels make up a dataset."""

    manifest = luigi.Parameter(default=DEMO, description="manifest file, folder of them, or glob")
    max_failed = NumberOption(float, 0.0, 1.0, default=0.05, description="fail when a larger share of the clips failed")
    label = luigi.Parameter(default="auto", description="auto, adjusted, likes, views, comments or shares")
    max_followers = NumberOption(
        int, 0, 10**12, default=0, description="leave bigger creators' clips unlabelled; 0: nobody's"
    )
    with_context = luigi.BoolParameter(
        description="forecast likes, with the creator's reach and record in the score, rather than judge the content"
    )

    def check_options(self) -> None:
        super().check_options()
        _ = self.label_kind

    @property
    def label_kind(self) -> str:
        """The label asked for, or the one that goes with the context."""
        if self.with_context and self.label == "adjusted":
            raise OptionError(WITH_ADJUSTED)
        return "likes" if self.with_context and self.label == "auto" else self.label

    def extractions(self) -> list[ExtractBatch]:
        return extractions(self)

    @property
    def dataset_id(self) -> str | None:
        """None while a batch is still to be ingested."""
        batches = self.ingested()
        if batches is None:
            return None
        specs = {spec.modality: spec.fingerprint for spec in self.specs}
        specs |= {modality.name: f"derived, {modality.version}" for modality in derived_modalities(specs)}
        labels = [self.label_kind, self.max_followers]
        return fingerprint({"version": DATASET_VERSION, "batches": batches, "specs": specs, "labels": labels})

    def dataset_folder(self) -> DatasetFolder:
        dataset_id = self.dataset_id
        if dataset_id is None:
            raise changed_meanwhile(self.manifest)
        return DatasetFolder.of(self.workspace, dataset_id)

    def dataset_done(self) -> bool:
        made_of = self.dataset_id is not None and all(task.done() for task in self.extractions())
        return made_of and self.dataset_made()

    def dataset_made(self) -> bool:
        """Whether the dataset is there, whatever is lacking of the features that it was made of."""
        return self.dataset_id is not None and self.dataset_folder().are_all_intact(
            STATISTICS, CLIPS, FACES, REFERENCES
        )

    def amount(self) -> dict[str, Any]:
        return {"amount": sum(len(seen.batch.rows) for seen in self.snapshot.batches), "unit": "clip", "device": "cpu"}

    def dataset_content(self) -> dict[str, Any]:
        """The clips' endings, those that cannot be heard, and the uploads that are there more than once."""
        folder = self.dataset_folder()
        statistics = folder.read_statistics()
        counts = statistics["status"]
        all_ok = counts["ok"] == sum(counts.values())  # then a run with nothing to do need not read the table
        clips = [] if all_ok else folder.read_clips()[["clip_id", "status", "code"]].itertuples()
        return {**clip_counts(counts, clips), **{key: statistics[key] for key in ("without", "copies")}}


class AssembleDataset(DatasetOptions):
    """Joins all batches' clips with their features, labels and split into `datasets/<id>/`."""

    @property
    def work(self) -> str:
        return self.dataset_folder().place

    def needs(self) -> list[luigi.Task]:
        return [*self.extractions()]

    def done(self) -> bool:
        return self.dataset_done()

    def made(self) -> bool:
        return self.dataset_made()

    def make(self) -> None:
        from pipeline.dataset.assemble import assemble
        from pipeline.dataset.failures import refuse_too_many
        from pipeline.dataset.labels import LabelOptions

        files = [batch_files(self, seen) for seen in self.snapshot.batches]
        refuse_too_many(files, self.max_failed)
        options = LabelOptions(self.label_kind, self.max_followers or None)
        with Progress(self, "assemble") as progress:
            assemble(self.dataset_folder(), files, options, progress)

    def summary(self) -> Summary:
        content = self.dataset_content()
        return Summary(dataset_text(content), {"dataset": self.dataset_folder().path}, content)


def extractions(task: ExtractOptions) -> list[ExtractBatch]:
    """A task for each batch of a task's snapshot."""
    snapshot = task.snapshot
    return [task.clone(ExtractBatch, manifest=seen.batch.path, seen=snapshot.of(seen)) for seen in snapshot.batches]


def only_batch(task: WorkspaceTask) -> BatchSnapshot:
    """Raises OptionError where the task was asked for with several manifest files."""
    batches = task.snapshot.batches
    if len(batches) != 1:
        raise OptionError(
            f"--manifest {task.manifest} names {len(batches)} manifest files; {task.task_family} takes one, and"
            " AssembleDataset and BuildVDV take them all"
        )
    return batches[0]


def batch_files(task: ExtractOptions, seen: BatchSnapshot) -> BatchFiles:
    """Where a batch's files lie that a task's extraction has made."""
    folders = {spec.modality: features_folder(task.workspace, seen.batch.name, spec) for spec in task.specs}
    endings = endings_folder(task.workspace, seen.batch.name, task.sampling)
    return BatchFiles(seen.batch, task.table_of(seen), endings, folders)
