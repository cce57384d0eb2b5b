"""Networks of several modalities side by side on the cores of a CPU, each on its share of them.

A small network on all cores waits at the end of every layer for the slowest, the more so where decode workers need
the same cores; several at once, each on one core or few, do not wait for one another but at the end of a chunk.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import perf_counter
from types import TracebackType
from typing import Protocol, TypeVar

import torch

Result = TypeVar("Result")


class Timed(Protocol):
    """Whatever runs a network; hashed by identity."""

    seconds: float  # that it took so far


Caller = TypeVar("Caller", bound=Timed)


class SideBySide:
    """Runs networks in threads, for use in a `with` block; on a GPU or one core, one after another.

    Args:
        device: of the networks.
        networks: how many there are.
    """

    def __init__(self, device: torch.device, networks: int) -> None:
        self._cores = torch.get_num_threads()
        count = min(self._cores, networks) if device.type == "cpu" else 1
        share = -(-self._cores // max(1, count))
        self._threads = ThreadPoolExecutor(count, "network", torch.set_num_threads, (share,)) if count > 1 else None

    def __enter__(self) -> "SideBySide":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            torch.set_num_threads(self._cores)  # what threads to come begin with was set by those of the pool

    def run(self, calls: Mapping[Caller, Callable[[], list[Result]]]) -> list[Result]:
        """What the calls return, in their order; returns, or raises, when all have ended.

        A caller's `seconds` grow by its share of the time that all of them took.
        """
        if self._threads is None or len(calls) < 2:
            return [result for call in calls.values() for result in call()]
        before = {caller: caller.seconds for caller in calls}
        start = perf_counter()
        # What takes longest begins first.
        order = sorted(calls, key=lambda caller: -caller.seconds)
        futures: dict[Caller, Future[list[Result]]] = {caller: self._threads.submit(calls[caller]) for caller in order}
        wait(futures.values())  # also where one raises: the others read memory that is given back then
        took = perf_counter() - start
        summed = sum(caller.seconds - before[caller] for caller in calls) or 1.0
        for caller in calls:
            caller.seconds = before[caller] + (caller.seconds - before[caller]) * took / summed
        return [result for caller in calls for result in futures[caller].result()]
