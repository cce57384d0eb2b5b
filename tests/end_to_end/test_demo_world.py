"""The whole pipeline on worlds that nothing was trained on, held against their truth."""

import dataclasses
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import pytest

from benchmarks.world_checks import PoseCheck, check_pose, check_world
from models.extractors.places365 import category_set
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.reader import ShardReader
from pipeline.files.folder import read_table
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.registry import load_profile
from simulation.render import render_clip, write_manifest, write_options
from simulation.truth import PEOPLE, read_clips_truth, read_people, write_clips
from simulation.world import Upload, WorldOptions, make_world
from tests.end_to_end.workspaces import Finished, changed, run, written

pytestmark = pytest.mark.timeout(1800)  # with a whole build, and on a machine that does other things, too
WORLD = WorldOptions(seed=1007, clips=12, creators=6, challenges=4, seconds=(1.0, 1.4), broken=0.06)
CATEGORIES, _ = category_set(load_profile("demo").entry("scene").categories)


def dataset_of(folder: Path) -> str:
    return json.loads((folder / "workspace/latest.json").read_text())["dataset"]


def checks(folder: Path, world: Path) -> dict:
    return check_world(world, str(folder / "workspace"), dataset_of(folder), CATEGORIES)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `world` and the workspace of a whole build of it, all by the one command."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "world").mkdir()
    write_options(folder / "world", WORLD)
    write_manifest(folder / "world", make_world(WORLD))
    done = build(folder)
    assert "report:" in done.output
    assert re.search(r"ranking: Spearman -?0\.\d\d \(.* to .*\) within a challenge, on 11 clips", done.output), (
        done.output
    )
    assert re.search(r"the best possible predictor reaches 0\.\d\d on the same clips", done.output)
    assert re.search(r"ExtractBatch .* s   pose .* face .* s", done.output)
    return folder


def build(folder: Path, *options: str) -> Finished:
    few = (
        "--folds",
        "2",
        "--epochs",
        "1",
        "--max-failed",
        "0.1",
        "--report-films",
        "3",
        "--RenderWorld-processes",
        "1",
    )
    done = run("BuildVDV", folder, "--manifest", str(folder / "world"), *few, *options, profile="demo")
    assert done.code == 0, done.output
    return done


def test_the_extractors_see_what_is_there(built: Path) -> None:
    found = checks(built, built / "world")
    assert found["pck"]["all"] >= 0.95, found
    assert found["scene"] >= 0.97, found
    assert found["lead_right"] >= 0.98, found
    assert found["switches_a_ten_clips"] < 1, found
    assert found["faces_found"] >= 0.98, found
    assert found["faces_matched"] >= 0.98, found
    assert found["worst_time_ms"] < 1, found


def test_broken_files_end_failed_and_every_other_clip_ok(built: Path) -> None:
    clips = DatasetFolder(str(built / "workspace"), dataset_of(built)).read_clips().set_index("clip_id")
    for upload in make_world(WORLD):
        wanted = "failed" if upload.script.phone.damage else "ok"
        assert clips.loc[upload.script.clip_id, "status"] == wanted, upload.script.phone


def test_run_again_nothing_is_done(built: Path) -> None:
    before = written(built)
    assert "nothing to do" in build(built).output
    assert not changed(before, written(built))


def test_the_same_seeds_give_the_same_scores_twice(built: Path) -> None:
    latest = json.loads((built / "workspace/latest.json").read_text())
    scores = built / "workspace" / latest["run"] / "scores.parquet"
    before, folds = read_table(str(scores)), read_table(str(scores.with_name("folds.parquet")))
    for path in sorted((built / "workspace" / latest["run"]).iterdir()):
        if path.is_file():
            path.unlink()
    build(built)
    assert read_table(str(scores)).equals(before)
    assert read_table(str(scores.with_name("folds.parquet"))).equals(folds)


# --- one and the same dance, filmed in different ways


def filmed_as(uploads: Sequence[Upload], name: str, **habits: object) -> tuple[Upload, ...]:
    return tuple(
        dataclasses.replace(
            upload,
            script=dataclasses.replace(
                upload.script,
                clip_id=f"{name}-{upload.script.clip_id}",
                phone=dataclasses.replace(upload.script.phone, **habits),  # type: ignore[arg-type]
            ),
        )
        for upload in uploads
    )


def render(folder: Path, uploads: Sequence[Upload]) -> None:
    for name in ("clips", PEOPLE):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for upload in uploads:
        render_clip(folder, upload)
    write_manifest(folder, tuple(uploads))
    write_clips(folder, uploads)


@pytest.fixture(scope="module")
def habits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a world a way of filming; each holds the same four clips."""
    folder = tmp_path_factory.mktemp("habits")
    uploads = make_world(WorldOptions(seed=1008, clips=3, creators=3, seconds=(1.2, 1.4), broken=0))
    plain = {"width": 540, "height": 960, "variable_rate": False, "rotation": 0, "codec": "h264", "caption": ""}
    uploads = filmed_as(uploads, "x", **plain, crf=24, fps=30.0)
    uploads = tuple(
        dataclasses.replace(u, script=dataclasses.replace(u.script, shots=u.script.shots[:1])) for u in uploads
    )
    render(folder / "plain", filmed_as(uploads, "plain"))
    turned = [*filmed_as(uploads[:2], "r90", rotation=90), *filmed_as(uploads[2:], "r270", rotation=270)]
    render(folder / "turned", turned)
    render(folder / "uneven", filmed_as(uploads, "uneven", variable_rate=True))
    return folder


@cache
def poses(folder: Path, name: str, profile: Path | str = "demo") -> dict[str, PoseRows]:
    """What is extracted of one of the worlds, by clip."""
    workspace = folder / f"workspace-{name}-{Path(profile).stem}"
    manifest = ("--manifest", str(folder / name), "--workspace", str(workspace))
    done = run("ExtractBatch", folder, *manifest, "--modalities", "pose", profile=profile)
    assert done.code == 0, done.output
    rows = {}
    for path in workspace.glob("features/pose/*/*/*.parquet"):
        shard = ShardReader(str(path))
        for clip_id in shard.clip_ids:
            found = shard.read(clip_id)
            assert isinstance(found, PoseRows)
            rows[clip_id] = found
    return rows


def pck(folder: Path, name: str, profile: Path | str = "demo") -> float:
    check, truth = PoseCheck(), read_clips_truth(folder / name).set_index("clip_id")
    for clip_id, rows in poses(folder, name, profile).items():
        check_pose(check, rows, read_people(folder / name, clip_id), truth.loc[clip_id])
    assert check.clips == 3
    assert check.worst_time_s < 0.001
    return check.pck["all"].share


def people(folder: Path, name: str, profile: Path | str = "demo") -> dict[tuple[str, int], set[bytes]]:
    """Everybody's keypoints, by clip and frame of the file."""
    found = {}
    for clip_id, rows in poses(folder, name, profile).items():
        for place, frame in enumerate(rows.grid.frame_index):
            seen = {track.keypoints[place].tobytes() for track in rows.tracks if track.valid[place]}
            found[clip_id, int(frame)] = seen
    return found


def changed_profile(folder: Path, name: str, old: str, new: str) -> Path:
    text = (resources.files("models.weights") / "profile_files/demo.toml").read_text()
    assert text.count(old) >= 1
    path = folder / f"{name}.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize("name", ["turned", "uneven"])
def test_a_turned_or_uneven_file_costs_no_accuracy(habits: Path, name: str) -> None:
    assert pck(habits, name) > pck(habits, "plain") - 0.01


def test_a_denser_grid_costs_no_accuracy(habits: Path, tmp_path: Path) -> None:
    profile = changed_profile(tmp_path, "dense", "sample_fps = 10.0", "sample_fps = 15.0")
    assert pck(habits, "plain", profile) > pck(habits, "plain") - 0.01


def test_a_stride_gives_the_same_people_in_fewer_frames(habits: Path, tmp_path: Path) -> None:
    profile = changed_profile(tmp_path, "strided", "stride = 1", "stride = 3")
    every, third = people(habits, "plain"), people(habits, "plain", profile)
    assert len(every) > 2.5 * len(third)
    assert third
    assert all(every[frame] == seen for frame, seen in third.items())
