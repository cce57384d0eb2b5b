"""How the owner's time is put together from several extractions."""

import pytest

from benchmarks.owner import least_by_stage


def test_of_each_visit_to_a_stage_the_shortest_repeat_counts() -> None:
    first = [("engine", 0.001), ("engine", 0.004), ("face", 0.5)]
    second = [("engine", 0.003), ("engine", 0.002), ("face", 0.4)]
    assert least_by_stage([first, second], clips=2) == pytest.approx({"engine": 1.5, "face": 200.0})


def test_repeats_that_do_not_visit_the_same_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="engine, face"):
        least_by_stage([[("engine", 0.1)], [("face", 0.1)]], clips=1)
