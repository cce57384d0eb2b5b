"""Extraction on two nodes of a Ray cluster against one.

    python -m benchmarks.ray [--clips 64] [--batch-s 1.5] [--runs 2]

Nodes are simulated on this machine (ray.cluster_utils.Cluster, one CPU each, a head without any), and so are the
networks: what a GPU would compute is a wait of `--batch-s` seconds for each batch, during which the processor is free,
as it is beside a GPU. Else nodes would share this machine's cores, and two could not be faster than one. All else is
real: Ray, actors, decode workers, rows, Parquet, the move of each shard to its place. The clock runs from the moment
when the networks of all actors are there until the command has ended and its actors are gone. Sides run in turn.
"""

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import median_ratio, save, table
from benchmarks.tiny_clips import PROFILE, tiny_world
from models.extractors.extractor import Extractor, Prepared
from models.extractors.people import People
from pipeline.cluster.connection import Cluster
from pipeline.cluster.engine import extract_on_cluster
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.extraction.owners import Extraction
from pipeline.features.plan import feature_spec, plan_shards
from pipeline.ingest.clip_table import read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.registry import load_profile, modality_identity

_SHARD_CLIPS = 2
_NODE: dict[str, Any] = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


class Waiting(Extractor):
    """A pose network that sees nobody, and takes its time over it."""

    modality = "pose"
    batch_size = 8

    def __init__(self, batch_s: float):
        self._batch_s = batch_s

    def prepare(self, frames: torch.Tensor) -> Prepared:
        return Prepared(torch.zeros(len(frames), 1), list(range(len(frames))), [None] * len(frames))

    def launch(self, inputs: torch.Tensor, extras: list[Any]) -> int:
        return len(extras)

    def collect(self, outputs: int, extras: list[Any]) -> list[People]:
        time.sleep(self._batch_s)
        empty = np.zeros((0, 17, 3), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return [People(*empty)] * outputs


def build(batch_s: float, folder: str, nodes: int, modality: str, device: torch.device) -> Extractor:
    """The network, once those of all nodes are there."""
    Path(folder, str(os.getpid())).touch()
    while len(os.listdir(folder)) < nodes:
        time.sleep(0.01)
    return Waiting(batch_s)


def extract(address: str, nodes: int, world: Path, batch_s: float) -> tuple[float, float]:
    """Seconds from the moment when all networks are there, and of the whole command."""
    profile, sampling = load_profile(str(PROFILE)), SamplingOptions()
    (batch,) = read_manifests(str(world))
    spec = feature_spec("pose", sampling, 1, modality_identity("pose", profile))
    with tempfile.TemporaryDirectory() as workspace, tempfile.TemporaryDirectory() as built:
        ingest = read_ingest(run_ingest(workspace, batch, 2, DecodeLimits(), _SHARD_CLIPS))
        plans = plan_shards(workspace, batch.name, ingest, [spec], sampling).shards
        made = partial(build, batch_s, built, nodes)
        extraction = Extraction(workspace, batch.name, plans, made, sampling, DecodeLimits(slot_mb=1), 1, profile.name)
        begun = time.time()
        extracted = extract_on_cluster(extraction, Cluster(address, "cpu", 0, 1))
        ended = time.time()
        if extracted.endings != {"ok": len(ingest.clips)} or extracted.owners != nodes:
            raise AssertionError(f"{extracted.owners} actors, clips {dict(extracted.endings)}")
        return ended - max(path.stat().st_mtime for path in Path(built).iterdir()), ended - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--batch-s", type=float, default=1.5, help="seconds that a network takes for a batch")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as Simulated

    seconds: dict[int, list[float]] = {1: [], 2: []}
    whole: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        world = tiny_world(Path(folder), options.clips)
        for _ in range(options.runs):
            for nodes in seconds:
                cluster = Simulated(initialize_head=True, head_node_args={"num_cpus": 0, **_NODE})
                for _ in range(nodes):
                    cluster.add_node(num_cpus=1, **_NODE)
                took = extract(cluster.address, nodes, world, options.batch_s)
                cluster.shutdown()
                for figures, figure in zip((seconds, whole), took, strict=True):
                    figures[nodes].append(figure)
                print(f"{nodes} nodes: {took[0]:.1f} s, {took[1]:.1f} s with the start of Python and torch", flush=True)
    ratio = median_ratio(seconds[1], seconds[2])
    rows = [[nodes, *(f"{figure:.1f}" for figure in seconds[nodes])] for nodes in seconds]
    print(table(rows, ["nodes", *(f"turn {run} (s)" for run in range(1, options.runs + 1))]))
    print(f"two nodes are {ratio:.2f} times as fast as one")
    about = {"clips": options.clips, "batch_s": options.batch_s, "shard_clips": _SHARD_CLIPS}
    save("ray", {**about, "seconds": seconds, "seconds_with_start": whole, "two_against_one": ratio})


if __name__ == "__main__":
    main()
