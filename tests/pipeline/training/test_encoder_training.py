"""What an encoder is trained for can be chosen, and its levels balanced; both the same each time, and after kill -9."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from models.virality.config import RANKINGS, VdvConfig
from models.virality.inputs import InputSpec
from models.virality.losses import GradNorm
from models.virality.vdv import build_encoder
from pipeline.dataset.loading import ClipDataset
from pipeline.runs.train import train_fusion
from pipeline.training.encoder_training import _balance, _Training
from pipeline.training.fit import fit
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.pipeline.training.test_resume import assert_same, files, killed
from tests.support.learnable_world import make_small_dataset
from tests.support.made_once import Workspaces

SKELETON = replace(ONE_EPOCH, modalities=("pose",), inner_folds=2, batch_clips=4, ridge=False)
BALANCED = replace(SKELETON, gradnorm=1.5, epochs=3)
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    return workspaces.copy(make_small_dataset)


@pytest.fixture
def trained(workspace: Path) -> Callable[[VdvConfig], Weights]:
    """The weights of a training's encoders."""

    def train(config: VdvConfig) -> Weights:
        dataset = ClipDataset(str(workspace), "datasets/one", config, training=True)
        return fit(dataset, config, CPU).model.encoders.state_dict()

    return train


@pytest.fixture
def balances(monkeypatch: pytest.MonkeyPatch) -> list[GradNorm]:
    """Of every encoder that is trained from here on and whose levels are balanced."""
    found: list[GradNorm] = []
    whole = _Training.on_train_epoch_end

    def watched(training: _Training) -> None:
        if training.balance is not None and training.balance not in found:
            found.append(training.balance)
        whole(training)

    monkeypatch.setattr(_Training, "on_train_epoch_end", watched)
    return found


def differs(first: Weights, second: Weights) -> bool:
    return any(not torch.equal(value, second[name]) for name, value in first.items())


def test_each_ranking_loss_trains_an_encoder_of_its_own(trained):
    found = [trained(replace(SKELETON, modalities=("scene",), ranking=ranking)) for ranking in RANKINGS]
    assert all(bool(value.isfinite().all()) for weights in found for value in weights.values())
    assert differs(found[0], found[1])
    assert differs(found[1], found[2])
    assert differs(found[2], found[0])


def test_the_levels_of_a_pyramid_are_balanced_and_nothing_else_is(trained, balances):
    plain = trained(replace(SKELETON, gradnorm=0.0))
    assert balances == []
    assert differs(plain, trained(BALANCED))
    assert len(balances) == 3  # two folds and all
    for balance in balances:
        assert balance.weight.sum().item() == pytest.approx(3)
        assert balance.weight.max() > 1.02
        assert balance.first is not None
    balances.clear()
    trained(replace(SKELETON, gradnorm=1.5, pyramid=False))
    trained(replace(SKELETON, gradnorm=1.5, modalities=("scene",)))
    unsupervised = replace(SKELETON, level_weight=0.0)
    assert not differs(trained(unsupervised), trained(replace(unsupervised, gradnorm=1.5)))
    assert balances == []


@pytest.mark.parametrize("refine", [True, False])
def test_levels_are_balanced_on_the_last_block_that_all_of_them_depend_on(refine):
    config = replace(SKELETON, gradnorm=1.5, refine=refine)
    encoder = build_encoder(config, InputSpec(9, is_skeleton=True))
    balance = _balance(encoder, config)
    levels = encoder(torch.randn(3, 9, 16, 17), torch.ones(3, 16, 17, dtype=torch.bool)).levels
    for level in levels.T:
        gradients = torch.autograd.grad(level[0], balance.shared, retain_graph=True)
        assert all(bool((gradient != 0).any()) for gradient in gradients)
    for parameter in encoder.lateral[0].parameters():
        (gradient,) = torch.autograd.grad(levels[0, 0], parameter, retain_graph=True)
        assert not gradient.any(), "what comes next the body's level has nothing to do with"


def test_balanced_levels_killed_and_gone_on_with_give_the_same_weights(workspace, balances):
    """Killed in the second encoder's third epoch; early stopping judges by levels that weigh the same."""
    config = replace(BALANCED, patience=2)
    train_fusion(str(workspace), "datasets/one", "runs/whole", config, CPU)
    whole = [balance.weight.clone() for balance in balances]
    balances.clear()
    killed(workspace, "runs/killed", config, "training_step", 6 + 5)
    train_fusion(str(workspace), "datasets/one", "runs/killed", config, CPU)
    assert [torch.equal(one, two.weight) for one, two in zip(whole[1:], balances, strict=True)] == [True, True]
    assert_same(files(workspace, "runs/whole"), files(workspace, "runs/killed"))


def test_the_logs_say_how_the_levels_weigh(workspace):
    train_fusion(str(workspace), "datasets/one", "runs/logged", BALANCED, CPU)
    log = pd.read_csv(next((workspace / "runs/logged/logs/csv/pose").glob("*.csv")))
    weights = log[["weight/level0", "weight/level1", "weight/level2"]].dropna()
    assert weights.sum(axis=1).to_numpy() == pytest.approx(3)
    assert weights.nunique().min() > 2
