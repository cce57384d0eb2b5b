"""Damage of files of a finished workspace, of every kind and in every way; the same command must make them again.

Within a shard a command looks only where it reads: damage that leaves a shard's size as it was is left until then, so
a second command reads all shards, once the dataset and the run that were made of them are deleted.
"""

import argparse
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import hostile_builds
from benchmarks.common import table
from benchmarks.hostile_builds import Ended, Tally, World

SILENT = "damaged files not named"
NOT_DONE = "commands that found no end"  # not even the third finds nothing to do
KINDS: dict[str, str] = {
    "shards of features": "features/*/*/*/*.parquet",
    "shards of endings": "clips/*/endings/*/*.parquet",
    "sizes of shards": "**/.sizes.json",
    "tables of clips": "clips/*/*.parquet",
    "tables of datasets": "datasets/*/*.parquet",
    "statistics of datasets": "datasets/*/*.json",
    "tables of runs": "runs/*/*.parquet",
    "weights": "runs/*/*.safetensors",
    "JSON of runs": "runs/*/*.json",
    "report": "runs/*/report.html",
    "table in text": "runs/*/table.*",
    "figures": "runs/*/figures/*",
    "names and the newest": "*.json",
}
SHARDS = ("shards of features", "shards of endings")
STATED_BY = {"report": "report.json", "figures": "report.json", "table in text": "metrics.json"}  # their checksums
_NAME = ("--run-name", "june")


def _flip(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _zeros(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, length = rng.randrange(len(data)), rng.randrange(1, 4096)
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


WAYS: dict[str, Callable[[random.Random, bytes, Sequence[bytes]], bytes]] = {
    "a bit flipped": _flip,
    "cut off": lambda rng, data, others: data[: rng.randrange(1, len(data))],
    "empty": lambda rng, data, others: b"",
    "zeros within": _zeros,
    "random bytes": lambda rng, data, others: rng.randbytes(len(data)),
    "another file's content": lambda rng, data, others: rng.choice([other for other in others if other != data]),
}


@dataclass(frozen=True)
class Damage:
    """Damage that was done to one file."""

    kind: str
    way: str
    name: str  # relative to the workspace
    same_size: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    hostile_builds.add_options(parser, 200, "damaged files")
    parser.add_argument("--at-once", type=int, default=10, help="files damaged before a command, at most (default 10)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, of which those in `must_be_0` must be."""
    rng, tally = random.Random(options.seed), Tally()
    tally.counts.update({SILENT: 0, NOT_DONE: 0})  # `|=` would drop all that are 0
    named: dict[str, Counter[str]] = {"by the same command": Counter(), "once read": Counter()}
    with World.made(options.folds, "--decode-workers", "1", *_NAME) as world:
        workspace = world.folder / "damaged"
        shutil.copytree(world.calm, workspace)
        done = 0
        while done < options.trials:
            damages = harm(workspace, min(rng.randint(1, options.at_once), options.trials - done), done, rng)
            done += len(damages)
            for when, kinds in mend(world, workspace, damages, tally).items():
                named[when] += kinds
            print(f"{done} of {options.trials} damaged and made again", flush=True)
    rows = [(kind, *(of[kind] for of in named.values())) for kind in KINDS]
    print(table(rows, ("damaged and named", *named)))
    return {**tally.results(), "damaged": done, "seed": options.seed,
            "named": {when: dict(kinds) for when, kinds in named.items()}}  # fmt: skip


def harm(workspace: Path, count: int, already: int, rng: random.Random) -> list[Damage]:
    """Damage so many files of different names. Kinds and ways take turns, so that each pair of them comes about."""
    damages: dict[str, Damage] = {}
    files = {path: path.read_bytes() for path in sorted(workspace.rglob("*")) if path.is_file() and path.stat().st_size}
    kinds, ways, number = list(KINDS), list(WAYS), already
    while len(damages) < count:
        kind, way = kinds[number % len(kinds)], ways[number // len(kinds) % len(ways)]
        number += 1
        there = [path for path in sorted(workspace.glob(KINDS[kind])) if path in files]
        if not there:  # a build without folds has no table in text
            continue
        path = rng.choice(there)
        name = path.relative_to(workspace).as_posix()
        like = [data for other, data in files.items() if other.suffix == path.suffix and other != path]
        data = WAYS[way](rng, files[path], like or list(files.values()))
        if name in damages or data == files[path]:
            continue
        path.write_bytes(data)
        damages[name] = Damage(kind, way, name, len(data) == len(files[path]))
    return list(damages.values())


def mend(world: World, workspace: Path, damages: Sequence[Damage], tally: Tally) -> dict[str, Counter[str]]:
    """Run the command that made a workspace, and judge what it names and makes. Returns the kinds named, by when."""
    first = _run(world, workspace, tally)
    late = [damage for damage in damages if damage.kind in SHARDS and damage.same_size and not is_named(first, damage)]
    named = {"by the same command": Counter(damage.kind for damage in damages if damage not in late)}
    for damage in unnamed(first, [damage for damage in damages if damage not in late]):
        tally.count(SILENT, f"{damage.way}: {damage.name}")
    if late:
        for folder in ("datasets", "runs"):
            shutil.rmtree(workspace / folder)
        second = _run(world, workspace, tally)
        for damage in unnamed(second, late):
            tally.count(SILENT, f"{damage.way}, read again: {damage.name}")
        named["once read"] = Counter(damage.kind for damage in late)
    tally.compare(world.calm, workspace)
    if "nothing to do" not in _run(world, workspace, tally).output:
        tally.count(NOT_DONE, ", ".join(damage.name for damage in damages))
    return named


def _run(world: World, workspace: Path, tally: Tally) -> Ended:
    ended = world.command(workspace).ended()
    tally.judge(ended, (0,))
    return ended


def unnamed(ended: Ended, damages: Sequence[Damage]) -> list[Damage]:
    """The damages that a command did not name, less those of files whose checksum was in a damaged file itself."""
    stated = {damage.name.rsplit("/", 1)[-1] for damage in damages}
    return [damage for damage in damages if not is_named(ended, damage) and STATED_BY.get(damage.kind) not in stated]


def is_named(ended: Ended, damage: Damage) -> bool:
    return f"/{damage.name} is damaged" in ended.output
