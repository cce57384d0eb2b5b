"""Shards hold what was given, whole or not at all, and other tools read them."""

import gc
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError
from pipeline.core.workspace import Folder
from pipeline.decode.clips import Ending
from pipeline.features.columns import from_table, to_batch
from pipeline.features.endings import read_endings, write_endings
from pipeline.features.reader import ShardReader
from pipeline.features.shards import ShardWriter, provenance
from pipeline.modalities.appearance import AppearanceRows
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import ModalityRows
from pipeline.modalities.registry import modality_names
from tests.support.feature_rows import WIDTH, appearance_rows, face_rows, pose_rows, rows_of, scene_rows

PROVENANCE = provenance(profile="demo", weights={"net": "ab" * 32}, decoder="decord 0.6.0", options={"stride": 2})
Shards = dict[str, tuple[str, list[Any]]]  # path and rows by modality
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


def queried(query: str) -> list[tuple]:
    relation = duckdb.sql(query)
    assert relation is not None
    return relation.fetchall()


def write(
    path: str | Path,
    rows: Sequence[ModalityRows],
    order: Sequence[str] | None = None,
    metadata: Mapping[str, str] = PROVENANCE,
) -> str:
    modality = {"PoseRows": "pose", "FaceRows": "face", "SceneRows": "scene", "AppearanceRows": "appearance"}
    order = order or [row.clip_id for row in rows]
    with ShardWriter(str(path), modality[type(rows[0]).__name__], order, metadata) as writer:
        for row in rows:
            writer.add(row)
    return str(path)


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


@pytest.mark.parametrize("modality", modality_names())
def test_a_batch_turns_back_into_its_rows_without_a_file(modality: str) -> None:
    rows = rows_of(modality)
    assert_equal(from_table(modality, to_batch(rows)), rows)
    assert_equal(from_table(modality, pa.Table.from_batches([to_batch(rows)])), rows)


def test_numbers_that_are_not_finite_survive() -> None:
    rows = pose_rows(persons=1)
    rows.tracks[0].keypoints[0, 0] = [np.nan, np.inf, -np.inf]
    assert_equal(from_table("pose", to_batch(rows)), rows)


@pytest.mark.parametrize("modality", modality_names())
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
    assert queried(f"SELECT clip_id, count(*) FROM '{path}' GROUP BY clip_id") == [("two", 2)]
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
    assert metadata["schema_version"] == "1"
    assert metadata["modality"] == "scene"
    assert metadata["profile"] == "demo"
    assert json.loads(metadata["weights"]) == {"net": "ab" * 32}
    assert metadata["decoder"] == "decord 0.6.0"
    assert json.loads(metadata["options"]) == {"stride": 2}
    assert metadata["code_version"]
    assert metadata["spec"] == "0123"
    assert json.loads(metadata["tensors"])["feature"] == {"shape": f"T,{WIDTH}", "dtype": "float16"}


def test_tensors_have_neither_dictionary_nor_statistics_and_are_zstd(tmp_path: Path) -> None:
    for modality in modality_names():
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


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """One shard a modality with clips a and b; their rows."""
    rows = {modality: [rows_of(modality, "a"), rows_of(modality, "b", seed=1)] for modality in modality_names()}
    return {modality: (write(tmp_path / f"{modality}.parquet", both), both) for modality, both in rows.items()}


def assert_pose_and_feature(keypoints: Any, feature: bytes, shards: Shards) -> None:
    """What another tool read of clip b's second person and of its scene."""
    np.testing.assert_array_equal(np.array(keypoints, np.float32), shards["pose"][1][1].tracks[1].keypoints)
    decoded = np.frombuffer(feature, "<f2").reshape(-1, WIDTH)
    np.testing.assert_array_equal(decoded, shards["scene"][1][1].feature)


def test_pyarrow_reads_the_nesting_and_the_bytes(shards: Shards) -> None:
    pose, scene = pq.read_table(shards["pose"][0]), pq.read_table(shards["scene"][0])
    assert_pose_and_feature(pose["keypoints"][3].as_py(), scene["feature"][1].as_py(), shards)
    assert scene.schema.field("feature").metadata[b"shape"] == f"T,{WIDTH}".encode()


def test_duckdb_reads_the_nesting_and_the_bytes(shards: Shards) -> None:
    (pose, _), (scene, _) = shards["pose"], shards["scene"]
    keypoints = queried(f"SELECT keypoints FROM '{pose}' WHERE clip_id = 'b' AND is_lead")[0][0]
    feature = queried(f"SELECT feature FROM '{scene}' WHERE clip_id = 'b'")[0][0]
    assert_pose_and_feature(keypoints, feature, shards)
    nose_y = queried(f"SELECT keypoints[1][1][2] FROM '{pose}' WHERE clip_id = 'b' AND is_lead")[0][0]
    assert nose_y == cast(PoseRows, shards["pose"][1][1]).tracks[1].keypoints[0, 0, 1]


def test_polars_reads_the_nesting_and_the_bytes(shards: Shards) -> None:
    pose, scene = polars.read_parquet(shards["pose"][0]), polars.read_parquet(shards["scene"][0])
    assert pose.schema["keypoints"] == polars.List(polars.Array(polars.Float32, (17, 3)))
    assert_pose_and_feature(pose["keypoints"][3].to_numpy(), scene["feature"][1], shards)
    assert polars.scan_parquet(shards["face"][0]).select(polars.col("crop").list.len()).collect()["crop"].to_list() == [
        3,
        3,
    ]


@pytest.fixture
def huggingface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Loads Parquet files as Hugging Face's `datasets` does, without the network."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    def load(*files: str, **options: Any) -> Any:
        cache = str(tmp_path / "cache")
        return datasets.load_dataset("parquet", data_files=list(files), split="train", cache_dir=cache, **options)

    return load


def test_huggingface_datasets_reads_all_four_and_shows_crops_as_images(
    shards: Shards, huggingface: Callable[..., Any]
) -> None:
    pose, face, scene, appearance = (
        huggingface(shards[modality][0]) for modality in ("pose", "face", "scene", "appearance")
    )
    assert len(appearance) == 2
    assert_pose_and_feature(pose[3]["keypoints"], scene[1]["feature"], shards)
    assert pose.features["keypoints"].feature.length == 17
    for crop, jpeg in zip(face[1]["crop"], cast(FaceRows, shards["face"][1][1]).crop, strict=True):
        assert crop.size == (160, 160)
        np.testing.assert_array_equal(np.asarray(crop), np.asarray(Image.open(io.BytesIO(jpeg))))


@pytest.mark.parametrize("modality", modality_names())
def test_a_file_in_which_nobody_is_seen_or_every_clip_failed_is_read_by_huggingface_beside_others_and_as_a_stream(
    modality: str, shards: Shards, tmp_path: Path, huggingface: Callable[..., Any]
) -> None:
    """By itself it is not: `datasets` refuses to load zero rows, whatever they come from."""
    empty, full = str(tmp_path / f"empty-{modality}.parquet"), shards[modality][0]
    with ShardWriter(empty, modality, ["nobody", "failed"], PROVENANCE) as writer:
        if modality == "pose":
            writer.add(pose_rows("nobody", persons=0))
        else:
            writer.skip("nobody", "empty")
        writer.skip("failed", "empty")
    alone = huggingface(full)
    for files in ((empty, full), (full, empty)):
        together = huggingface(*files)
        assert len(together) == len(alone) > 0
        assert together.features == alone.features
    stream = huggingface(empty, streaming=True)
    assert list(stream) == []
    assert stream.features == alone.features


@pytest.mark.parametrize("faces", [0, 2])
def test_a_clip_without_faces_is_a_row_that_huggingface_reads(
    faces: int, tmp_path: Path, huggingface: Callable[..., Any]
) -> None:
    rows = huggingface(write(tmp_path / "face.parquet", [face_rows("a", faces=faces)]))
    assert [len(rows[0]["crop"]), len(rows[0]["frame"])] == [faces, faces]


def test_a_table_without_rows_has_no_row_group_that_huggingface_could_stumble_over(
    tmp_path: Path, huggingface: Callable[..., Any]
) -> None:
    schema = pa.schema([("clip_id", pa.string()), ("frame", pa.int32())])
    folder = Folder(str(tmp_path))
    folder.write_table("faces.parquet", schema.empty_table())
    folder.write_table("other.parquet", pa.table({"clip_id": ["a"], "frame": [1]}, schema))
    assert list(huggingface(folder.file("faces.parquet"), streaming=True)) == []
    assert len(huggingface(folder.file("faces.parquet"), folder.file("other.parquet"))) == 1
    assert pq.read_schema(folder.file("faces.parquet")) == schema
