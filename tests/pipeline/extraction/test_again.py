"""What is extracted again, in which order files are written, and what an error leaves."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.extractors.extractor import Extractor
from pipeline.core import storage
from pipeline.core.errors import WorkspaceError
from pipeline.features.plan import endings_folder, plan_shards
from tests.end_to_end.workspaces import contents, written
from tests.support.extraction import (
    BATCH,
    CHEAP,
    SAMPLING,
    cheap,
    endings_by_clip,
    endings_file,
    extract,
    ingested,
    no_worker_is_left,
    rows_by_clip,
    shard_file,
    specs,
    tiny,
)
from tests.support.square_finder import SquareFinder
from tests.support.watched_store import WatchedStore


def test_only_the_missing_modality_is_extracted_and_it_comes_out_the_same(clips: list[Path], tmp_path: Path) -> None:
    wanted, shards = specs("face", "scene", "appearance"), {"00000-a": clips[:2], "00001-b": clips[2:4]}
    extract(tmp_path, shards, wanted)
    before, when = contents(tmp_path / "features"), written(tmp_path)
    lost = Path(shard_file(tmp_path, wanted[1], "00001-b"))
    lost.unlink()
    built: list[str] = []

    def build(modality: str) -> Extractor:
        built.append(modality)
        return tiny(modality)

    assert extract(tmp_path, shards, wanted, build=build) == {"ok": 2}
    assert built == ["scene"]
    now = written(tmp_path)
    assert {path for path in now if now[path] != when.get(path)} == {str(lost.relative_to(tmp_path))}
    assert contents(tmp_path / "features") == before
    assert extract(tmp_path, shards, wanted, build=build) == {}
    assert built == ["scene"]


def test_lost_endings_are_made_again_without_any_network(clips: list[Path], tmp_path: Path) -> None:
    wanted, shards = specs("scene"), {"00000-a": clips[:2]}
    extract(tmp_path, shards, wanted)
    before = endings_by_clip(tmp_path, "00000-a")
    Path(endings_file(tmp_path, "00000-a")).unlink()

    def build(modality: str) -> Extractor:
        raise AssertionError("no network is needed")

    extract(tmp_path, shards, wanted, build=build)
    after = endings_by_clip(tmp_path, "00000-a")
    assert {name: (e.status, e.frames) for name, e in after.items()} == {"clip0": ("ok", 6), "clip1": ("ok", 75)}
    assert list(after) == list(before)


@pytest.mark.parametrize("fails_at", ["first", "second"])
def test_a_clip_that_any_modality_lacks_is_never_called_ok(clips: list[Path], tmp_path: Path, fails_at: str) -> None:
    pose, scene = specs(*CHEAP)
    flaky, away = tmp_path / "flaky.mp4", tmp_path / "away.mp4"
    flaky.write_bytes(clips[0].read_bytes())
    shards = {"00000-a": [clips[2], flaky]}
    for spec, moment in ((pose, "first"), (scene, "second")):
        if moment == fails_at:
            flaky.rename(away)
        extract(tmp_path, shards, [spec], build=cheap)
        if moment == fails_at:
            away.rename(flaky)
    endings = endings_by_clip(tmp_path, "00000-a")
    assert [(e.clip_id, e.status, e.code) for e in endings.values()] == [
        ("clip2", "ok", ""),
        ("flaky", "failed", "missing"),
    ]
    lacking, whole = (pose, scene) if fails_at == "first" else (scene, pose)
    assert set(rows_by_clip(tmp_path, lacking)) == {"clip2"}
    assert set(rows_by_clip(tmp_path, whole)) == {"clip2", "flaky"}


@pytest.fixture
def watched() -> type[WatchedStore]:
    return WatchedStore.empty()


def test_a_shards_endings_come_after_all_of_its_rows(clips: list[Path], watched: type[WatchedStore]) -> None:
    shards = {"00000-a": clips[:2], "00001-b": clips[2:4]}
    extract("watched://w", shards, specs(*CHEAP, "appearance"), build=cheap)
    for shard in shards:
        kinds = [path.split("/")[-5 if "/clips/" in path else -4] for path in watched.uploads if shard in path]
        assert sorted(kinds[:3]) == ["appearance", "pose", "scene"]
        assert kinds[3:] == ["clips"]


def test_a_shard_that_cannot_be_written_whole_has_no_endings(clips: list[Path], watched: type[WatchedStore]) -> None:
    watched.refused = "/scene/"
    shards, wanted = {"00000-a": clips[:2]}, specs(*CHEAP)
    with pytest.raises(WorkspaceError, match="scene"):
        extract("watched://w", shards, wanted, build=cheap)
    assert storage.listing(endings_folder("watched://w", BATCH, SAMPLING)) == {}
    assert no_worker_is_left()
    watched.refused = ""
    (plan,) = plan_shards("watched://w", BATCH, ingested(shards), wanted, SAMPLING).shards
    assert plan.endings_missing
    assert "scene" in {spec.modality for spec in plan.missing}


class Broken(SquareFinder):
    """Breaks on clips of one size, where its network would, or before."""

    def __init__(self, modality: str, at: str, height: int):
        super().__init__(modality)
        self.at, self.height = at, height

    def prepare(self, frames: torch.Tensor) -> Any:
        if self.at == "prepare" and frames.shape[1] == self.height:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().prepare(frames)

    def launch(self, inputs: torch.Tensor, extras: list[Any]) -> Any:
        if self.at == "launch" and self.frames_seen > 6:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().launch(inputs, extras)

    def collect(self, outputs: torch.Tensor, extras: list[Any]) -> list[Any]:
        if self.at == "collect" and self.frames_seen > 6:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().collect(outputs, extras)


@pytest.mark.parametrize("at", ["prepare", "launch", "collect"])
def test_an_error_in_a_network_names_the_clip_and_leaves_no_file_and_no_worker(
    clips: list[Path], tmp_path: Path, at: str
) -> None:
    shards, wanted = {"00000-a": clips[:1], "00001-b": [clips[1], clips[2]]}, specs(*CHEAP, pose=1)
    broken = Broken("pose", at, height=96)  # that of clip1; clip0 has six frames
    with pytest.raises(RuntimeError, match="CUDA error") as caught:
        extract(tmp_path, shards, wanted, build=lambda name: broken if name == "pose" else tiny(name))
    (note,) = caught.value.__notes__
    assert "clip1" in note
    assert "clip0" not in note
    assert "pose" in note
    assert no_worker_is_left()
    kept = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.endswith("00000-a.parquet") for path in kept)  # what was finished before, and nothing half-written
    (plan,) = [
        p for p in plan_shards(str(tmp_path), BATCH, ingested(shards), wanted, SAMPLING).shards if p.shard == "00001-b"
    ]
    assert len(plan.missing) == 2
