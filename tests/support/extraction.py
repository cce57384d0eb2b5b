"""Extraction of a few small clips into a workspace, as tests of the engine and of its planning need it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from models.extractors.extractor import Extractor, Prepared
from models.extractors.face import Face
from models.extractors.people import People
from pipeline.core import storage
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending, Probe
from pipeline.extraction.extract import Progress, extract_shards
from pipeline.features.endings import read_endings
from pipeline.features.plan import FeatureSpec, endings_folder, feature_spec, features_folder, plan_shards, shard_path
from pipeline.features.reader import ShardReader
from pipeline.ingest.clip_table import IngestedBatch, IngestedClip
from pipeline.modalities.registry import build_extractor, load_profile, modality_identity
from tests.end_to_end.workspaces import TINY_PROFILE
from tests.support.feature_rows import jpeg

BATCH = "june"
SAMPLING = SamplingOptions(sample_fps=10.0, max_seconds=20.0, max_side=640)
LIMITS = DecodeLimits(slot_mb=1)
CPU = torch.device("cpu")
CHEAP = ("pose", "scene")  # with `cheap`: the finder of squares, and a real network

Shards = Mapping[str, Sequence[Path]]  # clips by shard; a clip's id is its file's name without ending


@cache
def tiny(modality: str) -> Extractor:
    """The extractor of benchmarks/tiny.toml, with random weights and real code."""
    return build_extractor(modality, load_profile(TINY_PROFILE), CPU)


def specs(*modalities: str, sampling: SamplingOptions = SAMPLING, **strides: int) -> tuple[FeatureSpec, ...]:
    """strides: by modality, where another than the profile's is meant."""
    profile = load_profile(TINY_PROFILE)
    return tuple(
        feature_spec(name, sampling, strides.get(name, profile.entry(name).stride), modality_identity(name, profile))
        for name in modalities
    )


def ingested(shards: Shards, gone: Mapping[str, Sequence[str]] | None = None) -> IngestedBatch:
    """The ingest of clips that could all be read, as they are now.

    gone: clip_ids that were members of a shard and no longer are.
    """
    gone = gone or {}
    clips, members = [], {}
    for shard, paths in shards.items():
        probes = [Probe(path.stem, _hash(path), 1, "mp4", "h264", 96, 160, 0, False, 8.0, 1.0, 8) for path in paths]
        clips += [IngestedClip(str(path), "1-1", probe, shard) for path, probe in zip(paths, probes, strict=True)]
        left = [(clip_id, "hash") for clip_id in gone.get(shard, ())]
        members[shard] = (*left, *((probe.clip_id, probe.content_hash) for probe in probes))
    return IngestedBatch(tuple(clips), members)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def extract(
    workspace: Path | str,
    shards: Shards,
    wanted: Sequence[FeatureSpec],
    *,
    build: Callable[[str], Extractor] = tiny,
    sampling: SamplingOptions = SAMPLING,
    limits: DecodeLimits = LIMITS,
    workers: int = 1,
    gone: Mapping[str, Sequence[str]] | None = None,
    progress: Progress | None = None,
    device: torch.device = CPU,
) -> Mapping[str, int]:
    """Plans and extracts what is missing; how many clips ended in which way."""
    plans = plan_shards(str(workspace), BATCH, ingested(shards, gone), wanted, sampling).shards
    extracted = extract_shards(
        str(workspace), BATCH, plans, build, sampling, limits,
        workers=workers, device=device, profile="tiny", progress=progress,
    )  # fmt: skip
    return extracted.endings


def shard_file(workspace: Path | str, spec: FeatureSpec, shard: str) -> str:
    return shard_path(features_folder(str(workspace), BATCH, spec), shard)


def rows_by_clip(workspace: Path | str, spec: FeatureSpec) -> dict[str, Any]:
    """The rows of all shards of one modality, which the caller knows."""
    found: dict[str, Any] = {}
    folder = features_folder(str(workspace), BATCH, spec)
    for name in storage.listing(folder):
        found |= {rows.clip_id: rows for rows in ShardReader(storage.join(folder, name))}
    return found


def endings_file(workspace: Path | str, shard: str, sampling: SamplingOptions = SAMPLING) -> str:
    return shard_path(endings_folder(str(workspace), BATCH, sampling), shard)


def endings_by_clip(workspace: Path | str, *shards: str) -> dict[str, Ending]:
    return {ending.clip_id: ending for shard in shards for ending in read_endings(endings_file(workspace, shard))}


def bits(value: Any) -> Any:
    """A nested value in which arrays are their type, shape and bytes: equal means bitwise equal. Clip ids are out."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple):
        return tuple(map(bits, value))
    if hasattr(value, "__dataclass_fields__"):
        return {name: bits(getattr(value, name)) for name in value.__dataclass_fields__ if name != "clip_id"}
    return value


class SquareFinder(Extractor):
    """Finds the bright square of benchmarks.tiny_clips, exactly: a face, or a person six times its size around its
    middle.

    (A person as small as the square would not be the same one in the next frame: it moves by half its size.) Where
    there is no square there is nobody. So a test knows what a frame must give, and which frame a row is of.
    """

    def __init__(self, modality: str, batch_size: int = 4):
        self.modality = modality
        self.batch_size = batch_size
        self.frames_seen = 0

    def prepare(self, frames: Tensor) -> Prepared:
        self.frames_seen += len(frames)
        boxes = [_square(frame) for frame in frames.numpy()]
        if self.modality == "pose":  # one result a frame, an empty one too
            return Prepared(torch.zeros(len(boxes), 1), list(range(len(boxes))), boxes)
        found = [(index, box) for index, box in enumerate(boxes) if box is not None]
        return Prepared(torch.zeros(len(found), 1), [index for index, _ in found], [box for _, box in found])

    def launch(self, inputs: Tensor, extras: list[Any]) -> Tensor:
        assert len(inputs) == len(extras) <= self.batch_size
        return inputs

    def collect(self, outputs: Tensor, extras: list[Any]) -> list[Any]:
        return [(_person if self.modality == "pose" else _face)(box) for box in extras]


def _square(frame: np.ndarray) -> np.ndarray | None:
    """float32 [4] x1, y1, x2, y2 of the bright pixels of a frame uint8 [H, W, 3]."""
    rows, columns = np.nonzero(frame.min(axis=2) > 130)
    if not len(rows):
        return None
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)


def _person(box: np.ndarray | None) -> People:
    if box is None:
        return People(np.zeros((0, 17, 3), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    body = person_box(box)
    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 0.9]
    return People(np.full((1, 17, 3), middle, np.float32), body[None], np.array([0.8], np.float32))


def person_box(square: np.ndarray) -> np.ndarray:
    """[..., 4] of the person that the finder makes of a square."""
    margin = 2.5 * (square[..., 2:] - square[..., :2])
    return np.concatenate([square[..., :2] - margin, square[..., 2:] + margin], axis=-1)


def _face(box: np.ndarray) -> Face:
    landmarks = np.full((5, 2), [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], np.float32)
    return Face(box, landmarks, 0.7, jpeg(90), np.full(512, 1 / 512**0.5, np.float16))


def cheap(modality: str) -> Extractor:
    """Finders of squares in place of the networks that are slow or see nothing in a rendered clip."""
    return tiny(modality) if modality in ("scene", "appearance") else SquareFinder(modality)


def no_worker_is_left() -> bool:
    """No decode worker of this process is alive."""
    children = psutil.Process().children(recursive=True)
    return not any("pipeline.decode.worker" in " ".join(child.cmdline()) for child in children)
