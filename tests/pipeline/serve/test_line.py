"""Clips that go through one thread together: whatever one of them does costs itself alone."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from pipeline.ingest.manifest import clip_batch
from pipeline.serve.line import Job, Line

Ends = queue.Queue[tuple[str, str]]


def job(clip_id: str) -> Job:
    return Job(clip_batch({"clip_id": clip_id, "uri": f"/{clip_id}", "challenge": "wave"}), lambda: None)


@contextmanager
def line(work: Callable[[Line, Iterator[Job | None]], None], most: int = 8) -> Iterator[tuple[Line, Ends, list]]:
    """A line, how its jobs ended that `work` did not end, and what broke it."""
    ends: queue.Queue[tuple[str, str]] = queue.Queue()
    broken: list[Exception] = []

    def end(job: Job, error: Exception | None) -> None:
        ends.put((job.clip_id, str(error)))

    ready = threading.Event()

    def begin(jobs: Iterator[Job | None]) -> None:
        ready.wait()
        work(made, jobs)

    made = Line("test", most, begin, end, broken.append)
    ready.set()
    with closing(made):
        yield made, ends, broken


def test_a_clip_that_makes_the_work_raise_costs_itself_and_those_beside_it_are_begun_again() -> None:
    done: queue.Queue[str] = queue.Queue()
    together = threading.Event()

    def work(line: Line, jobs: Iterator[Job | None]) -> None:
        taken = []
        for job in jobs:
            if job is not None:
                taken.append(job.clip_id)
            if not together.is_set() and len(taken) < 3:
                continue
            together.set()
            if "bad" in taken:
                raise ValueError("a network fell over")
            while taken:
                done.put(line.done(taken.pop()).clip_id)

    with line(work) as (made, ends, broken):
        for name in ("a", "bad", "b"):
            made.put(job(name))
        assert ends.get(timeout=10) == ("bad", "a network fell over")
        assert {done.get(timeout=10), done.get(timeout=10)} == {"a", "b"}
        made.put(job("c"))
        assert done.get(timeout=10) == "c"
        assert not broken


def test_a_clip_that_nobody_waits_for_any_more_is_not_begun() -> None:
    begun: queue.Queue[str] = queue.Queue()
    go_on = threading.Event()

    def work(line: Line, jobs: Iterator[Job | None]) -> None:
        for job in jobs:
            if job is not None:
                begun.put(job.clip_id)
                go_on.wait(10)
                line.done(job.clip_id)

    with line(work, most=1) as (made, ends, _):
        first, dropped, last = job("first"), job("dropped"), job("last")
        for one in (first, dropped, last):
            made.put(one)
        assert begun.get(timeout=10) == "first"
        dropped.outcome.cancel()
        go_on.set()
        assert ends.get(timeout=10) == ("dropped", "None")
        assert begun.get(timeout=10) == "last"


def test_no_more_clips_are_under_way_than_were_asked_for() -> None:
    most: list[int] = []

    def work(line: Line, jobs: Iterator[Job | None]) -> None:
        under_way: list[str] = []
        all_put.wait(10)
        for job in jobs:
            if job is not None:
                under_way.append(job.clip_id)
                most.append(len(under_way))
            else:
                line.done(under_way.pop(0))
                if len(most) == 6 and not under_way:
                    all_done.set()

    all_put, all_done = threading.Event(), threading.Event()
    with line(work, most=2) as (made, _, _):
        for place in range(6):
            made.put(job(f"clip{place}"))
        all_put.set()
        assert all_done.wait(10)
    assert max(most) == 2


def test_work_that_raises_without_a_clip_breaks_the_line() -> None:
    def work(line: Line, jobs: Iterator[Job | None]) -> None:
        for job in jobs:
            if job is not None:
                line.done(job.clip_id)
                raise OSError("no more processes")

    with line(work) as (made, ends, broken):
        made.put(job("a"))
        made._thread.join(10)
        assert [str(error) for error in broken] == ["no more processes"]
        with pytest.raises(queue.Empty):
            ends.get_nowait()
