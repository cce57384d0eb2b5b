"""Times of pictures from every order of timestamps, and the holes that are found."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.timeline import Timeline

STEP = 0.04


def placed(
    stamps: list[float | None], length_s: float = STEP, breaks: bool = False, wrap_s: float = 0.0
) -> tuple[list[float], Timeline]:
    timeline = Timeline(STEP, breaks, wrap_s)
    for _ in stamps:
        timeline.see_duration(length_s)
    times = list(timeline.place((stamp, length_s, place) for place, stamp in enumerate(stamps)))
    assert [place for _, place in times] == list(range(len(stamps)))
    return [time_s for time_s, _ in times], timeline


def even(count: int, start: float = 0.0) -> list[float | None]:
    return [start + STEP * place for place in range(count)]


@given(st.lists(st.floats(1e-3, 100.0), min_size=1, max_size=30), st.floats(-1e4, 1e4))
def test_timestamps_that_rise_are_the_times_bit_for_bit(steps: list[float], start: float) -> None:
    stamps: list[float | None] = [start]
    for step in steps:
        stamps.append((stamps[-1] or 0.0) + step)
    assert placed(stamps)[0] == stamps


@pytest.mark.parametrize(
    "stamps",
    [
        even(10) + even(10),  # starts anew
        even(10, 100.0) + even(10, 3.0),  # starts anew earlier
        even(10) + even(10, 0.2),  # overlaps by five pictures
        even(9) + [None] * 5 + even(6, 14 * STEP),  # some are missing
        [None] * 20,
        [None] * 3 + even(17, 1000.0),  # missing at first
        list(reversed(even(22))),  # all run backwards; so may the last two of any film, which are strays
        [7.0] * 22,
    ],
)
def test_pictures_follow_each_other_evenly_where_timestamps_do_not_say(stamps: list[float | None]) -> None:
    times, _ = placed(stamps)
    assert [time_s - times[0] for time_s in times[:20]] == pytest.approx([STEP * place for place in range(20)])


@pytest.mark.parametrize("strays", [[0.1], [0.3, 0.32], [0.36]])
def test_up_to_two_timestamps_that_stay_behind_shift_nothing(strays: list[float]) -> None:
    times, timeline = placed([*even(10), *strays, *even(10, 10 * STEP)])
    assert times[-1] == pytest.approx(19 * STEP)
    assert max(times[10 : 10 + len(strays)]) <= times[9]
    assert (timeline.strays, timeline.restarts) == (len(strays), 0)


def test_two_pictures_of_a_part_at_the_end_are_used() -> None:
    times, timeline = placed([*even(50), 0.0, STEP])
    assert times == pytest.approx(even(52))
    assert timeline.restarts == 1


def test_a_clock_that_turns_over_counts_as_started_anew() -> None:
    times, _ = placed([*even(10, 50.0), *even(10, 95.0)], wrap_s=100.0)
    assert times[-1] == pytest.approx(95.0 + 9 * STEP)  # 45 s later: no turn
    assert placed([*even(10, 10.0), *even(10, 95.0)], wrap_s=100.0)[1].restarts == 1


def test_a_jump_is_closed_only_where_timestamps_may_start_anew() -> None:
    stamps = [*even(10), *even(10, 60.0)]
    assert placed(stamps)[0][-1] == pytest.approx(60.0 + 9 * STEP)
    times, timeline = placed(stamps, breaks=True)
    assert times == pytest.approx(even(20))
    assert timeline.jumps == [(pytest.approx(9 * STEP), pytest.approx(60.0 - 9 * STEP))]
    assert placed([0.0, 15.0, 30.0], breaks=True)[0] == [0.0, 15.0, 30.0]  # slides


@pytest.mark.parametrize(
    ("stamps", "lengths", "missing_s"),
    [
        ([*even(10), *even(10, 3.0)], [STEP] * 20, [3.0 - 10 * STEP]),
        ([*even(10), *even(10, 3.0)], [STEP] * 11 + [2.64] + [STEP] * 8, []),  # stated, though by a neighbour
        ([*even(10), *even(10, 3.0), *even(10, 6.0)], [STEP] * 11 + [2.64] + [STEP] * 18, [3.0 - 10 * STEP]),
        ([*even(10), *even(10, 1.3)], [STEP] * 20, []),  # less than a second
        ([0.0, 5.0, 11.0, 15.0], [STEP] * 4, []),  # slides
        ([*even(10), *even(10, 3.0)], [0.0] * 20, []),  # nothing stated
    ],
)
def test_a_step_is_a_hole_where_no_duration_covers_it(
    stamps: list[float], lengths: list[float], missing_s: list[float]
) -> None:
    timeline = Timeline(STEP)
    for length_s in lengths:
        timeline.see_duration(length_s)
    list(timeline.place((stamp, STEP, None) for stamp in stamps))
    assert [seconds for _, seconds in timeline.missing()] == pytest.approx(missing_s, abs=STEP + 1e-6)


def test_what_came_before_an_error_is_placed_before_it_is_raised() -> None:
    def breaks() -> Iterator[tuple[float, float, str]]:
        yield from [(0.0, STEP, "a"), (1.0, STEP, "b"), (0.5, STEP, "stray")]
        raise ValueError("damaged")

    got = []
    with pytest.raises(ValueError, match="damaged"):  # noqa: PT012 (what came before it is the point)
        for _, item in Timeline(STEP).place(breaks()):
            got.append(item)
    assert got == ["a", "b", "stray"]
