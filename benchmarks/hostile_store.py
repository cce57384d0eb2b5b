"""Workspace, manifest and clips in an S3 store that is slow, that fails a share of the requests, or that goes away."""

import argparse
import random
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from benchmarks import hostile_builds
from benchmarks.hostile_builds import FAILED, MANIFEST, REFUSED, Command, Ended, Tally, World
from benchmarks.unreliable_store import GONE, KEY, UnreliableStore, environment, s3_server

_BUCKET = "s3://hostile"
_SILENCE_S = 1200.0  # a store that never answers is asked for minutes: four times a request, a minute each
_WORDS = ("s3://hostile/",)  # what a command must say where the store is gone


def add_options(parser: argparse.ArgumentParser) -> None:
    hostile_builds.add_options(parser, 3, "builds in a store that fails")
    parser.add_argument("--gone", type=int, default=1, help="builds for each way to be gone (default 1)")
    parser.add_argument("--delay-ms", type=float, default=50.0, help="added to each request (default 50)")
    parser.add_argument("--share", type=float, default=0.1, help="of the requests that meet trouble (default 0.1)")
    parser.add_argument("--pairs", type=int, default=2, help="builds with and without the delay (default 2)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, of which those in `must_be_0` must be."""
    rng, tally, delay_s = random.Random(options.seed), Tally(), options.delay_ms / 1000
    ends: dict[str, Counter[str]] = {how: Counter() for how in GONE}
    with World.made(options.folds, "--decode-workers", "1") as world, stored(world, options.seed) as stored_world:
        proxy = stored_world.proxy
        ratios, requests = delayed(stored_world, options.pairs, delay_s, tally)
        proxy.delay_s, proxy.share = delay_s, options.share
        for _ in range(options.trials):
            stored_world.undisturbed(tally)
        proxy.share = 0.0
        for how in GONE * options.gone:
            ended = gone_after(stored_world, how, rng.uniform(0, world.calm_s), tally)
            ends[how][f"exit code {ended.code}"] += 1
            print(f"{how}: {ended.code} after {ended.wall_s:.0f} s", flush=True)
    return {
        **tally.results(),
        "delay_ms": options.delay_ms,
        "wall_ratio_with_delay": [round(ratio, 2) for ratio in ratios],
        "median_wall_ratio_with_delay": round(statistics.median(ratios), 2) if ratios else None,
        "requests_of_a_build": requests,
        "builds_with_trouble": options.trials,
        "share": options.share,
        "troubles": dict(proxy.troubles),
        "gone": {how: dict(counts) for how, counts in ends.items()},
    }


@dataclass(frozen=True)
class StoredWorld:
    """A world's manifest and clips in a store behind a proxy, and workspaces in it."""

    world: World
    proxy: UnreliableStore
    store: str  # address of the store itself

    def build(self, workspace: str) -> Command:
        return self.world.command(
            f"{_BUCKET}/{workspace}", manifest=f"{_BUCKET}/{MANIFEST}", env=environment(self.proxy.address)
        )

    def undisturbed(self, tally: Tally) -> Ended:
        """A build that must end well, in a new workspace."""
        ended = self.build("workspace").ended()
        print(f"built in {ended.wall_s:.0f} s: {ended.code}, troubles so far {dict(self.proxy.troubles)}", flush=True)
        tally.judge(ended, (0,))
        self.compare(tally)
        return ended

    def compare(self, tally: Tally) -> None:
        """Judge the workspace, and remove it."""
        files, copy = self.files(), self.world.folder / "copy"
        files.get(f"{_BUCKET}/workspace", str(copy), recursive=True)
        tally.compare(self.world.calm, copy, masked=True)
        files.rm(f"{_BUCKET}/workspace", recursive=True)
        shutil.rmtree(copy)

    def files(self) -> fsspec.AbstractFileSystem:
        return fsspec.filesystem("s3", key=KEY, secret=KEY, endpoint_url=self.store, use_listings_cache=False)


@contextmanager
def stored(world: World, seed: int) -> Iterator[StoredWorld]:
    with s3_server() as store, UnreliableStore(store, seed) as proxy:
        stored_world = StoredWorld(world, proxy, store)
        files = stored_world.files()
        files.mkdir(_BUCKET)
        files.put(str(world.manifest), f"{_BUCKET}/{MANIFEST}")
        for path in sorted(Path(world.folder, "clips").iterdir()):
            files.put(str(path), f"{_BUCKET}/clips/{path.name}")
        yield stored_world


def delayed(stored_world: StoredWorld, pairs: int, delay_s: float, tally: Tally) -> tuple[list[float], int]:
    """Ratios of the wall time with the delay to that without, builds in turn; the requests that one build makes."""
    ratios, requests = [], 0
    for _ in range(pairs):
        walls = []
        for stored_world.proxy.delay_s in (0.0, delay_s):
            before = stored_world.proxy.requests
            walls.append(stored_world.undisturbed(tally).wall_s)
            requests = stored_world.proxy.requests - before
        ratios.append(walls[1] / walls[0])
    return ratios, requests


def gone_after(stored_world: StoredWorld, how: str, seconds: float, tally: Tally) -> Ended:
    """Build in a store that goes away after some seconds, and again once it is back; how the first build ended."""
    command = stored_world.build("workspace")
    time.sleep(seconds)
    stored_world.proxy.gone = how
    ended = command.ended(_SILENCE_S)
    stored_world.proxy.gone = ""
    tally.judge(ended, (0, FAILED, REFUSED), _WORDS)
    stored_world.undisturbed(tally)
    return ended
