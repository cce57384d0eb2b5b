"""The columns that docs/parquet.md promises are those that are written."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.decode.clips import Ending
from pipeline.features.columns import arrow_schema
from pipeline.features.endings import ENDINGS_SCHEMA
from pipeline.features.shards import ShardWriter, provenance
from pipeline.modalities.registry import extracted_modalities, extracted_names, find_extracted
from tests.support.feature_rows import appearance_rows, pose_rows, rows_of, scene_rows


@pytest.mark.parametrize("modality", extracted_names())
def test_every_modality_has_the_clip_the_grid_and_a_mask(modality: str) -> None:
    schema = arrow_schema(modality, 2048)
    assert schema.names[0] == "clip_id"
    assert schema.field("frame_index").type == pa.list_(pa.int32())
    assert schema.field("timestamp").type == pa.list_(pa.float32())
    assert schema.field("valid").type == pa.list_(pa.bool_())


@pytest.mark.parametrize("modality", extracted_names())
def test_every_array_says_its_shape_and_dtype_in_its_field(modality: str) -> None:
    for column in find_extracted(modality).columns:
        metadata = arrow_schema(modality, 2048).field(column.name).metadata
        if column.shape:
            assert metadata == {b"shape": column.shape.replace("D", "2048").encode(), b"dtype": column.dtype.encode()}
        else:
            assert metadata is None


def test_joints_are_nested_lists_of_fixed_inner_sizes() -> None:
    assert arrow_schema("pose").field("keypoints").type == pa.list_(pa.list_(pa.list_(pa.float32(), 3), 17))


def test_wide_features_are_bytes() -> None:
    assert arrow_schema("face").field("embedding").type == pa.binary()
    assert arrow_schema("scene", 2048).field("feature").type == pa.binary()
    assert arrow_schema("appearance", 2048).field("feature").metadata[b"shape"] == b"T,2048"


def test_endings_have_a_column_for_every_field_of_an_ending() -> None:
    assert ENDINGS_SCHEMA.names == [field.name for field in fields(Ending)]
    kinds: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int32(), float: pa.float64(), bytes: pa.binary()}
    kinds |= {tuple[int, ...]: pa.list_(pa.int32())}
    assert ENDINGS_SCHEMA.types == [kinds[field.type] for field in fields(Ending)]
    assert not any(column.nullable for column in ENDINGS_SCHEMA)
    described = {column.name: column.metadata for column in ENDINGS_SCHEMA if column.metadata}
    assert described == {"sketches": {b"shape": b"S,100", b"dtype": b"int8"}}


PAGE = (Path(__file__).parents[3] / "docs" / "parquet.md").read_text()
EXAMPLES = re.findall(r"^### (.+?)\n.*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page calls `path`: one shard a modality."""
    folder = tmp_path_factory.mktemp("shards")
    metadata = provenance(profile="demo", weights={}, decoder="decord", options={})
    for modality in extracted_names():
        with ShardWriter(f"{folder}/{modality}.parquet", modality, ["a", "b", "c"], metadata) as writer:
            writer.add(rows_of(modality, "a"))
            writer.skip("b", "corrupt")
            writer.add(pose_rows("c", persons=0) if modality == "pose" else rows_of(modality, "c", seed=1))
    return folder


def example(title: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    names = {"path": str(folder)}
    exec(dict(EXAMPLES)[title], names)
    return names


def test_the_page_has_an_example_for_every_tool() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") == 7


def test_the_example_for_vdv_gives_the_lead_and_the_features(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = example("vdv", folder, monkeypatch)
    np.testing.assert_array_equal(names["dancer"].numpy(), pose_rows("a").tracks[1].keypoints)
    np.testing.assert_array_equal(names["scene"].numpy(), scene_rows("a").feature.astype(np.float32))


def test_the_example_for_pyarrow_gives_arrays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = example("pyarrow, numpy and torch", folder, monkeypatch)
    np.testing.assert_array_equal(names["keypoints"], pose_rows("a").tracks[0].keypoints)
    np.testing.assert_array_equal(names["feature"].numpy(), scene_rows("a").feature.astype(np.float32))


def test_the_example_for_duckdb_counts_people_and_finds_the_wrist(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = example("DuckDB", folder, monkeypatch)
    lead = pose_rows("a").tracks[1]
    assert names["people"] == [("a", 2)]
    assert [y for _, _, y in names["wrist"]] == lead.keypoints[lead.valid, 10, 1].tolist()
    assert names["clips"] == ["a", "c"]


def test_the_example_for_polars_gives_arrays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = example("polars", folder, monkeypatch)
    np.testing.assert_array_equal(names["keypoints"], pose_rows("a").tracks[1].keypoints)
    np.testing.assert_array_equal(names["features"][0], appearance_rows("a").feature)
    assert names["faces"].rows() == [("a", 3), ("c", 3)]


def test_the_example_for_huggingface_shows_crops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert example("Hugging Face datasets", folder, monkeypatch)["crop"].mode == "RGB"
    people = example("Hugging Face datasets, as a stream", folder, monkeypatch)["people"]
    assert [row["clip_id"] for row in people] == ["a", "a"]


def test_the_example_for_pandas_gives_arrays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = example("pandas", folder, monkeypatch)
    np.testing.assert_array_equal(names["keypoints"], pose_rows("a").tracks[0].keypoints)
    assert list(names["seconds"].index) == [("a", 0), ("a", 1)]


def test_the_page_lists_every_column() -> None:
    for columns in (modality.columns for modality in extracted_modalities()):
        for column in columns:
            assert f"`{column.name}`" in PAGE
