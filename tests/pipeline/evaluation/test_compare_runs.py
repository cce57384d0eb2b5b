"""Comparison of two runs: on the same clips, over creators, or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import DataError, WorkspaceError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.compare_runs import compare_runs
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.runs.run import RUN_SCHEMA, Run
from pipeline.runs.train import train_fusion
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.learnable_world import make_batch, speed_decides
from tests.support.whole_files import write_json, write_table

GOOD, POOR = "a" * 16, "b" * 16
CREATORS, EACH = 40, 4


def clips_of(dataset: str) -> pd.DataFrame:
    """What a dataset's clips.parquet says; every dataset here is of the same clips."""
    count = CREATORS * EACH
    return pd.DataFrame(
        {
            "clip_id": [f"c{place:03d}" for place in range(count)],
            "challenge": ["shuffle", "wave"] * (count // 2),
            "creator_id": [f"creator{place // EACH}" for place in range(count)],
            "content_hash": [f"hash{place}" for place in range(count)],
            "copies": pd.array([None] * count, dtype="string"),
            "likes": pd.array(np.arange(count) * 7 % 97, dtype="Int64"),
            "views": pd.array([None] * count, dtype="Int64"),
            "comments": pd.array([None] * count, dtype="Int64"),
            "shares": pd.array([None] * count, dtype="Int64"),
        }
    )  # fmt: skip


def add_run(
    workspace: Path,
    run_id: str,
    noise: float,
    scale: float = 1.0,
    seed: int = 0,
    kind: str = "likes",
    clips: pd.DataFrame | None = None,
) -> None:
    """A run whose folds' scores are the label and noise, in units of its own."""
    clips = clips_of(run_id) if clips is None else clips
    rng = np.random.default_rng(seed)
    label = np.log1p(clips["likes"].to_numpy(float))
    fold = np.arange(len(clips)) // EACH % 3
    score = (label + noise * rng.normal(size=len(clips))) * scale
    scores = clips[["clip_id", "challenge"]].assign(
        group=np.arange(len(clips)) // EACH,
        fold=fold,
        label=label,
        score=score,
        score_scene=rng.normal(size=len(clips)),
    )
    folder = workspace / "runs" / run_id
    folder.mkdir(parents=True)
    write_table(folder / "folds.parquet", scores)
    run = {
        "schema": RUN_SCHEMA, "dataset": f"d{run_id}", "label": {"kind": kind}, "config": {"seed": seed, "epochs": 12},
        "profiles": ["demo"], "data": {"features": {"pose": "f0"}, "fingerprint": "same"},
        "code": {"version": "0.1.0", "commit": "c" * 40}, "environment": {"device": "cpu"},
    }  # fmt: skip
    write_json(folder / "run.json", run)
    write_json(folder / "folds.json", {"protocol": "kfold", "folds": 3, "clips": len(clips)})
    (workspace / "datasets" / f"d{run_id}").mkdir(parents=True)
    write_table(workspace / "datasets" / f"d{run_id}" / "clips.parquet", clips)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    add_run(tmp_path, GOOD, noise=0.3)
    add_run(tmp_path, POOR, noise=3.0, scale=50.0, seed=1)
    return tmp_path


def test_the_better_run_is_found_and_by_how_much(workspace: Path) -> None:
    compared = compare_runs(str(workspace), GOOD, POOR, 200)
    fused, scene = compared.rows
    assert (fused.name, scene.name) == ("fused", "scene")
    assert (compared.clips, compared.creators, compared.left_out) == (160, 40, (0, 0))
    less = fused.difference.by_metric["spearman"]
    assert less.value == pytest.approx(fused.first["spearman"].value - fused.second["spearman"].value)
    assert 0.2 < less.low < less.value < less.high
    assert fused.p_holm < 0.01
    noise = scene.difference.by_metric["spearman"]
    assert noise.low < 0 < noise.high
    turned = compare_runs(str(workspace), POOR, GOOD, 200).rows[0].difference.by_metric["spearman"]
    assert turned.value == pytest.approx(-less.value)


def test_what_the_runs_were_made_with_that_differs_is_named_and_nothing_else(workspace: Path) -> None:
    assert compare_runs(str(workspace), GOOD, POOR, 10).differing == ("seed: 0 / 1",)


def test_clips_that_one_run_alone_judged_are_left_out_and_counted(workspace: Path) -> None:
    path = workspace / "runs" / POOR / "folds.parquet"
    write_table(path, pd.read_parquet(path).iloc[:100])
    compared = compare_runs(str(workspace), GOOD, POOR, 10)
    assert (compared.clips, compared.creators, compared.left_out) == (100, 25, (60, 0))


def test_a_creator_with_copies_of_anothers_clip_counts_as_one_with_him(tmp_path: Path) -> None:
    clips = clips_of("x")
    clips.loc[[0, 4], "copies"] = "c000"
    for seed, run_id in enumerate((GOOD, POOR)):
        add_run(tmp_path, run_id, noise=1.0, seed=seed, clips=clips)
    assert compare_runs(str(tmp_path), GOOD, POOR, 10).creators == CREATORS - 1


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [("likes", 5000, "their likes"), ("content_hash", "other", "their file"), ("challenge", "spin", "their challenge")],
)
def test_clips_that_changed_in_between_make_runs_incomparable(
    workspace: Path, column: str, value: int | str, what: str
) -> None:
    path = workspace / "datasets" / f"d{POOR}" / "clips.parquet"
    clips = pd.read_parquet(path)
    clips.loc[3, column] = value
    write_table(path, clips)
    with pytest.raises(DataError, match=rf"judged, 1 changed {what} in between \(c003\); build both"):
        compare_runs(str(workspace), GOOD, POOR, 10)


def test_likes_that_became_known_count_as_changed(workspace: Path) -> None:
    path = workspace / "datasets" / f"d{POOR}" / "clips.parquet"
    clips = pd.read_parquet(path)
    clips.loc[3, "views"] = 7
    write_table(path, clips)
    with pytest.raises(DataError, match="their views"):
        compare_runs(str(workspace), GOOD, POOR, 10)


def test_runs_without_folds_or_of_other_labels_or_the_same_twice_are_refused(workspace: Path) -> None:
    add_run(workspace, "c" * 16, noise=1.0, kind="adjusted")
    with pytest.raises(DataError, match=f"label likes, {'c' * 16} on adjusted"):
        compare_runs(str(workspace), GOOD, "c" * 16, 10)
    (workspace / "runs" / POOR / "folds.parquet").unlink()
    with pytest.raises(DataError, match=f"{POOR} was not judged by folds.*--folds"):
        compare_runs(str(workspace), GOOD, POOR, 10)
    with pytest.raises(DataError, match="named twice"):
        compare_runs(str(workspace), GOOD, GOOD, 10)


def test_runs_judged_by_other_protocols_are_refused(workspace: Path) -> None:
    write_json(workspace / "runs" / POOR / "folds.json", {"protocol": "time"})
    with pytest.raises(DataError, match=f"{GOOD} was judged by kfold, {POOR} by time"):
        compare_runs(str(workspace), GOOD, POOR, 10)


def test_runs_of_other_clips_are_refused(tmp_path: Path) -> None:
    add_run(tmp_path, GOOD, noise=1.0)
    add_run(tmp_path, POOR, noise=1.0, clips=clips_of("x").assign(clip_id=lambda clips: "other-" + clips["clip_id"]))
    with pytest.raises(DataError, match="0 clips in common"):
        compare_runs(str(tmp_path), GOOD, POOR, 10)


def test_a_dataset_that_is_gone_is_named(workspace: Path) -> None:
    (workspace / "datasets" / f"d{POOR}" / "clips.parquet").unlink()
    with pytest.raises(WorkspaceError, match=f"datasets/d{POOR} is gone"):
        compare_runs(str(workspace), GOOD, POOR, 10)


def test_runs_as_training_writes_them_are_compared(tmp_path: Path) -> None:
    config = replace(ONE_EPOCH, modalities=("scene",))
    assemble(
        DatasetFolder(str(tmp_path), "datasets/one"), [make_batch(tmp_path, speed_decides(16), modalities=("scene",))]
    )
    for seed, run_id in enumerate((GOOD, POOR)):
        train_fusion(
            DatasetFolder(str(tmp_path), "datasets/one"),
            Run(str(tmp_path), f"runs/{run_id}"),
            replace(config, seed=seed),
            CPU,
        )
        scores = cross_validate(DatasetFolder(str(tmp_path), "datasets/one"), replace(config, seed=seed), CPU, folds=2)
        write_table(tmp_path / "runs" / run_id / "folds.parquet", scores)
        write_json(tmp_path / "runs" / run_id / "folds.json", {"protocol": "kfold"})
    compared = compare_runs(str(tmp_path), GOOD, POOR, 50)
    assert [row.name for row in compared.rows] == ["fused", "scene"]
    assert (compared.clips, compared.creators) == (16, 16)
    assert compared.differing == ("seed: 0 / 1",)
