"""Several owners of networks: the files of one, whoever took which shard; one that fails or is killed ends them all."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from benchmarks.tiny_clips import render_clip
from models.extractors.extractor import Extractor
from pipeline.core.errors import ProfileError
from pipeline.decode.worker_process import WorkerError
from pipeline.extraction.extract import Extracted, Progress
from pipeline.extraction.owners import Extraction, extract_by_owners
from pipeline.features.plan import plan_shards
from tests.end_to_end.workspaces import contents
from tests.pipeline.extraction.builders import (
    COUNTS,
    build,
    build_for_the_last_time,
    build_in_vain,
    build_with_another,
)
from tests.support.extraction import BATCH, CPU, LIMITS, SAMPLING, ingested, no_worker_is_left, specs
from tests.support.warm_process import warm_pools

CLIPS, OWNERS = 7, 2
pytestmark = pytest.mark.usefixtures("spawned_pools")


@pytest.fixture
def owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(COUNTS, str(tmp_path / "owners"))
    (tmp_path / "owners").mkdir()
    return tmp_path / "owners"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [render_clip(folder / f"clip{place}.mp4", seed=place, frames=6 + 9 * place) for place in range(CLIPS)]


def extract(
    workspace: Path,
    clips: list[Path],
    devices: int,
    build: Callable[[str, torch.device], Extractor] = build,
    progress: Progress | None = None,
) -> Extracted:
    """A clip a shard, but for the last two."""
    shards = {f"{place:05d}-a": [clip] for place, clip in enumerate(clips[:-2])} | {"00009-a": clips[-2:]}
    plans = plan_shards(str(workspace), BATCH, ingested(shards), specs("pose", "face"), SAMPLING).shards
    extraction = Extraction(str(workspace), BATCH, plans, build, SAMPLING, LIMITS, 3, "tiny")
    return extract_by_owners(extraction, [CPU] * devices, progress)


@dataclass(frozen=True)
class Made:
    workspace: Path
    extracted: Extracted
    built_by: list[str]  # ids of processes


@pytest.fixture(scope="module")
def by_one(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The extraction of the clips by one owner."""
    folder = tmp_path_factory.mktemp("by_one")
    (folder / "owners").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(COUNTS, str(folder / "owners"))
        extracted = extract(folder / "workspace", clips, 1)
    return Made(folder / "workspace", extracted, os.listdir(folder / "owners"))


def test_two_owners_write_the_files_of_one(owners: Path, clips: list[Path], by_one: Made, tmp_path: Path) -> None:
    told: list[tuple[int, int, Mapping[str, int]]] = []

    def progress(done: int, of: int, counts: Mapping[str, int]) -> None:
        told.append((done, of, dict(counts)))

    assert by_one.built_by == [str(os.getpid())]
    two = extract(tmp_path / "two", clips, OWNERS, build_with_another, progress)
    assert len(list(owners.iterdir())) == OWNERS
    assert two.endings == by_one.extracted.endings == {"ok": CLIPS}
    assert two.seconds.keys() == by_one.extracted.seconds.keys()
    assert contents(tmp_path / "two" / "features") == contents(by_one.workspace / "features") != {}
    assert told[-1] == (CLIPS, CLIPS, {"ok": CLIPS})
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_what_an_owner_raises_is_raised(owners: Path, clips: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no pose on cpu"):
        extract(tmp_path / "w", clips, OWNERS, build_in_vain)
    assert no_worker_is_left()


def test_an_owner_that_is_killed_ends_the_others_and_the_next_run_goes_on(
    owners: Path, clips: list[Path], by_one: Made, tmp_path: Path
) -> None:
    with pytest.raises(WorkerError, match=r"one of 2 processes that extract \(--owners\) was killed"):
        extract(tmp_path / "w", clips, OWNERS, build_for_the_last_time)
    assert no_worker_is_left()
    with warm_pools():  # to start as the product's do has the owners import torch again, and changes no file
        extract(tmp_path / "w", clips, OWNERS)
    assert contents(tmp_path / "w" / "features") == contents(by_one.workspace / "features")
