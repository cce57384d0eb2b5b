"""A creator purged from a built workspace on the command line: nothing is left, comes back, or is extracted anew."""

import random
import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from luigi.cmdline import luigi_run

from benchmarks.tiny_clips import render_clip
from models.task_command import task_command
from pipeline.commands.command import COMMANDS
from pipeline.core.locks import LOCKS
from pipeline.ingest.tombstones import add_tombstones
from pipeline.purge.job import write_job
from pipeline.purge.purge import plan_purge
from pipeline.purge.request import Request
from tests.end_to_end.workspaces import Finished, build_and_save, contents, luigi, restored, run
from tests.support.warm_process import environment, start
from tests.support.whole_files import read_json

CLIPS, KILLS = 12, 5
GONE = ("clip002", "clip003", "torn01")  # of creator1
BUILD = ("--manifest", "tiny.csv", "--shard-clips", "5", "--report-films", "0", "--max-failed", "0.1")


def tiny_world(folder: Path) -> None:
    """Clips of six creators, two each, in two challenges, and one that is no film and so is named in summaries."""
    rows = ["clip_id,uri,challenge,creator_id,likes,split"]
    for place in range(CLIPS):
        name, split = f"clip{place:03d}", "test" if place > 9 else "train"
        render_clip(folder / "clips" / f"{name}.mp4", seed=place, frames=6 + place % 5)
        rows.append(f"{name},clips/{name}.mp4,{'ab'[place % 2]},creator{place // 2},{10 * (place + 1) ** 2},{split}")
    (folder / "clips/torn01.mp4").write_text("no film")
    rows.append("torn01,clips/torn01.mp4,a,creator1,9,train")
    (folder / "tiny.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("purge")
    tiny_world(folder / "world")
    build_and_save(folder, *BUILD, "--run-name", "june")
    return folder


@pytest.fixture
def built(pristine: Path) -> Path:
    return restored(pristine)


def purge_words(*options: str) -> list[str]:
    return ["--module", "tasks", "PurgeClips", "--workspace", "workspace", *options]


def purge(folder: Path, *options: str) -> Finished:
    return luigi(purge_words(*options), folder)


def mentions(workspace: Path, *texts: str) -> list[str]:
    """Files with one of the texts in their name, in the values of a table, or in their bytes; by another way than
    PurgeClips looks.
    """
    found = []
    for path in workspace.rglob("*"):
        if path.is_file() and path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            columns = [name for name in file.schema_arrow.names if "feature" not in name and "sketch" not in name]
            told = f"{path.name} {file.read(columns=columns).to_pylist()} {file.metadata.metadata}"
        elif path.is_file():
            told = f"{path.name} {path.read_bytes().decode('latin-1')}"
        else:
            continue
        found += [str(path.relative_to(workspace))] * any(text in told for text in texts)
    return found


def hashes(workspace: Path) -> list[str]:
    (path,) = (workspace / "datasets").glob("*/clips.parquet")
    clips = pq.read_table(path, columns=["clip_id", "content_hash"]).to_pylist()
    return [clip["content_hash"] for clip in clips if clip["clip_id"] in GONE]


def lasting(workspace: Path) -> dict[str, str]:
    """All but the tombstones' salt, locks and records of commands, which say when they ran."""
    every = contents(workspace).items()
    passing = (LOCKS, COMMANDS)
    return {name: digest for name, digest in every if name != "tombstones.json" and not name.startswith(passing)}


@pytest.mark.timeout(600)
def test_a_purged_creator_is_nowhere_does_not_come_back_and_costs_no_extraction(built: Path) -> None:
    workspace = built / "workspace"
    texts = [*GONE, "creator1", *hashes(workspace)]
    assert len(mentions(workspace, *texts)) > 10
    assert mentions(workspace / COMMANDS, "torn01")
    before = contents(workspace)
    dry = purge(built, "--creators", "creator1", "--dry-run")
    assert dry.code == 0, dry.output
    assert {name: at for name, at in contents(workspace).items() if not name.startswith(LOCKS)} == {
        name: at for name, at in before.items() if not name.startswith(LOCKS)
    }

    done = purge(built, "--creators", "creator1")
    assert done.code == 0, done.output
    assert f"{built}/tiny.csv:4: clip002 {built}/clips/clip002.mp4" in done.output
    assert "none of 3 ids, 3 content hashes, 1 creator is in them" in done.output
    (summary,) = (workspace / COMMANDS).glob("*.json")  # the build's named a clip, and is gone
    about = read_json(summary)
    assert (about["task"], about["results"]["clips"], about["results"]["found"]) == ("PurgeClips", 3, 0)
    assert done.output.splitlines()[-1].startswith("summary: ")
    assert f"BuildVDV --manifest {built}/tiny.csv --workspace workspace" in done.output
    assert mentions(workspace, *texts) == []
    (scores,) = (workspace / "runs").glob("*/scores.parquet")
    assert pq.read_metadata(scores).num_rows == CLIPS - 2

    features = contents(workspace / "features")
    (built / "clips/again.mp4").write_bytes((built / "clips/clip002.mp4").read_bytes())
    with (built / "tiny.csv").open("a") as manifest:
        manifest.write("again,clips/again.mp4,a,zoe,5,train\n")
    again = run("BuildVDV", built, *BUILD)
    assert again.code == 0, again.output
    assert "tiny.csv: 3 left out, purged: clip002 (line 4), clip003 (line 5), torn01 (line 14)" in again.output
    assert "1 failed, purged: again" in again.output
    *_, newest = sorted((workspace / COMMANDS).glob("*-BuildVDV-*.json"))
    assert read_json(newest)["left_out"] == 3
    assert contents(workspace / "features") == features
    assert mentions(workspace, *texts) == []
    assert "nothing to do" in run("BuildVDV", built, *BUILD).output

    old = luigi(["--module", "tasks", "Recommend", "--run", "june", "--workspace", "workspace"], built)
    assert old.code == 0, old.output
    assert (
        f"was trained on 2 clips that were purged since. Train it again without: {task_command('BuildVDV')}"
        in old.output
    )


@pytest.mark.timeout(600)
def test_a_purge_killed_at_random_moments_ends_as_an_undisturbed_one(built: Path) -> None:
    workspace = built / "workspace"
    begun = time.monotonic()
    assert purge(built, "--creators", "creator1").code == 0
    longest = time.monotonic() - begun
    wanted = lasting(workspace)
    rng, killed = random.Random(7), 0
    while killed < KILLS:
        shutil.rmtree(workspace)
        shutil.copytree(built.parent / "saved/workspace", workspace)
        process = start(luigi_run, purge_words("--creators", "creator1"), folder=built, env=environment())
        process.join(rng.uniform(0.2, longest))
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
        done = purge(built, "--creators", "creator1") if process.exitcode else None
        assert done is None or done.code == 0, done and done.output
        assert lasting(workspace) == wanted


def test_a_build_between_a_killed_purge_and_the_next_leaves_the_clips_out_and_extracts_nothing(built: Path) -> None:
    workspace = built / "workspace"
    job = plan_purge(str(workspace), Request(creators=("creator1",))).job
    write_job(str(workspace), job)  # and here it was killed, once the tombstones were written
    add_tombstones(str(workspace), job.clip_ids, job.contents)
    features = contents(workspace / "features")
    between = run("AssembleDataset", built, "--manifest", "tiny.csv", "--shard-clips", "5")
    assert between.code == 0, between.output
    assert "clips: 10 ok" in between.output
    assert contents(workspace / "features") == features
    done = purge(built, "--creators", "creator1")
    assert done.code == 0, done.output
    assert mentions(workspace, *GONE, "creator1") == []
    made = contents(workspace / "features")
    after = run("AssembleDataset", built, "--manifest", "tiny.csv", "--shard-clips", "5")
    assert after.code == 0, after.output
    assert contents(workspace / "features") == made


def test_wrong_words_end_with_words_and_a_code(built: Path) -> None:
    for options, says in (
        (("--clips", "clip02"), "did you mean"),
        (("--creators", "creator9"), "knows no creator"),
        ((), "none is given"),
    ):
        done = purge(built, *options)
        assert done.code == 35
        assert says in done.output
        assert "Traceback" not in done.output
    (built / "workspace/notes.txt").write_text("clip002")
    failing = purge(built, "--clips", "clip002")
    assert failing.code == 30
    assert "notes.txt: line 1: clip002" in failing.output
