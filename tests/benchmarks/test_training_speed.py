"""The training benchmark trains on a real dataset, and times whole epochs of the product's loop."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import pytest
import torch

from benchmarks.made_clips import make_dataset
from benchmarks.training import TimedDataset, batches_in_memory, epochs_s
from models.virality.config import VdvConfig
from pipeline.dataset.loading import ClipBatch, Sample
from pipeline.modalities.registry import extracted_names

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("made"), 20)


@pytest.fixture
def dataset(workspace: str) -> TimedDataset:
    return TimedDataset(workspace, VdvConfig())


def test_every_made_clip_has_every_modality_at_its_full_width(dataset: TimedDataset) -> None:
    assert {name: spec.width for name, spec in dataset.inputs.items()} == {
        "pose": 9,
        "appearance": 2048,
        "face": 512,
        "scene": 2048 + 365,
        "audio": 2048 + 6,
        "synchrony": 22,
    }
    for modality in extracted_names():
        batches = batches_in_memory(dataset, modality, np.arange(20), CPU)
        assert sum(len(batch.values) for batch in batches) == 20
        for batch in batches:
            assert batch.mask.flatten(1).any(1).all()
            assert batch.values.shape[-1] == (17 if modality == "pose" else dataset.inputs[modality].width)


class Noted(TimedDataset):
    """Keeps the batches that the loop trains on."""

    def __init__(self, workspace: str, config: VdvConfig):
        super().__init__(workspace, config)
        self.batches: list[ClipBatch] = []

    def collate(self, samples: Sequence[Sample]) -> ClipBatch:
        self.batches.append(super().collate(samples))
        return self.batches[-1]


def test_the_batches_in_memory_are_those_of_the_loops_second_epoch(workspace: str) -> None:
    dataset = Noted(workspace, VdvConfig())
    epochs_s(dataset, "pose", np.arange(20), CPU, 2)
    trained = [batch.inputs["pose"].values for batch in dataset.batches]
    bare = [batch.values for batch in batches_in_memory(dataset, "pose", np.arange(20), CPU)]
    assert len(trained) == 2 * len(bare)
    first, second = trained[: len(bare)], trained[len(bare) :]
    assert all(torch.equal(one, other) for one, other in zip(bare, second, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(bare, first, strict=True))


def test_epochs_are_timed_one_by_one_and_fill_the_time_that_training_takes(dataset: TimedDataset) -> None:
    start = perf_counter()
    seconds = epochs_s(dataset, "face", np.arange(20), CPU, 3)
    took = perf_counter() - start
    assert seconds.shape == (3, 2)
    assert (seconds > 0).all()
    assert seconds[:, 0].sum() < took
