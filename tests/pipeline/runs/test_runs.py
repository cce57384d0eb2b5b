"""Runs by id and name: found, named, deleted, and nothing else touched."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import storage
from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.runs.run import RUN_SCHEMA, Run
from pipeline.runs.runs import check_name, delete_run, find_run, latest, name_run, read_names
from tests.end_to_end.workspaces import contents
from tests.support.whole_files import read_json, write_json

A, B, C = "a" * 16, "b" * 16, "c" * 16


def add_run(workspace: str, run_id: str, finished_at: str = "2026-01-01T00:00:00+00:00", **more: Any) -> None:
    folder = storage.join(workspace, "runs", run_id)
    run = {"schema": RUN_SCHEMA, "dataset": f"d{run_id}", "finished_at": finished_at} | more
    write_json(storage.join(folder, "run.json"), run)
    storage.write_bytes(storage.join(folder, "report.html"), b"<html>")
    storage.write_bytes(storage.join(folder, "logs/csv/metrics.csv"), b"1,2")


@pytest.fixture
def workspace(store: str) -> str:
    """Runs a, b, c of which b ended last, on each kind of filesystem; features and a dataset."""
    for run_id, day in ((A, 1), (B, 3), (C, 2)):
        add_run(store, run_id, f"2026-01-0{day}T00:00:00+00:00")
    storage.write_bytes(storage.join(store, "features/pose/ff/june/0000.parquet"), b"features")
    storage.write_bytes(storage.join(store, "datasets/d/clips.parquet"), b"clips")
    return store


def read_latest(workspace: str) -> dict:
    return read_json(storage.join(workspace, "latest.json"))


def test_a_run_is_found_by_its_id_and_by_its_name(workspace: str) -> None:
    name_run(workspace, B, "june")
    assert find_run(workspace, "june") == find_run(workspace, B) == B


def test_a_run_that_is_not_there_is_told_with_those_that_are(workspace: str) -> None:
    name_run(workspace, B, "june")
    with pytest.raises(OptionError, match=f"'may'; there are {A}, {B} \\(june\\), {C}"):
        find_run(workspace, "may")
    with pytest.raises(OptionError, match="there is none: BuildVDV trains one"):
        find_run(storage.join(workspace, "elsewhere"), "may")


def test_a_killed_training_is_no_run_but_can_be_deleted(workspace: str) -> None:
    storage.write_bytes(storage.join(workspace, "runs", "d" * 16, "logs/csv/metrics.csv"), b"1")
    with pytest.raises(OptionError, match="did not finish"):
        find_run(workspace, "d" * 16)
    delete_run(workspace, find_run(workspace, "d" * 16, finished=False))
    with pytest.raises(OptionError, match="no run of the name"):
        find_run(workspace, "d" * 16, finished=False)


def test_a_name_is_one_runs_alone_and_a_run_has_one(workspace: str) -> None:
    name_run(workspace, A, "june")
    name_run(workspace, A, "june")
    with pytest.raises(OptionError, match=f"the name of run {A}"):
        name_run(workspace, B, "june")
    name_run(workspace, A, "summer")
    name_run(workspace, B, "june")
    assert read_names(workspace) == {"summer": A, "june": B}


def test_runs_that_are_named_at_the_same_time_all_get_their_names(tmp_path: Path) -> None:
    names = [f"june-{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: name_run(str(tmp_path), f"{name[-1] * 16}", name), names))
    assert read_names(str(tmp_path)) == {name: name[-1] * 16 for name in names}


@pytest.mark.parametrize("name", ["../june", "a b", "", ".hidden", "x" * 65, A, "june/july", "names\n"])
def test_a_name_that_could_be_a_path_or_an_id_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="--run-name"):
        check_name(str(tmp_path), name)


def test_deleting_a_run_takes_its_folder_and_name_and_nothing_else(workspace: str) -> None:
    name_run(workspace, A, "june")
    name_run(workspace, B, "july")
    before = storage.listing(workspace)
    delete_run(workspace, A)
    gone = set(before) - set(storage.listing(workspace))
    assert gone == {f"runs/{A}/run.json", f"runs/{A}/report.html", f"runs/{A}/logs/csv/metrics.csv"}
    assert read_names(workspace) == {"july": B}
    name_run(workspace, C, "june")


def test_latest_then_says_the_run_that_ended_last_of_those_left(workspace: str) -> None:
    path = storage.join(workspace, "latest.json")
    write_json(path, latest("datasets/x", f"runs/{A}"))
    delete_run(workspace, C)
    assert read_latest(workspace)["run"] == f"runs/{A}"
    delete_run(workspace, A)
    assert read_latest(workspace) == {
        "dataset": f"datasets/d{B}", "run": f"runs/{B}", "report": f"runs/{B}/report.html",
    }  # fmt: skip
    delete_run(workspace, B)
    assert not storage.exists(path)


@pytest.mark.parametrize("name", ["runs/names.json", "latest.json", f"runs/{A}/run.json", f"runs/{B}/run.json"])
@pytest.mark.parametrize("content", [b"", b'{"june": ', b"\xff\xfe"])
def test_a_damaged_file_does_not_stop_a_deletion_halfway(
    workspace: str, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    name_run(workspace, A, "june")
    write_json(storage.join(workspace, "latest.json"), latest("datasets/x", f"runs/{A}"))
    storage.write_bytes(storage.join(workspace, name), content)
    delete_run(workspace, find_run(workspace, A))
    assert not any(path.startswith(f"runs/{A}/") for path in storage.listing(workspace))
    assert read_names(workspace) == {}
    newest = C if name == f"runs/{B}/run.json" else B
    assert read_latest(workspace)["run"] == f"runs/{newest}"
    assert f"{name} is damaged" in caplog.text or name == f"runs/{A}/run.json"


@pytest.mark.parametrize("run_id", ["", ".", "..", "../datasets", f"{A}/logs"])
def test_what_is_no_runs_id_deletes_nothing(tmp_path: Path, run_id: str) -> None:
    add_run(str(tmp_path), A)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/clips.parquet").write_text("clips")
    before = contents(tmp_path)
    with pytest.raises(WorkspaceError, match="nothing was deleted"):
        delete_run(str(tmp_path), run_id)
    assert contents(tmp_path) == before


def test_links_are_not_followed_out_of_the_runs_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "run.json").write_text('{"schema": 5}')
    workspace = tmp_path / "ws"
    add_run(str(workspace), A)
    (workspace / "runs" / B).symlink_to(outside)
    (workspace / "runs" / A / "elsewhere").symlink_to(outside)
    with pytest.raises(WorkspaceError, match="is a link"):
        delete_run(str(workspace), find_run(str(workspace), B))
    delete_run(str(workspace), A)
    assert not (workspace / "runs" / A).exists()
    assert (outside / "run.json").read_text() == '{"schema": 5}'


def test_a_run_of_another_schema_is_not_read(tmp_path: Path) -> None:
    add_run(str(tmp_path), A, schema=2)
    with pytest.raises(WorkspaceError, match=f"schema 2, this version reads {RUN_SCHEMA}; train anew"):
        _ = Run(str(tmp_path), f"runs/{A}").about
