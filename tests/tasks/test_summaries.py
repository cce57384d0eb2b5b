"""What tasks say before their work and at their end, and leave of it in the workspace."""

import json
from pathlib import Path
from typing import Any

import luigi
import pytest

from pipeline.commands.command import COMMANDS
from pipeline.core.errors import TooManyFailed
from pipeline.ingest.tombstones import add_tombstones
from tasks.features import AssembleDataset, ExtractBatch, IngestBatch
from tasks.finished.runs import CompareRuns, DeleteRun
from tasks.options import WorkspaceTask
from tests.end_to_end.workspaces import TINY_PROFILE
from tests.pipeline.evaluation.test_compare_runs import GOOD, POOR, add_run
from tests.support.ingest_world import Probing, World


def summaries(workspace: str | Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(Path(workspace, COMMANDS).glob("*.json"))]


def build(task: luigi.Task) -> bool:
    return luigi.build([task], local_scheduler=True, log_level="WARNING")


def test_a_task_that_is_run_alone_ends_with_its_summary_and_where_that_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    world.put("a")
    world.batch("a")
    assert build(IngestBatch(manifest=str(tmp_path / "june.csv"), workspace=world.workspace))
    (about,) = summaries(world.workspace)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "clips: 0 readable, 1 failed"
    assert "  1 failed, not_a_video: a" in lines
    assert lines[-2].startswith(f"table of clips: {world.workspace}/clips/june/")
    assert lines[-1] == f"summary: {world.workspace}/{COMMANDS}/{about['command']}.json"
    assert about["task"] == "IngestBatch"
    assert about["clips"] == {"readable": 0, "failed": 1}
    assert [(code["code"], code["named"]) for code in about["codes"]] == [("not_a_video", ["a"])]
    assert Path(world.workspace, about["places"]["table_of_clips"]).is_file(), "relative to the workspace"
    (stage,) = about["stages"]
    assert (stage["stage"], stage["of"], stage["clips"]) == ("IngestBatch", "june", 1)


def test_rows_of_purged_clips_are_counted_in_the_summary_and_named_on_the_terminal_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    world.put(*"ab", "gone01")
    world.batch(*"ab", "gone01")
    add_tombstones(world.workspace, ["gone01"], [])
    assert build(IngestBatch(manifest=str(tmp_path / "june.csv"), workspace=world.workspace))
    (about,) = summaries(world.workspace)
    assert (about["left_out"], about["clips"]["failed"]) == (1, 2)
    assert "1 left out, purged: gone01 (line 4)" in caplog.text
    assert not [path for path in Path(world.workspace, COMMANDS).iterdir() if "gone01" in path.read_text()]


def test_a_command_with_nothing_to_do_says_what_there_is_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    world.put("a")
    world.ingest("a", shard_clips=64)
    assert build(IngestBatch(manifest=str(tmp_path / "june.csv"), workspace=world.workspace))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["nothing to do: everything is up to date", "clips: 1 readable, 0 failed"]
    assert summaries(world.workspace) == []


def test_too_many_failed_clips_are_counted_by_code_in_the_summary_of_the_command_that_failed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put(*"abc")
    failing = dict.fromkeys("abc", "empty") | {"c": "missing"}
    world.ingest(*"abc", shard_clips=64, probe=Probing(failing))
    task = AssembleDataset(
        manifest=str(tmp_path / "june.csv"), workspace=world.workspace, profile=str(TINY_PROFILE), device="cpu"
    )
    assert not build(task)
    (about,) = summaries(world.workspace)
    assert (about["outcome"], about["error"]["code"]) == ("failed", TooManyFailed.code)
    assert about["clips"] == {"ok": 0, "partial": 0, "failed": 3}
    assert [(code["code"], code["clips"], code["retryable"]) for code in about["codes"]] == [
        ("empty", 2, False), ("missing", 1, True),
    ]  # fmt: skip


def first_words(manifest: Path, **options: Any) -> str:
    task: WorkspaceTask = ExtractBatch(manifest=str(manifest), **options)
    assert not task.complete()
    return task.first_words()


def test_real_clips_and_networks_of_the_demo_are_told_of_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    world.put("a")
    world.batch("a")
    manifest = tmp_path / "june.csv"
    task = ExtractBatch(manifest=str(manifest), workspace=world.workspace, device="cpu")
    assert not task.complete()
    task.requires()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("NOTE: the profile demo is of networks trained on rendered dancers")
    assert f"the clips of {manifest} are none" in line
    assert "FetchWeights --profile full" in line
    assert not Path(world.workspace).exists()
    assert first_words(manifest, profile="untrained") == ""
    (tmp_path / "world.toml").touch()
    assert first_words(manifest) == "", "they are rendered"


def test_what_two_runs_differ_by_is_there_as_data_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_run(tmp_path, GOOD, noise=0.3)
    add_run(tmp_path, POOR, noise=3.0)
    assert build(CompareRuns(runs=(GOOD, POOR), workspace=str(tmp_path)))
    (about,) = summaries(tmp_path)
    results = about["results"]
    assert (results["first"], results["second"], results["clips"] > 0) == (GOOD, POOR, True)
    row = results["rows"][0]
    said = next(line for line in capsys.readouterr().err.splitlines() if line.startswith(f"  {row['name']} "))
    assert f"{row['difference']['by_metric']['spearman']['value']:+.3f} (" in said
    assert build(DeleteRun(run_id=POOR, workspace=str(tmp_path)))
    deleted = next(about for about in summaries(tmp_path) if about["task"] == "DeleteRun")
    assert deleted["results"] == {"deleted": f"runs/{POOR}"}
