"""kill -9 at any moment: nothing half-written is taken for whole, and the end result is that of an undisturbed run."""

import random
import shutil
import time
from pathlib import Path

import pytest

from benchmarks.tiny_clips import tiny_world
from pipeline.modalities.registry import extracted_names
from tests.end_to_end.workspaces import contents, kill_after, run

KILLS = 20


@pytest.mark.timeout(1200)
def test_a_run_killed_at_twenty_random_moments_ends_with_the_rows_of_an_undisturbed_one(tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    options = ("--manifest", "tiny.csv", "--shard-clips", "2")
    for folder in (calm, rough):
        tiny_world(folder, 8)
    undisturbed = run("ExtractBatch", calm, *options)
    assert undisturbed.code == 0, undisturbed.output
    wanted = contents(calm / "workspace" / "features")
    assert len(wanted) == len(extracted_names()) * (4 + 1)  # shards, and the record of their sizes

    rng = random.Random(7)
    killed, whole_s = 0, 600.0  # whole_s: of a run from nothing, as fast as this machine is today
    while killed < KILLS:
        begun, start = (rough / "workspace").exists(), time.monotonic()
        # Moments are spread over the whole run; the first one is not killed.
        code = kill_after(rng.uniform(0.3, 1) * whole_s, "ExtractBatch", rough, *options)
        if code == 0:  # the runs before had done all the work: once more from nothing
            whole_s = whole_s if begun else time.monotonic() - start
            assert contents(rough / "workspace" / "features") == wanted
            shutil.rmtree(rough / "workspace")
        else:
            assert code == -9
            killed += 1

    finished = run("ExtractBatch", rough, *options)
    assert finished.code == 0, finished.output
    assert contents(rough / "workspace" / "features") == wanted
