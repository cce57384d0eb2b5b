"""Extraction on a Ray cluster of two nodes, workspace on S3: the files of one machine, whatever dies meanwhile."""

import importlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import fsspec
import pytest
import torch

from benchmarks.tiny_clips import render_clip
from models.extractors.extractor import Extractor
from pipeline.cluster.connection import Cluster
from pipeline.cluster.engine import extract_on_cluster
from pipeline.core.errors import ProfileError
from pipeline.decode.worker_process import WorkerError
from pipeline.extraction.extract import Extracted, Progress
from pipeline.extraction.owners import Extraction
from pipeline.features.plan import plan_shards
from tests.end_to_end.workspaces import contents
from tests.pipeline.cluster.traps import (
    end_once,
    in_vain,
    kill,
    kill_me,
    plain,
    run_out_of_memory,
    signal_the_node,
    trap,
    wait_for_another,
)
from tests.support.extraction import (
    BATCH,
    CPU,
    LIMITS,
    SAMPLING,
    endings_by_clip,
    ingested,
    rows_by_clip,
    specs,
)
from tests.support.ray_cluster import TwoNodes, two_nodes

CLIPS = 6
BIG = 2  # the clip that is of another size
Build = Callable[[str, torch.device], Extractor]


@pytest.fixture(scope="module")
def cluster(s3_server: str) -> Iterator[TwoNodes]:
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    sizes = [(128, 192) if place == BIG else (96, 160) for place in range(CLIPS)]
    return [
        render_clip(folder / f"clip{place}.mp4", seed=place, frames=6 + 4 * place, size=size)
        for place, size in enumerate(sizes)
    ]


@pytest.fixture(scope="module")
def local(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of one machine."""
    folder = tmp_path_factory.mktemp("local")
    extraction(str(folder), clips, plain).by_one(CPU, 1)
    return folder


def extraction(workspace: str, clips: list[Path], build: Build) -> Extraction:
    """Two clips a shard."""
    shards = {f"{place:05d}-a": clips[place : place + 2] for place in range(0, CLIPS, 2)}
    plans = plan_shards(workspace, BATCH, ingested(shards), specs("pose", "face"), SAMPLING).shards
    return Extraction(workspace, BATCH, plans, build, SAMPLING, LIMITS, 2, "tiny")


def extract(
    nodes: TwoNodes, workspace: str, clips: list[Path], build: Build, progress: Progress | None = None
) -> Extracted:
    return extract_on_cluster(extraction(workspace, clips, build), Cluster(nodes.address, "cpu", 0, 1), progress)


def stored(workspace: str, folder: str) -> dict[str, bytes]:
    store = fsspec.filesystem("s3")
    store.invalidate_cache()
    root = f"{workspace.removeprefix('s3://')}/{folder}"
    contents = {}
    for path in store.find(root):
        with suppress(FileNotFoundError):  # moved to its place since it was listed
            contents[path.removeprefix(f"{root}/")] = store.cat(path)
    return contents


def features_are_those_of(local: Path, workspace: str) -> bool:
    files = {str(path.relative_to(local / "features")): path for path in (local / "features").rglob("*.parquet")}
    return stored(workspace, "features") == {name: path.read_bytes() for name, path in files.items()} != {}


def test_two_nodes_write_the_files_of_one_machine(
    cluster: TwoNodes, s3: str, clips: list[Path], local: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int, Mapping[str, int]]] = []

    def progress(done: int, of: int, counts: Mapping[str, int]) -> None:
        told.append((done, of, dict(counts)))

    extracted = extract(cluster, s3, clips, partial(trap, partial(wait_for_another, str(tmp_path))), progress)
    assert len(contents(tmp_path)) == 2
    assert (extracted.owners, extracted.device, extracted.endings) == (2, "cpu", {"ok": CLIPS})
    assert {"pose", "face"} < extracted.seconds.keys()
    assert features_are_those_of(local, s3)
    assert endings_by_clip(s3, "00000-a", "00002-a", "00004-a").keys() == {clip.stem for clip in clips}
    assert told[-1] == (CLIPS, CLIPS, {"ok": CLIPS})
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert stored(s3, "attempts") == {}


def test_what_an_actor_raises_is_raised(cluster: TwoNodes, s3: str, clips: list[Path]) -> None:
    with pytest.raises(ProfileError, match="no pose on cpu"):
        extract(cluster, s3, clips, in_vain)
    assert stored(s3, "attempts") == {}


def test_machines_that_lack_the_code_are_given_up_in_words(
    cluster: TwoNodes, s3: str, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def build(modality, device):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    build = importlib.import_module("only_here").build
    with pytest.raises(WorkerError, match=r"on no machine of the Ray cluster .*No module named 'only_here'"):
        extract(cluster, s3, clips, build)


@pytest.mark.parametrize("end", [kill_me, run_out_of_memory])
def test_the_shards_of_an_actor_that_dies_are_given_to_others(
    cluster: TwoNodes, s3: str, clips: list[Path], local: Path, tmp_path: Path, end: Callable[[], None]
) -> None:
    extracted = extract(cluster, s3, clips, partial(trap, partial(end_once, end, str(tmp_path))))
    assert (tmp_path / "ended").exists()
    assert extracted.endings == {"ok": CLIPS}
    assert features_are_those_of(local, s3)


def test_a_clip_that_kills_whatever_extracts_it_costs_only_itself(
    cluster: TwoNodes, s3: str, clips: list[Path], local: Path, tmp_path: Path
) -> None:
    extracted = extract(cluster, s3, clips, partial(trap, partial(kill, str(tmp_path))))
    assert len(contents(tmp_path)) == 4  # two with its shard, two alone
    assert extracted.endings == {"ok": CLIPS - 1, "failed": 1}
    endings = endings_by_clip(s3, "00000-a", "00002-a", "00004-a")
    poison = endings.pop(clips[BIG].stem)
    assert (poison.status, poison.code) == ("failed", "killed_extraction")
    assert {ending.status for ending in endings.values()} == {"ok"}
    for spec in specs("pose", "face"):
        rows, wanted = rows_by_clip(s3, spec), rows_by_clip(local, spec)
        assert rows.keys() == wanted.keys() - {clips[BIG].stem}


def test_a_node_that_is_killed_within_a_shard_costs_no_clip(
    cluster: TwoNodes, s3: str, clips: list[Path], local: Path, tmp_path: Path
) -> None:
    spring = partial(signal_the_node, signal.SIGKILL, cluster.head, str(tmp_path))
    extracted = extract(cluster, s3, clips, partial(trap, spring))
    cluster.mend()
    assert (tmp_path / "signalled").exists()
    assert extracted.endings == {"ok": CLIPS}
    assert features_are_those_of(local, s3)


def test_an_actor_that_was_only_thought_dead_cannot_change_what_others_made_meanwhile(
    cluster: TwoNodes, s3: str, clips: list[Path], local: Path, tmp_path: Path
) -> None:
    spring = partial(signal_the_node, signal.SIGSTOP, cluster.head, str(tmp_path))
    extracted = extract(cluster, s3, clips, partial(trap, spring))
    assert extracted.endings == {"ok": CLIPS}
    made = stored(s3, "features"), stored(s3, "clips")
    assert stored(s3, "attempts") == {}
    (tmp_path / "go on").touch()
    until = time.monotonic() + 60
    while not any("/endings/" in name for name in stored(s3, "attempts")) and time.monotonic() < until:
        time.sleep(0.1)
    late = stored(s3, "attempts")
    cluster.mend()
    assert (stored(s3, "features"), stored(s3, "clips")) == made
    assert features_are_those_of(local, s3)
    rows = [data for name, data in late.items() if "/features/pose/" in name]  # of one shard or both that it held
    assert rows
    assert not set(rows) & set(made[0].values())
    assert any("/endings/" in name for name in late)
