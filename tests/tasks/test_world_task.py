"""Rendering a world from the command line."""

from pathlib import Path

from simulation.render import write_manifest, write_options
from simulation.world import WorldOptions, make_world
from tests.end_to_end.workspaces import Finished, changed, luigi, written


def render(folder: Path, *options: str) -> Finished:
    return luigi(["--module", "tasks", "RenderWorld", "--folder", "world", *options], folder)


def test_a_new_world_is_rendered_whole_and_only_once(tmp_path: Path) -> None:
    # Of a low resolution, one dancer and six seconds: the seed with the fewest pixels to draw.
    done = render(tmp_path, "--clips", "1", "--seed", "1061", "--challenges", "1", "--processes", "1")
    assert done.code == 0, done.output
    files = {path.relative_to(tmp_path / "world").as_posix() for path in (tmp_path / "world").rglob("*.*")}
    assert {"world.toml", "world.csv", "clips/w1061-0000.mp4", "truth/clips.parquet"} <= files
    before = written(tmp_path)
    assert render(tmp_path).code == 0
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


def test_a_world_is_rendered_before_its_manifest_is_read(tmp_path: Path) -> None:
    options = WorldOptions(seed=1010, clips=1, creators=1, seconds=(0.5, 0.5), broken=0)
    (tmp_path / "world").mkdir()
    write_options(tmp_path / "world", options)
    write_manifest(tmp_path / "world", make_world(options))
    ingest = ("--module", "tasks", "IngestBatch", "--manifest", "world/world.csv", "--workspace", "workspace")
    done = luigi(ingest, tmp_path)
    assert done.code == 0, done.output
    assert (tmp_path / "world/clips/w1010-0000.mp4").exists()
    before = written(tmp_path)
    assert luigi(ingest, tmp_path).code == 0
    assert not changed(before, written(tmp_path))
