"""Several owners of networks, a process each, that take shards off one list: all GPUs of a machine at work on a batch.

An owner decodes, extracts and writes as the only one would (pipeline.extraction.extract), with its share of the decode
workers, and takes a shard when its workers ask for clips. Files are those of one owner: a clip's rows do not depend on
what shares its batches, and a shard is written by whoever took it.
"""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized

import torch

from models.extractors.extractor import Extractor
from pipeline.core.child_processes import spawned_pool
from pipeline.core.import_path import working_folder_left_out
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.worker_process import WorkerError
from pipeline.extraction.extract import Extracted, Progress, Published, extract_shards
from pipeline.features.plan import ShardPlan

_LOOK_S = 0.2  # between looks at what the owners have done


@dataclass(frozen=True)
class Extraction:
    """Shards to be extracted, and all that their extraction needs; can be pickled. Fields as of `extract_shards`."""

    workspace: str
    batch: str
    plans: Sequence[ShardPlan]
    build: Callable[[str, torch.device], Extractor]  # of a modality on a device; a module's function or a partial of it
    sampling: SamplingOptions
    limits: DecodeLimits
    workers: int  # decode processes of all owners together
    profile: str

    def by_one(
        self,
        device: torch.device,
        workers: int,
        progress: Progress | None = None,
        taken: Iterator[ShardPlan | None] | None = None,
        modalities: Sequence[str] = (),
        published: Published | None = None,
    ) -> Extracted:
        """Extract in this process. Arguments as of `extract_shards`."""
        return extract_shards(
            self.workspace, self.batch, self.plans, lambda modality: self.build(modality, device), self.sampling,
            self.limits, workers=workers, device=device, profile=self.profile, progress=progress, taken=taken,
            modalities=modalities, published=published,
        )  # fmt: skip


@dataclass(frozen=True)
class _Shared:
    """What the owners of an extraction have in common."""

    extraction: Extraction
    owners: int
    next_plan: Synchronized  # place of the first plan that nobody has taken
    reports: SimpleQueue  # (owner's number, its clips by status)

    def plans(self) -> Iterator[ShardPlan]:
        """Plans that no other owner takes, one at a time."""
        while True:
            with self.next_plan.get_lock():
                place = self.next_plan.value
                self.next_plan.value += 1
            if place >= len(self.extraction.plans):
                return
            yield self.extraction.plans[place]


_shared: _Shared  # of an owner's process


def extract_by_owners(
    extraction: Extraction, devices: Sequence[torch.device], progress: Progress | None = None
) -> Extracted:
    """Extract with an owner a device, at least one; the only one is this process.

    Returns:
        Of several owners, their mean seconds: they work at the same time.

    Raises:
        WorkerError: an owner's process was killed. What an owner raises stops the others and is raised here.
    """
    owners = min(len(devices), len(extraction.plans))
    if owners <= 1:
        return extraction.by_one(devices[0], extraction.workers, progress)
    context = multiprocessing.get_context("spawn")
    with working_folder_left_out():
        shared = _Shared(extraction, owners, context.Value("q", 0), context.SimpleQueue())
    counts: dict[int, Mapping[str, int]] = {}
    clips = sum(len(plan.clips) for plan in extraction.plans)
    try:
        with spawned_pool(owners, _begin, (shared,)) as pool:
            futures = [pool.submit(_own, number, devices[number]) for number in range(owners)]
            running = set(futures)
            while running:
                ended, running = wait(running, _LOOK_S, FIRST_EXCEPTION)
                for future in ended:
                    future.result()  # raises what it raised
                while not shared.reports.empty():
                    number, of_owner = shared.reports.get()
                    counts[number] = of_owner
                    if progress:
                        together = sum(map(Counter, counts.values()), Counter())
                        progress(together.total(), clips, together)
            return combined([future.result() for future in futures])
    except BrokenProcessPool as error:
        raise WorkerError(
            f"one of {owners} processes that extract (--owners) was killed, often because memory ran out; whole shards"
            " are kept, and the same command goes on"
        ) from error


def _begin(shared: _Shared) -> None:
    global _shared
    _shared = shared


def _own(number: int, device: torch.device) -> Extracted:
    """Extract plans in this process until none is left."""
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // _shared.owners))
    share, left = divmod(_shared.extraction.workers, _shared.owners)

    def report(_done: int, _clips: int, counts: Mapping[str, int]) -> None:
        _shared.reports.put((number, dict(counts)))

    return _shared.extraction.by_one(device, max(1, share + (number < left)), report, _shared.plans())


def combined(parts: Sequence[Extracted]) -> Extracted:
    """All clips of owners that worked at the same time, and the mean of their seconds."""
    endings = sum((part.endings for part in parts), Counter())
    names = dict.fromkeys(name for part in parts for name in part.seconds)
    seconds = {name: sum(part.seconds.get(name, 0.0) for part in parts) / len(parts) for name in names}
    return Extracted(endings, seconds, parts[0].device if parts else "", len(parts))
