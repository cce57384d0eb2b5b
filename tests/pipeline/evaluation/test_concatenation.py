"""Concatenation fusion: trained end to end, it learns what decides, and sees nothing of test clips' labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.utils.data import DataLoader

import pipeline.evaluation.concatenation as concatenation
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.dataset.loading import ChallengeBatches, ClipDataset
from pipeline.evaluation.concatenation import Concatenation, concatenation_scores
from tests.pipeline.runs.test_train import CPU, SMALL
from tests.support.learnable_world import Clip, make_batch, speed_decides

CONFIG = replace(SMALL, epochs=12, frames=16)  # of 20 clips each, too few steps to learn anything in four


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    """30 clips whose dancer's speed decides the likes, two by a creator, and one that does not decode."""
    workspace = tmp_path_factory.mktemp("concatenation") / "ws"
    clips = [replace(clip, creator=f"creator{place // 2}") for place, clip in enumerate(speed_decides(30))]
    files = make_batch(workspace, [*clips, Clip("broken", likes=5, fails="corrupt")], modalities=("pose", "scene"))
    assemble(DatasetFolder(str(workspace), "datasets/one"), [files], LabelOptions(holdout=0.0))
    return ClipDataset(
        DatasetFolder(str(workspace), "datasets/one"),
        CONFIG,
        True,
        DatasetFolder(str(workspace), "datasets/one").read_clips(),
    )


def test_what_decides_is_found_on_clips_not_trained_on(dataset: ClipDataset) -> None:
    scores = concatenation_scores(dataset, list(range(20)), list(range(20, 31)), CONFIG, CPU)
    assert np.isnan(scores[-1])
    label = dataset.clips["label"].to_numpy()[20:30]
    challenge = dataset.clips["challenge"].to_numpy(str)[20:30]
    scores = scores[:10]
    assert np.mean([spearmanr(scores[challenge == n], label[challenge == n]).statistic for n in set(challenge)]) > 0.5


def test_the_seed_decides_it_and_labels_of_other_clips_do_not(
    dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = list(range(20)), list(range(20, 30))
    first, again = (concatenation_scores(dataset, train, test, CONFIG, CPU) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    percentile = dataset.clips["percentile"].copy()
    percentile[20:] = 1 - percentile[20:]
    monkeypatch.setattr(dataset, "clips", dataset.clips.assign(percentile=percentile))
    np.testing.assert_array_equal(first, concatenation_scores(dataset, train, test, CONFIG, CPU))


@pytest.mark.parametrize(
    ("rates", "moving"),
    [
        ({"pose_rate": 0.0}, {"encoders.scene", "head"}),
        ({"learning_rate": 0.0}, {"encoders.pose"}),
        ({}, {"encoders.scene", "encoders.pose", "head"}),
    ],
)
def test_each_modalities_network_is_trained_at_the_rate_that_it_has_alone(
    dataset: ClipDataset, rates: dict, moving: set[str]
) -> None:
    config = replace(CONFIG, epochs=1, **rates)
    model = Concatenation(config, dataset.inputs)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    view = dataset.view(*dataset.inputs, training=True)
    batches = ChallengeBatches(dataset.clips["challenge"].tolist(), range(20), config.batch_clips, config.seed)
    loader = DataLoader(view, batch_sampler=batches, collate_fn=view.collate)
    concatenation._train(model, loader, config, CPU, epochs=1)
    changed = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
    parts = ("encoders.scene", "encoders.pose", "head")
    assert {part for part in parts for name in changed if name.startswith(part)} == moving


def test_gradients_are_finite_though_a_clip_lacks_everything(dataset: ClipDataset) -> None:
    model = Concatenation(CONFIG, dataset.inputs)
    view = dataset.view(*dataset.inputs, training=True)
    batch = view.collate([view[(0, row)] for row in (0, 1, 30)])
    score, levels, present = model(batch.inputs)
    assert present.tolist() == [True, True, False]
    (score.sum() + levels.sum()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
