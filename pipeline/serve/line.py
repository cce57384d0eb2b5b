"""Clips on their way through one thread that works on many at a time."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pipeline.decode.clips import Probe
from pipeline.ingest.manifest import Batch

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """One request's clip, from its file to its score."""

    batch: Batch  # of this clip alone
    release: Callable[[], None]  # of its file, when nothing reads it any more
    outcome: "Future[Any]" = field(default_factory=Future)  # cancelled: nobody waits for it
    probe: Probe | None = None

    @property
    def clip_id(self) -> str:
        return str(self.batch.rows["clip_id"].iat[0])

    @property
    def path(self) -> str:
        return str(self.batch.rows["uri"].iat[0])

    def settle(self, result: object) -> None:
        """Give the result, or the error, to who waits."""
        with suppress(InvalidStateError):  # cancelled in this moment
            if isinstance(result, BaseException):
                self.outcome.set_exception(result)
            else:
                self.outcome.set_result(result)


class _Closed(Exception):
    """Raised where jobs are asked for, once the line is closed."""


class Line:
    """A thread that does `work` on jobs as they come.

    `work` takes an iterator of jobs, for ever: None means that there is none yet. It says `done` of each. Where it
    raises, those that were under way are begun again one by one, so that the one which made it raise costs itself only.

    Args:
        most: jobs under way at a time.
        end: called with a job that is lost, and the error; with None for one whose client has gone before its turn.
        broken: called when `work` raises though no job is under way; nothing is done any more then.
    """

    def __init__(
        self,
        name: str,
        most: int,
        work: Callable[[Iterator[Job | None]], None],
        end: Callable[[Job, Exception | None], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._most, self._work, self._end, self._broken = most, work, end, broken
        self._changed = threading.Condition()  # guards all below
        self._waiting: deque[Job] = deque()
        self._alone: deque[Job] = deque()  # each is begun when nothing else is under way
        self._under_way: dict[str, Job] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def done(self, clip_id: str) -> Job:
        """The job of this clip, which is under way no more."""
        with self._changed:
            self._changed.notify()
            return self._under_way.pop(clip_id)

    def close(self) -> None:
        """End the thread; what is under way is given up."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _jobs(self) -> Iterator[Job | None]:
        while True:
            with self._changed:
                # Where nothing is under way, nothing can come but a job: so nobody has to ask again and again.
                while not (self._under_way or self._waiting or self._alone or self._closed):
                    self._changed.wait()
                if self._closed:
                    raise _Closed
                job = self._next()
            yield job

    def _next(self) -> Job | None:
        while True:
            if self._alone:
                queue = self._alone if not self._under_way else None
            else:
                queue = self._waiting if self._waiting and len(self._under_way) < self._most else None
            if queue is None:
                return None
            job = queue.popleft()
            if not job.outcome.cancelled():
                self._under_way[job.clip_id] = job
                return job
            self._end(job, None)

    def _run(self) -> None:
        while True:
            try:
                self._work(self._jobs())
            except _Closed:
                return
            except Exception as error:  # noqa: BLE001 (whatever a clip makes a network, a library or the disk raise)
                if not self._recover(error):
                    return

    def _recover(self, error: Exception) -> bool:
        """Whether the work may go on."""
        with self._changed:
            lost = list(self._under_way.values())
            self._under_way.clear()
            if len(lost) > 1:
                self._alone.extend(lost)
        log.error(f"{self._thread.name}: {type(error).__name__} with {len(lost)} clips under way", exc_info=error)
        if len(lost) == 1:
            self._end(lost[0], error)
        if not lost:
            self._broken(error)
        return bool(lost)
