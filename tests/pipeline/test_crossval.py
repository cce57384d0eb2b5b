"""Cross-validation: every labelled clip is scored once, by a model that saw nothing of its creator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pipeline.crossval as crossval
from pipeline.crossval import cross_validate, fold_labels
from pipeline.dataset import assemble, read_clips
from pipeline.errors import DataError
from pipeline.fit import fit
from pipeline.labels import LabelOptions, group_clips
from tests.pipeline.learnable_world import Clip, make_batch, speed_decides
from tests.pipeline.test_training import CPU, ONE_EPOCH, SMALL

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
    assemble(str(workspace), [make_batch(workspace, clips, modalities=("pose", "scene"))], "datasets/one")
    return str(workspace)


@pytest.fixture(scope="module")
def judged(workspace: str) -> pd.DataFrame:
    return cross_validate(workspace, "datasets/one", ONE_EPOCH, CPU, folds=3)


def test_every_labelled_clip_is_scored_once_and_in_the_datasets_order(workspace, judged):
    clips = read_clips(workspace, "datasets/one")
    assert judged["clip_id"].tolist() == clips.loc[clips["label"].notna(), "clip_id"].tolist()
    assert set(judged["fold"]) == {0, 1, 2}
    assert judged.loc[judged["clip_id"] == "broken", "abstained"].all()
    seen = judged[judged["clip_id"] != "broken"]
    assert seen[["score", "score_skeleton", "score_scene", "label", "percentile"]].notna().all().all()
    np.testing.assert_allclose(seen["attention_skeleton"] + seen["attention_scene"], 1, atol=1e-6)


def test_creators_and_copies_of_a_file_are_in_one_fold(judged):
    assert judged.loc[judged["clip_id"].isin([clip.clip_id for clip in TWO_SHARE]), "fold"].nunique() == 1


def test_no_fold_trains_on_a_creator_that_it_judges(workspace, monkeypatch):
    clips = read_clips(workspace, "datasets/one")
    groups = group_clips(clips["creator_id"], clips["content_hash"], clips.index)
    trained: list[set[int]] = []

    def watched(dataset, *arguments):
        fitted = fit(dataset, *arguments)
        trained.append(set(groups[fitted.rows]))
        return fitted

    monkeypatch.setattr(crossval, "fit", watched)
    found = cross_validate(workspace, "datasets/one", replace(ONE_EPOCH, modalities=("scene",)), CPU, folds=3)
    for fold, groups_trained in enumerate(trained):
        tested = clips.index[clips["clip_id"].isin(found.loc[found["fold"] == fold, "clip_id"])]
        assert len(groups_trained) > 5
        assert not groups_trained & set(groups[tested])


def test_a_held_out_clips_likes_enter_no_training_label(workspace):
    clips = read_clips(workspace, "datasets/one")
    fold_of = np.where(clips["label"].notna(), np.arange(len(clips)) % 4, -1)
    fold_of[clips["clip_id"].isin([clip.clip_id for clip in TWO_SHARE])] = 0
    more = clips.assign(likes=clips["likes"].where(fold_of != 0, clips["likes"] * 1000))
    plain, other = (fold_labels(table, LabelOptions("likes"), fold_of, 0) for table in (clips, more))
    train = fold_of > 0
    np.testing.assert_array_equal(plain.percentile[train], other.percentile[train])
    assert (plain.label[fold_of == 0] < other.label[fold_of == 0]).all()
    torn = fold_of.copy()
    torn[clips.index[clips["clip_id"] == "twin-a"]] = 1
    with pytest.raises(DataError, match="on both sides"):
        fold_labels(clips, LabelOptions("likes"), torn, 0)


def test_the_same_seed_gives_the_same_frame_however_many_work(workspace):
    config = replace(ONE_EPOCH, modalities=("scene",))
    alone, together = (cross_validate(workspace, "datasets/one", config, CPU, 2, workers=n) for n in (1, 2))
    pd.testing.assert_frame_equal(alone, together, check_exact=True)


def test_progress_is_told_fold_by_fold(workspace):
    told: list[tuple[int, int]] = []
    config = replace(ONE_EPOCH, modalities=("scene",))
    cross_validate(workspace, "datasets/one", config, CPU, 2, progress=lambda *at: told.append(at))
    assert told == [(1, 2), (2, 2)]


def test_what_was_planted_is_found_on_creators_never_seen(tmp_path: Path):
    workspace = tmp_path / "ws"
    files = make_batch(workspace, speed_decides(24, challenges=("shuffle",)), modalities=("pose",))
    assemble(str(workspace), [files], "datasets/one")
    config = replace(SMALL, epochs=12, inner_folds=2)
    found = cross_validate(str(workspace), "datasets/one", config, CPU, folds=2)
    assert found.groupby("fold")[["score", "label"]].corr("spearman").iloc[::2, 1].mean() > 0.6


def test_one_creator_cannot_be_cross_validated(tmp_path: Path):
    workspace = tmp_path / "ws"
    clips = [Clip(f"c{n}", creator="ann", likes=n, speed=n / 4) for n in range(1, 5)]
    assemble(str(workspace), [make_batch(workspace, clips, modalities=("scene",))], "datasets/one")
    with pytest.raises(DataError, match="at least two"):
        cross_validate(str(workspace), "datasets/one", ONE_EPOCH, CPU)
    with pytest.raises(DataError, match="at least 2"):
        cross_validate(str(workspace), "datasets/one", ONE_EPOCH, CPU, folds=1)


def test_torch_keeps_its_threads(workspace):
    before = torch.get_num_threads()
    cross_validate(workspace, "datasets/one", replace(ONE_EPOCH, modalities=("scene",)), CPU, folds=2)
    assert torch.get_num_threads() == before
