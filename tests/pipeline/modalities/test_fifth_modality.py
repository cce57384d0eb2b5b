"""A fifth modality, the mean colour of a frame: one record in this module, and the product carries it from the film to
the report without knowing of it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import luigi
import numpy as np
import pandas as pd
import pytest
from torch import Tensor

from benchmarks.tiny_clips import tiny_world
from models.extractors.extractor import Extractor, Prepared
from models.weights.profiles import Entry
from pipeline.features.reader import ShardReader, tensors
from pipeline.modalities import registry
from pipeline.modalities.record import (
    CLIP_COLUMNS,
    GRID_COLUMNS,
    Column,
    Decoded,
    FeatureModality,
    Grid,
    ModalityRows,
    stacked,
)
from tasks import BuildVDV
from tests.end_to_end.workspaces import TINY_PROFILE


@dataclass(frozen=True)
class ColourRows(ModalityRows):
    modality: ClassVar[str] = "colour"
    feature: np.ndarray  # float16 [T, 3] mean red, green, blue, 0..1


class ColourExtractor(Extractor):
    modality = "colour"

    def __init__(self, batch_size: int):
        self.batch_size = batch_size

    def prepare(self, frames: Tensor) -> Prepared:
        return Prepared(frames.float().mean((1, 2)) / 255, list(range(len(frames))), [None] * len(frames))

    def launch(self, inputs: Tensor, extras: list[Any]) -> Tensor:
        return inputs

    def collect(self, outputs: Tensor, extras: list[Any]) -> list[Any]:
        return list(outputs.cpu().numpy().astype(np.float16))


class Colour(FeatureModality):
    name = "colour"
    version = 1
    entry = Entry
    rows = ColourRows
    columns = (*CLIP_COLUMNS, *GRID_COLUMNS, Column("feature", "float16", "T,D", wide=True))
    subject = "the picture's light"

    def build_extractor(self, entry: Entry, state: dict[str, Tensor] | None, **common: Any) -> ColourExtractor:
        return ColourExtractor(common["batch_size"])

    def assemble(self, decoded: Decoded, grid: Grid, frame: np.ndarray, results: Sequence[np.ndarray]) -> ColourRows:
        return ColourRows(decoded.ending.clip_id, grid, stacked(results, (3,), np.float16))

    def quality(self, rows: ColourRows, decoded: float, lead_faces: np.ndarray) -> float:
        return decoded * float(rows.feature.mean(dtype=float))


PROFILE = """
[colour]
architecture = "mean"
weights = "untrained:0"
stride = 2
batch_size = { cpu = 4, cuda = 4 }
"""


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of a whole build of scene and colour."""
    monkeypatch.setattr(registry, "MODALITIES", (*registry.MODALITIES, Colour()))
    profile = tmp_path / "five.toml"
    profile.write_text(TINY_PROFILE.read_text() + PROFILE)
    workspace = tmp_path / "workspace"
    build = BuildVDV(
        manifest=str(tiny_world(tmp_path, 12)),
        workspace=str(workspace),
        profile=str(profile),
        modalities="scene,colour",
        device="cpu",
        epochs=2,
        folds=2,
        decode_workers=1,
        report_films=2,
    )
    assert luigi.build([build], local_scheduler=True, log_level="WARNING")
    return workspace


def test_a_modality_is_one_record_from_the_film_to_the_report(built: Path) -> None:
    (shard,) = (built / "features" / "colour").rglob("*.parquet")
    reader = ShardReader(str(shard))
    assert len(reader.clip_ids) == 12
    rows = reader.read("clip003")
    assert isinstance(rows, ColourRows)
    assert rows.feature.shape == (len(rows.grid.timestamp), 3)
    assert np.ptp(rows.feature) < 1
    assert (tensors(rows).feature.numpy() == rows.feature.astype(np.float32)).all()

    latest = json.loads((built / "latest.json").read_text())
    clips = pd.read_parquet(built / latest["dataset"] / "clips.parquet").set_index("clip_id")
    assert clips.loc["clip003", "quality_colour"] == pytest.approx(float(rows.feature.mean(dtype=float)))
    assert json.loads((built / latest["dataset"] / "statistics.json").read_text())["features"]["colour"] == 3

    run = json.loads((built / latest["run"] / "run.json").read_text())
    assert run["config"]["modalities"] == ["scene", "colour"]
    assert run["features"]["colour"]["width"] == 3
    scores = pd.read_parquet(built / latest["run"] / "scores.parquet")
    assert scores["score_colour"].notna().all()
    assert (scores["attention_colour"] > 0).all()
    assert "score_colour" in pd.read_parquet(built / latest["run"] / "folds.parquet")

    page = (built / latest["run"] / "report.html").read_text()
    payload = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert payload
    assert "the picture's light" in json.dumps(json.loads(payload[1]))
    assert "colour" in json.loads(payload[1])["modalities"]
