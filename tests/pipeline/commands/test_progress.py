"""Reports of progress: to whom, when, and the rates in them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.commands import progress as module
from pipeline.commands.command import Command
from pipeline.commands.progress import LogLines, Progress, Standing

SOON, NEVER = 0.02, 1e6  # seconds


class Clock:
    """Time that passes when a test says so."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(module, "time", clock)
        yield clock


def test_whoever_is_told_at_intervals_is_told_though_the_stage_is_silent_and_once_more_at_its_end() -> None:
    told: list[Standing] = []
    with Progress("evaluate", "clip", [], [told.append], SOON):
        while len(told) < 3:
            time.sleep(SOON)
    assert [standing.ended for standing in told[-2:]] == [False, True]
    assert told[-1].total == 0
    assert told[-1].per_s is None
    assert told[-1].eta_s is None


def test_a_stage_that_fails_tells_its_end_too_and_nothing_comes_after_it() -> None:
    told: list[Standing] = []
    with pytest.raises(ZeroDivisionError), Progress("extract", "clip", [], [told.append], SOON):
        raise ZeroDivisionError
    count = len(told)
    time.sleep(5 * SOON)
    assert len(told) == count
    assert told[-1].ended


def test_whoever_is_told_at_once_is_told_each_report_and_the_end() -> None:
    told: list[Standing] = []
    with Progress("extract", "clip", [told.append], [], NEVER) as progress:
        progress(1, 3, {"ok": 1})
        progress(3, 3, {"ok": 2, "failed": 1})
    assert [(standing.done, standing.failed, standing.ended) for standing in told] == [
        (1, 0, False), (3, 1, False), (3, 1, True),
    ]  # fmt: skip
    assert told[-1].detail == "1 failed, 2 ok"


def test_counts_that_the_stage_goes_on_counting_with_are_those_of_the_report() -> None:
    told: list[Standing] = []
    counts = {"ok": 1}
    progress = Progress("extract", "clip", [told.append], [], NEVER)
    progress(1, 2, counts)
    counts["ok"] = 2
    assert progress.standing().counts == {"ok": 1}


def test_the_rate_leaves_out_what_was_known_before_and_the_time_before_the_first_report(clock: Clock) -> None:
    progress = Progress("ingest", "clip", [], [], NEVER)
    clock.now += 20  # networks are loaded
    progress(600, 1000)
    assert progress.standing().per_s is None
    clock.now += 10
    progress(640, 1000)
    standing = progress.standing()
    assert standing.per_s == pytest.approx(4.0)
    assert standing.eta_s == pytest.approx(90.0)
    assert standing.seconds == pytest.approx(30.0)
    assert progress.did == 40


def test_the_rate_is_that_of_late_unless_so_little_was_done_of_late_that_there_is_none(clock: Clock) -> None:
    progress = Progress("extract", "clip", [], [], NEVER)
    progress(0, 10_000)
    for second in range(1, 101):  # 10 clips a second, then 1
        clock.now += 1
        progress(10 * second, 10_000)
    for second in range(1, 31):
        progress._mark()
        clock.now += 3
        progress(1000 + 3 * second, 10_000)
    assert progress.standing().per_s == pytest.approx(1.0)
    slow = Progress("cross-validate", "fold", [], [], NEVER)
    slow(0, 3)
    clock.now += 3600
    slow(1, 3)
    for _ in range(20):
        clock.now += 30
        slow._mark()
    assert slow.standing().per_s == pytest.approx(1 / 4200)


def test_the_log_gets_a_line_each_time_at_first_and_sparser_ones_for_days(tmp_path: Path) -> None:
    command = Command.begin(str(tmp_path), "ExtractBatch")
    note = LogLines(command, "ExtractBatch", "june")
    for tick in range(1, 7 * 24 * 120 + 1):  # a week of half minutes
        note_without_writing(note, Standing("extract june", "clip", 30.0 * tick, tick, 10**6, {"ok": tick}))
    lines = command.events("progress")
    assert [line["done"] for line in lines[:50]] == list(range(1, 51))
    assert len(lines) < 1000
    assert lines[-1]["done"] > 0.98 * 7 * 24 * 120


def note_without_writing(note: LogLines, standing: Standing) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Command, "publish", lambda self, at_once=False: None)
        note(standing)


def test_a_line_of_the_log_says_how_far_the_stage_is(tmp_path: Path) -> None:
    command = Command.begin(str(tmp_path), "ExtractBatch")
    standing = Standing("extract june", "clip", 60.0, 120, 640, {"ok": 118, "failed": 2}, per_s=2.0)
    LogLines(command, "ExtractBatch", "june")(standing)
    (line,) = command.events("progress")
    fields = ("stage", "of", "unit", "done", "total", "counts", "failed", "per_s", "eta_s")
    assert [line[field] for field in fields] == [
        "ExtractBatch", "june", "clip", 120, 640, {"ok": 118, "failed": 2}, 2, 2.0, 260.0,
    ]  # fmt: skip
