"""Clips of a dataset as the model's input, read one at a time from their shards."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, ModalityInput, pad
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.rows import RowReader, read_usual
from pipeline.modalities.registry import find_modality, modality_names

CACHE_BYTES = 1 << 30  # of model input kept in memory from epoch to epoch; other clips are read anew
_NO_FACES = np.zeros(0, np.int64)


class Sample(NamedTuple):
    """One clip; its inputs without the batch dimension."""

    row: int
    inputs: dict[str, ModalityInput]


class ClipBatch(NamedTuple):
    """A batch of B clips."""

    row: Tensor  # int64 [B] in clips.parquet
    inputs: dict[str, ModalityInput]
    challenge: Tensor  # int64 [B]
    percentile: Tensor  # float32 [B] 0 where not counted
    counted: Tensor  # bool [B] the clip has a label


class ClipDataset(Dataset):
    """The clips of a dataset by (epoch, row). A clip without a modality gives an empty input, masked out.

    Clips read stay in memory, up to CACHE_BYTES, for the next epoch and for every view of the dataset. May be pickled
    and cross a fork; each process opens its own shards, and starts with an empty cache after pickling.

    Args:
        training: one random, augmented sampling of the poses, which depends on seed, epoch and row alone. Else
            `config.samplings` fixed ones, and the epoch has no effect.
        clips: the dataset's table with other labels or splits; None: as `assemble` wrote it.
    """

    def __init__(
        self, dataset_folder: DatasetFolder, config: VdvConfig, training: bool, clips: pd.DataFrame | None = None
    ):
        self.clips = dataset_folder.read_clips() if clips is None else clips
        self.inputs: Mapping[str, InputSpec] = input_specs(dataset_folder.read_statistics(), config)
        self.challenges = sorted(self.clips["challenge"].unique())
        self._faces = dataset_folder.read_faces()
        self._config = config
        self._training = training
        self._rows = RowReader(dataset_folder.workspace, self.clips, read_usual(dataset_folder))
        self._cache = _Cache(CACHE_BYTES)

    def view(self, *modalities: str, training: bool) -> "ClipDataset":
        """The same clips with these modalities only, and the same cache."""
        view = copy.copy(self)
        view.inputs = {modality: self.inputs[modality] for modality in modalities}
        view._training = training
        return view

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Sample]:
        """The clips of a batch, sampled together; torch's loader calls this where it exists."""
        inputs = {modality: self._inputs(modality, keys) for modality in self.inputs}
        return [
            Sample(row, {modality: values[i] for modality, values in inputs.items()}) for i, (_, row) in enumerate(keys)
        ]

    def shard_path(self, index: int, modality: str) -> str | None:
        """Path of a clip's shard, relative to the workspace; None: the clip has no rows of the modality."""
        return self._rows.shard_path(index, modality)

    def _inputs(self, modality: str, keys: Sequence[tuple[int, int]]) -> list[ModalityInput]:
        inputs = [self._read_cached(modality, row) for _, row in keys]
        generators = [np.random.default_rng((self._config.seed, *key)) for key in keys] if self._training else None
        return find_modality(modality).draw_inputs(inputs, self._config, generators)

    def _read_cached(self, modality: str, index: int) -> Any:
        value = self._cache.get((modality, index))
        if value is None:
            value = self._read(modality, index)
            self._cache.put((modality, index), value)
        return value

    def _read(self, modality: str, index: int) -> Any:
        rows = self._rows.read(index, modality)
        quality = float(self.clips[f"quality_{modality}"].iat[index]) if rows is not None else 0.0
        lead_faces = self._faces.get(str(self.clips["clip_id"].iat[index]), _NO_FACES)
        return find_modality(modality).read_input(rows, self.inputs[modality], self._config, lead_faces, quality)

    def in_batches(self, rows: Sequence[int], clips: int) -> DataLoader:
        """ClipBatches of these rows in their order, of `clips` clips each."""
        keys = [[(0, row) for row in rows[start : start + clips]] for start in range(0, len(rows), clips)]
        return DataLoader(self, batch_sampler=keys, collate_fn=self.collate)

    def collate(self, samples: Sequence[Sample]) -> ClipBatch:
        index = [sample.row for sample in samples]
        inputs = {modality: pad([sample.inputs[modality] for sample in samples]) for modality in self.inputs}
        percentile = self.clips["percentile"].to_numpy(np.float32)[index]
        challenge = [self.challenges.index(name) for name in self.clips["challenge"].iloc[index]]
        return ClipBatch(
            torch.tensor(index),
            inputs,
            torch.tensor(challenge),
            torch.from_numpy(np.nan_to_num(percentile)),
            torch.from_numpy(np.isfinite(percentile)),
        )


class _Cache:
    """Clips in memory, up to `limit` bytes; the first ones stay, since an epoch reads each clip once."""

    def __init__(self, limit: int):
        self._limit, self._bytes = limit, 0
        self._values: dict[tuple[str, int], Any] = {}

    def get(self, key: tuple[str, int]) -> Any:
        return self._values.get(key)

    def put(self, key: tuple[str, int], value: Any) -> None:
        if self._bytes + value.nbytes <= self._limit:
            self._values[key] = value
            self._bytes += value.nbytes

    def __getstate__(self) -> dict:
        return {"_limit": self._limit, "_bytes": 0, "_values": {}}


def input_specs(statistics: Mapping, config: VdvConfig) -> dict[str, InputSpec]:
    """Inputs of the configured modalities that at least one clip of the dataset has, in the order of MODALITIES."""
    present = [name for name in modality_names() if name in config.modalities and statistics["modalities"].get(name)]
    return {name: find_modality(name).input_spec(statistics["features"].get(name)) for name in present}


class ChallengeBatches:
    """Batches of whole challenges, as (epoch, row) keys; each iteration is the next epoch, with its own batches.

    A challenge above `size` clips is split at random into parts of about that size, anew every epoch; smaller ones
    share a batch. Every epoch has the same number of batches.
    """

    def __init__(self, challenges: Sequence[str], rows: Sequence[int], size: int, seed: int, first_epoch: int = 0):
        """challenges: of every clip; rows: of the training clips; first_epoch: of the first iteration."""
        self._groups: dict[str, list[int]] = {}
        for row in rows:
            self._groups.setdefault(challenges[row], []).append(row)
        self._size, self._seed, self._epoch = size, seed, first_epoch

    def __len__(self) -> int:
        return len(self._split(np.random.default_rng(0)))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        batches = self._split(rng)
        epoch, self._epoch = self._epoch, self._epoch + 1
        for index in rng.permutation(len(batches)):
            yield [(epoch, row) for row in batches[index]]

    def _split(self, rng: np.random.Generator) -> list[list[int]]:
        batches: list[list[int]] = []
        room = 0
        for name in sorted(self._groups):
            group = self._groups[name]
            for part in np.array_split(rng.permutation(group), -(-len(group) // self._size)):
                if len(part) > room:
                    batches.append([])
                    room = self._size
                batches[-1].extend(int(row) for row in part)
                room -= len(part)
        return batches
