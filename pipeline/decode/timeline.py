"""Times of a stream's pictures, from timestamps that may start anew, jump, run backwards or be missing.

Pictures come in the order in which they are shown; only their timestamps can be wrong. A timestamp that is not above
the last picture's is a stray where the one after it goes on as before: such a picture is never on the screen. Where
three in a row stay below, the timestamps have started anew, as where a recording was joined from parts: those pictures
follow the last one after the duration that it states. A step forward is taken as it is, since a film may hold a picture
on purpose; whether anything is missing there is told by the durations that the pictures state (`Timeline.missing`).
"""

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from statistics import median
from typing import TypeVar

T = TypeVar("T")
Picture = tuple[float | None, float, T]  # timestamp in s, None where missing; duration in s, 0 where unknown; anything

HOLE_S = 1.0  # missing for longer than that, something is missing
_STRAYS = 2  # pictures in a row whose timestamps stay behind
_JUMP_S = 10.0  # where timestamps may start anew, a longer step is no time that passes; ffplay draws the line there too


class Timeline:
    """Times of the pictures of one stream, and what of the film they leave out.

    Attributes:
        pictures: those that came, skipped ones too.
        end_s: end of the last one, in seconds from the first.
        restarts: how often the timestamps started anew.
        strays: pictures whose timestamps stayed behind.
        jumps: (seconds from the first picture, seconds that the timestamps jumped on) of each jump that was closed.
        parts: (timestamp in s, seconds from the first picture) of the first picture, and of each at which timestamps
            started anew or jumped: what puts sound of the same stream in time.

    Args:
        nominal_s: duration of a picture that states none.
        breaks: whether timestamps may jump where the film goes on (streams of a broadcast).
        wrap_s: timestamps begin again at 0 after so many seconds; 0: never.
    """

    def __init__(self, nominal_s: float, breaks: bool = False, wrap_s: float = 0.0):
        self._nominal_s, self._breaks, self.wrap_s = nominal_s, breaks, wrap_s
        self.pictures, self.end_s, self.restarts, self.strays = 0, 0.0, 0, 0
        self.jumps: list[tuple[float, float]] = []
        self.parts: list[tuple[float, float]] = []
        self._part_offset_s: float | None = None  # `_offset_s` of the last part
        self._origin_s = 0.0  # time of the first picture
        self._offset_s = 0.0  # what is added to a timestamp
        self._last_s: float | None = None  # timestamp of the last picture that is no stray
        self._length_s = nominal_s  # of that picture
        self._stamped = False  # whether any picture has brought a timestamp
        self._steps_s = array("d")
        self._long_steps_s: list[tuple[float, float]] = []  # (step, seconds from the first picture) over HOLE_S
        self._long_s: list[float] = []  # stated durations over HOLE_S
        self._states_durations = False

    @property
    def step_s(self) -> float:
        """Median time from one picture to the next; 0 of a single picture."""
        return median(self._steps_s) if self._steps_s else 0.0

    def see_duration(self, duration_s: float) -> None:
        """Take note of the duration that a packet states. In MP4 it may be that of a neighbour in decoding order."""
        self._states_durations |= duration_s > 0
        if duration_s > HOLE_S:
            self._long_s.append(duration_s)

    def place(self, pictures: Iterable[Picture[T]]) -> Iterator[tuple[float, T]]:
        """The pictures with their times in seconds; those of strays are not above the one before.

        Raises: what `pictures` raises, after the pictures before it.
        """
        behind: list[Picture[T]] = []
        failure: Exception | None = None
        iterator = iter(pictures)
        while True:
            try:
                waiting = deque([next(iterator)])
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 (raised again below, once the pictures before it are out)
                failure = error
                break
            self.pictures += 1
            while waiting:
                picture = waiting.popleft()
                stamp_s = self._stamp(picture[0])
                if self._last_s is None or stamp_s > self._last_s:
                    yield from self._stray(behind)
                    behind = []
                    yield self._advance(stamp_s, picture)
                elif len(behind) < _STRAYS:
                    behind.append(picture)
                else:
                    first, *rest = [*behind, picture]
                    behind = []
                    yield self._start_anew(first)
                    waiting.extendleft(reversed(rest))
        if behind and self._last_s is not None and self._last_s - self._stamp(behind[0][0]) > HOLE_S:
            yield self._start_anew(behind.pop(0))
            for picture in behind:
                yield self._advance(self._stamp(picture[0]), picture)
        else:
            yield from self._stray(behind)
        if failure is not None:
            raise failure

    def _stamp(self, stamp_s: float | None) -> float:
        """The timestamp as one that can be compared with the last picture's."""
        if stamp_s is None:
            return 0.0 if self._last_s is None else self._last_s + self._length_s
        if not self._stamped and self._last_s is not None:
            self._follow(stamp_s)
        self._stamped = True
        turned = self.wrap_s and self._last_s is not None and stamp_s - self._last_s > self.wrap_s / 2
        return stamp_s - self.wrap_s if turned else stamp_s

    def _follow(self, stamp_s: float) -> None:
        """Make this timestamp that of the picture right after the last one."""
        if self._last_s is not None:
            self._offset_s += self._last_s + self._length_s - stamp_s
            self._last_s = stamp_s - self._length_s

    def _start_anew(self, picture: Picture[T]) -> tuple[float, T]:
        self.restarts += 1
        stamp_s = self._stamp(picture[0])
        self._follow(stamp_s)
        return self._advance(stamp_s, picture)

    def _stray(self, pictures: list[Picture[T]]) -> Iterator[tuple[float, T]]:
        self.strays += len(pictures)
        for picture in pictures:
            yield self._stamp(picture[0]) + self._offset_s, picture[2]

    def _advance(self, stamp_s: float, picture: Picture[T]) -> tuple[float, T]:
        if self._last_s is None:
            self._origin_s = stamp_s
        else:
            at_s, step_s = self._last_s + self._offset_s - self._origin_s, stamp_s - self._last_s
            if self._breaks and step_s > _JUMP_S and self._steps_s and step_s > 2 * self.step_s:
                self.jumps.append((at_s, step_s))
                self._follow(stamp_s)
            else:
                self._steps_s.append(step_s)
                if step_s > HOLE_S:
                    self._long_steps_s.append((step_s, at_s))
        self._last_s, self._length_s = stamp_s, picture[1] or self._nominal_s
        time_s = stamp_s + self._offset_s
        if self._offset_s != self._part_offset_s:
            self.parts.append((stamp_s, time_s - self._origin_s))
            self._part_offset_s = self._offset_s
        self.end_s = max(self.end_s, time_s - self._origin_s + self._length_s)
        return time_s, picture[2]

    def missing(self) -> list[tuple[float, float]]:
        """(seconds from the first picture, seconds missing there) of every hole of more than HOLE_S.

        A step from one picture to the next is no hole where a duration that some picture states covers it, where all
        steps of the film are that long (slideshows), or where no picture states a duration: then each lasts until the
        next one, as in what browsers record.
        """
        if not self._states_durations:
            return []
        steps = sorted(self._long_steps_s, reverse=True)
        stated = [*sorted(self._long_s, reverse=True), *[0.0] * len(steps)]
        holes = [
            (at_s, step_s - max(stated_s, 2 * self.step_s))
            for (step_s, at_s), stated_s in zip(steps, stated, strict=False)
        ]
        return sorted((at_s, missing_s) for at_s, missing_s in holes if missing_s > HOLE_S)
