"""The comparison of workspaces sees one bit, one row and one column, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.compare_workspaces import compare_workspaces, main
from tests.support.learnable_world import make_small_dataset
from tests.support.made_once import Workspaces

OLD, NEW = "a" * 16, "b" * 16


@pytest.fixture(scope="module")
def before(workspaces: Workspaces) -> Path:
    """A dataset of 24 clips with poses and scenes, and scores of it, one of them not a number."""
    workspace = workspaces.copy(make_small_dataset)
    (workspace / "features/pose/0000").rename(workspace / "features/pose" / OLD)
    clips = pd.read_parquet(workspace / "datasets/one/clips.parquet")
    score = np.where(clips.index == 3, np.nan, clips.index / 7.0)
    run = workspace / "runs" / OLD
    run.mkdir(parents=True)
    clips[["clip_id"]].assign(score=score, score_skeleton=-score).to_parquet(run / "scores.parquet")
    return workspace


@pytest.fixture
def after(before: Path, tmp_path: Path) -> Path:
    """The same under other fingerprints, with the column of today's name."""
    workspace = tmp_path / "after"
    shutil.copytree(before, workspace)
    for folder in ("features/pose", "runs"):
        (workspace / folder / OLD).rename(workspace / folder / NEW)
    change(
        workspace / "runs" / NEW / "scores.parquet", lambda rows: rows.rename_columns({"score_skeleton": "score_pose"})
    )
    return workspace


def change(path: Path, by: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(by(pq.read_table(path)), path)


def shard(workspace: Path, modality: str) -> Path:
    return next(workspace.glob(f"features/{modality}/*/*/00001-*.parquet"))


def flip(values: pa.ChunkedArray, row: int, byte: int) -> pa.Array:
    """The column of tensors with one bit of one clip changed."""
    rows = values.to_pylist()
    rows[row] = rows[row][:byte] + bytes([rows[row][byte] ^ 1]) + rows[row][byte + 1 :]
    return pa.array(rows, values.type)


def test_new_fingerprints_and_a_column_s_new_name_are_no_difference(
    before: Path, after: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(before), str(after)]) == 0
    compared = {d.name: d.compared for d in compare_workspaces(before, after)}
    assert compared["features/pose/*/june"] > 24  # rows of clips and persons
    assert compared["features/scene/0000/june"] == compared["clips/june/endings/0000"] == 24
    assert compared["datasets/one/clips.parquet"] == compared["runs/*/scores.parquet"] == 24
    assert "runs/*/scores.parquet" in capsys.readouterr().out


def test_one_bit_of_a_tensor_is_found_and_named(before: Path, after: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shard(after, "scene")
    change(path, lambda rows: rows.set_column(4, rows.field("feature"), flip(rows["feature"], 2, 5)))
    assert main([str(before), str(after)]) == 1
    clip = pq.read_table(path)["clip_id"][2].as_py()
    assert f"features/scene/0000/june: {clip} differs in feature" in capsys.readouterr().out


def test_a_joint_of_one_person_is_found_and_named(before: Path, after: Path) -> None:
    def moved(rows: pa.Table) -> pa.Table:
        people = rows["keypoints"].to_pylist()
        people[1][2][7][0] = float(np.nextafter(np.float32(people[1][2][7][0]), np.float32(np.inf)))
        place = rows.schema.get_field_index("keypoints")
        return rows.set_column(place, rows.field(place), pa.array(people, rows.schema.field(place).type))

    path = shard(after, "pose")
    change(path, moved)
    person = pq.read_table(path, columns=["clip_id", "track_id"]).to_pylist()[1]
    (found,) = [d for d in compare_workspaces(before, after) if d.unequal or d.notes]
    assert found.name == "features/pose/*/june"
    assert found.unequal == {(person["clip_id"], person["track_id"]): ["keypoints"]}


def test_a_number_in_place_of_none_is_found(before: Path, after: Path) -> None:
    scores = after / "runs" / NEW / "scores.parquet"
    change(scores, lambda rows: rows.set_column(1, "score", rows["score"].fill_null(0.0)))
    clip = pq.read_table(scores)["clip_id"][3].as_py()
    (found,) = [d for d in compare_workspaces(before, after) if d.unequal or d.notes]
    assert found.unequal == {(clip,): ["score"]}


@pytest.mark.parametrize(
    ("change_rows", "note"),
    [
        (lambda rows: rows.slice(1), "only before: 1 rows, first clip000"),
        (lambda rows: rows.take(pa.array([1, 0, *range(2, len(rows))])), "the rows are in another order"),
        (lambda rows: rows.append_column("mood", rows["score"]), "only after: column mood"),
        (lambda rows: rows.drop_columns(["score_pose"]), "only before: column score_pose"),
        (
            lambda rows: rows.set_column(1, "score", rows["score"].cast(pa.float32())),
            "column score was double, is float",
        ),
    ],
)
def test_a_row_or_column_gone_added_or_moved_is_named(
    before: Path, after: Path, change_rows: Callable[[pa.Table], pa.Table], note: str
) -> None:
    change(after / "runs" / NEW / "scores.parquet", change_rows)
    (found,) = [d for d in compare_workspaces(before, after) if d.notes]
    assert found.name == "runs/*/scores.parquet"
    assert note in found.notes


def test_a_table_that_only_one_has_is_a_difference(before: Path, after: Path) -> None:
    (after / "datasets/one/faces.parquet").unlink(missing_ok=True)
    (after / "datasets/one/clips.parquet").unlink()
    assert main([str(before), str(after)]) == 1


def test_a_clip_that_failed_for_another_reason_differs_in_the_file_s_metadata(before: Path, after: Path) -> None:
    path = shard(after, "scene")
    metadata = pq.ParquetFile(path).metadata.metadata | {b"skipped": b'{"x": "crash"}'}
    change(path, lambda rows: rows.replace_schema_metadata(metadata))
    (found,) = [d for d in compare_workspaces(before, after) if d.notes]
    assert found.notes == [f"metadata differ: skipped of {path.name}"]


def test_two_builds_in_one_workspace_are_refused(before: Path, after: Path) -> None:
    shutil.copytree(after / "runs" / NEW, after / "runs" / OLD)
    with pytest.raises(ValueError, match="compare workspaces built once each"):
        compare_workspaces(before, after)


def test_folders_without_tables_are_not_called_equal(tmp_path: Path) -> None:
    assert main([str(tmp_path), str(tmp_path)]) == 1
