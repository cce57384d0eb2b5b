"""Which clips failed, and when that is too many for a run to go on."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.core import storage
from pipeline.core.errors import TooManyFailed
from pipeline.core.options import DecodeLimits
from pipeline.dataset.failures import failures, refuse_too_many
from pipeline.dataset.folder import BatchFiles
from pipeline.decode.clips import Ending
from pipeline.features.endings import write_endings
from pipeline.ingest.clip_table import read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from tests.support.ingest_world import Probing


@dataclass
class World:
    """Batches of clips, some of which cannot be read and some of which fail to decode."""

    folder: Path
    batches: list[BatchFiles] = field(default_factory=list)

    def batch(
        self,
        name: str,
        clips: int,
        unreadable: dict[str, str] | None = None,
        endings: dict[str, tuple[str, str]] | None = None,
        extracted: bool = True,
    ) -> BatchFiles:
        """unreadable: code by clip_id. endings: status and code by clip_id, where it is not ok."""
        folder = self.folder / name
        folder.mkdir()
        ids = [f"{name}{place}" for place in range(clips)]
        for clip_id in ids:
            (folder / clip_id).write_text(clip_id)
        rows = [f"{clip_id},{name}/{clip_id},dance" for clip_id in ids]
        manifest = self.folder / f"{name}.csv"
        manifest.write_text("\n".join(["clip_id,uri,challenge", *rows]) + "\n")
        (batch,) = read_manifests(str(manifest))
        workspace = str(self.folder / "workspace")
        ingest = run_ingest(workspace, batch, 1, DecodeLimits(), 4, probe=Probing(unreadable))
        files = BatchFiles(batch, ingest, f"{workspace}/clips/{name}/endings/x", {})
        if extracted:
            self.extracted(files, endings or {})
        self.batches.append(files)
        return files

    def extracted(self, files: BatchFiles, endings: dict[str, tuple[str, str]]) -> None:
        for shard, members in read_ingest(files.ingest).shards.items():
            ended = []
            for clip_id, _ in members:
                status, code = endings.get(clip_id, ("ok", ""))
                ended.append(Ending(clip_id, status, code, f"reason of {clip_id}", 8, 8, "", 0, 0, 1, 0.1))
            write_endings(storage.join(files.endings, f"{shard}.parquet"), ended, {})

    def failed(self, files: BatchFiles) -> dict[str, tuple[str, bool]]:
        return {
            failure.clip_id: (failure.code, failure.retryable)
            for failure in failures(read_ingest(files.ingest), files.endings)
        }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_clips_that_fail_before_decoding_and_in_it_are_both_failures_and_partial_ones_are_not(world: World) -> None:
    endings = {"a2": ("failed", "crash"), "a3": ("partial", "truncated"), "a7": ("failed", "no_frames")}
    files = world.batch("a", 9, {"a0": "not_a_video", "a1": "io"}, endings)
    assert world.failed(files) == {
        "a0": ("not_a_video", False), "a1": ("io", True), "a2": ("crash", True), "a7": ("no_frames", False),
    }  # fmt: skip


def test_a_shard_that_is_not_extracted_yet_says_nothing(world: World) -> None:
    files = world.batch("a", 9, {"a0": "empty"}, extracted=False)
    assert world.failed(files) == {"a0": ("empty", False)}


def test_a_clip_that_moved_to_another_shard_is_judged_by_its_new_one(world: World) -> None:
    files = world.batch("a", 3, endings={"a1": ("failed", "crash")})
    workspace = str(world.folder / "workspace")
    moved = run_ingest(workspace, files.batch, 1, DecodeLimits(), 4, probe=Probing(), retry=["a1"])
    again = BatchFiles(files.batch, moved, files.endings, {})
    assert world.failed(again) == {}  # its old shard still says that it crashed
    (new,) = {clip.shard for clip in read_ingest(moved).clips if clip.clip_id == "a1"}
    ending = Ending("a1", "failed", "deadline", "slow", 0, 0, "", 0, 0, 2, 9.0)
    write_endings(storage.join(files.endings, f"{new}.parquet"), [ending], {})
    assert world.failed(again) == {"a1": ("deadline", True)}


@pytest.mark.parametrize(("allowed", "refused"), [(0.0, True), (0.19, True), (0.2, False), (1.0, False)])
def test_as_many_as_allowed_may_fail_and_not_one_more(world: World, allowed: float, refused: bool) -> None:
    world.batch("a", 5, {"a0": "empty"})
    world.batch("b", 5, {}, {"b4": ("failed", "crash")})
    if not refused:
        refuse_too_many(world.batches, allowed)
        return
    with pytest.raises(TooManyFailed, match=r"2 of 10 clips failed"):
        refuse_too_many(world.batches, allowed)


def test_a_run_without_failures_passes_though_none_is_allowed(world: World) -> None:
    world.batch("a", 3)
    refuse_too_many(world.batches, 0.0)
    refuse_too_many([], 0.0)


def test_the_message_counts_codes_names_clips_and_says_what_to_do(world: World) -> None:
    world.batch("a", 4, {"a0": "empty", "a1": "empty"}, {"a2": ("failed", "crash")})
    with pytest.raises(TooManyFailed) as caught:
        refuse_too_many(world.batches, 0.05)
    message = str(caught.value)
    first, *named = message.splitlines()
    assert "3 of 4 clips failed (2 empty, 1 crash)" in first
    assert "--max-failed 0.05" in first
    assert "1 of them may pass another time: add --retry-failed" in first
    assert named == ["  a0: empty: empty", "  a1: empty: empty", "  a2: crash: reason of a2"]


def test_trying_again_is_proposed_only_where_it_can_help(world: World) -> None:
    world.batch("a", 4, {"a0": "empty"}, {"a2": ("failed", "no_frames")})
    with pytest.raises(TooManyFailed) as caught:
        refuse_too_many(world.batches, 0.0)
    assert "--retry-failed" not in str(caught.value)


def test_of_many_failures_the_first_ten_are_named_and_the_others_counted(world: World) -> None:
    world.batch("a", 14, dict.fromkeys((f"a{place}" for place in range(13)), "empty"))
    with pytest.raises(TooManyFailed) as caught:
        refuse_too_many(world.batches, 0.0)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [f"a{place}" for place in range(10)]
    assert lines[-1].strip() == "and 3 more"
