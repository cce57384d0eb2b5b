"""Clips of a dataset as the model's input, read one at a time from their shards."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.virality import skeleton
from models.virality.config import MODALITIES, SCENE_CATEGORIES, VdvConfig
from models.virality.vdv import ModalityInput
from pipeline.core import storage
from pipeline.dataset.assemble import lead_of, read_clips, read_faces, read_statistics
from pipeline.features.reader import ShardReader, tensors
from pipeline.features.rows import FaceRows, ModalityRows, PoseRows, SceneRows

OPEN_SHARDS = 16
KEPT_BYTES = 1 << 30  # of clips, decoded, that stay in memory from epoch to epoch; the rest is read anew
JOINTS = len(skeleton.COCO17.joints)
# Skeletons: enough that calling numpy costs little, and few enough that what they are computed in stays in the
# processor's cache, where a whole batch asks the system for memory again and again.
DRAWN_TOGETHER = 16


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
        self, workspace: str, dataset_dir: str, config: VdvConfig, training: bool, clips: pd.DataFrame | None = None
    ):
        self.clips = read_clips(workspace, dataset_dir) if clips is None else clips
        self.widths: Mapping[str, int] = feature_widths(read_statistics(workspace, dataset_dir), config)
        self.challenges = sorted(self.clips["challenge"].unique())
        self._faces = read_faces(workspace, dataset_dir)
        self._workspace = workspace
        self._config = config
        self._training = training
        self._shards = _OpenShards()
        self._kept = _Kept(KEPT_BYTES)

    def view(self, *modalities: str, training: bool, percentile: np.ndarray | None = None) -> "ClipDataset":
        """The same clips, with these modalities only; what is kept in memory is shared.

        percentile: float [clips], what to learn instead of the clips' own.
        """
        seen = copy.copy(self)
        seen.widths = {modality: self.widths[modality] for modality in modalities}
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
        inputs = {modality: self._inputs(modality, keys) for modality in self.widths}
        return [
            Sample(row, {modality: of[place] for modality, of in inputs.items()}) for place, (_, row) in enumerate(keys)
        ]

    def shard_path(self, index: int, modality: str) -> str | None:
        """Relative to the workspace; None: the clip has no rows of it."""
        value = self.clips[f"shard_{modality}"].iat[index] if f"shard_{modality}" in self.clips else None
        return None if value is None or pd.isna(value) else str(value)

    def _inputs(self, modality: str, keys: Sequence[tuple[int, int]]) -> list[ModalityInput]:
        found = [self._find(modality, row) for _, row in keys]
        if modality != "pose":
            return [one for one in found if isinstance(one, ModalityInput)]
        dancers = [one for one in found if isinstance(one, Dancer)]
        generators = [np.random.default_rng((self._config.seed, *key)) for key in keys] if self._training else None
        return draw_all(dancers, self._config, generators)

    def _find(self, modality: str, index: int) -> "ModalityInput | Dancer":
        found = self._kept.get((modality, index))
        if found is None:
            found = self._read(modality, index)
            self._kept.put((modality, index), found)
        return found

    def _read(self, modality: str, index: int) -> "ModalityInput | Dancer":
        path = self.shard_path(index, modality)
        clip_id = str(self.clips["clip_id"].iat[index])
        rows = None if path is None else self._shards.read(storage.join(self._workspace, path), clip_id)
        quality = float(self.clips[f"quality_{modality}"].iat[index]) if rows is not None else 0.0
        return read_input(modality, rows, self._config, self.widths[modality], self._faces.get(clip_id), quality)

    def collate(self, samples: Sequence[Sample]) -> ClipBatch:
        index = [sample.row for sample in samples]
        inputs = {modality: pad([sample.inputs[modality] for sample in samples], modality) for modality in self.widths}
        percentile = self.clips["percentile"].to_numpy(np.float32)[index]
        challenge = [self.challenges.index(name) for name in self.clips["challenge"].iloc[index]]
        return ClipBatch(
            torch.tensor(index),
            inputs,
            torch.tensor(challenge),
            torch.from_numpy(np.nan_to_num(percentile)),
            torch.from_numpy(np.isfinite(percentile)),
        )


class Dancer(NamedTuple):
    """A clip's skeleton before frames are drawn from it; None: nobody is seen."""

    posture: skeleton.Posture | None
    quality: Tensor  # []


class _Kept:
    """Clips in memory, as many as fit; those that came first stay, since an epoch asks for each once."""

    def __init__(self, limit: int):
        self._limit, self._bytes = limit, 0
        self._values: dict[tuple[str, int], ModalityInput | Dancer] = {}

    def get(self, key: tuple[str, int]) -> "ModalityInput | Dancer | None":
        return self._values.get(key)

    def put(self, key: tuple[str, int], value: "ModalityInput | Dancer") -> None:
        arrays = vars(value.posture).values() if isinstance(value, Dancer) and value.posture else value
        size = sum(array.nbytes for array in arrays if isinstance(array, np.ndarray | Tensor))
        if self._bytes + size <= self._limit:
            self._values[key] = value
            self._bytes += size

    def __getstate__(self) -> dict:
        return {"_limit": self._limit, "_bytes": 0, "_values": {}}


def feature_widths(statistics: Mapping, config: VdvConfig) -> dict[str, int]:
    """D by modality, of the chosen modalities that at least one clip of the dataset has; the skeleton's is its streams.

    The scene's is that of the feature and, after it, of the categories' probabilities.
    """
    widths = {}
    for modality in MODALITIES:
        if modality in config.modalities and statistics["modalities"].get(modality):
            widths[modality] = skeleton.STREAMS if modality == "pose" else int(statistics["features"][modality])
            widths[modality] += SCENE_CATEGORIES if modality == "scene" else 0
    return widths


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


def read_input(
    modality: str,
    rows: ModalityRows | None,
    config: VdvConfig,
    width: int,
    faces: np.ndarray | None = None,
    quality: float = 0.0,
) -> ModalityInput | Dancer:
    """One clip's input of one modality, without the batch dimension; of the skeleton, what `draw` draws it from.

    values float32 [T, D], mask bool [T], seconds float32 [T]; T may be 0.

    Args:
        rows: of the modality; None: the clip has none.
        faces: which of the clip's faces are the lead dancer's; None: none.
    """
    clear = torch.tensor(quality)
    if modality == "pose":
        lead = lead_of(rows) if isinstance(rows, PoseRows) else None
        if lead is None or rows is None or not lead.valid.any():
            return Dancer(None, clear)
        posture = skeleton.normalise(lead.keypoints, lead.valid, rows.grid.timestamp, config.min_joint_score)
        return Dancer(posture, clear)
    if rows is None:
        return ModalityInput(torch.zeros(0, width), torch.zeros(0, dtype=torch.bool), torch.zeros(0), clear)
    if isinstance(rows, FaceRows):
        kept = torch.from_numpy(faces if faces is not None else np.zeros(0, np.int64))
        faces_read = tensors(rows)
        values, seconds = faces_read.embedding[kept], faces_read.timestamp[faces_read.frame[kept]]
        mask = values.isfinite().all(1)
        values = torch.where(mask[:, None], values, 0.0)
    else:
        assert not isinstance(rows, PoseRows)
        read = tensors(rows)
        values, mask, seconds = read.feature, read.valid, read.timestamp
        if isinstance(rows, SceneRows):
            values = torch.cat([values, _probabilities(rows)], 1)
    few = torch.from_numpy(evenly(len(values), config.scene_frames if modality == "scene" else config.max_frames))
    return ModalityInput(values[few], mask[few], seconds[few], clear)


def _probabilities(rows: SceneRows) -> Tensor:
    """float32 [T, SCENE_CATEGORIES]: of each frame's most probable categories, 0 of the others."""
    table = np.zeros((len(rows.top_category), SCENE_CATEGORIES), np.float32)
    np.put_along_axis(table, rows.top_category.astype(np.int64), rows.top_probability, 1)
    return torch.from_numpy(table)


def evenly(count: int, most: int) -> np.ndarray:
    """int64: all of 0..count-1, or `most` of them, evenly spread, from the middle of equal segments."""
    if count <= most:
        return np.arange(count)
    return ((np.arange(most) + 0.5) * count / most).astype(np.int64)


def draw(dancer: Dancer, config: VdvConfig, rng: np.random.Generator | None) -> ModalityInput:
    """The skeleton's input: values float32 [K, 9, frames, 17], mask bool [K, frames, 17].

    rng: randomness of training, K = 1, augmented; None: the K = `config.samplings` fixed samplings of scoring.
    """
    return draw_all([dancer], config, None if rng is None else [rng])[0]


def draw_all(
    dancers: Sequence[Dancer], config: VdvConfig, generators: Sequence[np.random.Generator] | None
) -> list[ModalityInput]:
    """`draw` of a batch of clips, some at a time; each has its own generator in training."""
    samplings = config.samplings if generators is None else 1
    values = torch.zeros(len(dancers), samplings, skeleton.STREAMS, config.frames, JOINTS)
    mask = torch.zeros(len(dancers), samplings, config.frames, JOINTS, dtype=torch.bool)
    present = [(place, dancer.posture) for place, dancer in enumerate(dancers) if dancer.posture is not None]
    for first in range(0, len(present), DRAWN_TOGETHER):
        some = present[first : first + DRAWN_TOGETHER]
        places, postures = [place for place, _ in some], [posture for _, posture in some]
        if generators is None:
            streams, seen = skeleton.streams_at(postures, [fixed_frames(posture, config) for posture in postures])
        else:
            changed = [frames_by_chance(posture, config, generators[place]) for place, posture in some]
            frames, changes = [at for at, _ in changed], [change for _, change in changed]
            streams, seen = skeleton.streams_at(postures, frames, changes)
        values[places] = torch.from_numpy(streams).unflatten(2, (samplings, config.frames)).transpose(1, 2)
        mask[places] = torch.from_numpy(seen).unflatten(1, (samplings, config.frames))
    none = torch.zeros(0)
    return [
        ModalityInput(value, there, none, dancer.quality)
        for value, there, dancer in zip(values, mask, dancers, strict=True)
    ]


def skeletons_to_score(postures: Sequence[skeleton.Posture], config: VdvConfig, device: torch.device) -> ModalityInput:
    """The skeletons' input as scoring draws it: all samplings, nothing changed."""
    drawn = draw_all([Dancer(posture, torch.tensor(1.0)) for posture in postures], config, None)
    return to_device({"pose": pad(drawn, "pose")}, device)["pose"]


def fixed_frames(posture: skeleton.Posture, config: VdvConfig) -> np.ndarray:
    """int64 [samplings * frames]: of each sampling that scoring averages, one after the other."""
    shown = np.any(posture.seen, axis=1)
    picks = [np.full(config.frames, (turn + 0.5) / config.samplings) for turn in range(config.samplings)]
    return np.concatenate([skeleton.sample_frames(shown, config.frames, pick) for pick in picks])


def frames_by_chance(
    posture: skeleton.Posture, config: VdvConfig, rng: np.random.Generator
) -> tuple[np.ndarray, skeleton.Change]:
    """A training sample's frames, int64 [frames], and how the clip is augmented for it."""
    change = skeleton.draw_change(
        posture, rng, rotation=config.rotation, scale=config.scale, jitter=config.jitter, mirror=config.mirror
    )
    pick = rng.random(config.frames)
    shown = np.any(posture.seen, axis=1)
    cut = rng.uniform(0, config.crop, 2) * len(shown)
    first, last = int(cut[0]), len(shown) - int(cut[1])
    if not shown[first:last].any():  # the ends were all there is
        first, last = 0, len(shown)
    return first + skeleton.sample_frames(shown[first:last], config.frames, pick), change


def pad(inputs: Sequence[ModalityInput], name: str) -> ModalityInput:
    """Modalities of clips as one of a batch; sequences are filled up with zeros, masked out, to the longest (at least 1)."""
    quality = torch.stack([one.quality for one in inputs])
    if name == "pose":
        values, mask = torch.stack([one.values for one in inputs]), torch.stack([one.mask for one in inputs])
        return ModalityInput(values, mask, torch.zeros(len(inputs), 1), quality)
    longest = max(1, *(len(one.mask) for one in inputs)) if inputs else 1
    # Of numpy, whose zeros cost nothing till something is written over them: torch would write all of them first.
    values = torch.from_numpy(np.zeros((len(inputs), longest, inputs[0].values.shape[1]), np.float32))
    mask = torch.zeros(len(inputs), longest, dtype=torch.bool)
    seconds = torch.zeros(len(inputs), longest)
    for place, one in enumerate(inputs):
        values[place, : len(one.mask)] = one.values
        mask[place, : len(one.mask)] = one.mask
        seconds[place, : len(one.mask)] = one.seconds
    return ModalityInput(values, mask, seconds, quality)


def to_device(inputs: Mapping[str, ModalityInput], device: torch.device) -> dict[str, ModalityInput]:
    return {name: ModalityInput(*(value.to(device) for value in one)) for name, one in inputs.items()}


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
