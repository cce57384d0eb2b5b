"""Cross-validation: every labelled clip is scored once, by a model that saw nothing of its creator."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

import pipeline.evaluation.cross_validation as crossval
from pipeline.core.errors import DataError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.context import REACH
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions, group_clips
from pipeline.evaluation.cross_validation import cross_validate, permute_engagement
from pipeline.evaluation.protocol import fold_labels, make_folds
from pipeline.metrics.ranking import metrics_by_challenge
from pipeline.training.fit import fit
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH, SMALL
from tests.support.learnable_world import Clip, make_batch, speed_decides

SCENE = replace(ONE_EPOCH, modalities=("scene",))
TWO_SHARE = [
    Clip("twin-a", creator="ann", likes=40, speed=0.4, content="same film"),
    Clip("twin-b", creator="bob", likes=60, speed=0.6, content="same film"),
    Clip("ann-again", creator="ann", likes=90, speed=0.8),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """19 labelled clips; ann and bob posted the same file; one clip without likes and one that does not decode."""
    workspace = tmp_path_factory.mktemp("crossval") / "ws"
    clips = [*speed_decides(16), *TWO_SHARE, Clip("later", speed=0.5), Clip("broken", likes=5, fails="corrupt")]
    assemble(
        DatasetFolder(str(workspace), "datasets/one"), [make_batch(workspace, clips, modalities=("pose", "scene"))]
    )
    return str(workspace)


@pytest.fixture(scope="module")
def predictions(workspace: str) -> pd.DataFrame:
    return cross_validate(DatasetFolder(workspace, "datasets/one"), ONE_EPOCH, CPU, folds=2)


def test_every_labelled_clip_is_scored_once_and_in_the_datasets_order(
    workspace: str, predictions: pd.DataFrame
) -> None:
    clips = DatasetFolder(workspace, "datasets/one").read_clips()
    assert predictions["clip_id"].tolist() == clips.loc[clips["label"].notna(), "clip_id"].tolist()
    assert set(predictions["fold"]) == {0, 1}
    assert predictions.loc[predictions["clip_id"] == "broken", "abstained"].all()
    seen = predictions[predictions["clip_id"] != "broken"]
    assert seen[["score", "score_pose", "score_scene", "label", "percentile"]].notna().all().all()
    np.testing.assert_allclose(seen["score_pose"] + seen["score_scene"], seen["score"], atol=1e-5)
    np.testing.assert_allclose(seen["attention_pose"] + seen["attention_scene"], 1, atol=1e-6)


def test_creators_and_copies_of_a_file_are_in_one_fold(predictions: pd.DataFrame) -> None:
    assert predictions.loc[predictions["clip_id"].isin([clip.clip_id for clip in TWO_SHARE]), "fold"].nunique() == 1


def test_no_fold_trains_on_a_creator_that_it_judges(workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = DatasetFolder(workspace, "datasets/one").read_clips()
    groups = group_clips(clips["creator_id"], clips["copies"], clips.index)
    trained: list[set[int]] = []

    def watched(dataset: Any, *arguments: Any, **options: Any) -> Any:
        fitted = fit(dataset, *arguments, **options)
        trained.append(set(groups[fitted.clips.row]))
        return fitted

    monkeypatch.setattr(crossval, "fit", watched)
    scores = cross_validate(DatasetFolder(workspace, "datasets/one"), SCENE, CPU, folds=3)
    for fold, groups_trained in enumerate(trained):
        tested = clips.index[clips["clip_id"].isin(scores.loc[scores["fold"] == fold, "clip_id"])]
        assert len(groups_trained) > 5
        assert not groups_trained & set(groups[tested])


def test_a_held_out_clips_likes_enter_no_training_label(workspace: str) -> None:
    clips = DatasetFolder(workspace, "datasets/one").read_clips()
    fold = make_folds(clips, "kfold", 4)[0]
    held_out = np.isin(np.arange(len(clips)), fold.test)
    more = clips.assign(likes=clips["likes"].mask(held_out, clips["likes"] * 1000))
    plain, other = (fold_labels(table, LabelOptions("likes"), fold) for table in (clips, more))
    np.testing.assert_array_equal(plain.percentile[fold.train], other.percentile[fold.train])
    assert (plain.label[fold.test] < other.label[fold.test]).all()


class Judged(NamedTuple):
    predictions: pd.DataFrame
    progress: list[tuple[int, int]]
    threads: list[int]  # torch's, before and after


@pytest.fixture(scope="module")
def scenes(workspace: str) -> Judged:
    """Of scenes alone, in two folds."""
    threads, calls = [torch.get_num_threads()], []
    predictions = cross_validate(
        DatasetFolder(workspace, "datasets/one"), SCENE, CPU, 2, progress=lambda *at: calls.append(at)
    )
    return Judged(predictions, calls, [*threads, torch.get_num_threads()])


def test_the_same_seed_gives_the_same_frame_however_many_work(workspace: str, scenes: Judged) -> None:
    together = cross_validate(DatasetFolder(workspace, "datasets/one"), SCENE, CPU, 2, workers=2)
    pd.testing.assert_frame_equal(scenes.predictions, together, check_exact=True)


def test_progress_is_told_fold_by_fold(scenes: Judged) -> None:
    assert scenes.progress == [(0, 2), (1, 2), (2, 2)]


def test_what_was_planted_is_found_on_creators_never_seen(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    files = make_batch(workspace, speed_decides(24, challenges=("shuffle",)), modalities=("pose",))
    assemble(DatasetFolder(str(workspace), "datasets/one"), [files])
    config = replace(SMALL, epochs=12, ensemble=2)
    scores = cross_validate(DatasetFolder(str(workspace), "datasets/one"), config, CPU, folds=2)
    assert scores.groupby("fold")[["score", "label"]].corr("spearman").iloc[::2, 1].mean() > 0.6


def test_one_creator_cannot_be_cross_validated(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    clips = [Clip(f"c{n}", creator="ann", likes=n, speed=n / 4) for n in range(1, 5)]
    assemble(DatasetFolder(str(workspace), "datasets/one"), [make_batch(workspace, clips, modalities=("scene",))])
    with pytest.raises(DataError, match="at least two"):
        cross_validate(DatasetFolder(str(workspace), "datasets/one"), ONE_EPOCH, CPU)
    with pytest.raises(DataError, match="at least 2"):
        cross_validate(DatasetFolder(str(workspace), "datasets/one"), ONE_EPOCH, CPU, folds=1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def with_baselines(workspace: str, checkpoints: str) -> pd.DataFrame:
    folder = DatasetFolder(workspace, "datasets/one")
    return cross_validate(folder, ONE_EPOCH, CPU, 2, baselines=True, permuted=True, checkpoints=checkpoints)


def test_baselines_are_scored_on_the_same_clips_and_change_nothing_of_the_model(
    predictions: pd.DataFrame, with_baselines: pd.DataFrame
) -> None:
    plain = predictions
    pd.testing.assert_frame_equal(with_baselines[plain.columns], plain, check_exact=True)
    assert {
        "baseline_ridge_means", "baseline_boosting_means", "baseline_trees_pose", "baseline_ridge_all",
        "baseline_trees_all", "fusion_networks", "fusion_statistics", "fusion_no_gates", "fusion_mean",
        "fusion_best_single", "fusion_concatenation", "fusion_only_pose", "fusion_without_pose", "fusion_without_scene",
        "permuted_ridge", "permuted_fused", "label_permuted",
    } == set(with_baselines) - set(plain)  # fmt: skip
    seen = with_baselines[with_baselines["clip_id"] != "broken"]
    assert seen[sorted(set(with_baselines) - set(plain))].notna().all().all()
    broken = with_baselines[with_baselines["clip_id"] == "broken"]
    assert broken[["fusion_mean", "fusion_concatenation", "fusion_without_scene"]].isna().all().all()


def test_the_papers_row_is_what_training_without_statistics_gives(
    workspace: str, checkpoints: str, with_baselines: pd.DataFrame
) -> None:
    config = replace(ONE_EPOCH, statistics=False)
    alone = cross_validate(DatasetFolder(workspace, "datasets/one"), config, CPU, 2, checkpoints=checkpoints)
    np.testing.assert_allclose(with_baselines["fusion_networks"], alone["score"], atol=1e-5)


def test_the_row_without_a_modality_is_what_a_run_without_it_gives(
    workspace: str, checkpoints: str, with_baselines: pd.DataFrame
) -> None:
    config = replace(ONE_EPOCH, modalities=("pose",))
    alone = cross_validate(DatasetFolder(workspace, "datasets/one"), config, CPU, 2, checkpoints=checkpoints)
    without = with_baselines["fusion_only_pose"].astype(float)
    np.testing.assert_allclose(without, alone["score"].astype(float), atol=1e-5)


def test_hand_made_statistics_see_what_decides(with_baselines: pd.DataFrame) -> None:
    seen = with_baselines[with_baselines["clip_id"] != "broken"]
    assert metrics_by_challenge(seen["challenge"], seen["label"], seen["baseline_trees_pose"])["mean"]["spearman"] > 0.5


def test_permuting_deals_engagement_creator_and_time_together_within_the_challenge(workspace: str) -> None:
    clips = DatasetFolder(workspace, "datasets/one").read_clips()
    clips = clips.assign(**dict.fromkeys(REACH, clips["likes"] * 2))
    dealt = permute_engagement(clips, seed=1)
    assert (dealt["likes"] != clips["likes"]).sum() > 10
    known = dealt["likes"].notna()
    assert {"followers", "creator_likes", "likes_a_video", "earlier_likes"} <= set(REACH)
    for name in REACH:
        assert (dealt[name] == dealt["likes"] * 2)[known].all()
    assert (known == clips["likes"].notna()).all()
    for name in ("shuffle", "wave"):
        rows = clips["challenge"] == name
        assert sorted(dealt["likes"][rows].dropna()) == sorted(clips["likes"][rows].dropna())
    # What a model with the context reads must not tell the permuted likes.
    apart = permute_engagement(clips, seed=1, context=True)
    pd.testing.assert_frame_equal(apart[[*REACH, "uploaded_at"]], clips[[*REACH, "uploaded_at"]])
    assert apart["likes"].equals(dealt["likes"])


@pytest.mark.parametrize("protocol", ["time", "leave-challenge-out"])
def test_other_protocols_judge_some_of_the_clips(workspace: str, tmp_path: Path, protocol: str) -> None:
    clips = [
        replace(clip, uploaded_at=f"2024-02-{place + 1:02d}", creator=f"creator{place}")
        for place, clip in enumerate(speed_decides(16))
    ]
    assemble(
        DatasetFolder(str(tmp_path / "ws"), "datasets/one"), [make_batch(tmp_path / "ws", clips, modalities=("scene",))]
    )
    scores = cross_validate(
        DatasetFolder(str(tmp_path / "ws"), "datasets/one"), ONE_EPOCH, CPU, folds=4, protocol=protocol
    )
    if protocol == "time":
        assert scores["clip_id"].tolist() == [clip.clip_id for clip in clips[-4:]]
    else:
        assert scores.groupby("fold")["challenge"].agg(lambda names: "/".join(set(names))).tolist() == [
            "shuffle",
            "wave",
        ]
    assert scores["score"].notna().all()


def test_torch_keeps_its_threads(scenes: Judged) -> None:
    before, after = scenes.threads
    assert after == before
