"""Shards as pyarrow, DuckDB, polars and Hugging Face's datasets read them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.features.shards import ShardWriter
from pipeline.files.folder import Folder
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.registry import extracted_names
from tests.support.feature_rows import WIDTH, face_rows, pose_rows, rows_of
from tests.support.feature_shards import PROVENANCE, write

Shards = dict[str, tuple[str, list[Any]]]  # path and rows by modality


def queried(query: str) -> list[tuple]:
    relation = duckdb.sql(query)
    assert relation is not None
    return relation.fetchall()


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """One shard a modality with clips a and b; their rows."""
    rows = {modality: [rows_of(modality, "a"), rows_of(modality, "b", seed=1)] for modality in extracted_names()}
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


@pytest.mark.parametrize("modality", extracted_names())
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
