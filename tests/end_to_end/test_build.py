"""BuildVDV from the command line on small real files: what is made, what is made again, what errors look like."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.reposts import Repost, repost
from benchmarks.tiny_clips import render_clip, tiny_world, write_manifest
from pipeline.modalities.registry import extracted_names
from tests.end_to_end.workspaces import TINY_PROFILE, changed, run, written

CLIPS = 10


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a manifest of ten clips and the workspace that BuildVDV made of it, and a copy of both."""
    folder = tmp_path_factory.mktemp("built")
    tiny_world(folder / "world", CLIPS)
    done = run("BuildVDV", folder / "world", "--manifest", "tiny.csv")
    assert done.code == 0, done.output
    assert "10 ok" in done.output
    shutil.copytree(folder / "world", folder / "saved")
    return folder / "world", folder / "saved"


@pytest.fixture
def built(pristine: tuple[Path, Path]) -> Path:
    """The folder as BuildVDV left it, at its place: clips that are elsewhere are looked at again."""
    world, saved = pristine
    shutil.rmtree(world)
    shutil.copytree(saved, world)
    return world


def features(folder: Path, modality: str) -> list[Path]:
    return sorted((folder / "workspace" / "features" / modality).rglob("*.parquet"))


def names(paths: set[str], *starts: str) -> set[str]:
    return {path for path in paths if path.startswith(starts)}


def test_a_build_writes_features_scores_metrics_and_a_report(built: Path) -> None:
    workspace = built / "workspace"
    latest = json.loads((workspace / "latest.json").read_text())
    for modality in ("face", "scene", "appearance"):
        assert sum(pq.read_metadata(path).num_row_groups for path in features(built, modality)) == CLIPS
    scores = pq.read_table(workspace / latest["run"] / "scores.parquet").to_pylist()
    assert {row["clip_id"] for row in scores} == {f"clip{place:03d}" for place in range(CLIPS)}
    assert json.loads((workspace / latest["run"] / "metrics.json").read_text())
    report = (workspace / latest["report"]).read_text()
    assert "clip000" in report
    assert "Untrained weights" in report


def test_a_second_run_does_nothing_and_says_so(built: Path) -> None:
    before = written(built)
    done = run("BuildVDV", built, "--manifest", "tiny.csv")
    assert done.code == 0
    assert "nothing to do" in done.output
    assert written(built) == before


def test_clips_and_workspace_that_were_moved_are_looked_at_again_and_nothing_else(built: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(built, moved)
    before = written(moved / "workspace")
    done = run("BuildVDV", moved, "--manifest", "tiny.csv")
    assert done.code == 0, done.output
    assert {path.split("/")[0] for path in changed(before, written(moved / "workspace"))} == {"clips"}


def test_an_added_clip_costs_that_clip_only(built: Path) -> None:
    before = written(built / "workspace")
    render_clip(built / "clips" / "new.mp4", seed=99)
    write_manifest(built / "tiny.csv", ["new", *[f"clip{place:03d}" for place in range(CLIPS)]])
    done = run("BuildVDV", built, "--manifest", "tiny.csv")
    assert done.code == 0, done.output
    new = changed(before, written(built / "workspace"))
    shards = names(new, "features/")
    assert len(shards) == len(extracted_names())
    for shard in shards:
        if "/pose/" not in shard and "/audio/" not in shard:  # perhaps nobody is seen, and the film has no sound
            assert pq.read_table(built / "workspace" / shard, columns=["clip_id"])["clip_id"].to_pylist() == ["new"]
    assert names(new, "datasets/")
    assert names(new, "runs/")


def test_new_like_counts_redo_labels_training_and_scores_only(built: Path) -> None:
    before = written(built / "workspace")
    write_manifest(built / "tiny.csv", [f"clip{place:03d}" for place in range(CLIPS)], likes={"clip003": 999_999})
    done = run("BuildVDV", built, "--manifest", "tiny.csv")
    assert done.code == 0, done.output
    new = changed(before, written(built / "workspace"))
    assert {path.split("/")[0] for path in new} == {"datasets", "runs", "latest.json"}


def test_other_weights_of_one_modality_redo_that_modality_only(built: Path) -> None:
    before = written(built / "workspace")
    text = TINY_PROFILE.read_text()
    head, scene = text.split("[scene]")
    other = built / "other.toml"
    other.write_text(head + "[scene]" + scene.replace("untrained:0", "untrained:1", 1))
    done = run("AssembleDataset", built, "--manifest", "tiny.csv", profile=other)
    assert done.code == 0, done.output
    new = names(changed(before, written(built / "workspace")), "features/", "clips/")
    assert {"/".join(path.split("/")[:2]) for path in new} == {"features/scene"}


def test_a_deleted_shard_is_made_again_and_is_the_same(built: Path) -> None:
    (shard,) = features(built, "appearance")
    before, content = written(built / "workspace"), shard.read_bytes()
    shard.unlink()
    done = run("BuildVDV", built, "--manifest", "tiny.csv")
    assert done.code == 0, done.output
    assert names(changed(before, written(built / "workspace")), "features/") == {
        str(shard.relative_to(built / "workspace"))
    }
    assert shard.read_bytes() == content


def test_a_clip_left_out_of_the_modalities_is_not_extracted(built: Path) -> None:
    shutil.rmtree(built / "workspace")
    done = run("AssembleDataset", built, "--manifest", "tiny.csv", "--modalities", "appearance,scene")
    assert done.code == 0, done.output
    assert {path.name for path in (built / "workspace" / "features").iterdir()} == {"appearance", "scene"}


def test_a_repost_is_told_and_no_split_parts_it_from_its_original(built: Path) -> None:
    render_clip(built / "clips" / "film.mp4", seed=77, frames=40)
    repost(built / "clips" / "film.mp4", built / "clips" / "again.mp4", Repost(crf=30, scale=0.5, skip_s=1.0))
    others = [f"clip{place:03d}" for place in range(CLIPS)]
    write_manifest(built / "tiny.csv", ["film", "again", *others])  # both to train on
    done = run("BuildVDV", built, "--manifest", "tiny.csv")
    assert done.code == 0, done.output
    assert "1 upload is a near-copy of another; they share folds" in done.output
    latest = json.loads((built / "workspace" / "latest.json").read_text())
    clips = pq.read_table(built / "workspace" / latest["dataset"] / "clips.parquet").to_pandas()
    assert clips.set_index("clip_id")["copies"].dropna().to_dict() == {"film": "film", "again": "film"}

    write_manifest(built / "tiny.csv", ["film", *others[:3], "again", *others[3:]])  # the fifth is to test on
    refused = run("BuildVDV", built, "--manifest", "tiny.csv")
    assert refused.code != 0
    assert "film (train) and again (test)" in refused.output


def test_a_clip_that_is_no_video_fails_alone_and_is_named(built: Path) -> None:
    (built / "clips" / "clip004.mp4").write_text("not a video")
    done = run("BuildVDV", built, "--manifest", "tiny.csv", "--max-failed", "0.2")
    assert done.code == 0, done.output
    assert "9 ok" in done.output
    assert "1 failed" in done.output
    latest = json.loads((built / "workspace" / "latest.json").read_text())
    report = (built / "workspace" / latest["report"]).read_text()
    assert "not_a_video" in report


def test_too_many_failed_clips_fail_the_run_and_say_which(built: Path) -> None:
    for place in range(3):
        (built / "clips" / f"clip{place:03d}.mp4").write_text("not a video")
    done = run("BuildVDV", built, "--manifest", "tiny.csv")
    assert done.code == 30
    assert "clip001" in done.output
    assert "--max-failed" in done.output
    assert "Traceback" not in done.output


def test_a_missing_file_that_comes_later_costs_that_clip_only(built: Path) -> None:
    clip = built / "clips" / "clip004.mp4"
    clip.rename(built / "away.mp4")
    assert run("AssembleDataset", built, "--manifest", "tiny.csv", "--max-failed", "0.2").code == 0
    before = written(built / "workspace")
    (built / "away.mp4").rename(clip)
    done = run("BuildVDV", built, "--manifest", "tiny.csv")
    assert done.code == 0, done.output
    assert "10 ok" in done.output
    assert len(names(changed(before, written(built / "workspace")), "features/")) <= len(extracted_names())


def test_a_wrong_manifest_starts_nothing_and_names_file_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("clip_id,uri,challenge,likes\na,a.mp4,x,12k\n")
    done = run("BuildVDV", tmp_path, "--manifest", "bad.csv")
    assert done.code == 35
    assert "bad.csv:2" in done.output
    assert "12k" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "workspace").exists()


def test_weights_that_are_not_there_are_asked_for_before_any_clip_is_decoded(built: Path) -> None:
    shutil.rmtree(built / "workspace")
    done = run(
        "BuildVDV", built, "--manifest", "tiny.csv", "--weights-cache", str(built / "no-weights"), profile="full"
    )
    assert done.code != 0
    assert "FetchWeights" in done.output
    assert "Traceback" not in done.output
    assert not (built / "workspace" / "features").exists()
