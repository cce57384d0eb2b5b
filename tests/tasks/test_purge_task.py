"""PurgeClips on the command line: which clips, what is printed, what is refused before anything runs."""

import re
from pathlib import Path
from typing import Any

import pytest
from luigi.cmdline_parser import CmdlineParser

from pipeline.commands.command import COMMANDS, WITHHELD, Command
from pipeline.commands.summary import end
from pipeline.core.errors import DataError, OptionError
from pipeline.dataset.folder import DatasetFolder
from pipeline.ingest.tombstones import JOB
from pipeline.purge.purge import plan_purge
from pipeline.purge.request import Request
from pipeline.runs.run import Run
from pipeline.scoring.uploads import score_uploads
from tasks import PurgeClips
from tests.end_to_end.workspaces import contents
from tests.pipeline.purge.test_results import CPU, make_full_run
from tests.support.made_once import Workspaces
from tests.support.small_run import RUN
from tests.support.whole_files import flip, read_json


@pytest.fixture
def workspace(workspaces: Workspaces) -> Path:
    return workspaces.copy(make_full_run)


def from_command_line(*words: str) -> PurgeClips:
    with CmdlineParser.global_instance(["--module", "tasks", "PurgeClips", *words]) as parser:
        task = parser.get_task_obj()
    assert isinstance(task, PurgeClips)
    return task


def test_clips_may_stand_behind_one_another_and_a_creators_name_may_hold_commas() -> None:
    assert from_command_line("--clips", "a,b", "--clips", "c").clips == ("a", "b", "c")
    assert from_command_line("--creators", "Doe, John", "--creators", "u1").creators == ("Doe, John", "u1")
    assert from_command_line("--list", "takedown.csv", "--dry-run").dry_run


def test_wrong_ids_and_options_stop_before_anything_is_changed(workspace: Path) -> None:
    before = contents(workspace)
    for options, says in (
        ({"clips": ("nix",)}, "knows no clip"),
        ({"creators": ("nix",)}, "knows no creator"),
        ({}, "none is given"),
        ({"clips": ("clip000",), "list": "x.csv"}, "--clips and --list are given"),
    ):
        with pytest.raises(OptionError, match=says):
            PurgeClips(workspace=str(workspace), **options).complete()
    assert contents(workspace) == before


def test_a_dry_run_says_every_place_and_the_manifests_line_and_changes_nothing(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(workspace)
    PurgeClips(clips=("twin0",), workspace=str(workspace), dry_run=True).run()
    said = capsys.readouterr().err
    assert contents(workspace) == before
    heading, first, *_, last = said.splitlines()
    assert heading == f"dry run of PurgeClips: nothing is done, and nothing in {workspace} is touched"
    assert first == "purging 3 clips: twin0, twin1, up2"
    assert "the same file as one that was: twin1, up2" in said
    assert "/workspace-source/june.csv:34: twin0 /" in said
    assert f"  deleted    {RUN}/feedback/twin0.json: a purged clip has a part in it" in said
    assert "  rewritten  features/pose/0000/june/" in said
    assert re.fullmatch(r"files: \d+ deleted, \d+ rewritten", last)


def test_a_purge_says_what_it_did_and_the_proof(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PurgeClips(creators=("zoe",), workspace=str(workspace)).run()
    said = capsys.readouterr().err
    files = sum(path.is_file() for path in workspace.rglob("*")) - 1  # the summary comes after the proof
    assert f"proof: {files} files of {workspace} read (" in said
    assert "none of 3 ids, 3 content hashes, 1 creator is in them" in said


def test_exports_of_the_workspace_are_named_as_not_searched_and_counted(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for task, place in (("ExportDataset", "/out/june-csv"), ("ExportDataset", "/out/of-zoe"),
                        ("ExportDataset", "/out/june-csv"), ("ExportModel", "/out/june-onnx")):  # fmt: skip
        end(Command.begin(str(workspace), task), {"places": {"written": place}})
    for dry_run in (True, False):
        PurgeClips(creators=("zoe",), workspace=str(workspace), dry_run=dry_run).run()
        said = capsys.readouterr().err
        assert "not searched: exports, which may still hold what is purged: /out/june-csv, /out/of-zoe; delete" in said
    (summary,) = (workspace / COMMANDS).glob("*-PurgeClips-*.json")
    assert read_json(summary)["results"]["exports"] == 2
    assert "/out/" not in summary.read_text()


def test_a_purge_says_nothing_of_exports_where_there_were_none(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PurgeClips(clips=("clip000",), workspace=str(workspace), dry_run=True).run()
    said = capsys.readouterr().err
    assert "exports" not in said
    assert "its model was trained on 1 purged clip; train it again" in said


def test_a_proof_that_fails_ends_the_command_with_the_files_and_places(workspace: Path) -> None:
    (workspace / "notes.txt").write_text("clip000")
    with pytest.raises(DataError, match=r"1 of \d+ files .*still hold something(?s:.*)notes\.txt: line 1: clip000"):
        PurgeClips(clips=("clip000",), workspace=str(workspace)).run()
    assert (workspace / JOB).exists()
    about = left_by(workspace, "clip000")
    assert (about["outcome"], about["error"]) == ("failed", {"code": "data", "message": WITHHELD})
    assert (about["results"]["clips"], about["results"]["found"]) == (1, 1)


def left_by(workspace: Path, *texts: str) -> dict[str, Any]:
    """The summary of the one command; neither it nor the log names one of the texts."""
    log, summary = sorted((workspace / COMMANDS).iterdir(), key=lambda path: path.suffix == ".json")
    assert not [text for text in texts for path in (log, summary) if text in path.read_text()]
    return read_json(summary)


def test_its_summary_and_log_count_what_was_done_and_name_nothing_that_was_purged(workspace: Path) -> None:
    hashes = plan_purge(str(workspace), Request(creators=("zoe",))).job.contents
    PurgeClips(creators=("zoe",), workspace=str(workspace)).run()
    about = left_by(workspace, "new0", "new1", "up0", "zoe", *hashes)
    assert (about["task"], about["outcome"], about["places"]) == ("PurgeClips", "done", {})
    results = about["results"]
    assert (results["clips"], results["creators"], results["copies"], results["found"]) == (3, 1, 0, 0)
    assert min(results[name] for name in ("deleted", "rewritten", "files_read", "bytes_read")) > 5
    (stage,) = about["stages"]
    assert (stage["stage"], stage["amount"], stage["unit"]) == ("PurgeClips", results["files_read"], "file")


def test_a_dry_run_names_a_damaged_table_and_leaves_it(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    (table,) = (workspace / "clips/june").glob("*.parquet")
    flip(table, table.stat().st_size // 2)
    before = contents(workspace)
    PurgeClips(clips=("clip000",), workspace=str(workspace), dry_run=True).run()
    assert contents(workspace) == before
    assert f"{table} is damaged" in caplog.text


def test_scores_by_a_marked_run_say_so(workspace: Path) -> None:
    PurgeClips(clips=("clip000",), workspace=str(workspace)).run()
    score_uploads(DatasetFolder(str(workspace), "uploads/first"), Run(str(workspace), RUN), CPU)
    assert read_json(workspace / "uploads/first/scores.json")["purged"].startswith("PURGED CLIPS: the model of run")
