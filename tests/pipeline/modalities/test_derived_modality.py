"""A derived modality, how surely a frame's place is known times how strong its look is: one record in this module. The
product carries it from the rows of others to the report, and compares clips with those of their challenge.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import luigi
import numpy as np
import pandas as pd
import pytest

from benchmarks.tiny_clips import render_clip, tiny_world
from models.errors import ProfileError
from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, ModalityInput
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ClipDataset
from pipeline.features.chosen import Features
from pipeline.features.reader import FeatureStore
from pipeline.modalities import registry
from pipeline.modalities.appearance import AppearanceRows
from pipeline.modalities.record import DerivedModality, ModalityRows, sequence_input
from pipeline.modalities.registry import load_profile, with_derived
from pipeline.modalities.scene import SceneRows
from tasks import BuildVDV, ScoreUploads
from tests.end_to_end.workspaces import TINY_PROFILE
from tests.support.purging import purge

WITHOUT = "clip003"  # gives no rows, though both sources are there


@dataclass(frozen=True)
class ClashRows(ModalityRows):
    modality: ClassVar[str] = "clash"
    value: np.ndarray  # float32 [T]


class Clash(DerivedModality):
    name = "clash"
    version = 1
    rows = ClashRows
    sources = ("appearance", "scene")
    subject = "look and place together"

    def derive(self, rows: Mapping[str, ModalityRows]) -> ClashRows | None:
        appearance, scene = cast(AppearanceRows, rows["appearance"]), cast(SceneRows, rows["scene"])
        if scene.clip_id == WITHOUT:
            return None
        strong = np.float32(np.abs(appearance.feature).mean(dtype=float))
        return ClashRows(scene.clip_id, scene.grid, strong * scene.top_probability[:, 0])

    def reference(self, rows: ClashRows) -> dict[str, np.ndarray]:
        return {"mean": np.array([rows.value.mean()]), "all": rows.value[:, None]}

    def find_usual(self, references: Sequence[Mapping[str, np.ndarray]]) -> float:
        assert all(arrays["all"].shape[1:] == (1,) for arrays in references)
        return float(np.mean([arrays["mean"] for arrays in references]))

    def relate(self, rows: ClashRows, usual: float) -> ClashRows:
        return replace(rows, value=rows.value - np.float32(usual))

    def quality(self, rows: ClashRows, decoded: float, lead_faces: np.ndarray) -> float:
        return decoded * 0.5

    def input_spec(self, stored_width: int | None) -> InputSpec:
        return InputSpec(1)

    def read_input(
        self, rows: Any, spec: InputSpec, config: VdvConfig, lead_faces: np.ndarray, quality: float
    ) -> ModalityInput:
        import torch

        if rows is None:
            return sequence_input(spec, quality)
        return sequence_input(spec, quality, torch.from_numpy(rows.value[:, None]), torch.ones(len(rows.value)) > 0, 99)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of scene, appearance and what is derived from them, and a manifest of one new clip."""
    folder = tmp_path_factory.mktemp("derived") / "world"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "MODALITIES", (*registry.MODALITIES, Clash()))
        options = {"workspace": str(folder / "workspace"), "device": "cpu", "decode_workers": 1}
        build = BuildVDV(
            manifest=str(tiny_world(folder, 12)), profile=str(TINY_PROFILE), modalities="scene,appearance", epochs=2,
            folds=2, report_films=2, **options,
        )  # fmt: skip
        assert luigi.build([build], local_scheduler=True, log_level="WARNING")
        render_clip(folder / "clips" / "new.mp4", seed=77)
        (folder / "new.csv").write_text("clip_id,uri,challenge,creator_id\nnew,clips/new.mp4,a,zoe\n")
        latest = json.loads((folder / "workspace/latest.json").read_text())
        score = ScoreUploads(
            manifest=str(folder / "new.csv"), run_id=latest["run"].split("/")[1], profile=str(TINY_PROFILE), **options
        )
        assert luigi.build([score], local_scheduler=True, log_level="WARNING")
    return folder


@pytest.fixture
def built(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may change."""
    monkeypatch.setattr(registry, "MODALITIES", (*registry.MODALITIES, Clash()))
    return Path(shutil.copytree(once, tmp_path / "world"))


def latest(built: Path, what: str) -> Path:
    return built / "workspace" / json.loads((built / "workspace/latest.json").read_text())[what]


def clash_of(built: Path, clip_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """The clips' rows by hand, from their features."""
    paths = {name: [str(path) for path in (built / "workspace/features" / name).rglob("*.parquet")]
             for name in Clash.sources}  # fmt: skip
    store = FeatureStore(paths)
    rows = {clip: Clash().derive({name: store.read(name, clip) for name in paths}) for clip in clip_ids}
    return {clip: derived.value for clip, derived in rows.items() if derived is not None}


def test_a_derived_modality_is_one_record_from_its_sources_to_the_report(built: Path) -> None:
    assert not (built / "workspace/features/clash").exists()
    clips = pd.read_parquet(latest(built, "dataset") / "clips.parquet").set_index("clip_id")
    there = clips["shard_clash"].notna()
    assert there[~there].index.tolist() == [WITHOUT]
    assert (clips.loc[there, "quality_clash"] == 0.5).all()
    assert clips.loc[WITHOUT, "quality_clash"] == 0
    statistics = json.loads((latest(built, "dataset") / "statistics.json").read_text())
    assert statistics["modalities"]["clash"] == 11

    run = json.loads((latest(built, "run") / "run.json").read_text())
    assert run["config"]["modalities"] == ["appearance", "scene", "clash"]
    assert run["features"]["clash"]["width"] == 1
    scores = pd.read_parquet(latest(built, "run") / "scores.parquet").set_index("clip_id")
    assert scores["score_clash"].isna().equals(~there.reindex(scores.index))
    assert scores["score"].notna().all()
    assert "score_clash" in pd.read_parquet(latest(built, "run") / "folds.parquet")

    page = (latest(built, "run") / "report.html").read_text()
    payload = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert payload
    assert "look and place together" in payload[1]
    assert "clash" in json.loads(payload[1])["modalities"]


def test_a_clip_is_read_against_the_training_clips_of_its_challenge(built: Path) -> None:
    folder = DatasetFolder(str(built / "workspace"), str(latest(built, "dataset").relative_to(built / "workspace")))
    dataset = ClipDataset(folder, VdvConfig(modalities=("clash",)), training=False)
    clips = dataset.clips
    by_hand = clash_of(built, clips["clip_id"].tolist())
    training = clips[clips["split"] == "train"]
    references = folder.read_references()
    assert set(references["clip_id"]) == set(training["clip_id"]) - {WITHOUT}
    for row, clip in clips.iterrows():
        values = dataset[0, int(str(row))].inputs["clash"].values.numpy()
        if clip["clip_id"] == WITHOUT:
            assert len(values) == 0
            continue
        same = training.loc[training["challenge"] == clip["challenge"], "clip_id"]
        usual = np.mean([by_hand[name].mean() for name in same if name != WITHOUT])
        np.testing.assert_allclose(values[:, 0], by_hand[clip["clip_id"]] - usual, atol=1e-6)


def test_an_upload_is_compared_with_the_clips_of_the_run(built: Path) -> None:
    (uploads,) = (built / "workspace/uploads").iterdir()
    folder = DatasetFolder(str(built / "workspace"), f"uploads/{uploads.name}")
    of_run = pd.read_parquet(latest(built, "dataset") / "references.parquet")
    pd.testing.assert_frame_equal(folder.read_references(), of_run)
    value = ClipDataset(folder, VdvConfig(modalities=("clash",)), training=False)[0, 0].inputs["clash"].values.numpy()
    in_a = of_run[(of_run["challenge"] == "a") & (of_run["name"] == "mean")]
    usual = float(np.mean(np.stack(in_a["values"].to_list())))
    np.testing.assert_allclose(value[:, 0], clash_of(built, ["new"])["new"] - usual, atol=1e-6)
    assert folder.read_table("scores.parquet")["score_clash"].notna().all()


def test_a_purged_clip_is_no_reference_any_more(built: Path) -> None:

    before = {path: pd.read_parquet(path) for path in (built / "workspace").rglob("references.parquet")}
    assert len(before) == 2
    assert all("clip000" in set(table["clip_id"]) for table in before.values())
    _, proof = purge(built / "workspace", "clip000")
    assert not proof.found
    for path, table in before.items():
        left = table[table["clip_id"] != "clip000"].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.read_parquet(path), left)


def test_a_derived_modality_comes_with_its_sources_and_is_not_had_without(built: Path) -> None:
    profile = load_profile(str(TINY_PROFILE))
    assert with_derived(["scene"]) == ("scene",)
    assert with_derived(["scene", "appearance"]) == ("scene", "appearance", "clash")
    for asked in ("scene,appearance", "clash,scene,appearance"):
        chosen = Features.of(profile, asked)
        assert chosen.modalities == ("appearance", "scene", "clash")
        assert [spec.modality for spec in chosen.specs] == ["appearance", "scene"]
    with pytest.raises(ProfileError, match="clash is derived from appearance and scene; name these as well"):
        Features.of(profile, "scene,clash")
