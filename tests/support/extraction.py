"""Extraction of a few small clips into a workspace, as tests of the engine and of its planning need it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from models.extractors.extractor import Extractor
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
from tests.support.square_finder import SquareFinder

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


def cheap(modality: str) -> Extractor:
    """Finders of squares in place of the networks that are slow or see nothing in a rendered clip."""
    return tiny(modality) if modality in ("scene", "appearance") else SquareFinder(modality)


def no_worker_is_left() -> bool:
    """No decode worker of this process is alive."""
    children = psutil.Process().children(recursive=True)
    return not any("pipeline.decode.worker" in " ".join(child.cmdline()) for child in children)
