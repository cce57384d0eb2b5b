"""The grid's frames at any frame rate, and the sizes that they are scaled to."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.options import SamplingOptions
from pipeline.decode.sampling import expected_frames, sample, scaled_size


def taken(times: Iterable[float], last_s: float = 0.04, **options: Any) -> list[tuple[int, int]]:
    return [
        (frame.position, frame.frame_index)
        for frame in sample(((time, None) for time in times), SamplingOptions(**options), lambda _: last_s)
    ]


def indices(times: Iterable[float], last_s: float = 0.04, **options: Any) -> list[int]:
    return [index for _, index in taken(times, last_s, **options)]


def test_of_24_frames_a_second_the_grid_of_10_takes_every_frame_that_is_on_screen_at_a_grid_time() -> None:
    assert indices([i / 24 for i in range(240)], 1 / 24) == [math.floor(2.4 * k) for k in range(100)]


def test_a_clip_slower_than_the_grid_gives_all_of_its_frames_and_none_twice() -> None:
    assert indices([i / 8 for i in range(24)], 1 / 8) == list(range(24))


@pytest.mark.parametrize("fps", [10, 12, 15, 16, 25, 29.97, 30, 50, 60, 120, 240])
def test_any_constant_rate_above_the_grid_gives_ten_a_second(fps: float) -> None:
    times = [i / fps for i in range(int(fps * 3))]
    assert len(indices(times, 1 / fps)) == 30


def test_times_count_from_the_first_frame() -> None:
    late = [1000.5 + i / 24 for i in range(48)]
    assert indices(late) == indices([i / 24 for i in range(48)])


def test_a_long_gap_is_one_frame() -> None:
    assert indices([0.0, 0.05, 5.0, 5.1]) == [0, 1, 2, 3]


def test_a_frame_whose_time_does_not_advance_is_counted_and_never_taken() -> None:
    assert indices([0.0, 0.1, 0.1, 0.05, 0.2]) == [0, 1, 4]


def test_nothing_is_taken_from_max_seconds_on_and_nothing_more_is_read() -> None:
    def endless() -> Iterator[tuple[float, None]]:
        time = 0.0
        while True:
            assert time < 2.2, "read on behind max_seconds"
            yield time, None
            time += 0.1

    got = list(sample(endless(), SamplingOptions(max_seconds=2.0), lambda _: 0.1))
    assert len(got) == 20
    assert got[-1].timestamp == pytest.approx(1.9)


def test_the_last_frame_is_on_screen_for_its_stated_duration() -> None:
    assert indices([0.0, 0.01], last_s=0.02) == [0]
    assert indices([0.0, 0.01], last_s=0.2) == [0, 1]


def test_what_came_before_an_error_is_delivered_before_it_is_raised() -> None:
    def breaks() -> Iterator[tuple[float, str]]:
        yield 0.0, "a"
        yield 0.1, "b"
        raise ValueError("damaged")

    got = []
    with pytest.raises(ValueError, match="damaged"):  # noqa: PT012 (what came before it is the point)
        for frame in sample(breaks(), SamplingOptions(), lambda _: 0.1):
            got.append(frame.item)
    assert got == ["a", "b"]


@given(
    gaps=st.lists(st.integers(1, 2000), min_size=1, max_size=200),
    last=st.integers(1, 500),
    sample_fps=st.sampled_from([1.0, 5.0, 7.0, 10.0, 24.0]),
    max_seconds=st.sampled_from([1.0, 10.0, 60.0]),
)
def test_exactly_the_frames_that_a_grid_time_falls_on_are_taken_whatever_their_spacing(
    gaps: list[int], last: int, sample_fps: float, max_seconds: float
) -> None:
    """The rule once more, in exact fractions and over the whole list; spacings are multiples of 1 ms."""
    ticks = [0]
    for gap in gaps:
        ticks.append(ticks[-1] + gap)
    ends = [*ticks[1:], ticks[-1] + last]
    step = Fraction(1000) / Fraction(sample_fps)
    edge = Fraction(1, 10)  # the tolerance, in ms
    rule = [
        i
        for i, (start, end) in enumerate(zip(ticks, ends, strict=True))
        if math.ceil((start - edge) / step) * step < end - edge and start < max_seconds * 1000 - edge
    ]
    got = taken([tick / 1000 for tick in ticks], last / 1000, sample_fps=sample_fps, max_seconds=max_seconds)
    assert [index for _, index in got] == rule
    assert [position for position, _ in got] == list(range(len(rule)))


def test_the_expected_count_is_what_a_constant_rate_gives() -> None:
    for fps, seconds in [(24, 8.0), (8, 3.0), (30, 0.1), (60, 90.0)]:
        times = [i / fps for i in range(round(fps * seconds))]
        assert expected_frames(seconds, fps, SamplingOptions()) == len(indices(times, 1 / fps))
    assert expected_frames(0.0, 24, SamplingOptions()) == 0


def test_pictures_are_scaled_down_to_the_longer_side_and_never_up() -> None:
    assert scaled_size(1920, 1080, 1280) == (1280, 720)
    assert scaled_size(1080, 1920, 1280) == (720, 1280)
    assert scaled_size(407, 601, 1280) == (407, 601)
    assert scaled_size(10000, 1, 100) == (100, 1)
