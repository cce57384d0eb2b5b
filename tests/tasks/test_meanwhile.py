"""A manifest that another command ingests anew while this one runs ends it with an error that says so."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import DataError
from pipeline.ingest.ingest_batch import run_ingest
from tasks.features import AssembleDataset, ExtractBatch
from tasks.model import TrainFusion
from tests.end_to_end.workspaces import TINY_PROFILE
from tests.support.ingest_world import LIMITS, Probing, World

STEPS: dict[str, Callable] = {
    "extract": lambda options: ExtractBatch(**options).run(),
    "what was extracted": lambda options: ExtractBatch(**options).summary(),
    "assemble": lambda options: AssembleDataset(**options).run(),
    "train": lambda options: TrainFusion(**options).run(),
    "what was trained": lambda options: TrainFusion(**options).summary(),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_batch_that_was_ingested_anew_meanwhile_ends_the_command_in_words(tmp_path: Path, step: str) -> None:
    world = World(tmp_path)
    world.put("a", "b")
    batch = world.batch("a")
    options = {"manifest": str(tmp_path / "june.csv"), "workspace": world.workspace, "profile": str(TINY_PROFILE)}
    seen = ExtractBatch(**options).snapshot
    run_ingest(world.workspace, batch, 1, LIMITS, probe=Probing())
    assert ExtractBatch(seen=seen, **options).ingest_path(seen.batches[0])
    run_ingest(world.workspace, world.batch("a", "b"), 1, LIMITS, probe=Probing())
    with pytest.raises(DataError, match=r"june.csv or its clips have changed since .*; run it again"):
        STEPS[step]({**options, "seen": seen})
    assert not (Path(world.workspace) / "datasets").exists()
