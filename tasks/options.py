"""The parameters that tasks share, and what follows from them."""

import os
from abc import abstractmethod
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any, Self

import luigi
from luigi.task import flatten

from pipeline.access.fetch_cache import CacheFolder
from pipeline.commands.command import Command, Stage, tell_caller
from pipeline.commands.forecast import Forecast, StageWork, forecast
from pipeline.commands.rates import Rates
from pipeline.commands.summary import summaries
from pipeline.commands.work import BatchWork, batch_work
from pipeline.core import storage
from pipeline.core.errors import DamagedFile, DataError, TooManyFailed
from pipeline.core.locks import exclusive
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.files.folder import discard, only_looking
from pipeline.ingest.clip_table import find_ingest
from pipeline.ingest.shard_assignment import SHARD_CLIPS
from pipeline.ingest.tombstones import read_tombstones
from tasks.console import GONE, Summary, fail, finish, say
from tasks.option_types import AskedOption, CommandOption, NumberOption, PatternsOption, progress_option
from tasks.snapshots import BatchSnapshot, Snapshot, SnapshotOption, ingest_table, take_snapshot
from tasks.terminal_text import dry_run_text, forecast_text
from tasks.world import RenderWorld, worlds_to_render


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
    fetch_cache_mb = NumberOption(
        int,
        0,
        2**30,
        default=DecodeLimits.fetch_cache_mb,
        significant=False,
        description="disk that clips from elsewhere may take between ingest and extraction, else each is fetched twice",
    )
    allow_uri = PatternsOption(
        description="pattern of clips' uris that are read beyond local files, object stores and https from public"
        " addresses; * is any text. May be given several times"
    )
    progress_s = progress_option()
    dry_run = luigi.BoolParameter(significant=False, description="only say what would be done; nothing is written")
    seen = SnapshotOption()
    for_command = CommandOption()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.stage = Stage(None, self.task_family, "")
        # Of a task that was asked for, as they were when Luigi last asked whether it is complete:
        self._command: Command | None = None  # None: nothing is to be done, or nothing is begun yet
        self._cache: CacheFolder | None = None  # of the command
        self._would: list[str] = []  # of a dry run
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
    def summary(self) -> Summary:
        """What there is when the task is done."""

    @property
    def batch_name(self) -> str:
        """The batch that the task works on; "": all of them."""
        return ""

    def made(self) -> bool:
        """Whether what the task itself makes is there, whatever is lacking of the tasks before it."""
        return self.done()

    def amount(self) -> dict[str, Any]:
        """How much work the task is, for forecasts: amount, unit and device (StageWork); {}: that is not known."""
        return {}

    def clip_endings(self) -> dict[str, Any]:
        """How the clips have ended so far, as `clip_counts` gives it, for the summary of a command that failed."""
        return {}

    def forecast(self) -> Forecast:
        """What there is to be done. Raises what planning does."""
        batches = [self._batch_work(seen) for seen in self.snapshot.batches]
        later = [task for task in tasks_before(self.with_snapshot()) if not task.batch_name]
        stages = [StageWork(task.task_family, task.made(), **task.amount()) for task in later]
        return forecast(Rates.of(summaries(self.workspace)), batches, stages, *self.made_with())

    def made_with(self) -> tuple[str, str]:
        """Name of the profile and type of the device that features are made with; two empty texts: none are made."""
        return "", ""

    def _batch_work(self, seen: BatchSnapshot) -> BatchWork:
        features = self.snapshot.features
        return batch_work(
            self.workspace,
            seen.batch,
            self.ingest_path(seen),
            self.shard_clips,
            seen.signatures,
            seen.retry.clip_ids,
            features.specs if features else (),
            features.sampling if features else SamplingOptions(),
        )

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
            self._command = None
            self._taken, self._worlds, self._required = None, worlds_to_render(self.manifest), None
            if self._worlds or self.dry_run:
                return False
        return self.done()

    def requires(self) -> luigi.Task | list[luigi.Task]:
        if self._required is None:
            self._required = self._require()
        return self._required

    def _require(self) -> luigi.Task | list[luigi.Task]:
        if not self.asked_for:
            return self.needs()
        if self.dry_run:
            with only_looking():
                self._would = self._dry_run_lines()
            return []
        self._begin()
        storage.remove_stale(self.workspace)  # what killed commands were writing
        self._cache = CacheFolder() if self.fetch_cache_mb else None
        self._command = Command.begin(self.workspace, self.task_family, self._cache.path if self._cache else "")
        if self._worlds:  # their manifests and clips are still to come
            return [world.clone(for_command=self._command) for world in self._worlds]
        self._note_left_out()
        return self.with_snapshot()

    def _begin(self) -> None:
        """What comes before all work: errors of options, and words."""
        self.check_options()
        if not self._worlds and (first := self.first_words()):
            say(first)

    def first_words(self) -> str:
        """What somebody should know before the work begins; "": nothing."""
        return ""

    def _dry_run_lines(self) -> list[str]:
        self._begin()
        heading = dry_run_text(self.task_family, self.workspace)
        if self._worlds:
            folders = ", ".join(world.folder for world in self._worlds)
            return [heading, f"RenderWorld: {folders}, of which all the rest is to be made; how much is known then"]
        return [heading, *forecast_text(self.forecast())]

    def run(self) -> Generator[luigi.Task, None, None] | None:
        if self.asked_for and self.dry_run:
            say("\n".join(self._would))
            return None
        if self.asked_for:
            return self._run_with_snapshot()
        self.stage = Stage(self.for_command, self.task_family, self.batch_name)
        try:
            with self.stage:
                self.make_unless_done()
        except BaseException as error:
            if self.for_command:
                fail(self.for_command, error, self.clip_endings() if isinstance(error, TooManyFailed) else {})
            raise
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
                    self.stage.measure(**self.amount())
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

    def _note_left_out(self) -> None:
        """Note, once a command, how many rows of its manifests are of purged clips."""
        if self._command and self.snapshot.left_out and not self._command.events("left_out"):
            self._command.note("left_out", rows=self.snapshot.left_out)

    def _run_with_snapshot(self) -> Generator[luigi.Task, None, None]:
        self._note_left_out()
        yield self.with_snapshot()

    def with_snapshot(self, **options: Any) -> Self:
        """The task that does the work, with other values of some options."""
        return self.clone(seen=self.snapshot, for_command=self._command, dry_run=False, **options)

    def end_command(self) -> None:
        """Say what there is now that all is done, and write it down."""
        if self._cache:
            self._cache.close()
        if self._command:
            finish(self._command, self.summary())
        else:
            say(self.summary().text())

    @property
    def worker_count(self) -> int:
        return self.decode_workers or len(os.sched_getaffinity(0))

    @property
    def limits(self) -> DecodeLimits:
        return DecodeLimits(
            deadline_s=self.deadline_s,
            memory_limit_mb=self.memory_limit_mb,
            fetch_limit_mb=self.fetch_limit_mb,
            fetch_cache_mb=self.fetch_cache_mb,
            fetch_cache=self.for_command.fetch_cache if self.for_command else "",
            allow_uri=self.allow_uri,
        )

    def ingested(self) -> list[list[str]] | None:
        """Name and contents of each batch, for fingerprints; None while one is still to be ingested."""
        parts = []
        for seen in self.snapshot.batches:
            path = self.ingest_path(seen)
            if path is None:
                return None
            parts.append([seen.batch.name, seen.batch.content_hash, ingest_table(path).content])
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


def tasks_before(task: WorkspaceTask) -> list[WorkspaceTask]:
    """A task and all before it, each once, in the order in which they run."""
    found: dict[str, WorkspaceTask] = {}

    def follow(one: WorkspaceTask) -> None:
        for before in flatten(one.needs()):
            follow(before)
        found.setdefault(one.task_id, one)

    follow(task)
    return list(found.values())


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
    if task.asked_for and not task.dry_run:
        task.end_command()


@WorkspaceTask.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _nothing_to_do(task: WorkspaceTask) -> None:
    if task.asked_for:
        summary = task.summary()
        say(f"nothing to do: everything is up to date\n{summary.text()}")
        tell_caller(results=summary.content.get("results", {}))
