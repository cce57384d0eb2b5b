"""Speed of shards: writing, reading a whole shard, and reading one clip of it, for pose and for 2,048-wide features.

    python -m benchmarks.shards [--clips 64]

GB/s are of the arrays in memory, not of the file; times are the best of several rounds with the file in the page cache.
`bare` reads the same file's column with pyarrow alone, so the difference is what this project's reader adds.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import save
from pipeline.features.reader import ShardReader, tensors
from pipeline.features.shards import ShardWriter
from pipeline.modalities.appearance import AppearanceRows
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.modalities.tracks import Track

ROUNDS = 5


@dataclass(frozen=True)
class Result:
    what: str
    file_mb: float
    array_mb: float
    write_gb_s: float
    whole_gb_s: float  # ShardReader over all clips
    bare_gb_s: float  # pyarrow, all columns, no arrays made
    clip_ms: float  # one clip at random from an open shard, as rows
    tensors_ms: float  # the same as torch tensors
    first_ms: float  # open the shard and read one clip


def pose(clip_id: str, frames: int, rng: np.random.Generator) -> PoseRows:
    """Two persons who move smoothly, as zstd would meet them."""
    tracks = []
    for number in range(2):
        path = rng.normal(0, 2, (frames, 17, 3)).cumsum(axis=0).astype(np.float32) + 400
        path[..., 2] = rng.random((frames, 17))
        box = np.concatenate([path[..., :2].min(axis=1), path[..., :2].max(axis=1)], axis=1)
        score = rng.random(frames, np.float32)
        tracks.append(Track(number, number == 0, np.ones(frames, bool), path, box, score))
    return PoseRows(clip_id, grid(frames), tuple(tracks))


def appearance(clip_id: str, frames: int, rng: np.random.Generator) -> AppearanceRows:
    """Pooled ReLU activations: non-negative, mostly small."""
    return AppearanceRows(clip_id, grid(frames), rng.gamma(0.6, 0.7, (frames, 2048)).astype(np.float16))


def grid(frames: int) -> Grid:
    index = np.arange(frames, dtype=np.int32)
    return Grid(index * 3, (index / 10).astype(np.float32))


def measure(what: str, modality: str, rows: list[ModalityRows], array_bytes: int, folder: str) -> Result:
    path = os.path.join(folder, f"{modality}.parquet")
    order = [row.clip_id for row in rows]

    def write() -> None:
        with ShardWriter(path, modality, order, {}) as writer:
            for row in rows:
                writer.add(row)

    write_s = best(write)
    reader = ShardReader(path)
    picks = random.Random(0).choices(order, k=100)
    return Result(
        what=what,
        file_mb=round(os.path.getsize(path) / 1e6, 2),
        array_mb=round(array_bytes / 1e6, 2),
        write_gb_s=round(array_bytes / write_s / 1e9, 2),
        whole_gb_s=round(array_bytes / best(lambda: list(reader)) / 1e9, 2),
        bare_gb_s=round(array_bytes / best(lambda: pq.ParquetFile(path).read(use_threads=False)) / 1e9, 2),
        clip_ms=round(1e3 * best(lambda: [reader.read(clip) for clip in picks]) / len(picks), 3),
        tensors_ms=round(1e3 * best(lambda: [tensors(reader.read(clip)) for clip in picks]) / len(picks), 3),
        first_ms=round(1e3 * best(lambda: ShardReader(path).read(picks[0])), 3),
    )


def best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clips", type=int, default=64, help="clips a shard (default 64)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    names = [f"clip-{number:04}" for number in range(args.clips)]
    with tempfile.TemporaryDirectory() as folder:
        wide: list[ModalityRows] = [appearance(name, 32, rng) for name in names]
        joints: list[ModalityRows] = [pose(name, 150, rng) for name in names]
        results = [
            measure("32 x 2048 float16 a clip", "appearance", wide, args.clips * 32 * 2048 * 2, folder),
            measure("pose, 2 persons x 150 frames a clip", "pose", joints, args.clips * 2 * 150 * 56 * 4, folder),
        ]
    for result in results:
        print("  ".join(f"{name} {value}" for name, value in asdict(result).items()))
    save("shards", {"pyarrow": pa.__version__, "clips": args.clips, "results": [asdict(r) for r in results]})


if __name__ == "__main__":
    main()
