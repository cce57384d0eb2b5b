"""The process of a cluster that owns networks: an error of its is raised where somebody waits, and never lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.tiny_clips import render_clip
from models.extractors.extractor import Extractor
from pipeline.cluster.connection import versions
from pipeline.cluster.owner import ClusterOwner, OwnerOptions
from pipeline.cluster.staging import Staging
from pipeline.core.errors import OptionError, WorkspaceError
from pipeline.extraction.owners import Extraction
from pipeline.features.plan import ShardPlan, plan_shards
from tests.support.extraction import BATCH, LIMITS, SAMPLING, ingested, shard_file, specs
from tests.support.square_finder import SquareFinder

(POSE,) = specs("pose")


class FullDisk(SquareFinder):
    """Fails where results are waited for, beside the thread that asks for plans, and after all that it asks for."""

    def collect(self, outputs: Tensor, extras: list[Any]) -> list[Any]:
        raise WorkspaceError("no space")


def finder(modality: str, device: torch.device) -> Extractor:
    return SquareFinder(modality)


def full_disk(modality: str, device: torch.device) -> Extractor:
    return FullDisk(modality)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnerOptions:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # an owner sets it, for it is alone in its process
    workspace = str(tmp_path / "w")
    extraction = Extraction(workspace, BATCH, (), finder, SAMPLING, LIMITS, 1, "tiny")
    staging = Staging.begin(workspace, BATCH)
    return OwnerOptions(extraction, ("pose",), staging, 0, "10.0.0.2", False, 1, versions())


def plan(options: OwnerOptions, folder: Path, shard: str) -> ShardPlan:
    clips = ingested({shard: [render_clip(folder / f"{shard}.mp4", seed=1, frames=3)]})
    (found,) = plan_shards(options.extraction.workspace, BATCH, clips, specs("pose"), SAMPLING).shards
    return found


def test_plans_that_come_one_after_another_are_extracted(options: OwnerOptions, tmp_path: Path) -> None:
    owner = ClusterOwner(options)
    owner.ready()
    for shard in ("00000-a", "00001-a"):
        assert owner.extract(plan(options, tmp_path, shard)) == {"ok": 1}
        assert owner.clips_in_hand() == {}
        assert Path(shard_file(options.staging.of_process(0), POSE, shard)).exists()
    assert owner.finish().endings == {"ok": 2}


def test_an_error_beside_the_networks_is_raised_though_no_other_plan_comes(
    options: OwnerOptions, tmp_path: Path
) -> None:
    owner = ClusterOwner(replace(options, extraction=replace(options.extraction, build=full_disk)))
    with pytest.raises(WorkspaceError, match="no space"):
        owner.extract(plan(options, tmp_path, "00000-a"))
    with pytest.raises(WorkspaceError, match="no space"):
        owner.extract(plan(options, tmp_path, "00001-a"))


def other_versions(options: OwnerOptions) -> OwnerOptions:
    return replace(options, versions="vdv 0.0.1")


def another_workspace(options: OwnerOptions) -> OwnerOptions:
    return replace(options, staging=replace(options.staging, folder="/nowhere"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (other_versions, OptionError, "10.0.0.2 has vdv .* the driver has vdv 0.0.1"),
        (another_workspace, WorkspaceError, "cannot be seen from 10.0.0.2"),
    ],
)
def test_a_machine_that_does_not_fit_says_so(
    options: OwnerOptions, change: Callable[[OwnerOptions], OwnerOptions], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ClusterOwner(change(options)).ready()
