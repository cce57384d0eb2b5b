"""Extraction on a Ray cluster: a driver that hands plans of shards to actors, and to others when one dies.

Frames never leave the machine that decodes them; Ray carries plans one way and counts the other.
"""

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from pipeline.cluster.attempts import Attempt, Attempts, statuses
from pipeline.cluster.connection import Cluster, connected, versions
from pipeline.cluster.machines import Place, places_on
from pipeline.cluster.owner import ClusterOwner, OwnerOptions
from pipeline.cluster.staging import Staging, absolute
from pipeline.decode.worker_process import WorkerError
from pipeline.extraction.extract import Extracted, Progress
from pipeline.extraction.owners import Extraction, combined
from pipeline.features.endings import read_endings
from pipeline.features.plan import ShardPlan, endings_folder, plan_again, shard_path

log = logging.getLogger(__name__)

_HELD = 2  # plans an actor: the one that its networks see, and the one that its workers go on with
_LOOK_S = 0.2  # between looks at what the actors have done
_COUNTS_S = 1.0  # between questions to an actor for its clips
_MACHINES_S = 5.0  # between looks at which machines there are
_SILENCE_S, _AGAIN_S = 30.0, 600.0  # without an actor, before that is said, and said again
_ENDING_S = 30.0  # that actors are waited for at the end
_STARTS = 3  # of actors at one place that die before their networks are there
_PUBLISHERS = 8  # threads: to publish a shard is a few requests to an object store


@dataclass
class _Actor:
    place: Place
    number: int
    handle: Any
    death: Any  # reference of a call that does not return
    ready: Any  # reference of a call that returns when its networks are there
    is_ready: bool = False
    asked: float = 0.0  # when it was asked for `counts`
    held: dict[Any, Attempt] = field(default_factory=dict)  # by the reference of its call
    in_hand: Any = None  # reference of the call that asks for `counts`
    counts: Mapping[str, int] = field(default_factory=dict)  # of clips that are done, of shards that are not


def extract_on_cluster(extraction: Extraction, cluster: Cluster, progress: Progress | None = None) -> Extracted:
    """Extract on a Ray cluster that is there already (but for the address `local`, which makes one of this machine).

    Actors end with the command, however it ends.

    Returns:
        The mean seconds of the actors that were there at the end.

    Raises:
        OptionError: Ray is not installed, or there is no such cluster.
        WorkspaceError: a machine does not reach the workspace.
        WorkerError: actors start on no machine. What an actor raises is raised here, too.
    """
    extraction = replace(extraction, workspace=absolute(extraction.workspace))
    with connected(cluster.address) as ray:
        staging = Staging.begin(extraction.workspace, extraction.batch)
        with _Driver(ray, extraction, cluster, staging, progress) as driver:
            return driver.run()


class _Driver:
    """Holds the actors; leaving the `with` block, in whichever way, kills them."""

    def __init__(
        self, ray: Any, extraction: Extraction, cluster: Cluster, staging: Staging, progress: Progress | None
    ) -> None:
        self._ray = ray
        self._cluster = cluster
        self._staging = staging
        self._progress = progress
        self._extraction = replace(extraction, plans=())
        self._modalities = tuple(dict.fromkeys(spec.modality for plan in extraction.plans for spec in plan.missing))
        self._clips = sum(len(plan.clips) for plan in extraction.plans)
        self._attempts = Attempts(extraction.plans, self._what_is_left)
        self._actors: list[_Actor] = []
        self._started = 0  # actors, ever
        self._failed_starts: Counter[Place] = Counter()
        self._publishers = ThreadPoolExecutor(_PUBLISHERS, "publish")
        self._publishing: dict[Future[None], tuple[Attempt, Counter[str]]] = {}
        self._counts: Counter[str] = Counter()  # clips of shards that are in the workspace, by status
        self._told = -1  # clips, in the last report of progress
        self._machines_seen = -_MACHINES_S
        self._last_death = ""
        self._say_at = monotonic() + _SILENCE_S  # that there is no actor

    def __enter__(self) -> "_Driver":
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            self._ray.kill(actor.handle)
        # Else one that still writes would leave files in a folder that is gone.
        if deaths := [actor.death for actor in self._actors]:
            self._ray.wait(deaths, num_returns=len(deaths), timeout=_ENDING_S)
        self._publishers.shutdown(cancel_futures=True)
        self._staging.remove()

    def run(self) -> Extracted:
        while self._attempts.left:
            self._look_for_machines()
            self._hand_out()
            self._wait()
            self._publish()
            self._report()
        return self._end()

    def _what_is_left(self, plan: ShardPlan) -> ShardPlan | None:
        extraction = self._extraction
        return plan_again(extraction.workspace, extraction.batch, plan, extraction.sampling)

    def _look_for_machines(self) -> None:
        """Start an actor at each place that has none."""
        now = monotonic()
        if any(actor.is_ready for actor in self._actors):
            self._say_at = now + _SILENCE_S
        if now - self._machines_seen < _MACHINES_S:
            return
        self._machines_seen = now
        cluster = self._cluster
        places = places_on(self._ray.nodes(), cluster.device, cluster.owners, cluster.decode_workers)
        taken = {actor.place for actor in self._actors}
        usable = [place for place in places if self._failed_starts[place] < _STARTS]
        if places and not usable and not self._actors:
            raise WorkerError(
                f"on no machine of the Ray cluster does a process that extracts start ({self._last_death}); is the same"
                " vdv installed there?"
            )
        if now > self._say_at:
            self._say_at = now + _AGAIN_S
            log.warning(
                "warning: no process that extracts is ready on the Ray cluster; ray status says whether it has room"
            )
        for place in usable:
            if place not in taken:
                self._start(place)

    def _start(self, place: Place) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = OwnerOptions(
            self._extraction, self._modalities, self._staging, self._started, place.machine, place.gpus > 0,
            place.workers, versions(),
        )  # fmt: skip
        remote = self._ray.remote(ClusterOwner).options(
            num_cpus=place.cpus, num_gpus=place.gpus, max_concurrency=_HELD + 4, max_restarts=0, max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.node_id, soft=False),
        )  # fmt: skip
        handle = remote.remote(options)
        death, ready = handle.until_death.remote(), handle.ready.remote()
        self._actors.append(_Actor(place, self._started, handle, death, ready))
        self._started += 1

    def _hand_out(self) -> None:
        """Give plans to those that hold fewest, two at most."""
        while True:
            ready = [actor for actor in self._actors if actor.is_ready and len(actor.held) < _HELD]
            ready = [actor for actor in ready if not any(attempt.alone for attempt in actor.held.values())]
            for actor in sorted(ready, key=lambda actor: len(actor.held)):
                if attempt := self._attempts.take(idle=not actor.held):
                    actor.held[actor.handle.extract.remote(attempt.plan)] = attempt
                    break
            else:
                return

    def _wait(self) -> None:
        """Wait for something to happen, but not long."""
        references = {}
        for actor in self._actors:
            if actor.is_ready and actor.in_hand is None and monotonic() - actor.asked > _COUNTS_S:
                actor.asked = monotonic()
                actor.in_hand = actor.handle.clips_in_hand.remote()
            for reference in (actor.death, *([] if actor.is_ready else [actor.ready]), *actor.held):
                references[reference] = actor
        ended, _ = self._ray.wait(list(references), timeout=_LOOK_S) if references else ([], None)
        if not references:
            threading.Event().wait(_LOOK_S)
        for reference in ended:
            actor = references[reference]
            if actor in self._actors:  # not one that an earlier reference proved dead
                self._take(actor, reference)
        asked = {actor.in_hand: actor for actor in self._actors if actor.in_hand is not None}
        for reference in self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else ():
            self._take(asked[reference], reference)

    def _take(self, actor: _Actor, reference: Any) -> None:
        """Take the answer to a call of an actor, which may be that it is dead."""
        from ray.exceptions import ActorDiedError, RayError, RayTaskError

        try:
            answer = self._ray.get(reference)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            self._last_death = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
            # Of a machine that went away Ray may know no more at first than that an actor does not answer.
            self._bury(actor, not isinstance(error, ActorDiedError))
            return
        if reference == actor.ready:
            actor.is_ready = True
        elif reference == actor.in_hand:
            actor.counts, actor.in_hand = answer, None
        else:
            attempt = actor.held.pop(reference)
            actor.counts, actor.in_hand = {}, None  # an answer that is under way still has its clips
            if self._attempts.done(attempt):
                work = self._publishers.submit(
                    self._staging.publish, attempt.plan, actor.number, self._extraction.sampling,
                    self._extraction.profile,
                )  # fmt: skip
                self._publishing[work] = attempt, answer

    def _bury(self, actor: _Actor, with_machine: bool) -> None:
        """Give an actor up, and what it holds to others. It may live on: its files are in a folder of its own."""
        self._actors.remove(actor)
        self._ray.kill(actor.handle)
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        killed = actor.place.node_id in alive and not with_machine
        if not actor.is_ready:
            self._failed_starts[actor.place] += 1
        for attempt in actor.held.values():
            if self._attempts.lost(attempt, killed):
                path = endings_folder(self._extraction.workspace, self._extraction.batch, self._extraction.sampling)
                self._counts += statuses(read_endings(shard_path(path, attempt.shard)))
        self._machines_seen = -_MACHINES_S  # so that another is started at once
        what = "a process that extracts on" if killed else "the machine"
        log.warning(f"warning: {what} {actor.place.machine} has died; its shards are given to others")
        log.debug(self._last_death)

    def _publish(self) -> None:
        """Take note of the shards that are in the workspace by now."""
        for work in [work for work in self._publishing if work.done()]:
            attempt, counts = self._publishing.pop(work)
            work.result()
            self._attempts.published(attempt)
            self._counts += counts

    def _report(self) -> None:
        """Report clips that are done; what a dead actor had done of a shard is done again, and not counted twice."""
        trials = [any(attempt.clip_id for attempt in actor.held.values()) for actor in self._actors]
        in_hand = [Counter(a.counts) for a, on_trial in zip(self._actors, trials, strict=True) if not on_trial]
        counts = sum(in_hand, self._counts.copy())
        if self._progress and self._told < counts.total() <= self._clips:
            self._told = counts.total()
            self._progress(self._told, self._clips, counts)

    def _end(self) -> Extracted:
        """Have the actors end; the clips of all shards, and the actors' seconds."""
        endings = {actor.handle.finish.remote(): actor for actor in self._actors if actor.is_ready}
        ended, _ = self._ray.wait(list(endings), num_returns=len(endings), timeout=_ENDING_S) if endings else ([], None)
        parts = [part for reference in ended if (part := self._last_words(reference)) is not None]
        return replace(combined(parts), endings=self._counts)

    def _last_words(self, reference: Any) -> Extracted | None:
        """What an actor says of its time; None: it has died since its last shard."""
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            raise error.cause from None
        except RayError:
            return None
