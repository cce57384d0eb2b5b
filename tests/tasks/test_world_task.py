"""Rendering a world from the command line."""

import subprocess
import sys
from pathlib import Path

from simulation.render import write_manifest, write_options
from simulation.world import WorldOptions, make_world
from tests.end_to_end.workspaces import changed, written
from tests.support.warm_process import environment


def luigi(folder: Path, task: str, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "luigi", "--module", "tasks", task, *options]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)


def render(folder: Path, *options: str) -> subprocess.CompletedProcess:
    return luigi(folder, "RenderWorld", "--folder", "world", *options)


def test_a_new_world_is_rendered_whole_and_only_once(tmp_path: Path) -> None:
    # Of a low resolution, one dancer and six seconds: the seed with the fewest pixels to draw.
    done = render(tmp_path, "--clips", "1", "--seed", "1061", "--challenges", "1", "--processes", "1")
    assert done.returncode == 0, done.stderr
    files = {path.relative_to(tmp_path / "world").as_posix() for path in (tmp_path / "world").rglob("*.*")}
    assert {"world.toml", "world.csv", "clips/w1061-0000.mp4", "truth/clips.parquet"} <= files
    before = written(tmp_path)
    assert render(tmp_path).returncode == 0
    assert not changed(before, written(tmp_path))


def test_a_folder_of_real_clips_is_not_made_a_world(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world/world.csv").write_text("clip_id,uri,challenge\n")
    done = render(tmp_path)
    assert done.returncode != 0
    assert "choose another folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "world/world.toml").exists()


def test_a_world_of_no_clips_is_refused_with_the_option_named(tmp_path: Path) -> None:
    done = render(tmp_path, "--clips", "0")
    assert done.returncode != 0
    assert "--clips is 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_world_is_rendered_before_its_manifest_is_read(tmp_path: Path) -> None:
    options = WorldOptions(seed=1010, clips=1, creators=1, seconds=(0.5, 0.5), broken=0)
    (tmp_path / "world").mkdir()
    write_options(tmp_path / "world", options)
    write_manifest(tmp_path / "world", make_world(options))
    ingest = ("IngestBatch", "--manifest", "world/world.csv", "--workspace", "workspace")
    done = luigi(tmp_path, *ingest)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "world/clips/w1010-0000.mp4").exists()
    before = written(tmp_path)
    assert luigi(tmp_path, *ingest).returncode == 0
    assert not changed(before, written(tmp_path))
