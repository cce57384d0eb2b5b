"""Logs and summaries of commands that name what is purged: gone, and not written again by a command at work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands.command import COMMANDS, Command, Stage
from pipeline.commands.summary import clip_counts, end
from pipeline.core.errors import DataError
from pipeline.dataset.failures import Outcome
from pipeline.purge.purge import carry_out, conclude, find_places, plan_purge
from pipeline.purge.request import Request
from tests.pipeline.purge.test_results import make_full_run
from tests.support.made_once import Workspaces
from tests.support.purging import purge
from tests.support.whole_files import flip


@pytest.fixture
def workspace(workspaces: Workspaces) -> Path:
    return workspaces.copy(make_full_run)


def ended(workspace: Path, task: str = "BuildVDV", stage_error: Exception | None = None, **content: Any) -> str:
    """Id of a command that has ended, a stage of it with this error."""
    command = Command.begin(str(workspace), task)
    try:
        with Stage(command, "ExtractBatch", "june"):
            if stage_error:
                raise stage_error
    except DataError:
        pass
    end(command, content)
    return command.id


def named(*clip_ids: str) -> dict[str, Any]:
    return clip_counts({"failed": len(clip_ids)}, [Outcome(name, "failed", "empty", "") for name in clip_ids])


def files(workspace: Path) -> set[str]:
    return {path.name for path in (workspace / COMMANDS).iterdir()}


def of(*commands: str) -> set[str]:
    return {f"{command}.{ending}" for command in commands for ending in ("json", "jsonl")}


def test_both_files_of_a_command_go_that_names_a_clip_its_file_or_its_creator_and_no_others(workspace: Path) -> None:
    clip_hash = plan_purge(str(workspace), Request(("new0",))).job.contents[0]
    kept = [ended(workspace), ended(workspace, **named("clip000", "clip001")), ended(workspace, results={"run": "a"})]
    gone = [
        ended(workspace, **named("clip000", "new0")),
        ended(workspace, "ActionFeedback", results={"clip": "new1"}),
        ended(workspace, stage_error=DataError("these are on both sides:\nzoe and others")),
        ended(workspace, stage_error=DataError("/clips/new0.mp4: no film")),
        ended(workspace, stage_error=DataError(f"sha256 {clip_hash}")),
    ]
    assert files(workspace) == of(*kept, *gone)
    planned = plan_purge(str(workspace), Request(creators=("zoe",)))
    listed = {place.path for place in find_places(str(workspace), planned)}
    places, proof = purge(workspace, creators=("zoe",))
    assert files(workspace) == of(*kept)
    assert not proof.found
    deleted = {place.path for place in places if place.action == "deleted" and place.path.startswith(COMMANDS)}
    assert deleted == {f"{COMMANDS}/{name}" for name in of(*gone)}
    assert deleted <= listed, "a dry run says so before"


def test_shards_go_that_an_extraction_on_a_cluster_left_without_a_place(workspace: Path) -> None:
    left = workspace / "attempts/1-a/0/features/pose/fp/june/00000-a.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PAR1 of clip000")
    places, proof = purge(workspace, "clip000")
    assert not left.exists()
    assert not proof.found
    assert "attempts/1-a/0/features/pose/fp/june/00000-a.parquet" in {place.path for place in places}


def test_a_damaged_summary_goes_and_what_a_killed_command_was_writing_and_notes_of_others_stay(workspace: Path) -> None:
    kept, damaged = ended(workspace), ended(workspace)
    flip(workspace / COMMANDS / f"{damaged}.json", -20)
    (workspace / COMMANDS / f".staged-0a1b-{damaged}.json").write_text('{"named": ["clip000"]}')
    (workspace / COMMANDS / "notes.json").write_text('{"mine": 1')
    places, proof = purge(workspace, "clip000")
    assert not proof.found
    assert files(workspace) == of(kept) | {"notes.json"}
    assert {place.why for place in places if place.path.startswith(COMMANDS)} == {"its summary is damaged"}


def test_the_proof_reads_what_commands_left(workspace: Path) -> None:
    (workspace / COMMANDS).mkdir()
    (workspace / COMMANDS / "mine.jsonl").write_text('{"message": "see\\nclip000"}\n')
    _, proof = purge(workspace, "clip000")
    assert proof.found == (f"{COMMANDS}/mine.jsonl: line 1: clip000",)


@pytest.mark.parametrize("moment", ["before it", "in its midst", "before the proof", "after it"])
def test_a_command_at_work_beside_a_purge_does_not_bring_the_clip_back(workspace: Path, moment: str) -> None:
    command = Command.begin(str(workspace), "BuildVDV")
    error = DataError("clip000.mp4 cannot be read")

    def fail_at(now: str) -> None:
        if now == moment:
            with pytest.raises(DataError), Stage(command, "ExtractBatch", "june"):
                raise error
            end(command, named("clip000"), error)

    @contextmanager
    def hold(work: str) -> Iterator[None]:
        if work == "clips/june" and not command.events("stage_ended"):
            fail_at("in its midst")
        yield

    fail_at("before it")
    planned = plan_purge(str(workspace), Request(("clip000",)))
    carry_out(str(workspace), planned, hold)
    fail_at("before the proof")
    assert not conclude(str(workspace), planned).found
    fail_at("after it")
    command.publish(at_once=True)
    assert not [name for name in files(workspace) if "clip000" in (workspace / COMMANDS / name).read_text()]
    assert (workspace / COMMANDS / f"{command.id}.jsonl").is_file(), "it goes on to tell what it is at"
