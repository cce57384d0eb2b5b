"""The process that owns the networks of one device of a cluster, and decode workers beside it; a Ray actor.

It takes plans from a driver while it extracts others, so that its workers go on from the clips of one shard to those of
the next. It knows nothing of Ray: calls come in threads of their own.
"""

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

import torch

from pipeline.cluster.connection import check_versions
from pipeline.cluster.staging import Staging
from pipeline.core.import_path import leave_out_working_folder
from pipeline.extraction.extract import Extracted
from pipeline.extraction.owners import Extraction
from pipeline.features.plan import ShardPlan

# After these a process is of no use: a device that failed stays failed, and memory that ran out is not all given back.
_FATAL = (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError)


@dataclass(frozen=True)
class OwnerOptions:
    """What an owner is to be; can be pickled."""

    extraction: Extraction  # without plans
    modalities: tuple[str, ...]  # that plans may lack
    staging: Staging
    number: int
    machine: str
    on_gpu: bool
    workers: int  # decode processes
    versions: str  # of the driver


class ClusterOwner:
    """Extracts plans until `finish`; the files of each are left in its folder of the staging."""

    def __init__(self, options: OwnerOptions):
        leave_out_working_folder()
        self._options = options
        self._ready: Future[None] = Future()
        self._ended: Future[Extracted] = Future()
        self._plans: SimpleQueue[ShardPlan | None] = SimpleQueue()
        self._results: dict[str, Future[Counter[str]]] = {}  # by shard, of plans that are in hand
        self._lock = threading.Lock()  # guards the three below
        self._counts: Counter[str] = Counter()  # clips that are done
        self._handed_over: Counter[str] = Counter()  # those of plans that are
        threading.Thread(target=self._run, name="owner", daemon=True).start()

    def ready(self) -> None:
        """Return when the networks are there. Raises what kept them from it."""
        self._ready.result()

    def extract(self, plan: ShardPlan) -> Counter[str]:
        """Extract a plan; its clips by status."""
        with self._lock:
            result = self._results[plan.shard] = Future()
            if self._ended.done():
                self._ended.result()
        self._plans.put(plan)
        return result.result()

    def clips_in_hand(self) -> Mapping[str, int]:
        """Clips that are done, by status, of plans that are not."""
        with self._lock:
            return self._counts - self._handed_over

    def finish(self) -> Extracted:
        """End when all plans are done; what they came to."""
        self._plans.put(None)
        return self._ended.result()

    def until_death(self) -> None:
        """Never return: whoever waits for it learns of this process's death."""
        threading.Event().wait()

    def _run(self) -> None:
        try:
            self._ended.set_result(self._extract())
        except _FATAL as error:
            print(f"vdv: this process ends by {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        except BaseException as error:  # noqa: BLE001 (it is raised where the driver waits)
            with self._lock:
                self._ended.set_exception(error)
                waited_for: list[Future] = [self._ready, *self._results.values()]
                for future in waited_for:
                    if not future.done():
                        future.set_exception(error)

    def _extract(self) -> Extracted:
        options = self._options
        options.staging.check_reachable(options.machine)
        check_versions(options.machine, options.versions)
        own = replace(options.extraction, workspace=options.staging.of_process(options.number), plans=())
        device = torch.device("cuda" if options.on_gpu else "cpu")
        return own.by_one(device, options.workers, self._count, self._taken(), options.modalities, self._published)

    def _taken(self) -> Iterator[ShardPlan | None]:
        while True:
            try:
                plan = self._plans.get_nowait()
            except Empty:
                yield None
                continue
            if plan is None:
                return
            # Endings that the workspace has are the driver's to merge.
            yield replace(plan, endings_missing=True)

    def _count(self, _done: int, _clips: int, counts: Mapping[str, int]) -> None:
        if not self._ready.done():
            self._ready.set_result(None)
        with self._lock:
            self._counts = Counter(counts)

    def _published(self, plan: ShardPlan, counts: Counter[str]) -> None:
        with self._lock:
            self._handed_over += counts
            self._results.pop(plan.shard).set_result(counts)
