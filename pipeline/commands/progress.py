"""Progress of a stage: one object that the stage reports to, and whatever shows it at once or from time to time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.commands.command import Command

EVERY_S = 30.0  # between two reports to those who are told from time to time
# The rate is that of the last ten reports, for some clips take longer than others; but that since the beginning where
# less than so much was done in these, as where each training takes an hour.
_WINDOW, _ENOUGH = 10, 20
_SPARSER = 0.01  # lines of the log become sparser with the age of a stage, so that a week's fit in it as an hour's do


@dataclass(frozen=True)
class Standing:
    """How far a stage is."""

    title: str
    unit: str  # what is counted: clip, fold, ...
    seconds: float  # since the stage began
    done: int = 0
    total: int = 0  # 0: not known
    counts: Mapping[str, int] = field(default_factory=dict)  # by outcome, of those done
    message: str = ""  # in place of counts
    per_s: float | None = None  # of late; None: nothing is done yet
    ended: bool = False  # whether it is the last there is of the stage

    @property
    def failed(self) -> int:
        return self.counts.get("failed", 0)

    @property
    def eta_s(self) -> float | None:
        """Seconds that are left; None: not known."""
        return (self.total - self.done) / self.per_s if self.per_s and self.total else None

    @property
    def detail(self) -> str:
        """The counts, or the message."""
        return self.message or ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))


Show = Callable[[Standing], None]


class Progress:
    """What a stage reports to by calling it with (done, total, counts or message), or not at all.

    Args:
        at_once: told whenever the stage reports, and once more at its end.
        timed: told every `every_s` seconds, whether the stage reports or not, and once more at its end.
    """

    def __init__(self, title: str, unit: str, at_once: Sequence[Show], timed: Sequence[Show], every_s: float = EVERY_S):
        self._title, self._unit = title, unit
        self._at_once, self._timed, self._every_s = at_once, timed, every_s
        self._began = time.monotonic()
        self._done, self._total, self._detail = 0, 0, ""  # type: int, int, Mapping[str, int] | str
        # When how many were done: at the first report, since loading networks is no work on clips, and of late.
        self._start: tuple[float, int] | None = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._changing = threading.Lock()
        self._over = threading.Event()
        self._timer = threading.Thread(target=self._run, name=f"progress of {title}", daemon=True)

    def __call__(self, done: int, total: int, detail: Mapping[str, int] | str = "") -> None:
        with self._changing:
            self._done, self._total = done, total
            self._detail = detail if isinstance(detail, str) else dict(detail)
            if self._start is None:
                self._start = time.monotonic(), done
        for show in self._at_once:
            show(self.standing())

    @property
    def did(self) -> int:
        """How many were done since the first report: those done before it were known from earlier commands."""
        return self._done - self._start[1] if self._start else 0

    def standing(self, ended: bool = False) -> Standing:
        """As it is now."""
        with self._changing:
            now = time.monotonic()
            since, before = self._start or (now, self._done)
            if self._marks and self._done - self._marks[0][1] >= _ENOUGH:
                since, before = self._marks[0]
            per_s = (self._done - before) / (now - since) if self._done > before and now > since else None
            counts, message = ({}, self._detail) if isinstance(self._detail, str) else (self._detail, "")
            took = now - self._began
            return Standing(self._title, self._unit, took, self._done, self._total, counts, message, per_s, ended)

    def __enter__(self) -> "Progress":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._timer.join()
        for show in (*self._at_once, *self._timed):
            show(self.standing(ended=True))

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            for show in self._timed:
                show(self.standing())
            self._mark()

    def _mark(self) -> None:
        with self._changing:
            if self._start is not None:
                self._marks.append((time.monotonic(), self._done))


class LogLines:
    """Notes progress in a command's log, and writes that."""

    def __init__(self, command: Command, stage: str, of: str):
        self._command, self._stage, self._of = command, stage, of
        self._next_s = 0.0

    def __call__(self, standing: Standing) -> None:
        if not standing.ended and standing.seconds < self._next_s:
            return
        self._next_s = standing.seconds * (1 + _SPARSER)
        self._command.note(
            "progress",
            stage=self._stage,
            of=self._of,
            unit=standing.unit,
            done=standing.done,
            total=standing.total or None,
            counts=dict(standing.counts),
            failed=standing.failed,
            per_s=_rounded(standing.per_s),
            eta_s=_rounded(standing.eta_s),
        )
        self._command.publish(at_once=not standing.ended)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
