"""Shards hold what was given, whole or not at all."""

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError
from pipeline.decode.clips import Ending
from pipeline.features.columns import from_table, to_batch
from pipeline.features.endings import read_endings, write_endings
from pipeline.features.parquet_files import SCHEMA_VERSION, writing
from pipeline.features.reader import ShardReader
from pipeline.features.shards import ShardWriter
from pipeline.modalities.appearance import AppearanceRows
from pipeline.modalities.registry import extracted_names
from tests.support.feature_rows import WIDTH, appearance_rows, face_rows, pose_rows, rows_of, scene_rows
from tests.support.feature_shards import PROVENANCE, write

SIZES = {"T": st.integers(0, 5), "M": st.integers(0, 6), "P": st.integers(0, 3)}


def assert_equal(first: Any, second: Any) -> None:
    """Same classes, dtypes, shapes and bits, down to the last field."""
    assert type(first) is type(second)
    if isinstance(first, np.ndarray):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second, strict=True)
    elif is_dataclass(first):
        for field in fields(first):
            assert_equal(getattr(first, field.name), getattr(second, field.name))
    elif isinstance(first, tuple):
        assert len(first) == len(second)
        for mine, yours in zip(first, second, strict=True):
            assert_equal(mine, yours)
    else:
        assert first == second


@settings(max_examples=25, deadline=None)
@given(SIZES["T"], SIZES["P"], st.integers(0, 99))
def test_pose_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, frames: int, persons: int, seed: int
) -> None:
    rows = pose_rows("clip", frames, persons, seed)
    path = write(tmp_path_factory.getbasetemp() / "pose.parquet", [rows])
    assert_equal(ShardReader(path).read("clip"), rows)


@settings(max_examples=25, deadline=None)
@given(SIZES["T"], SIZES["M"], st.integers(0, 99))
def test_faces_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, frames: int, faces: int, seed: int) -> None:
    rows = face_rows("clip", frames, faces, seed)
    path = write(tmp_path_factory.getbasetemp() / "face.parquet", [rows])
    assert_equal(ShardReader(path).read("clip"), rows)


@settings(max_examples=15, deadline=None)
@given(SIZES["T"], SIZES["T"], st.integers(0, 99))
def test_features_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, frames: int, others: int, seed: int
) -> None:
    for make in (scene_rows, appearance_rows):
        rows = [make("one", frames, seed=seed), make("two", others, seed=seed), make("three", 1)]
        path = write(tmp_path_factory.getbasetemp() / "features.parquet", rows)
        for row in rows:
            assert_equal(ShardReader(path).read(row.clip_id), row)


def test_the_mask_of_faces_says_which_frames_show_one() -> None:
    rows = replace(face_rows(frames=5, faces=3), frame=np.array([1, 1, 4], np.int32))
    assert to_batch(rows)["valid"].to_pylist() == [[False, True, False, False, True]]


@pytest.mark.parametrize("modality", extracted_names())
def test_a_batch_turns_back_into_its_rows_without_a_file(modality: str) -> None:
    rows = rows_of(modality)
    assert_equal(from_table(modality, to_batch(rows)), rows)
    assert_equal(from_table(modality, pa.Table.from_batches([to_batch(rows)])), rows)


def test_numbers_that_are_not_finite_survive() -> None:
    rows = pose_rows(persons=1)
    rows.tracks[0].keypoints[0, 0] = [np.nan, np.inf, -np.inf]
    assert_equal(from_table("pose", to_batch(rows)), rows)


@pytest.mark.parametrize("modality", extracted_names())
def test_any_order_of_arrival_gives_the_same_bytes(tmp_path: Path, modality: str) -> None:
    clips = ["a", "b", "c", "d"]
    bytes_seen = set()
    for number, arrival in enumerate(itertools.permutations(clips)):
        path = tmp_path / f"{number}.parquet"
        with ShardWriter(str(path), modality, clips, PROVENANCE) as writer:
            for clip in arrival:
                if clip == "b":
                    writer.skip("b", "corrupt")
                elif clip == "c" and modality == "pose":
                    writer.add(pose_rows("c", persons=0))
                else:
                    writer.add(rows_of(modality, clip, seed=ord(clip)))
        bytes_seen.add(path.read_bytes())
    assert len(bytes_seen) == 1


def test_a_clip_waits_in_memory_only_for_those_before_it(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path / "x.parquet"), "pose", ["a", "b", "c", "d"], {}) as writer:
        writer.add(pose_rows("c"))
        writer.add(pose_rows("b"))
        assert writer.pending == 2
        writer.add(pose_rows("a"))
        assert writer.pending == 0
        writer.skip("d", "corrupt")
        assert writer.pending == 0


def test_a_closed_writer_keeps_nothing_of_its_file(tmp_path: Path) -> None:
    """A run holds the writers of all its shards until it ends, and a file's footer is half a megabyte."""

    def open_files() -> int:
        gc.collect()
        return sum(isinstance(held, pq.ParquetWriter) for held in gc.get_objects())

    before = open_files()
    writer = ShardWriter(str(tmp_path / "x.parquet"), "pose", ["a"], {})
    writer.add(pose_rows("a"))
    assert open_files() == before + 1
    writer.close()
    assert open_files() == before


def test_a_clip_is_one_row_group_with_all_its_persons(tmp_path: Path) -> None:
    rows = [pose_rows("a", persons=2), pose_rows("b", persons=0), pose_rows("c", persons=3)]
    file = pq.ParquetFile(write(tmp_path / "pose.parquet", rows))
    groups = [file.read_row_group(number)["clip_id"].to_pylist() for number in range(file.num_row_groups)]
    assert groups == [["a", "a"], ["c", "c", "c"]]


def test_nobody_in_a_clip_is_no_row_but_the_clip_and_its_grid_are_known(tmp_path: Path) -> None:
    rows = [pose_rows("empty", persons=0, seed=5), pose_rows("two", persons=2)]
    path = write(tmp_path / "pose.parquet", rows, order=["empty", "two"])
    assert pq.read_table(path, columns=["clip_id"])["clip_id"].to_pylist() == ["two", "two"]
    reader = ShardReader(path)
    assert reader.clip_ids == ("empty", "two")
    assert_equal(reader.read("empty"), rows[0])


def test_a_shard_of_nothing_but_failures_is_a_file_that_says_so(tmp_path: Path) -> None:
    path = str(tmp_path / "scene.parquet")
    with ShardWriter(path, "scene", ["a", "b"], PROVENANCE) as writer:
        writer.skip("b", "no_frames")
        writer.skip("a", "corrupt")
    reader = ShardReader(path)
    assert reader.clip_ids == ()
    assert reader.skipped == {"a": "corrupt", "b": "no_frames"}
    assert polars.read_parquet(path).height == 0


def test_a_clip_without_frames_does_not_decide_how_wide_features_are(tmp_path: Path) -> None:
    rows = [appearance_rows("a", frames=0, width=0), appearance_rows("b")]
    reader = ShardReader(write(tmp_path / "x.parquet", rows))
    empty = reader.read("a")
    assert isinstance(empty, AppearanceRows)
    assert empty.feature.shape == (0, WIDTH)
    assert_equal(reader.read("b"), rows[1])
    assert pq.read_schema(reader.path).field("feature").metadata[b"shape"] == f"T,{WIDTH}".encode()


def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [rows_of("scene")], metadata=PROVENANCE | {"spec": "0123"})
    metadata = {key.decode(): value.decode() for key, value in pq.read_metadata(path).metadata.items()}
    assert metadata["schema_version"] == str(SCHEMA_VERSION)
    assert metadata["modality"] == "scene"
    assert metadata["profile"] == "demo"
    assert json.loads(metadata["weights"]) == {"net": "ab" * 32}
    assert metadata["decoder"] == "decord 0.6.0"
    assert json.loads(metadata["options"]) == {"stride": 2}
    assert metadata["code_version"]
    assert metadata["spec"] == "0123"
    assert json.loads(metadata["tensors"])["feature"] == {"shape": f"T,{WIDTH}", "dtype": "float16"}


def test_tensors_have_neither_dictionary_nor_statistics_and_are_zstd(tmp_path: Path) -> None:
    for modality in extracted_names():
        group = pq.read_metadata(write(tmp_path / f"{modality}.parquet", [rows_of(modality)])).row_group(0)
        for number in range(group.num_columns):
            column = group.column(number)
            assert column.compression == "ZSTD"
            assert not column.has_dictionary_page
            assert column.is_stats_set == (column.path_in_schema == "clip_id")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (replace(scene_rows(), indoor=np.zeros(3)), r"scene rows of clip clip: indoor is float64 \[3\]"),
        (
            replace(scene_rows(), top_category=np.zeros((3, 4), np.int16)),
            r"top_category is int16 \[3, 4\], must be .*5\]",
        ),
        (replace(appearance_rows(), feature=np.zeros((2, WIDTH), np.float16)), r"must be"),
        (replace(face_rows(), crop=()), r"3 faces, but 0 crops"),
        (replace(face_rows(), frame=np.array([2, 1, 3], np.int32)), r"frame must ascend within 0\.\.3"),
        (replace(face_rows(), frame=np.array([0, 1, 4], np.int32)), r"frame must ascend within 0\.\.3"),
        (replace(pose_rows(), tracks=(pose_rows(frames=5).tracks[0],)), r"valid is bool \[5\], must be bool \[6\]"),
        (replace(pose_rows(), tracks=(pose_rows().tracks[1],) * 2), r"2 leads"),
    ],
)
def test_arrays_that_are_not_as_promised_are_refused_by_name(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_batch(rows)


def test_a_writer_refuses_what_is_not_its_shards(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(ValueError, match="neither added nor skipped: b"):
        write(path, [pose_rows("a")], order=["a", "b", "c"][:2])
    with pytest.raises(ValueError, match="z is not of this shard"):
        write(path, [pose_rows("z")], order=["a"])
    with pytest.raises(ValueError, match="already added"):
        write(path, [pose_rows("a"), pose_rows("a")], order=["a"])
    with pytest.raises(ValueError, match="already added"):
        write(path, [pose_rows("b"), pose_rows("b")], order=["a", "b"])
    with pytest.raises(TypeError, match="takes pose rows, not face rows"):
        ShardWriter(str(path), "pose", ["a"], {}).add(face_rows("a"))
    with pytest.raises(ValueError, match="twice"):
        ShardWriter(str(path), "pose", ["a", "a"], {})
    with pytest.raises(ValueError, match="'clips'"):
        ShardWriter(str(path), "pose", ["a"], {"clips": "mine"})
    with pytest.raises(ValueError, match="49 wide, others 48"):
        write(path, [appearance_rows("a"), appearance_rows("b", width=49)])
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt), ShardWriter(str(path), "pose", ["a", "b"], {}) as writer:  # noqa: PT012
        writer.add(pose_rows("a"))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_no_shard(tmp_path: Path) -> None:
    program = (
        "import sys; from pipeline.features.shards import ShardWriter\n"
        "from tests.support.feature_rows import pose_rows\n"
        "writer = ShardWriter(sys.argv[1], 'pose', ['a', 'b'], {}); writer.add(pose_rows('a'))\n"
        "print('half', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "x.parquet"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not path.exists()
    assert storage.listing(str(tmp_path)) == {}


def test_a_shard_can_lie_on_an_object_store() -> None:
    path = "memory://bucket/features/x.parquet"
    rows = [face_rows("a"), face_rows("b", seed=1)]
    write(path, rows)
    assert_equal(ShardReader(path).read("b"), rows[1])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkspaceError, match="cannot write"):
        write(tmp_path / "file" / "x.parquet", [pose_rows("a")])


def test_endings_come_back(tmp_path: Path) -> None:
    path = str(tmp_path / "endings.parquet")
    endings = [
        Ending("b", "ok", "", "", 6, 6, "decord", 720, 1280, 1, 0.125, (0, 200), bytes(range(200))),
        Ending("a", "failed", "corrupt", "damaged at 3.1 s", 0, 6, "", 0, 0, 2, 1.5),
    ]
    write_endings(path, endings, {"profile": "demo"})
    assert read_endings(path) == endings
    write_endings(path, [], {})
    assert read_endings(path) == []
    with pytest.raises(WorkspaceError, match="holds scene, not endings"):
        read_endings(write(tmp_path / "scene.parquet", [rows_of("scene")]))


# Other tools


def test_a_full_disk_is_named_as_such() -> None:
    def fill() -> None:
        with writing("workspace/shard.parquet"), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(WorkspaceError, match=r"cannot write workspace/shard.parquet: No space .*; free some space"):
        fill()
