"""A workspace read in Python: tables, tensors, runs, and what is said where there is none of it."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline import Workspace
from pipeline.core import storage
from pipeline.core.errors import DamagedFile, OptionError, ProfileError, WorkspaceError
from pipeline.files.folder import Folder
from pipeline.modalities.pose import PoseTensors
from pipeline.runs.run import FOLDS, Run
from pipeline.runs.runs import LATEST, NAMES, latest, name_run
from tests.support.made_once import Workspaces
from tests.support.small_run import RUN, make_run
from tests.support.whole_files import flip, read_json, write_json

CLIPS = 40


@pytest.fixture(scope="module")
def made(workspaces: Workspaces) -> Path:
    """A workspace with a run named june, for tests that change nothing."""
    return _finished(workspaces)


@pytest.fixture
def own(workspaces: Workspaces) -> Path:
    """The like, for one test."""
    return _finished(workspaces)


def _finished(workspaces: Workspaces) -> Path:
    path = workspaces.copy(make_run)
    Folder(str(path)).write_json(LATEST, latest("datasets/one", RUN))
    name_run(str(path), RUN.removeprefix("runs/"), "june")
    return path


def test_importing_the_package_imports_nothing_heavy_and_the_workspace_neither_torch_nor_pandas() -> None:
    code = "import pipeline, sys; assert 'pyarrow' not in sys.modules; from pipeline import Workspace; Workspace('x')"
    code += "; print({'luigi', 'pandas', 'tasks', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    with pytest.raises(ImportError, match="cannot import name 'Workplace'"):
        exec("from pipeline import Workplace")


def test_the_clips_are_a_row_each_in_pandas_or_arrow(made: Path) -> None:
    ws = Workspace(made)
    clips = ws.clips().set_index("clip_id")
    assert len(clips) == CLIPS
    assert clips.loc["broken", ["status", "code"]].tolist() == ["failed", "corrupt"]
    assert clips["label"].notna().sum() > 30
    assert ws.clips("june").equals(ws.clips())
    table = ws.clips(arrow=True)
    assert table.column("clip_id").to_pylist() == clips.index.tolist()


def test_a_table_of_clips_is_there_before_a_dataset_is(own: Path) -> None:
    (own / LATEST).unlink()
    ws = Workspace(own)
    clips = ws.clips()
    assert clips["batch"].unique().tolist() == ["june"]
    assert len(clips) == CLIPS
    assert {"clip_id", "status", "code", "reason", "width", "duration_s"} <= set(clips)
    with pytest.raises(WorkspaceError, match="has no dataset yet"):
        ws.features("pose")
    assert ws.run().id == RUN.removeprefix("runs/")  # the one that ended last
    shutil.rmtree(own / "runs")
    assert ws.runs().empty
    with pytest.raises(OptionError, match="has no run yet; `build` trains one"):
        ws.run()
    assert "40 clips ingested, no dataset yet" in repr(ws)


def test_features_are_a_mapping_of_tensors_that_is_read_as_it_is_used(made: Path) -> None:
    pose = Workspace(made).features("pose")
    assert len(pose) == CLIPS - 1
    assert ("broken" in pose, "twin0" in pose, 7 in pose) == (False, True, False)
    twin = pose["twin0"]
    assert isinstance(twin, PoseTensors)
    assert twin.keypoints.shape[2:] == (17, 3)
    assert pose["nobody"].lead is None
    assert [clip_id for clip_id, _ in zip(pose, range(3), strict=False)] == list(pose)[:3]
    assert torch.equal(pickle.loads(pickle.dumps(pose))["twin0"].keypoints, twin.keypoints)
    assert pose.rows("twin0").clip_id == "twin0"
    loaded: DataLoader = DataLoader(pose, sampler=["twin0", "new0"], batch_size=None, num_workers=1)  # type: ignore[arg-type]
    assert torch.equal(next(iter(loaded)).keypoints, twin.keypoints)


def test_a_clip_without_features_says_why(made: Path) -> None:
    ws = Workspace(made)
    pose = ws.features("pose")
    with pytest.raises(KeyError, match=r"clip broken has no pose: it failed \(corrupt\): "):
        pose["broken"]
    with pytest.raises(KeyError, match="clip typo has no pose: it is no clip of datasets/one"):
        pose["typo"]
    assert pose.get("broken") is None
    assert ws.modalities() == ["pose", "scene"]
    with pytest.raises(OptionError, match="datasets/one has no audio, only pose, scene; BuildVDV with --modalities"):
        ws.features("audio")
    with pytest.raises(ProfileError, match="synchrony' is derived from others"):
        ws.features("synchrony")


def test_a_clip_that_cannot_be_heard_says_so(own: Path) -> None:
    dataset = Folder(str(own), "datasets/one")
    clips = dataset.read_table("clips.parquet")
    shards = clips["shard_pose"].where(clips["clip_id"] != "twin0")
    why = clips["clip_id"].map({"twin0": "silent"}).astype("string")
    dataset.write_table("clips.parquet", clips.assign(shard_audio=shards, without_audio=why))
    with pytest.raises(KeyError, match=r"clip twin0 has no audio: it cannot be heard \(silent\)"):
        Workspace(own).features("audio")["twin0"]


def test_a_run_is_found_by_name_or_id_and_gives_its_tables(made: Path) -> None:
    ws = Workspace(made)
    run = ws.run("june")
    assert run == ws.run() == ws.run(run.id) == Run(str(made), RUN)
    assert len(run.scores()) == CLIPS
    assert set(run.folds()["clip_id"]) <= set(ws.clips()["clip_id"])
    assert "score" in run.held_out()
    assert run.about["label"]["kind"] == "likes"
    assert run.report == f"{made}/{RUN}/report.html"
    with pytest.raises(WorkspaceError, match=r"metrics.json is not there; EvaluateRun makes it"):
        run.metrics()
    with pytest.raises(OptionError, match=r"no run of the name or id 'july'; there are a{16} \(june\)"):
        ws.run("july")


def test_the_runs_are_a_table_in_the_order_in_which_they_ended(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    about = read_json(own / RUN / "run.json")
    for name, day in (("b", 3), ("c", 2)):
        write_json(own / "runs" / (name * 16) / "run.json", about | {"finished_at": f"2020-01-0{day}T00:00:00+00:00"})
    write_json(own / "runs" / ("d" * 16) / "run.json", {"schema": 1})
    runs = Workspace(own).runs()
    assert runs["run"].tolist() == ["d" * 16, "c" * 16, "b" * 16, "a" * 16]
    assert runs["name"].tolist()[-1] == "june"
    assert runs["finished_at"].dt.day.tolist()[1:3] == [2, 3]
    flip(own / "runs" / ("b" * 16) / "run.json", 400)
    assert len(Workspace(own).runs()) == 3
    assert "the run is left out" in caplog.text


def test_damage_is_named_and_nothing_is_removed_by_reading(own: Path) -> None:
    ws = Workspace(own)
    for name, read in (
        (f"{RUN}/{FOLDS}", lambda: ws.run().folds()),
        ("datasets/one/clips.parquet", ws.clips),
        (NAMES, lambda: ws.run(RUN.removeprefix("runs/")).scores()),  # of names there is only a warning
        (LATEST, ws.clips),
    ):
        flip(own / name, 60)
        if name == NAMES:
            read()
        else:
            with pytest.raises(DamagedFile, match=f"{name} is damaged"):
                read()
        assert (own / name).exists()
    assert "latest.json is damaged" in repr(ws)


def test_a_path_without_a_workspace_is_named_by_all_that_reads(tmp_path: Path) -> None:
    (tmp_path / "june.csv").write_text("clip_id")
    ws = Workspace(tmp_path)
    for read in (ws.clips, ws.runs, ws.run, ws.modalities, lambda: ws.run("june"), lambda: ws.features("pose")):
        with pytest.raises(WorkspaceError, match=f"{tmp_path} holds no workspace.*make one with `build`"):
            read()
    assert "holds no workspace" in repr(ws)
    with pytest.raises(OptionError, match="did you mean"):
        ws.build(run_nane="june")  # type: ignore[call-overload]
    assert list(tmp_path.iterdir()) == [tmp_path / "june.csv"]


def test_a_path_is_that_of_when_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert Workspace("~/vdv").path == "/home/ann/vdv"
    monkeypatch.chdir(tmp_path)
    assert Workspace("vdv").path == str(tmp_path / "vdv")
    assert Workspace("s3://bucket/vdv").path == "s3://bucket/vdv"


def test_a_workspace_says_what_is_in_it(made: Path) -> None:
    assert repr(Workspace(made)).splitlines() == [
        f"Workspace('{made}')",
        "  40 clips of 2 challenges: 39 ok, 0 partial, 1 failed",
        "  features: pose of 39, scene of 39",
        "  1 run: aaaaaaaaaaaaaaaa (june)",
    ]


def test_a_workspace_in_an_object_store_is_read_as_one_on_a_disk(made: Path, s3: str) -> None:
    for file in made.rglob("*"):
        if file.is_file():
            storage.write_bytes(f"{s3}/vdv/{file.relative_to(made)}", file.read_bytes())
    here, there = Workspace(made), Workspace(f"{s3}/vdv")
    assert repr(there).splitlines()[1:] == repr(here).splitlines()[1:]
    pd.testing.assert_frame_equal(there.clips(), here.clips())
    pd.testing.assert_frame_equal(there.run("june").scores(), here.run().scores())
    assert torch.equal(there.features("scene")["twin0"].feature, here.features("scene")["twin0"].feature)
    with pytest.raises(WorkspaceError, match="holds no workspace"):
        Workspace(f"{s3}/elsewhere").clips()
