"""What a clip hides counts as the mean of its challenge, and what it shows as it is."""

import pandas as pd
import pytest

from benchmarks.hidden_ceiling import measure, seen_content
from simulation.world import WorldOptions


def test_hidden_terms_are_the_mean_of_their_challenge() -> None:
    terms = {"likes_skill": [1.0, 3.0, 9.0], "likes_expression": [0.5, 0.7, 0.2], "likes_scene": [0.0, 0.4, 0.1],
             "likes_look": [0.3, 0.3, 0.6]}  # fmt: skip
    clips = pd.DataFrame(terms | {"challenge": ["wave", "wave", "spin"], "hidden": ["", "close_up blurred_place", ""]})
    clips["content"] = clips[list(terms)].sum(axis=1)
    seen = seen_content(clips)
    assert seen[[0, 2]].tolist() == clips["content"][[0, 2]].tolist()
    assert seen[1] == pytest.approx(2.0 + 0.7 + 0.2 + 0.3)


def test_who_sees_less_knows_less_and_where_nothing_is_hidden_as_much() -> None:
    some = measure(WorldOptions(seed=3, clips=96, creators=32, hidden=0.4))
    assert some["seen"] < some["all"] - 0.05
    none = measure(WorldOptions(seed=3, clips=96, creators=32))
    assert none["seen"] == none["all"]
