"""The parameters that tasks share, and what follows from them."""

import os
from abc import abstractmethod
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

import luigi
from luigi.task import flatten

from models.device import resolve_device
from models.weights.profiles import Profile
from pipeline.core import storage
from pipeline.core.errors import DamagedFile, DataError
from pipeline.core.locks import exclusive
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.features.plan import FeatureSpec, endings_folder
from pipeline.files.folder import discard
from pipeline.ingest.clip_table import find_ingest, newest_file, read_ingest
from pipeline.ingest.manifest import Batch
from pipeline.ingest.shard_assignment import SHARD_CLIPS
from pipeline.ingest.tombstones import read_tombstones
from pipeline.modalities.registry import load_profile, modality_names
from tasks.console import GONE, say, times_noted
from tasks.option_types import AskedOption, DeviceOption, NumberOption, PatternsOption
from tasks.snapshots import BatchSnapshot, Features, Retry, Snapshot, SnapshotOption, ingest_table, take_snapshot
from tasks.world import RenderWorld, worlds_to_render

if TYPE_CHECKING:
    import torch


class WorkspaceTask(luigi.Task):
    """A task that reads the clips of manifests and writes into a workspace.

    As a person asks for it, it takes a snapshot, and requires itself with the snapshot as a parameter; that one is
    complete as its `done` says, requires its `needs`, and runs its `make`.
    """

    manifest = luigi.Parameter(description="manifest file, folder of them, or glob")
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
    fetch_limit_mb = NumberOption(
        int,
        1,
        2**20,
        default=DecodeLimits.fetch_limit_mb,
        significant=False,
        description="size of a clip that is fetched from elsewhere",
    )
    allow_uri = PatternsOption(
        description="pattern of clips' uris that are read beyond local files, object stores and https from public"
        " addresses; * is any text. May be given several times"
    )
    seen = SnapshotOption()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # Of a task that was asked for, as they were when Luigi last asked whether it is complete:
        self.began = 0  # times noted before its command; tasks.console
        self._taken: Snapshot | None = None
        self._worlds: tuple[RenderWorld, ...] = ()  # those that were to be rendered
        self._required: luigi.Task | list[luigi.Task] | None = None  # Luigi asks again when all has ended

    @abstractmethod
    def done(self) -> bool:
        """Whether what the task makes is there."""

    @abstractmethod
    def make(self) -> None:
        """The task's work."""

    @abstractmethod
    def summary(self) -> str:
        """What there is when the task is done, for the terminal."""

    def needs(self) -> luigi.Task | list[luigi.Task]:
        """The tasks before this one, with the same snapshot or a part of it."""
        return []

    def take_snapshot(self) -> Snapshot:
        return take_snapshot(self.manifest, self.shard_clips, self.limits, tombstones=read_tombstones(self.workspace))

    def check_options(self) -> None:
        """Raises an error of what only shows when there is work to do, before any is done."""

    @property
    def asked_for(self) -> bool:
        return isinstance(self.seen, str) and self.seen.startswith(AskedOption.MARK)

    @property
    def snapshot(self) -> Snapshot:
        if isinstance(self.seen, Snapshot):
            return self.seen
        if self._taken is None:
            self._taken = self.take_snapshot()
            if not self.asked_for and self._taken.token != self.seen:  # as text only: from another process
                raise DataError(f"{self.manifest} or its clips, or the profile, have changed meanwhile; run it again")
        return self._taken

    def complete(self) -> bool:
        if self.asked_for:  # by each command anew, and by no task of a running one
            self.began = times_noted()
            self._taken, self._worlds, self._required = None, worlds_to_render(self.manifest), None
            if self._worlds:
                return False
        return self.done()

    def requires(self) -> luigi.Task | list[luigi.Task]:
        if self._required is None:
            self._required = self._require()
        return self._required

    def _require(self) -> luigi.Task | list[luigi.Task]:
        if not self.asked_for:
            return self.needs()
        self.check_options()
        storage.remove_stale(self.workspace)  # what killed commands were writing
        if self._worlds:  # their manifests and clips are still to come
            return list(self._worlds)
        return self.with_snapshot()

    def run(self) -> Generator[luigi.Task, None, None] | None:
        if self.asked_for:
            return self._run_with_snapshot()
        self.make_unless_done()
        return None

    @property
    @abstractmethod
    def work(self) -> str:
        """What is one command's at a time, by what it makes; tasks that work on the same thing have the same."""

    def make_unless_done(self) -> None:
        """Do the task's work; a file that proves damaged meanwhile is made again, by the tasks before this one."""
        with held(self.workspace, self.work, self.task_family):
            while not self.done():  # another command may have made it meanwhile
                try:
                    self.make()
                    break
                except DamagedFile as damaged:
                    discard(damaged)
                    self.make_needs()
                except FileNotFoundError as error:
                    if all(task.done() for task in flatten(self.needs())):
                        raise
                    raise DataError(f"{GONE} ({error.filename} is not there any more)") from error

    def make_needs(self) -> None:
        """Make what is missing of all before this task. Luigi runs no task twice in a command, so it is not asked."""
        for task in flatten(self.needs()):
            task.make_needs()
            task.make_unless_done()

    def _run_with_snapshot(self) -> Generator[luigi.Task, None, None]:
        yield self.with_snapshot()

    def with_snapshot(self) -> Self:
        return self.clone(seen=self.snapshot)

    @property
    def worker_count(self) -> int:
        return self.decode_workers or len(os.sched_getaffinity(0))

    @property
    def limits(self) -> DecodeLimits:
        return DecodeLimits(
            deadline_s=self.deadline_s,
            memory_limit_mb=self.memory_limit_mb,
            fetch_limit_mb=self.fetch_limit_mb,
            allow_uri=self.allow_uri,
        )

    def ingested(self) -> list[list[str]] | None:
        """Name and contents of each batch, for fingerprints; None while one is still to be ingested."""
        parts = []
        for seen in self.snapshot.batches:
            path = self.ingest_path(seen)
            if path is None:
                return None
            parts.append([seen.batch.name, seen.batch.content_hash, ingest_table(path).content()])
        return parts

    def ingest_path(self, seen: BatchSnapshot) -> str | None:
        """The batch's ingest table, or None when it is still to be made."""
        path = find_ingest(self.workspace, seen.batch.name, seen.ingest, seen.retry.after)
        if path is not None:
            try:
                ingest_table(path)
            except DamagedFile as damaged:
                discard(damaged)
                return None
        return path

    def table_of(self, seen: BatchSnapshot) -> str:
        """The same of a batch that is ingested. Raises DataError where another command has ingested it anew since."""
        path = self.ingest_path(seen)
        if path is None:
            raise changed_meanwhile(seen.batch.path)
        return path


def held(workspace: str, work: str, task: str) -> AbstractContextManager[None]:
    """Hold a piece of work in a workspace, waiting for the command that is at it. task: who says that it waits."""
    return exclusive(workspace, work, lambda: say(f"{task}: another command is at {work}; waiting until it has ended"))


def changed_meanwhile(manifest: str) -> DataError:
    """The error of a command whose batches another one has ingested anew."""
    return DataError(
        f"{manifest} or its clips have changed since this command began, and another command has ingested them as they"
        " are now; run it again. What was extracted is kept"
    )


@WorkspaceTask.event_handler(luigi.Event.SUCCESS)
def _made(task: WorkspaceTask) -> None:
    if task.asked_for:
        say(task.summary())


@WorkspaceTask.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _nothing_to_do(task: WorkspaceTask) -> None:
    if task.asked_for:
        say(f"nothing to do: everything is up to date\n{task.summary()}")


class ExtractOptions(WorkspaceTask):
    """What decides which features exist, and how they are made."""

    profile = luigi.Parameter(
        default="demo", description="networks and weights: full, light, demo, untrained, or the path of a TOML file"
    )
    modalities = luigi.Parameter(default=",".join(modality_names()), description="which modalities, comma-separated")
    device = DeviceOption()
    weights_cache = luigi.Parameter(
        default="", significant=False, description="folder of downloaded weights; default: $VDV_WEIGHTS or user cache"
    )
    retry_failed = luigi.BoolParameter(
        significant=False, description="try clips again that failed for a reason that may pass"
    )

    def take_snapshot(self) -> Snapshot:
        features = self.choose_features()

        def retry(batch: Batch) -> Retry:
            return failed_before(self.workspace, batch, features.sampling) if self.retry_failed else Retry()

        stones = read_tombstones(self.workspace)
        return take_snapshot(self.manifest, self.shard_clips, self.limits, features, retry, stones)

    def choose_features(self) -> Features:
        return Features.of(load_profile(self.profile), self.modalities)

    def check_options(self) -> None:
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


def failed_before(workspace: str, batch: Batch, sampling: SamplingOptions) -> Retry:
    """The clips of a batch that failed last time for a reason that may have passed."""
    from pipeline.dataset.failures import failures

    newest = newest_file(workspace, batch.name)
    if newest is None:
        return Retry()
    endings = endings_folder(workspace, batch.name, sampling)
    try:
        found = failures(read_ingest(newest.path, other_version_ok=True), endings)
    except DamagedFile as damaged:
        discard(damaged)
        return failed_before(workspace, batch, sampling)
    clip_ids = {failure.clip_id for failure in found if failure.retryable} & set(batch.rows["clip_id"])
    return Retry(tuple(sorted(clip_ids)), newest.sequence) if clip_ids else Retry()
