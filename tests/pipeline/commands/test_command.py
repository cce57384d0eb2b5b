"""The log of a command: whose lines are in it, when it is there, and which old ones go."""

import json
import multiprocessing
import threading
from pathlib import Path
from typing import Any, Literal

import pytest

from pipeline.commands.command import COMMANDS, KEPT, WITHHELD, Command, Stage
from pipeline.core.locks import exclusive
from pipeline.ingest.tombstones import add_tombstones
from pipeline.purge.job import Job, end_job, write_job


def logged(command: Command) -> list[dict]:
    path = Path(command.workspace, COMMANDS, f"{command.id}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_log_begins_with_its_command_and_has_a_stage_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    command = Command.begin(str(tmp_path), "ExtractBatch")
    assert not (tmp_path / COMMANDS).exists(), "nothing is written before there is work"
    with Stage(command, "IngestBatch", "june") as stage:
        assert [line["event"] for line in logged(command)] == ["began", "stage_began"]
        stage.measure(clips=3)
    command.publish(at_once=True)
    began, first, last = logged(command)
    assert (began["command"], began["task"]) == (command.id, "ExtractBatch")
    assert (first["event"], first["stage"], first["of"]) == ("stage_began", "IngestBatch", "june")
    assert (last["event"], last["outcome"], last["error"], last["clips"]) == ("stage_ended", "done", None, 3)
    assert 0 <= first["seconds"] <= last["seconds"]
    assert last["took_s"] >= 0


def test_a_stage_that_fails_says_so_with_the_error_and_one_that_is_interrupted_is_told_apart(tmp_path: Path) -> None:
    command = Command.begin(str(tmp_path), "BuildVDV")
    for error in (ZeroDivisionError("by zero"), KeyboardInterrupt()):
        with pytest.raises(type(error)), Stage(command, "TrainFusion", ""):
            raise error
    failed, interrupted = command.events("stage_ended")
    assert (failed["outcome"], failed["error"]) == ("failed", {"code": "ZeroDivisionError", "message": "by zero"})
    assert interrupted["outcome"] == "interrupted"


def note_and_write(command: Command, number: int) -> None:
    for _ in range(50):
        command.note("progress", done=number)
        command.publish(at_once=True)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_and_threads_of_a_command_share_a_log_in_which_no_line_is_lost_or_garbled(
    tmp_path: Path, method: Literal["fork", "spawn"]
) -> None:
    command = Command.begin(str(tmp_path), "BuildVDV")
    context: Any = multiprocessing.get_context(method)
    others = [context.Process(target=note_and_write, args=(command, number)) for number in range(2)]
    for process in others:
        process.start()
    threads = [threading.Thread(target=note_and_write, args=(command, number)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    for process in others:
        process.join()
    for thread in threads:
        thread.join()
    done = [line["done"] for line in logged(command) if line["event"] == "progress"]
    assert sorted(done) == [number for number in range(4) for _ in range(50)]
    assert [path.name for path in (tmp_path / COMMANDS).iterdir()] == [f"{command.id}.jsonl"]


def test_commands_at_once_have_a_log_each_though_one_process_runs_both_and_they_are_alike(
    tmp_path: Path,
) -> None:
    one, other = (Command.begin(str(tmp_path), "BuildVDV") for _ in range(2))
    with Stage(one, "IngestBatch", "june"), Stage(other, "IngestBatch", "july"):
        pass
    for command in (one, other):
        command.publish(at_once=True)
    assert one.id != other.id
    assert {line.get("of") for line in logged(one)} == {None, "june"}
    assert {line.get("of") for line in logged(other)} == {None, "july"}


def test_the_newest_commands_of_each_task_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    folder = tmp_path / COMMANDS
    folder.mkdir()
    kept = [f"20260601T{number:06d}Z-BuildVDV-0a1b2c" for number in range(KEPT + 3)]
    for name in kept:
        (folder / f"{name}.jsonl").touch()
        (folder / f"{name}.json").touch()
    others = ["20250101T000000Z-ExtractBatch-0a1b2c.json", "notes.txt", "my-BuildVDV-notes.md"]
    for name in others:
        (folder / name).touch()
    Command.begin(str(tmp_path), "BuildVDV")
    left = {f"{name}.{ending}" for name in kept[-KEPT:] for ending in ("json", "jsonl")}
    assert {path.name for path in folder.iterdir()} == left | set(others)


def test_a_log_that_cannot_be_written_costs_one_warning_and_not_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.command._AGAIN_S", 0.0)
    (tmp_path / COMMANDS).write_text("a file in the folder's place")
    command = Command(str(tmp_path), "CompareRuns", "20260601T000000Z-CompareRuns-0a1b2c", "", 0.0, "")
    for _ in range(2):
        with Stage(command, "CompareRuns", ""):
            pass
        command.publish(at_once=True)
    (message,) = caplog.messages
    assert message.startswith(f"vdv: cannot write {tmp_path}/{COMMANDS}/{command.id}.jsonl: ")


def test_a_log_in_an_object_store_is_there_while_the_stage_runs(s3: str) -> None:
    import fsspec

    command = Command.begin(f"{s3}/workspace", "ExtractBatch")
    with Stage(command, "ExtractBatch", "june"):
        (path,) = fsspec.filesystem("s3").ls(f"{s3}/workspace/{COMMANDS}")
        lines = fsspec.filesystem("s3").cat(path).decode().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["began", "stage_began"]


def failed(command: Command) -> dict:
    """A stage of the command fails with a message; the same as the log in the workspace has it."""
    with pytest.raises(ValueError, match="a17"), Stage(command, "ExtractBatch", "june"):
        raise ValueError("a17.mp4 of u042: no film")
    command.publish(at_once=True)
    return logged(command)[-1]["error"]


def test_a_log_that_is_written_again_after_a_purge_holds_no_message_that_may_name_a_clip(tmp_path: Path) -> None:
    command = Command.begin(str(tmp_path), "BuildVDV")
    assert "a17" in failed(command)["message"]
    add_tombstones(str(tmp_path), ["a17"], [])
    command.publish(at_once=True)
    began, *_, last = logged(command)
    assert began["task"] == "BuildVDV"
    assert (last["stage"], last["error"]) == ("ExtractBatch", {"code": "ValueError", "message": WITHHELD})
    assert "a17" in failed(Command.begin(str(tmp_path), "BuildVDV"))["message"], "it began after the purge"


def test_a_command_that_begins_while_a_purge_is_under_way_keeps_no_message_after_it_either(tmp_path: Path) -> None:
    write_job(str(tmp_path), Job(("a17",), ()))
    command = Command.begin(str(tmp_path), "BuildVDV")
    assert failed(command)["message"] == WITHHELD
    end_job(str(tmp_path))
    assert failed(command)["message"] == WITHHELD


def test_a_log_is_not_written_while_a_purge_deletes_those_that_are_there(tmp_path: Path) -> None:
    command = Command.begin(str(tmp_path), "BuildVDV")
    writing = threading.Thread(target=command.publish, args=(True,))
    with exclusive(str(tmp_path), COMMANDS):
        writing.start()
        writing.join(0.5)
        assert writing.is_alive()
        assert not (tmp_path / COMMANDS).exists()
    writing.join(10)
    assert [line["event"] for line in logged(command)] == ["began"]
