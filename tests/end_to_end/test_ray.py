"""A Ray cluster from the command line, workspace and clips on S3."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import psutil
import pyarrow.parquet as pq
import pytest

from benchmarks.tiny_clips import tiny_world
from pipeline.core.interrupt import EXIT_CODE
from pipeline.modalities.registry import extracted_names
from tests.end_to_end.workspaces import run, words
from tests.support.orphans import still_running
from tests.support.ray_cluster import TwoNodes, two_nodes
from tests.support.warm_process import environment


@pytest.fixture(scope="module")
def cluster(s3_server: str) -> Iterator[TwoNodes]:
    with two_nodes() as nodes:
        yield nodes


def options(cluster: TwoNodes, s3: str) -> tuple[str, ...]:
    return (
        *("--manifest", f"{s3}/manifests/tiny.csv", "--workspace", f"{s3}/workspace", "--shard-clips", "2"),
        *("--engine", "ray", "--ray-address", cluster.address),
    )


@pytest.fixture
def folder(tmp_path: Path, s3: str) -> Path:
    """A working folder with what must not be imported; clips and their manifest are on S3."""
    tiny_world(tmp_path / "world", 6)
    (tmp_path / "world/clips/clip003.mp4").write_text("no film")
    store = fsspec.filesystem("s3")
    store.put(str(tmp_path / "world/tiny.csv"), f"{s3}/manifests/tiny.csv")
    store.put(str(tmp_path / "world/clips"), f"{s3}/manifests/clips", recursive=True)
    folder = tmp_path / "folder"
    for package in ("pipeline", "tasks", "msgpack"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"open('{tmp_path / 'imported'}', 'w')\nraise SystemExit")
    return folder


def actors() -> list[psutil.Process]:
    """Those of the cluster that own networks."""
    children = set(psutil.Process().children(recursive=True))
    processes = [process for process in psutil.process_iter(["cmdline"]) if process in children]
    return [process for process in processes if "ray::ClusterOwner" in " ".join(process.info["cmdline"] or ())]


def test_a_command_extracts_on_a_cluster_and_leaves_no_process(cluster: TwoNodes, folder: Path, s3: str) -> None:
    done = run("ExtractBatch", folder, *options(cluster, s3))
    assert done.code == 0, done.output
    assert "5 ok, 0 partial, 1 failed" in done.output
    made = fsspec.filesystem("s3").find(f"{s3}/workspace")
    assert sum("/features/" in path and path.endswith(".parquet") for path in made) == 3 * len(extracted_names())
    assert not any("/attempts/" in path for path in made)
    assert not (folder.parent / "imported").exists()


def test_folds_are_trained_and_uploads_scored_on_a_cluster_as_on_one_machine(cluster: TwoNodes, tmp_path: Path) -> None:
    tiny_world(tmp_path, 8)
    options = (
        *("--manifest", "tiny.csv", "--modalities", "pose,scene", "--report-films", "0", "--folds", "2"),
        *("--decode-workers", "1", "--run-name", "june"),
    )
    ray = ("--engine", "ray", "--ray-address", cluster.address)
    folds, scores = [], []
    for engine in ((), ray):
        done = run("BuildVDV", tmp_path, *options, *engine)
        assert done.code == 0, done.output
        (path,) = tmp_path.glob("workspace/runs/*/folds.parquet")
        folds.append(pq.read_table(path))
        path.unlink()
        path.with_suffix(".json").unlink()
    assert folds[0].num_rows == 8
    assert folds[1].equals(folds[0])
    nowhere = ("--engine", "ray", "--ray-address", "127.0.0.1:9")
    assert "no Ray cluster can be used there" in run("BuildVDV", tmp_path, *options, *nowhere).output

    tiny_world(tmp_path / "new", 3, first=90)
    uploads = ("--manifest", "new/tiny.csv", "--run", "june")
    workspace = tmp_path / "workspace"
    shutil.copytree(workspace, tmp_path / "saved")
    assert "no Ray cluster can be used there" in run("ScoreUploads", tmp_path, *uploads, *nowhere).output
    for engine in ((), ray):
        shutil.rmtree(workspace)
        shutil.copytree(tmp_path / "saved", workspace)
        done = run("ScoreUploads", tmp_path, *uploads, *engine)
        assert done.code == 0, done.output
        (path,) = workspace.glob("uploads/*/scores.parquet")
        scores.append(pq.read_table(path))
    assert scores[0].num_rows == 3
    assert None not in scores[0]["score"].to_pylist()
    assert scores[1].equals(scores[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_killed_takes_its_actors_with_it(
    cluster: TwoNodes, folder: Path, s3: str, number: signal.Signals
) -> None:
    # Of one modality, the one that an actor imports least for: whose processes end is what is looked at.
    audio = words("ExtractBatch", folder, *options(cluster, s3), "--modalities", "audio")
    command = [sys.executable, "-P", "-m", "luigi", *audio]
    with subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.DEVNULL) as process:
        workers: list[psutil.Process] = []
        until = time.monotonic() + 300
        while not workers and time.monotonic() < until:
            left = actors()
            workers = [child for actor in left for child in actor.children()]
            time.sleep(0.05)
        assert workers
        process.send_signal(number)
        assert process.wait(60) == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: EXIT_CODE}[number]
    assert not still_running([*left, *workers])
    assert not still_running(actors())
    if number == signal.SIGINT:
        assert not fsspec.filesystem("s3").find(f"{s3}/workspace/attempts")
