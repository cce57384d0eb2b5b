"""A training killed at any moment and started again gives the same model, and does not do again what was done."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import pipeline.evaluation.cross_validation as crossval
from models.virality.config import VdvConfig
from pipeline.core import storage
from pipeline.core.source_code import imported_files
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ChallengeBatches, ClipDataset
from pipeline.evaluation.cross_validation import assign_devices, cross_validate
from pipeline.runs.run import Run
from pipeline.runs.train import train_fusion
from pipeline.training import encoder_training
from pipeline.training.checkpoints import cache_key, clear, read_encoder, write_encoder
from pipeline.training.encoder_training import _Training
from pipeline.training.fit import fit
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.learnable_world import make_small_dataset
from tests.support.made_once import Workspaces
from tests.support.warm_process import ended, start

# Four encoders of an epoch of some batches each; with a single modality two.
PLAIN = replace(ONE_EPOCH, ensemble=2, batch_clips=4)
SCENE = replace(PLAIN, modalities=("scene",))
THREE_EPOCHS = replace(PLAIN, epochs=3)
MODULE = "pipeline.training.encoder_training"


def train_and_die(workspace: str, run: str, config: VdvConfig, threads: int, where: str, count: int) -> None:
    """Dies in the call numbered `count` of a function or method that training goes through."""
    torch.set_num_threads(threads)
    left = [count]
    owner = encoder_training if hasattr(encoder_training, where) else _Training
    whole = getattr(owner, where)

    def dying(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*arguments, **named)

    setattr(owner, where, dying)
    if run:
        train_fusion(DatasetFolder(workspace, "datasets/one"), Run(workspace, run), config, CPU)
    else:
        cross_validate(DatasetFolder(workspace, "datasets/one"), config, CPU, 3, checkpoints=workspace + "/kept")


def killed(workspace: Path, run: str, config: VdvConfig, where: str, count: int) -> None:
    asked = (str(workspace), run, config, torch.get_num_threads(), where, count)
    output = workspace.parent / "killed.txt"
    process = start(train_and_die, *asked, folder=workspace.parent, env=dict(os.environ), output=output)
    assert ended(process, 100) == -signal.SIGKILL, output.read_text()


class Epoch(NamedTuple):
    modality: str
    number: int
    batches: int


@pytest.fixture
def epochs_trained(monkeypatch: pytest.MonkeyPatch) -> list[Epoch]:
    """Every epoch that is trained from here on."""
    trained: list[Epoch] = []
    whole = _Training.on_train_epoch_end

    def watched(training: Any) -> None:
        batches = int(training.trainer.num_training_batches)
        trained.append(Epoch(training.data.modality, training.current_epoch, batches))
        whole(training)

    monkeypatch.setattr(_Training, "on_train_epoch_end", watched)
    return trained


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    return workspaces.copy(make_small_dataset)


@pytest.fixture
def dataset(workspace: Path) -> Callable[[VdvConfig], ClipDataset]:
    return lambda config: ClipDataset(DatasetFolder(str(workspace), "datasets/one"), config, training=True)


def files(workspace: Path, run: str) -> dict[str, torch.Tensor]:
    return load_file(workspace / run / "model.safetensors")


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [name for name, value in first.items() if not torch.equal(value, second[name])]
    assert not different


def kept(workspace: Path, run: str) -> list[str]:
    """Of a killed run's checkpoints, their names without the cache keys."""
    paths = (workspace / run / "checkpoints").iterdir()
    return sorted(f"{path.name.rsplit('.', 2)[0]}{path.suffix}" for path in paths)


def test_a_training_killed_three_times_gives_the_same_model(workspace: Path, epochs_trained: list[Epoch]) -> None:
    train_fusion(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), "runs/whole"), THREE_EPOCHS, CPU)
    assert [epoch.number for epoch in epochs_trained] == [0, 1, 2] * 4
    batches = [epoch.batches for epoch in epochs_trained]
    assert min(batches) > 1
    killed(
        workspace, "runs/killed", THREE_EPOCHS, "training_step", batches[0] + 2
    )  # amid the first encoder's second epoch
    assert kept(workspace, "runs/killed") == ["0.pose.ckpt"]
    killed(workspace, "runs/killed", THREE_EPOCHS, "write_encoder", 2)  # when it is trained, but not kept yet
    assert kept(workspace, "runs/killed") == ["0.pose.safetensors", "0.scene.ckpt"]
    killed(
        workspace, "runs/killed", THREE_EPOCHS, "training_step", sum(batches[6:8]) + 2
    )  # in the last epoch of the second pose network
    assert kept(workspace, "runs/killed") == ["0.pose.safetensors", "0.scene.safetensors", "1.pose.ckpt"]
    epochs_trained.clear()
    train_fusion(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), "runs/killed"), THREE_EPOCHS, CPU)
    left = [(epoch.modality, epoch.number) for epoch in epochs_trained]
    assert left == [("pose", 2), ("scene", 0), ("scene", 1), ("scene", 2)]
    assert_same(files(workspace, "runs/whole"), files(workspace, "runs/killed"))
    held, again = (pd.read_parquet(workspace / run / "held_out.parquet") for run in ("runs/whole", "runs/killed"))
    pd.testing.assert_frame_equal(held, again, check_exact=True)
    losses, losses_again = (
        json.loads((workspace / run / "run.json").read_text())["final_loss"] for run in ("runs/whole", "runs/killed")
    )
    assert losses == losses_again
    assert not (workspace / "runs/killed/checkpoints").exists()
    logs = sorted(path.name for path in (workspace / "runs/killed/logs/csv").iterdir())
    assert logs == ["pose", "pose-from-1", "scene"]


def test_what_another_configuration_or_other_labels_left_is_never_taken(
    dataset: Callable[[VdvConfig], ClipDataset], tmp_path: Path, epochs_trained: list[Epoch]
) -> None:
    place = str(tmp_path / "kept")
    first = fit(dataset(SCENE), SCENE, CPU, checkpoints=place).model.state_dict()
    epochs_trained.clear()
    assert_same(fit(dataset(SCENE), SCENE, CPU, checkpoints=place).model.state_dict(), first)
    assert epochs_trained == []
    other = replace(SCENE, learning_rate=1e-3)
    plain = fit(dataset(other), other, CPU).model.state_dict()
    assert_same(fit(dataset(other), other, CPU, checkpoints=place).model.state_dict(), plain)
    changed = dataset(SCENE)
    changed.clips["percentile"] = 1 - changed.clips["percentile"]
    plain = fit(changed, SCENE, CPU).model.state_dict()
    assert_same(fit(changed, SCENE, CPU, checkpoints=place).model.state_dict(), plain)


@pytest.fixture(scope="module")
def checkpoints(workspace: Path) -> Path:
    """Folder of what a training of PLAIN left."""
    dataset = ClipDataset(DatasetFolder(str(workspace), "datasets/one"), PLAIN, training=True)
    fit(dataset, PLAIN, CPU, checkpoints=str(workspace / "plain"))
    return workspace / "plain"


@pytest.mark.parametrize(
    ("other", "trained"),
    [
        ({"statistics": False}, set()),
        ({"rotation": 0.3, "pose_network": "st_gcn"}, {"pose"}),
        ({"width": 16, "dropout": 0.1, "relations_after": ()}, {"scene"}),
        ({"huber_weight": 0.0}, {"pose", "scene"}),
    ],
    ids=["the joint model's", "the skeleton's", "the sequences'", "everybody's"],
)
def test_an_option_trains_those_encoders_anew_that_depend_on_it(
    dataset: Callable[[VdvConfig], ClipDataset],
    checkpoints: Path,
    tmp_path: Path,
    epochs_trained: list[Epoch],
    other: dict,
    trained: set[str],
) -> None:
    place = str(shutil.copytree(checkpoints, tmp_path / "kept"))
    config = replace(PLAIN, **other)
    alone = fit(dataset(config), config, CPU).model.state_dict()
    epochs_trained.clear()
    assert_same(fit(dataset(config), config, CPU, checkpoints=place).model.state_dict(), alone)
    assert {epoch.modality for epoch in epochs_trained} == trained


def test_every_module_that_a_training_loads_counts_in_its_code(workspace: Path) -> None:
    program = (
        "import sys, torch; from models.virality.config import VdvConfig\n"
        "from pipeline.dataset.folder import DatasetFolder; from pipeline.dataset.loading import ClipDataset\n"
        "from pipeline.training.fit import fit\n"
        "config = VdvConfig(epochs=1, frames=16, ensemble=2)\n"
        "dataset = ClipDataset(DatasetFolder(sys.argv[1], 'datasets/one'), config, training=True)\n"
        "fit(dataset, config, torch.device('cpu'))\n"
        "ours = [module for name, module in sys.modules.items() if name.partition('.')[0] in ('models', 'pipeline')]\n"
        "print(*(module.__file__ for module in ours), sep='\\n')"
    )
    fresh = subprocess.run([sys.executable, "-c", program, str(workspace)], capture_output=True, text=True, timeout=300)
    loaded = {Path(line) for line in fresh.stdout.splitlines()}
    assert len(loaded) > 40, fresh.stderr
    assert loaded <= imported_files("pipeline.training.fit")


def test_a_cache_key_tells_apart_code_threads_devices_and_content() -> None:
    table = pd.DataFrame({"clip_id": ["a", "b"], "quality": [0.5, np.nan]})
    keys = [
        cache_key("pipeline.training.fit", CPU, rows=np.arange(3), clips=table),
        cache_key(MODULE, CPU, rows=np.arange(3), clips=table),
        cache_key(MODULE, torch.device("cuda"), rows=np.arange(3), clips=table),
        cache_key(MODULE, CPU, rows=np.arange(4), clips=table),
        cache_key(MODULE, CPU, rows=np.arange(3.0), clips=table),
        cache_key(MODULE, CPU, rows=np.arange(3), clips=table.assign(clip_id=["a", "c"])),
        cache_key(MODULE, CPU, rows=np.arange(3), clips=table.rename(columns={"quality": "other"})),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key(MODULE, CPU, rows=np.arange(3), clips=table.copy()) == keys[1]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert cache_key(MODULE, CPU, rows=np.arange(3), clips=table) not in keys
    finally:
        torch.set_num_threads(threads)


def test_an_encoder_is_kept_on_any_store_and_cleared(store: str, caplog: pytest.LogCaptureFixture) -> None:
    path = storage.join(store, "runs", "checkpoints", "0.scene.00.safetensors")
    assert read_encoder(path) is None
    write_encoder(path, {"weight": torch.arange(6.0).reshape(2, 3).T, "count": torch.tensor(3)}, {"loss": float("nan")})
    encoder = read_encoder(path)
    assert encoder is not None
    weights, about = encoder
    assert torch.equal(weights["weight"], torch.arange(6.0).reshape(2, 3).T)
    assert (int(weights["count"]), np.isnan(about["loss"])) == (3, True)
    storage.write_bytes(path, b"rubbish that is no safetensors file")
    assert read_encoder(path) is None
    assert (
        f"{path} is damaged (it does not begin as a file of tensors does); what it held is trained again" in caplog.text
    )
    clear(storage.join(store, "runs", "checkpoints"))
    assert storage.listing(store) == {}


def test_a_cross_validation_killed_does_not_train_finished_folds_again(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cross_validate(DatasetFolder(str(workspace), "datasets/one"), SCENE, CPU, folds=3)
    killed(workspace, "", SCENE, "write_encoder", 2 + 2)  # in the second fold, whose first encoder is kept
    place = workspace / "kept"
    assert len(list(place.glob("fold-0.*.parquet"))) == 1
    assert len(list(place.glob("*.scene.*.safetensors"))) == 2 + 1
    trained: list[int] = []

    def watched(dataset: Any, *arguments: Any, **options: Any) -> Any:
        trained.append(len(trained))
        return fit(dataset, *arguments, **options)

    monkeypatch.setattr(crossval, "fit", watched)
    again = cross_validate(DatasetFolder(str(workspace), "datasets/one"), SCENE, CPU, folds=3, checkpoints=str(place))
    assert len(trained) == 2
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    assert len(list(place.glob("*.parquet"))) == 3
    assert len(list(place.glob("*.safetensors"))) == 3 * 2
    trained.clear()
    other = replace(SCENE, huber_weight=0.0)
    cross_validate(DatasetFolder(str(workspace), "datasets/one"), other, CPU, folds=3, checkpoints=str(place))
    assert len(trained) == 3


def test_a_fold_read_back_is_the_fold_with_every_baseline_of_it(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (DatasetFolder(str(workspace), "datasets/one"), SCENE, CPU, 2)
    first = cross_validate(*arguments, baselines=True, checkpoints=str(tmp_path))
    monkeypatch.setattr(crossval, "fit", None)  # nothing is trained
    again = cross_validate(*arguments, baselines=True, checkpoints=str(tmp_path))
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_folds_are_spread_over_the_gpus_unless_one_is_named() -> None:
    cuda, second = torch.device("cuda"), torch.device("cuda", 1)
    assert [device.index for device in assign_devices(cuda, 5, gpus=2)] == [0, 1, 0, 1, 0]
    assert assign_devices(second, 3, gpus=2) == [second] * 3
    assert assign_devices(cuda, 3, gpus=1) == [cuda] * 3
    assert assign_devices(CPU, 3, gpus=4) == [CPU] * 3


def test_batches_begin_at_the_epoch_asked_for(workspace: Path) -> None:
    challenges = DatasetFolder(str(workspace), "datasets/one").read_clips()["challenge"].tolist()
    from_start = ChallengeBatches(challenges, range(24), size=4, seed=0)
    epochs = [list(from_start) for _ in range(3)]
    assert list(ChallengeBatches(challenges, range(24), size=4, seed=0, first_epoch=2)) == epochs[2]
    assert epochs[2] != [[(2, row) for _, row in batch] for batch in epochs[0]]
