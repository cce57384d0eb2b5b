"""A purge from beginning to end.

1  purge.json is written, then tombstones.json: from now on no ingest lets the clips in
2  each batch: shards without the clips are written beside the old ones, and a new table that names them
3  commands that began before have ended: the next thing each of them does is to see another table, and to stop
4  logs and summaries of commands, runs, uploads and datasets, then the batches' old files
5  the proof; then purge.json goes

Killed anywhere, the same command goes on: each step is done again from what is there.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from pipeline.core import storage
from pipeline.core.locks import wait_for_others
from pipeline.ingest.tombstones import add_tombstones
from pipeline.purge.batches import affected_batches, planned, remove_old, rename_shards, replace_shards, works
from pipeline.purge.census import Census, resolve, take_census
from pipeline.purge.commands import command_steps
from pipeline.purge.job import Job, Place, Step, end_job, read_job, write_job
from pipeline.purge.proof import Proof, needles_of, prove
from pipeline.purge.request import Request
from pipeline.purge.results import Finding, result_steps
from pipeline.purge.search import Needles

Hold = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Purge:
    """What a request comes to in a workspace, as it is now."""

    job: Job
    census: Census
    interrupted: Job | None = None  # a purge that was begun before and has to end first

    @property
    def needles(self) -> Needles:
        return needles_of(self.job, self.census.contents)


def plan_purge(workspace: str, request: Request) -> Purge:
    """What is to be taken out for a request. Nothing is changed.

    An interrupted purge that takes out all of it, or was of the same creators, is the job itself.

    Raises:
        OptionError: as census.resolve.
        WorkspaceError: the workspace cannot be read.
    """
    census, interrupted = take_census(workspace), read_job(workspace)
    if interrupted is not None:
        of_request = set(request.creators) <= set(interrupted.creators) if request.creators else False
        if of_request or (request.clip_ids and set(request.clip_ids) <= set(interrupted.clip_ids)):
            return Purge(interrupted, census, interrupted)
    return Purge(resolve(workspace, request, census), census, interrupted)


def find_places(workspace: str, purge: Purge) -> list[Place]:
    """Every file of the workspace that the job deletes, rewrites or marks, as they lie now."""
    job = purge.job
    gone = set(job.clip_ids)
    places = []
    for batch in affected_batches(workspace, job):
        names = rename_shards(workspace, batch, job)
        job = job.with_shards(batch, names)
        places += planned(workspace, batch, names, gone)
    for step in _steps(workspace, job, purge.needles):
        places += step.places
    return places


def _steps(workspace: str, job: Job, needles: Needles) -> Iterator[Step]:
    yield from command_steps(workspace, needles)
    yield from result_steps(workspace, Finding.of(job, needles))


def carry_out(workspace: str, purge: Purge, hold: Hold, say: Callable[[str], None] = lambda _: None) -> list[Place]:
    """Take out of the workspace what the job names; the places that were changed. The job's file stays.

    hold: holds a piece of work, as other commands do. say: told what is waited for.

    Raises:
        WorkspaceError: a file cannot be read, written or deleted. The same command goes on from there.
    """
    job, gone = purge.job, set(purge.job.clip_ids)
    storage.remove_stale(workspace)  # what killed commands were writing, of whichever clips
    write_job(workspace, job)
    add_tombstones(workspace, job.clip_ids, job.contents)
    places = []
    for batch in affected_batches(workspace, job):
        with ExitStack() as stack:
            for work in works(batch):
                stack.enter_context(hold(work))
            names = rename_shards(workspace, batch, job)
            places += planned(workspace, batch, names, gone)
            job = job.with_shards(batch, names)
            write_job(workspace, job)
            replace_shards(workspace, batch, names, gone)
    wait_for_others(workspace, lambda: say("commands that began before this one are at work; waiting until they end"))
    storage.remove_stale(workspace)
    for step in _steps(workspace, job, purge.needles):
        _do(step, hold)
        places += step.places
    for batch, names in job.shards.items():
        for step in remove_old(workspace, batch, names, gone):
            _do(step, hold)
    return places


def _do(step: Step, hold: Hold) -> None:
    with ExitStack() as stack:
        for work in step.works:
            stack.enter_context(hold(work))
        step.do()


def conclude(workspace: str, purge: Purge, progress: Callable[[int, int], None] = lambda *_: None) -> Proof:
    """Prove that nothing is left of the job; then delete its file. It stays where something was found."""
    proof = prove(workspace, purge.needles, progress)
    if not proof.found:
        end_job(workspace)
    return proof


def jobs(purge: Purge) -> Iterator[Purge]:
    """The interrupted purge, if there is another one, and this one."""
    if purge.interrupted is not None and purge.interrupted != purge.job:
        yield replace(purge, job=purge.interrupted, interrupted=purge.interrupted)
    yield purge
