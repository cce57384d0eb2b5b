"""Damage of a finished workspace is named, and the command that made it makes it again, to the same results."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.hostile_builds import contents
from benchmarks.tiny_clips import tiny_world
from tests.end_to_end.workspaces import build_and_save, restored, run
from tests.support.whole_files import cut, flip

CLIPS = 10
DATASET = ("--manifest", "tiny.csv", "--shard-clips", "5", "--modalities", "pose,face,scene")
OPTIONS = (*DATASET, "--report-films", "0", "--run-name", "june", "--folds", "2")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    tiny_world(folder / "world", CLIPS)
    build_and_save(folder, *OPTIONS)
    return folder


@pytest.fixture
def built(pristine: Path) -> Path:
    return restored(pristine)


def results(folder: Path) -> dict[str, str]:
    """What must come out the same."""
    return contents(folder / "workspace")


def damaged(workspace: Path, harm: Callable[[Path], None], *patterns: str) -> list[Path]:
    paths = [path for pattern in patterns for path in sorted(workspace.glob(pattern))]
    assert len(paths) >= len(patterns)
    for path in paths:
        harm(path)
    return paths


HARMS = {
    "cut": lambda path: cut(path, 0.6),
    "flipped": lambda path: flip(path, path.stat().st_size // 2),
}
WITHOUT_ROOM = {".html", ".md", ".tex", ".png", ".svg"}  # for a checksum: the JSON file beside them has it
EVERYTHING = (
    "latest.json", "runs/names.json", "clips/*/*.parquet", "clips/*/endings/*/*.parquet",
    "clips/*/endings/*/.sizes.json", "features/*/*/*/*.parquet", "features/*/*/*/.sizes.json",
    "datasets/*/*.parquet", "datasets/*/*.json", "runs/*/*.json", "runs/*/*.parquet", "runs/*/*.safetensors",
    "runs/*/report.html", "runs/*/table.*", "runs/*/figures/*",
)  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize("harm", HARMS)
def test_a_workspace_damaged_everywhere_is_made_again_by_the_same_command(built: Path, harm: str) -> None:
    before = results(built)
    paths = damaged(built / "workspace", HARMS[harm], *EVERYTHING)
    done = run("BuildVDV", built, *OPTIONS)
    assert done.code == 0, done.output
    assert "Traceback" not in done.output
    unnamed = {path.suffix for path in paths if f"{path.relative_to(built)} is damaged" not in done.output}
    assert unnamed <= WITHOUT_ROOM, "what they ought to be was damaged, too"
    assert results(built) == before
    again = run("BuildVDV", built, *OPTIONS)
    assert "nothing to do" in again.output


def test_what_only_another_file_states_the_checksum_of_is_made_again_too(built: Path) -> None:
    before = results(built)
    patterns = ("runs/*/report.html", "runs/*/table.*", "runs/*/figures/*", "runs/*/embeddings.parquet")
    paths = damaged(built / "workspace", HARMS["flipped"], *patterns)
    done = run("BuildVDV", built, *OPTIONS)
    assert done.code == 0, done.output
    assert [path for path in paths if f"{path.relative_to(built)} is damaged" not in done.output] == []
    assert results(built) == before


def test_whole_files_in_each_other_s_places_are_named_and_made_again(built: Path) -> None:
    before, workspace = results(built), built / "workspace"
    pairs = [
        ("clips/*/*.parquet", "datasets/*/faces.parquet"),
        ("runs/*/run.json", "datasets/*/statistics.json"),
        ("runs/*/scores.parquet", "runs/*/folds.parquet"),
        ("features/face/*/*/00000-*.parquet", "features/face/*/*/00001-*.parquet"),
    ]
    paths = [next(workspace.glob(pattern)) for pair in pairs for pattern in pair]
    held = [path.read_bytes() for path in paths]
    for number, path in enumerate(paths):
        path.write_bytes(held[number ^ 1])
    done = run("BuildVDV", built, *OPTIONS)
    assert done.code == 0, done.output
    assert "Traceback" not in done.output
    assert [path for path in paths if f"{path.relative_to(built)} is damaged" not in done.output] == []
    assert results(built) == before


def test_a_shard_that_is_damaged_within_is_made_again_by_whoever_reads_it(built: Path) -> None:
    before = results(built)
    (shard,) = damaged(built / "workspace", lambda path: flip(path, 200), "features/scene/*/*/00000-*.parquet")
    shutil.rmtree(built / "workspace/datasets")
    done = run("AssembleDataset", built, *DATASET)
    assert done.code == 0, done.output
    assert f"{shard.relative_to(built)} is damaged" in done.output
    assert results(built) == before
