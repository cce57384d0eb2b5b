"""kill -9 at any moment: nothing half-written is taken for whole, and the end result is that of an undisturbed run."""

import random
from pathlib import Path

import pytest

from tests.end_to_end.workspaces import contents, kill_after, run
from tests.tiny_clips import tiny_world

KILLS = 20


@pytest.mark.timeout(1200)
def test_a_run_killed_at_twenty_random_moments_ends_with_the_rows_of_an_undisturbed_one(tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    options = ("--manifest", "tiny.csv", "--shard-clips", "2")
    for folder in (calm, rough):
        tiny_world(folder, 12)
    undisturbed = run("ExtractBatch", calm, *options)
    assert undisturbed.code == 0, undisturbed.output

    rng = random.Random(7)
    killed = 0
    for _ in range(KILLS):
        code = kill_after(rng.uniform(1, 14), "ExtractBatch", rough, *options)
        assert code in (0, -9)
        killed += code == -9
    assert killed > KILLS // 4, "the run ended too early too often for this test to mean anything"

    finished = run("ExtractBatch", rough, *options)
    assert finished.code == 0, finished.output
    made = contents(rough / "workspace" / "features")
    assert made == contents(calm / "workspace" / "features")
    assert len(made) == 6 * 4
