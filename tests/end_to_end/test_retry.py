"""A clip that crashed its decoder is left alone by later runs, until somebody asks to try it again."""

from pathlib import Path

from benchmarks.tiny_clips import render_clip, tiny_world
from pipeline.modalities.registry import extracted_names
from tests.end_to_end.workspaces import changed, run, written
from tests.pipeline.decode.test_pool import HOSTILE


def test_a_clip_that_crashed_is_tried_again_when_asked_for_and_costs_itself_only(tmp_path: Path) -> None:
    manifest = tiny_world(tmp_path, 6)
    render_clip(tmp_path / "clips" / "segfault-once.mp4", seed=50, frames=16)
    with open(manifest, "a") as file:
        file.write("crashing,clips/segfault-once.mp4,a,creator9,7,train\n")
    options = ("--manifest", "tiny.csv", "--max-failed", "0.2")

    first = run("BuildVDV", tmp_path, *options, python_path=HOSTILE)
    assert first.code == 0, first.output
    assert "6 ok, 0 partial, 1 failed" in first.output

    before = written(tmp_path / "workspace")
    assert "nothing to do" in run("BuildVDV", tmp_path, *options).output
    assert changed(before, written(tmp_path / "workspace")) == set()

    again = run("BuildVDV", tmp_path, *options, "--retry-failed")
    assert again.code == 0, again.output
    assert "7 ok, 0 partial, 0 failed" in again.output
    new = changed(before, written(tmp_path / "workspace"))
    assert sum(path.startswith("features/") for path in new) == len(extracted_names())
    assert "nothing to do" in run("BuildVDV", tmp_path, *options, "--retry-failed").output
