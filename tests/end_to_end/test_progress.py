"""What a command says where there is no terminal, and leaves as its log and summary; and that a dry run leaves none."""

import json
import shutil
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from benchmarks.tiny_clips import tiny_world
from pipeline.commands.command import COMMANDS
from tests.end_to_end.workspaces import _luigi, contents, run, words
from tests.support.orphans import still_running
from tests.support.warm_process import environment, start
from tests.support.whole_files import read_json

OPTIONS = ("--manifest", "tiny.csv", "--shard-clips", "2")
EVERY_S = 0.1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest of six clips, one of which is no film."""
    tiny_world(tmp_path, 6)
    (tmp_path / "clips/clip003.mp4").write_text("no film")
    return tmp_path


def events(folder: Path) -> list[list[dict]]:
    """Of every command its log, in the order of the commands."""
    paths = (folder / "workspace" / COMMANDS).glob("*.jsonl")
    logs = [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]
    return sorted(logs, key=lambda log: log[0]["time"])


def summaries(folder: Path) -> list[dict]:
    return [read_json(path) for path in sorted((folder / "workspace" / COMMANDS).glob("*.json"))]


def test_a_build_without_a_terminal_tells_how_far_it_is_in_lines_and_as_data_and_what_came_of_it(folder: Path) -> None:
    dry = run("BuildVDV", folder, *OPTIONS, "--dry-run")
    assert dry.code == 0, dry.output
    assert "to probe: 6 clips" in dry.output
    assert not (folder / "workspace").exists()

    done = run("ExtractBatch", folder, *OPTIONS, "--progress-s", str(EVERY_S))
    assert done.code == 0, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("extract tiny after ")]
    assert lines[-1].split(": ")[1].startswith("5 of 5 clips (100 %), 0 failed; ")
    (log,) = events(folder)
    assert [log[0]["event"], log[-1]["event"]] == ["began", "ended"]
    progress = [line for line in log if line["event"] == "progress" and line["stage"] == "ExtractBatch"]
    assert min(len(progress), len(lines)) > 5
    pauses = [later["seconds"] - sooner["seconds"] for sooner, later in pairwise(progress)]
    assert sorted(pauses)[len(pauses) // 2] < 5 * EVERY_S, "of networks that are loaded nothing is heard for seconds"
    assert (progress[-1]["done"], progress[-1]["total"], progress[-1]["counts"]) == (5, 5, {"ok": 5})
    (about,) = summaries(folder)
    assert about["clips"] == {"ok": 5, "partial": 0, "failed": 1}
    assert [(code["code"], code["named"]) for code in about["codes"]] == [("not_a_video", ["clip003"])]
    assert done.output.splitlines()[-1] == f"summary: {folder}/workspace/{COMMANDS}/{about['command']}.json"

    failed = run("BuildVDV", folder, *OPTIONS)
    assert failed.code == 30
    assert "NOTE: the profile demo" not in failed.output, "the profile is another one"
    _, about = summaries(folder)
    assert (about["outcome"], about["error"]["code"]) == ("failed", "too_many_failed")
    assert about["codes"][0]["clips"] == 1

    before = contents(folder)
    shutil.rmtree(folder / "workspace/features/pose")
    lacking = contents(folder)
    dry = run("BuildVDV", folder, *OPTIONS, "--dry-run")
    assert dry.code == 0, dry.output
    assert contents(folder) == lacking != before
    (pose,) = [line for line in dry.output.splitlines() if line.startswith("  pose")]
    assert " 5 clips in 3 shards, 5 s of video, " in pose
    assert "not measured" not in pose, "it was measured by the first command"
    assert "TrainFusion: time not measured on this workspace yet" in dry.output


def test_a_command_that_is_killed_leaves_no_summary_and_a_log_that_can_be_read_up_to_then(folder: Path) -> None:
    options = words("ExtractBatch", folder, *OPTIONS, "--progress-s", str(EVERY_S))
    process = start(_luigi, options, folder=folder, env=environment())
    while not any(line["stage"] == "ExtractBatch" for log in events(folder) for line in log if "stage" in line):
        assert process.is_alive()
        time.sleep(0.01)
    time.sleep(3 * EVERY_S)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.join()
    assert not still_running(children)
    assert not summaries(folder)
    (log,) = events(folder)
    assert log[-1]["event"] == "progress"

    done = run("ExtractBatch", folder, *OPTIONS)
    assert done.code == 0, done.output
    killed, whole = events(folder)
    assert killed == log
    assert whole[-1]["event"] == "ended"
    (about,) = summaries(folder)
    assert about["command"] == whole[0]["command"]
    assert not list((folder / "workspace").rglob(".staged-*"))
