"""Rendering a world from the command line."""

from pathlib import Path

import pytest

from simulation.render import read_options, write_manifest, write_options
from simulation.world import DEMO_WORLD, WorldOptions, make_world
from tasks.world import DEMO, RenderWorld, worlds_to_render
from tests.end_to_end.workspaces import REPOSITORY, Finished, changed, luigi, written


def render(folder: Path, *options: str) -> Finished:
    return luigi(["--module", "tasks", "RenderWorld", "--folder", "world", *options], folder)


def test_a_new_world_is_rendered_whole_and_only_once(tmp_path: Path) -> None:
    # Of a low resolution, one dancer and six seconds: the seed with the fewest pixels to draw.
    done = render(tmp_path, "--clips", "1", "--seed", "1061", "--challenges", "1", "--processes", "1")
    assert done.code == 0, done.output
    files = {path.relative_to(tmp_path / "world").as_posix() for path in (tmp_path / "world").rglob("*.*")}
    assert {"world.toml", "world.csv", "clips/w1061-0000.mp4", "truth/clips.parquet"} <= files
    before = written(tmp_path)
    again = render(tmp_path)
    assert (again.code, again.output) == (0, "nothing to do: the world of world is rendered\n")
    assert not changed(before, written(tmp_path))


def test_a_folder_of_real_clips_is_not_made_a_world(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world/world.csv").write_text("clip_id,uri,challenge\n")
    done = render(tmp_path)
    assert done.code != 0
    assert "choose another folder" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "world/world.toml").exists()


def test_a_world_of_no_clips_is_refused_with_the_option_named(tmp_path: Path) -> None:
    done = render(tmp_path, "--clips", "0")
    assert done.code != 0
    assert "--clips is 0" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_world_is_rendered_before_its_manifest_is_read(tmp_path: Path, has_manifest: bool) -> None:
    options = WorldOptions(seed=1010, clips=1, creators=1, seconds=(0.5, 0.5), broken=0)
    (tmp_path / "world").mkdir()
    write_options(tmp_path / "world", options)
    if has_manifest:
        write_manifest(tmp_path / "world", make_world(options))
    ingest = ["--module", "tasks", "IngestBatch", "--manifest", "world", "--workspace", "workspace"]
    done = luigi([*ingest, *([] if has_manifest else ["--workers", "2", "--worker-wait-jitter", "0"])], tmp_path)
    assert done.code == 0, done.output
    assert "clips: 1 readable, 0 failed" in done.output
    assert (tmp_path / "world/clips/w1010-0000.mp4").exists()
    before = written(tmp_path)
    assert luigi(ingest, tmp_path).code == 0
    assert not changed(before, written(tmp_path))


def test_worlds_are_found_by_file_folder_or_glob(tmp_path: Path) -> None:
    for name in ("a", "b", "real"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text("clip_id,uri,challenge\n")
    for name in ("a", "b"):
        write_options(tmp_path / name, WorldOptions(clips=1, creators=1))

    def found(spec: str) -> list[str]:
        return [Path(task.folder).name for task in worlds_to_render(f"{tmp_path}/{spec}")]

    assert found("a") == found("a/a.csv") == ["a"]
    assert found("*/*.csv") == ["a", "b"]
    assert found("real") == found("none.csv") == []


def test_the_demo_world_is_that_of_the_checkout_wherever_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert worlds_to_render(DEMO) == (RenderWorld(folder=DEMO, demo=True),)
    assert read_options(REPOSITORY / DEMO) == DEMO_WORLD
    write_manifest(tmp_path, make_world(DEMO_WORLD))
    (manifest,) = tmp_path.glob("*.csv")
    assert manifest.read_bytes() == (REPOSITORY / DEMO / "demo.csv").read_bytes()
