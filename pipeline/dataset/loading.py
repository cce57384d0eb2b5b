"""Clips of a dataset as the model's input, read one at a time from their shards."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, ModalityInput, pad
from pipeline.core import storage
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.reader import ShardReader
from pipeline.modalities.record import ModalityRows
from pipeline.modalities.registry import find_modality, modality_names

OPEN_SHARDS = 16
KEPT_BYTES = 1 << 30  # of clips, decoded, that stay in memory from epoch to epoch; the rest is read anew
_NO_FACES = np.zeros(0, np.int64)


class Sample(NamedTuple):
    """One clip; its inputs without the batch dimension."""

    row: int
    inputs: dict[str, ModalityInput]


class ClipBatch(NamedTuple):
    """B clips. `counted`: has a label."""

    row: Tensor  # int64 [B] in clips.parquet
    inputs: dict[str, ModalityInput]
    challenge: Tensor  # int64 [B]
    percentile: Tensor  # float32 [B] 0 where not counted
    counted: Tensor  # bool [B]


class ClipDataset(Dataset):
    """The clips of a dataset by (epoch, row). A clip without a modality gives an empty input, masked out.

    What is read of a clip stays in memory, up to KEPT_BYTES, for the next epoch and for every view of the dataset. May
    be pickled and cross a fork; each process opens its shards for itself, and after pickling starts with none kept.

    Args:
        training: one random, augmented sampling of the skeleton, decided by seed, epoch and row alone. Else
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
        self._workspace = dataset_folder.workspace
        self._config = config
        self._training = training
        self._shards = _OpenShards()
        self._kept = _Kept(KEPT_BYTES)

    def view(self, *modalities: str, training: bool, percentile: np.ndarray | None = None) -> "ClipDataset":
        """The same clips, with these modalities only; what is kept in memory is shared.

        percentile: float [clips], what to learn instead of the clips' own.
        """
        seen = copy.copy(self)
        seen.inputs = {modality: self.inputs[modality] for modality in modalities}
        seen._training = training
        if percentile is not None:
            seen.clips = self.clips.assign(percentile=percentile)
        return seen

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Sample]:
        """The clips of a batch, drawn together; torch's loader asks for batches in this way where it can."""
        inputs = {modality: self._inputs(modality, keys) for modality in self.inputs}
        return [
            Sample(row, {modality: of[place] for modality, of in inputs.items()}) for place, (_, row) in enumerate(keys)
        ]

    def shard_path(self, index: int, modality: str) -> str | None:
        """Relative to the workspace; None: the clip has no rows of it."""
        value = self.clips[f"shard_{modality}"].iat[index] if f"shard_{modality}" in self.clips else None
        return None if value is None or pd.isna(value) else str(value)

    def _inputs(self, modality: str, keys: Sequence[tuple[int, int]]) -> list[ModalityInput]:
        inputs = [self._find(modality, row) for _, row in keys]
        generators = [np.random.default_rng((self._config.seed, *key)) for key in keys] if self._training else None
        return find_modality(modality).draw_inputs(inputs, self._config, generators)

    def _find(self, modality: str, index: int) -> Any:
        found = self._kept.get((modality, index))
        if found is None:
            found = self._read(modality, index)
            self._kept.put((modality, index), found)
        return found

    def _read(self, modality: str, index: int) -> Any:
        path = self.shard_path(index, modality)
        clip_id = str(self.clips["clip_id"].iat[index])
        rows = None if path is None else self._shards.read(storage.join(self._workspace, path), clip_id)
        quality = float(self.clips[f"quality_{modality}"].iat[index]) if rows is not None else 0.0
        lead_faces = self._faces.get(clip_id, _NO_FACES)
        return find_modality(modality).read_input(rows, self.inputs[modality], self._config, lead_faces, quality)

    def in_batches(self, rows: Sequence[int], clips: int, workers: int = 0) -> DataLoader:
        """ClipBatches of these rows in their order, so many clips each."""
        keys = [[(0, row) for row in rows[at : at + clips]] for at in range(0, len(rows), clips)]
        return DataLoader(self, batch_sampler=keys, collate_fn=self.collate, num_workers=workers)

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


class _Kept:
    """Clips in memory, as many as fit; those that came first stay, since an epoch asks for each once."""

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
    """Of the chosen modalities that at least one clip of the dataset has, in the order of MODALITIES."""
    present = [name for name in modality_names() if name in config.modalities and statistics["modalities"].get(name)]
    return {name: find_modality(name).input_spec(statistics["features"].get(name)) for name in present}


class _OpenShards:
    """Reads clips, keeping the shards used last open.

    Not reader.FeatureStore: a shard's file may hold a clip that has moved to another shard since; which of the two
    counts stands in clips.parquet, not in the files.
    """

    def __init__(self) -> None:
        self._readers: OrderedDict[str, ShardReader] = OrderedDict()

    def read(self, path: str, clip_id: str) -> ModalityRows | None:
        """None: the shard, made anew since, no longer has the clip."""
        reader = self._readers.pop(path, None) or ShardReader(path)
        self._readers[path] = reader
        while len(self._readers) > OPEN_SHARDS:
            self._readers.popitem(last=False)[1].close()
        return reader.read(clip_id, crops=False) if clip_id in reader.clip_ids else None


class ChallengeBatches:
    """Batches of whole challenges, as (epoch, row) keys; each iteration is the next epoch, which decides its batches.

    A challenge above `size` clips is dealt at random into parts of about that size, anew every epoch; smaller ones
    share a batch. Every epoch has the same number of batches.
    """

    def __init__(self, challenges: Sequence[str], rows: Sequence[int], size: int, seed: int, first_epoch: int = 0):
        """challenges: of every clip; rows: those to train on; first_epoch: of the first iteration."""
        self._groups: dict[str, list[int]] = {}
        for row in rows:
            self._groups.setdefault(challenges[row], []).append(row)
        self._size, self._seed, self._epoch = size, seed, first_epoch

    def __len__(self) -> int:
        return len(self._deal(np.random.default_rng(0)))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        batches = self._deal(rng)
        epoch, self._epoch = self._epoch, self._epoch + 1
        for place in rng.permutation(len(batches)):
            yield [(epoch, row) for row in batches[place]]

    def _deal(self, rng: np.random.Generator) -> list[list[int]]:
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
