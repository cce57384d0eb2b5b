"""What another command changes or deletes while this one runs ends it in words, or waits until it has ended."""

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import luigi
import pytest

from pipeline.core.errors import DataError
from pipeline.core.locks import exclusive
from pipeline.ingest.ingest_batch import run_ingest
from tasks.console import Summary
from tasks.features import AssembleDataset, ExtractBatch, IngestBatch
from tasks.finished.runs import DeleteRun
from tasks.model import TrainFusion
from tasks.options import WorkspaceTask
from tasks.snapshots import Snapshot
from tests.end_to_end.workspaces import TINY_PROFILE
from tests.pipeline.evaluation.test_compare_runs import GOOD, add_run
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


class _Before(WorkspaceTask):
    there = luigi.BoolParameter()

    work = "runs/a"

    def done(self) -> bool:
        return self.there

    def make(self) -> None:
        raise AssertionError("it is not asked for")

    def summary(self) -> Summary:
        return Summary([], {})


class _After(_Before):
    def needs(self) -> luigi.Task:
        return self.clone(_Before)

    def done(self) -> bool:
        return False

    def make(self) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such file", "scores.parquet")


def test_a_run_that_was_deleted_meanwhile_ends_the_command_in_words(tmp_path: Path) -> None:
    words = "another command changed or removed .*; run it again.* .scores.parquet is not there"
    with pytest.raises(DataError, match=words):
        _After(manifest="june.csv", workspace=str(tmp_path)).make_unless_done()
    with pytest.raises(FileNotFoundError):  # nobody took anything away: the fault is ours
        _After(manifest="june.csv", workspace=str(tmp_path), there=True).make_unless_done()


def test_a_run_at_work_is_not_deleted_under_its_hands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_run(tmp_path, GOOD, noise=0.3)
    run = tmp_path / "runs" / GOOD
    with ThreadPoolExecutor(1) as other:
        with exclusive(str(tmp_path), f"runs/{GOOD}"):
            deleting = other.submit(DeleteRun(run_id=GOOD, workspace=str(tmp_path)).run)
            while "another command is at runs/" not in capsys.readouterr().err:
                assert not deleting.done()
            assert run.is_dir()
        deleting.result()
    assert not run.exists()


def test_what_a_killed_command_was_writing_is_removed_by_the_next_one_with_work_to_do(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put("a")
    world.batch("a")
    left = Path(world.workspace) / "runs/a/figures/.staged-0-training.svg.part"
    left.parent.mkdir(parents=True)
    left.write_text("<svg")
    ingest = IngestBatch(manifest=str(tmp_path / "june.csv"), workspace=world.workspace)
    assert not ingest.complete()
    assert left.exists()
    ingest.requires()
    assert not left.exists()


class _NeedsWhatGoes(_Before):
    def needs(self) -> luigi.Task:
        if not Path(self.workspace).is_dir():
            raise DataError("the run was deleted")
        return self.clone(_Before)


def test_what_a_task_requires_is_known_to_the_end_whatever_is_deleted(tmp_path: Path) -> None:
    """Luigi asks again for its summary, where an error is no longer a task's but its own: exit code 40."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    task = _NeedsWhatGoes(manifest="june.csv", workspace=str(workspace), seen=Snapshot(()))
    first = task.requires()
    workspace.rmdir()
    assert task.requires() is first
