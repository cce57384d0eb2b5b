"""The export as CSV: types, no formula, nothing lost, and what Excel and R need to read it."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.export import spreadsheet
from tests.support.exports import HARD_CLIPS, clips_of, export


@pytest.fixture(scope="module")
def path(hard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("csv") / "june"
    export(hard, "csv", out)
    return out / "clips.csv"


def test_pandas_reads_the_types_that_the_dataset_has(hard: Path, path: Path) -> None:
    table, clips = pd.read_csv(path).set_index("clip_id"), clips_of(hard).set_index("clip_id")
    assert table.index.tolist() == ["a.b.c", "_.hidden", "'-1", *clips.index[3:]]
    assert pd.api.types.is_integer_dtype(table["likes"])
    assert table["likes"].tolist() == clips["likes"].tolist()
    assert pd.api.types.is_bool_dtype(table["abstained"])
    np.testing.assert_allclose(table["quality_pose"], clips["quality_pose"].astype(float))
    assert pd.isna(table.loc["broken", "score"])
    assert table.loc["a.b.c", "uploaded_at"] == "2024-06-01T00:00:00Z"


def test_people_faces_and_beats_are_counted(path: Path) -> None:
    table = pd.read_csv(path).set_index("clip_id")
    assert table.loc["a.b.c", ["people", "beats", "tempo"]].tolist() == [2, 9, 112]
    assert table.loc["a.b.c", "faces"] > 0
    assert table.loc["empty", "people"] == 0
    assert table.loc["broken", ["people", "faces", "beats"]].isna().all()


def test_no_cell_begins_a_formula(path: Path) -> None:
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    numbers = {at for at, name in enumerate(rows[0]) if name not in ("clip_id", "creator_id")}
    texts = [cell for row in rows[1:] for at, cell in enumerate(row) if at not in numbers]
    assert any("cmd" in cell for cell in texts)
    assert not [cell for cell in texts if cell.startswith(("=", "+", "-", "@", "\t"))]


def test_a_column_of_numbers_is_one_to_every_reader_though_some_are_missing(path: Path) -> None:
    import duckdb
    import polars

    lines = path.read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("clip_id,challenge,creator_id")
    assert lines[5].startswith("broken,wave,eve,,1,")
    kinds = polars.read_csv(path).schema
    assert (kinds["likes"], kinds["score"], kinds["abstained"]) == (polars.Int64, polars.Float64, polars.Boolean)
    described = duckdb.execute(f"DESCRIBE SELECT likes, score, people, abstained FROM '{path}'").fetchall()
    assert [kind for _, kind, *_ in described] == ["BIGINT", "DOUBLE", "BIGINT", "BOOLEAN"]


def test_excel_sees_that_it_is_utf_8(path: Path) -> None:
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")


def test_parts_that_are_written_one_after_the_other_are_one_table(
    hard: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreadsheet, "_TOGETHER", 2)
    export(hard, "csv", tmp_path / "out")
    assert (tmp_path / "out/clips.csv").read_bytes() == path.read_bytes()
    assert len(pd.read_csv(path)) == len(HARD_CLIPS)


def test_the_readme_claims_no_features_and_says_whose_counts_the_likes_are(path: Path) -> None:
    readme = (path.parent / "README.md").read_text()
    assert "label (`likes`) and scores, exported" in readme
    assert "There are no features in it." in readme
    assert "| `likes` | likes, as the manifest gives them |" in readme
