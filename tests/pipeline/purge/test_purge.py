"""A purge as a whole: what it holds, an interrupted one before it, a proof that fails, object stores."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.ingest.tombstones import JOB, read_tombstones
from pipeline.purge.job import end_job, read_job, write_job
from pipeline.purge.proof import needles_of, prove
from pipeline.purge.purge import carry_out, conclude, plan_purge
from pipeline.purge.request import Request
from tests.pipeline.purge.test_results import make_full_run
from tests.support.made_once import Workspaces
from tests.support.purging import purge
from tests.support.small_run import RUN
from tests.support.whole_files import flip


@pytest.fixture
def workspace(workspaces: Workspaces) -> Path:
    return workspaces.copy(make_full_run)


def test_a_purge_ends_with_a_proof_and_tombstones_and_without_its_own_file(workspace: Path) -> None:
    _, proof = purge(workspace, "twin0", "clip000")
    assert proof.found == ()
    assert proof.files == sum(path.is_file() for path in workspace.rglob("*"))
    assert not (workspace / JOB).exists()
    stones = read_tombstones(str(workspace))
    assert all(stones.has_clip(clip_id) for clip_id in ("twin0", "twin1", "clip000"))


def test_it_holds_what_the_tasks_hold_that_make_the_same(workspace: Path) -> None:
    held: list[str] = []

    @contextmanager
    def hold(work: str) -> Iterator[None]:
        held.append(work)
        yield

    carry_out(str(workspace), plan_purge(str(workspace), Request(("clip000", "up0"))), hold)
    assert held[:2] == ["features of june", "clips/june"]  # a task that holds the features may need the table
    assert {*held} == {"features of june", "clips/june", "features of new", "clips/new", RUN, "datasets/one",
                       "uploads/first"}  # fmt: skip


def test_an_interrupted_purge_of_other_clips_ends_first(workspace: Path) -> None:
    write_job(str(workspace), plan_purge(str(workspace), Request(("clip000",))).job)
    _, proof = purge(workspace, "clip001")
    assert not proof.found
    assert read_job(str(workspace)) is None
    job = plan_purge(str(workspace), Request(("clip000", "clip001"))).job  # both are known as purged
    assert not prove(str(workspace), needles_of(job, ())).found


def test_a_creator_of_an_interrupted_purge_is_known_though_no_table_names_it_any_more(workspace: Path) -> None:
    planned = plan_purge(str(workspace), Request(creators=("zoe",)))
    purge(workspace, creators=("zoe",))
    with pytest.raises(OptionError, match="knows no creator"):
        plan_purge(str(workspace), Request(creators=("nobody",)))
    (workspace.parent / "nothing").mkdir(exist_ok=True)
    write_job(str(workspace), planned.job)
    assert plan_purge(str(workspace), Request(creators=("zoe",))).job == planned.job
    end_job(str(workspace))


def test_what_is_found_after_all_is_named_and_the_purge_stays_open(workspace: Path) -> None:
    (workspace / "notes.txt").write_text("first\nwe kept clip000, see clip000.mp4\n")
    planned, proof = plan_purge(str(workspace), Request(("clip000",))), purge(workspace, "clip000")[1]
    assert proof.found == ("notes.txt: line 2: clip000",)
    assert read_job(str(workspace)) is not None
    (workspace / "notes.txt").unlink()
    assert not conclude(str(workspace), planned).found
    assert read_job(str(workspace)) is None


def test_a_damaged_job_is_named(workspace: Path) -> None:
    write_job(str(workspace), plan_purge(str(workspace), Request(("clip000",))).job)
    flip(workspace / JOB, -30)
    with pytest.raises(WorkspaceError, match=r"purge\.json is damaged .*a purge was interrupted"):
        purge(workspace, "clip000")


def test_a_workspace_in_an_object_store_is_purged_alike(workspace: Path, s3: str) -> None:
    store = fsspec.filesystem("s3")
    url = f"{s3}/workspace"
    store.put(f"{workspace}/", url, recursive=True)
    _, proof = purge(url, "clip000", "twin0", creators=())
    assert not proof.found
    purge(workspace, "clip000", "twin0")

    def names(paths: list[str], root: str) -> set[str]:
        return {path.removeprefix(root) for path in paths if "/.locks/" not in path}

    local = names([str(path) for path in workspace.rglob("*") if path.is_file()], str(workspace))
    assert names(store.find(url), url.removeprefix("s3://")) == local
