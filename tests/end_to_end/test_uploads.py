"""New clips and finished runs: scored from the command line and by the service; named, compared, deleted."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

from benchmarks.serve_clients import BUSY, HOSTILE, Held, Reply, ask, score, settled, wait_for_address
from benchmarks.tiny_clips import render_clip, tiny_world
from pipeline import Workspace
from pipeline.modalities.registry import extracted_names
from pipeline.serve.__main__ import main
from tests.docs.pages import ROOT, examples, find
from tests.end_to_end.workspaces import TINY_PROFILE, Finished, changed, environment, luigi, run, written
from tests.support.orphans import still_running
from tests.support.warm_process import ended, start
from tests.support.whole_files import read_json, write_json

SERVE_PAGE = ROOT / "docs/serve.md"
NEW = ("new0", "new1", "far0", "broken")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A workspace with a run named june, a manifest of four new clips without likes, and a copy of both."""
    folder = tmp_path_factory.mktemp("uploads")
    world = folder / "world"
    tiny_world(world, 10)
    done = run("BuildVDV", world, "--manifest", "tiny.csv", "--run-name", "june")
    assert done.code == 0, done.output
    rows = ["clip_id,uri,challenge,creator_id"]
    for place, name in enumerate(NEW):
        render_clip(world / "clips" / f"{name}.mp4", seed=90 + place)
        rows.append(f"{name},clips/{name}.mp4,{'c' if name == 'far0' else 'ab'[place % 2]},zoe{place}")
    (world / "clips/broken.mp4").write_text("not a video")
    (world / "new.csv").write_text("\n".join(rows) + "\n")
    shutil.copytree(world, folder / "saved")
    return world, folder / "saved"


@pytest.fixture
def built(pristine: tuple[Path, Path]) -> Path:
    """The folder as it was, at its place: clips that are elsewhere are looked at again."""
    world, saved = pristine
    shutil.rmtree(world)
    shutil.copytree(saved, world)
    return world


def run_task(folder: Path, task: str, *options: str) -> Finished:
    """A task that looks at runs only, and takes no profile or device."""
    return luigi(["--module", "tasks", task, "--workspace", "workspace", *options], folder)


@dataclass(frozen=True)
class Service:
    """The service that docs/serve.md starts, on a copy of the workspace, as a process."""

    process: psutil.Process
    address: str
    clips: Path  # NEW
    temporary: Path  # its folder for temporary files


@pytest.fixture(scope="module")
def service(pristine: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    _, saved = pristine
    folder = tmp_path_factory.mktemp("service")
    shutil.copytree(saved / "workspace", folder / "workspace")
    temporary, log = folder / "tmp", folder / "log"
    temporary.mkdir()
    ((_, command),) = find(r"^    \.venv/bin/python -m pipeline\.serve (--run june .*)$", SERVE_PAGE)
    words = [*shlex.split(command[1]), "--profile", str(TINY_PROFILE), "--device", "cpu", "--port", "0"]
    words += ["--max-mb", "8", "--body-s", "3", "--decode-workers", "2", "--allow-uri", f"{saved}/world/*"]
    env = {**environment(), "TMPDIR": str(temporary)}
    process = start(_serve, words, folder=folder, env=env, output=log)
    try:
        address = wait_for_address(log, process.is_alive)
        yield Service(psutil.Process(process.pid), address, saved / "clips", temporary)
        children = psutil.Process(process.pid).children(recursive=True)
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(score, address, saved / "clips/new0.mp4", "a")
            while not ask(address, "GET", "/health").content["waiting"]:
                assert not asked.done()
            psutil.Process(process.pid).terminate()
            assert asked.result().status == 200, "what was taken is answered"
        assert ended(process, 60) == 0, log.read_text()
        assert not still_running(children)
        assert not list(temporary.iterdir())
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()


def _serve(words: list[str]) -> None:
    sys.exit(main(words))


def test_new_clips_are_extracted_and_scored_and_nothing_else_is_touched(built: Path, service: Service) -> None:
    before = written(built / "workspace")
    done = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "june")
    assert done.code == 0, done.output
    new = changed(before, written(built / "workspace"))
    assert {path.split("/")[0] for path in new} == {"clips", "features", "uploads"}
    assert {path.split("/")[1] for path in new if path.startswith("clips/")} == {"new"}
    assert len([path for path in new if path.startswith("features/")]) == len(extracted_names())
    (scores,) = (built / "workspace/uploads").glob("*/scores.parquet")
    rows = {row["clip_id"]: row for row in pq.read_table(scores).to_pylist()}
    assert set(rows) == set(NEW)
    assert [rows[name]["known_challenge"] for name in NEW] == [True, True, False, True]
    assert rows["broken"]["code"] == "not_a_video"
    assert rows["new0"]["score"] is not None
    assert scores.with_suffix(".csv").read_text().startswith('"clip_id","challenge","known_challenge","score"')
    assert "UNTRAINED WEIGHTS" in done.output
    assert str(scores.relative_to(built)) in done.output
    assert "the run was not trained on this challenge" in done.output
    assert "broken (not_a_video)" in done.output
    for name in NEW:
        assert_same_score(rows[name], score(service.address, built / f"clips/{name}.mp4", rows[name]["challenge"]))

    before = written(built / "workspace")
    again = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "june")
    assert again.code == 0, again.output
    assert "nothing to do" in again.output
    assert written(built / "workspace") == before


def test_uploads_are_scored_from_python_as_its_page_says(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "june")
    assert done.code == 0, done.output
    (built / "luigi.cfg").write_text(f"[ScoreUploads]\nprofile={TINY_PROFILE}\ndevice=cpu\n")
    monkeypatch.chdir(built)
    (example,) = [example for example in examples(ROOT / "docs/python.md") if "ws.score(" in example.code]
    names: dict[str, Any] = {"ws": Workspace("workspace")}
    example.run(names)
    assert "nothing to do" in capsys.readouterr().err
    (written,) = (built / "workspace/uploads").glob("*/scores.parquet")
    pd.testing.assert_frame_equal(names["new"], pd.read_parquet(written))
    assert set(names["best"]["clip_id"]) == set(NEW)


def test_another_profile_or_a_run_that_is_not_there_starts_nothing_and_says_what_to_do(built: Path) -> None:
    before = written(built / "workspace")
    other = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "june", profile="untrained")
    unknown = run("ScoreUploads", built, "--manifest", "new.csv", "--run", "july")
    for done, said in ((other, "Give the run's own profile with --profile"), (unknown, "(june)")):
        assert done.code == 35, done.output
        assert said in done.output
        assert "Traceback" not in done.output
    assert written(built / "workspace") == before


def test_a_run_is_named_again_without_being_made_again_and_deleted_by_that_name(built: Path) -> None:
    latest = json.loads((built / "workspace/latest.json").read_text())["run"]
    before = written(built / "workspace")
    done = run("BuildVDV", built, "--manifest", "tiny.csv", "--run-name", "summer")
    assert done.code == 0, done.output
    assert changed(before, written(built / "workspace")) == {"latest.json", "runs/names.json"}
    assert read_json(built / "workspace/runs/names.json") == {"summer": latest.removeprefix("runs/")}

    alone = run_task(built, "CompareRuns", "--run", "summer", "--run", "june")
    assert alone.code == 35
    assert "'june'" in alone.output
    assert "(summer)" in alone.output

    deleted = run_task(built, "DeleteRun", "--run", "summer")
    assert deleted.code == 0, deleted.output
    gone = set(before) - set(written(built / "workspace"))
    assert {"/".join(path.split("/")[:2]) for path in gone - {"latest.json"}} == {latest}
    assert not (built / "workspace" / latest).exists()


def test_a_name_that_another_run_has_is_refused_before_anything_is_trained(built: Path) -> None:
    before = written(built / "workspace")
    done = run("BuildVDV", built, "--manifest", "tiny.csv", "--seed", "1", "--run-name", "june")
    assert done.code == 35, done.output
    assert "choose another, or delete that run with DeleteRun --run june" in done.output
    assert "Traceback" not in done.output
    assert written(built / "workspace") == before


def test_comparing_a_run_that_no_folds_judged_says_what_to_do(built: Path) -> None:
    latest = built / "workspace" / json.loads((built / "workspace/latest.json").read_text())["run"]
    twin = built / "workspace/runs" / ("f" * 16)
    shutil.copytree(latest, twin)
    for path in latest.glob("*.json"):  # which state the run that they belong to
        write_json(twin / path.name, read_json(path))
    done = run_task(built, "CompareRuns", "--run", "june", "--run", twin.name)
    assert done.code == 30, done.output
    assert "was not judged by folds" in done.output
    assert "Traceback" not in done.output


def assert_same_score(row: dict, reply: Reply) -> None:
    """The service gives each number that ScoreUploads gives, whose batches of several clips round otherwise."""
    if row["status"] == "failed":
        assert (reply.status, reply.content["code"]) == (422, row["code"])
        return
    assert reply.status == 200, reply
    for name in ("abstained", "known_challenge", "status", "code"):
        assert reply.content[name] == row[name], name
    for name in ("score", "expected_percentile", "low", "high"):
        assert reply.content[name] == pytest.approx(row[name], abs=1e-6), name
    parts = {part["modality"]: (part["score"], part["attention"]) for part in reply.content["parts"]}
    modalities = [name.removeprefix("attention_") for name in row if name.startswith("attention_")]
    expected = {name: (row[f"score_{name}"], row[f"attention_{name}"]) for name in modalities}
    assert parts.keys() == expected.keys()
    for name, (part, attention) in expected.items():
        assert parts[name] == (pytest.approx(part, abs=1e-6), pytest.approx(attention, abs=1e-6)), name


def test_good_clips_are_scored_rightly_among_hostile_bodies_and_nothing_is_left(service: Service) -> None:
    film = service.clips / "new0.mp4"
    alone = score(service.address, film, "a")
    assert alone.status == 200
    before = Held.by(service.process, service.temporary)
    with ThreadPoolExecutor(32) as threads:
        hostile = {client: threads.submit(client, service.address, film.read_bytes()) for client in HOSTILE}
        good = [threads.submit(score, service.address, film, "a") for _ in range(7)]
        for client, ending in hostile.items():
            assert ending.result() in (*HOSTILE[client], BUSY), client.__name__
        for one in good:
            reply = one.result()
            assert (reply.status, reply.content["score"]) == (200, alone.content["score"])
    after = settled(service.process, service.temporary, before)
    assert after.is_within(before), (before, after)
    assert before.files == 0
    assert ask(service.address, "GET", "/ready").content["waiting"] == 0


def test_decode_workers_that_are_killed_cost_no_request(service: Service) -> None:
    for worker in service.process.children(recursive=True):
        if "pipeline.decode.worker" in worker.cmdline():
            worker.kill()
    assert score(service.address, service.clips / "new0.mp4", "a").status == 200


def test_requests_of_every_kind_that_the_description_allows_are_answered_as_it_says(service: Service) -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run", f"{service.address}/openapi.json", "--no-color",
         "--max-examples", "5", "--seed", "1", "--phases", "coverage,fuzzing",
         "--exclude-checks", "positive_data_acceptance"],
        capture_output=True, text=True, timeout=250, cwd=service.temporary.parent,
    )  # fmt: skip
    # Left out is what asks for a 2xx: bytes at random are no film.
    assert checked.returncode == 0, checked.stdout
    assert "Tested: 3" in checked.stdout


CURL = [
    pytest.param(match[1], int(match[2]), id=place) for place, match in find(r"^    (curl .*?)  +# (\d{3})", SERVE_PAGE)
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    ("command", "status"),
    [
        pytest.param(match[1], int(match[2]), id=place)
        for place, match in find(r"^    (curl .*?)  +# (\d{3})", SERVE_PAGE)
    ],
)
def test_a_request_on_the_page_is_answered_as_it_says(
    command: str, status: int, service: Service, tmp_path: Path
) -> None:
    shutil.copy(service.clips / "new0.mp4", tmp_path / "x7f3.mp4")
    words = shlex.split(command.replace("http://127.0.0.1:8000", service.address))
    done = subprocess.run(
        [*words, "-s", "-w", "\n%{http_code}"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == str(status), done.stdout + done.stderr
