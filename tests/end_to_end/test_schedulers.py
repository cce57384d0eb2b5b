"""The same task in one process and in several, planned by one scheduler or another: all end alike."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import luigi
import pytest

from benchmarks.tiny_clips import render_clip, write_manifest
from pipeline.commands.command import COMMANDS
from tasks import ExtractBatch
from tests.end_to_end.workspaces import TINY_PROFILE, run
from tests.pipeline.decode.test_pool import HOSTILE
from tests.support.warm_process import ended, environment, start

CRASHING = "segfault-once"  # its decoder crashes where tests.pipeline.decode.hostile is on the path
CLIPS = ["clip0", "clip1", CRASHING]
TASK = ("--manifest", "tiny.csv", "--modalities", "appearance")
WORKERS = ("--workers", "2", "--worker-wait-interval", "0.1", "--worker-wait-jitter", "0.1")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest of three clips, and a workspace in which one of them has crashed its decoder."""
    folder = tmp_path_factory.mktemp("crashed")
    for seed, name in enumerate([*CLIPS, "late"]):
        render_clip(folder / "clips" / f"{name}.mp4", seed=seed, frames=24)  # enough of every second
    write_manifest(folder / "tiny.csv", CLIPS)
    done = run("ExtractBatch", folder, *TASK, python_path=HOSTILE)
    assert done.code == 0, done.output
    assert "clips: 2 ok, 0 partial, 1 failed" in done.output
    assert f"1 failed, crash: {CRASHING}" in done.output
    assert "1 may pass another time: add --retry-failed" in done.output
    return folder


@pytest.fixture
def folder(crashed: Path, tmp_path: Path) -> Path:
    """The same with a manifest and a workspace that may be changed; the clips are where they were."""
    shutil.copytree(crashed / "workspace", tmp_path / "workspace")
    manifest = (crashed / "tiny.csv").read_text().replace("clips/", f"{crashed}/clips/")
    (tmp_path / "tiny.csv").write_text(manifest)
    return tmp_path


def grow(manifest: Path) -> None:
    last = manifest.read_text().splitlines()[-1]
    with manifest.open("a") as file:
        file.write(last.replace(CRASHING, "late") + "\n")


@pytest.fixture(scope="module")
def luigid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a central scheduler."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "import luigi.cmdline; luigi.cmdline.luigid()"]
    state = tmp_path_factory.mktemp("luigid") / "state.pickle"
    command += ["--port", str(port), "--address", "127.0.0.1", "--state-path", str(state)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def ask(port: int, what: str, **about: str) -> dict:
    """What a central scheduler answers its page."""
    asked = urllib.parse.urlencode({"data": json.dumps(about)})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{what}?{asked}") as answer:
        return json.load(answer)["response"]


def done_at(port: int, family: str) -> list[str]:
    """The ids of the tasks of a family that a central scheduler has seen done."""
    tasks = ask(port, "task_list", status="DONE", upstream_status="")
    return [task_id for task_id, task in tasks.items() if task["name"] == family]


def test_failed_clips_are_tried_again_by_several_processes_that_plan_and_run(folder: Path) -> None:
    done = run("ExtractBatch", folder, *TASK, "--retry-failed", *WORKERS, "--parallel-scheduling")
    assert done.code == 0, done.output
    assert "clips: 3 ok, 0 partial, 0 failed" in done.output
    assert "Unfulfilled" not in done.output


def test_a_central_scheduler_is_used_where_one_is_named_and_no_run_is_taken_for_the_one_before(
    folder: Path, luigid: int
) -> None:
    central = ("--scheduler-host", "127.0.0.1", "--scheduler-port", str(luigid))
    first = run("ExtractBatch", folder, *TASK, *central, "--retry-failed")
    assert first.code == 0, first.output
    assert "clips: 3 ok, 0 partial, 0 failed" in first.output
    (ingest,) = done_at(luigid, "IngestBatch")
    assert ask(luigid, "get_task_progress_percentage", task_id=ingest)["progressPercentage"] == 100
    status = ask(luigid, "get_task_status_message", task_id=ingest)["statusMessage"]
    assert status.startswith("ingest tiny after ")
    assert ": 3 of 3 clips (100 %), 0 failed" in status

    grow(folder / "tiny.csv")
    second = run("ExtractBatch", folder, *TASK, *central, *WORKERS)
    assert second.code == 0, second.output
    assert "clips: 4 ok, 0 partial, 0 failed" in second.output
    assert len(done_at(luigid, "IngestBatch")) == 2
    log = max((folder / "workspace" / COMMANDS).glob("*.jsonl")).read_text().splitlines()
    stages = [(line["event"], line["stage"]) for line in map(json.loads, log) if line["event"].startswith("stage_")]
    assert stages == [
        ("stage_began", "IngestBatch"), ("stage_ended", "IngestBatch"),
        ("stage_began", "ExtractBatch"), ("stage_ended", "ExtractBatch"),
    ], "though each was a process of its own"  # fmt: skip


def build_three_times(folder: str) -> None:
    """As a notebook does, or a service: in one process, twice the same task and once a new one that is equal to it."""

    def task() -> ExtractBatch:
        return ExtractBatch(
            manifest="tiny.csv", modalities="appearance", profile=str(TINY_PROFILE), device="cpu", retry_failed=True
        )

    def build(again: ExtractBatch) -> None:
        assert luigi.build([again], local_scheduler=True, log_level="WARNING")

    kept = task()
    build(kept)
    grow(Path("tiny.csv"))
    build(kept)
    lines = Path("tiny.csv").read_text().splitlines()
    Path("tiny.csv").write_text("\n".join(lines[:-2]) + "\n")
    build(task())


def test_a_manifest_that_grew_is_seen_by_the_next_build_in_the_same_process(folder: Path) -> None:
    output = folder / "output.txt"
    process = start(build_three_times, str(folder), folder=folder, env=environment(), output=output)
    assert ended(process, 300) == 0, output.read_text()
    counts = [line for line in output.read_text().splitlines() if line.startswith("clips:")]
    assert counts == [f"clips: {count} ok, 0 partial, 0 failed" for count in (3, 4, 2)]
