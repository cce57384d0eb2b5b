"""Two builds at once on one workspace: equal ones, and one whose manifest has got a clip more since the other began."""

import argparse
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import hostile_builds
from benchmarks.hostile_builds import CLIPS, FAILED, Ended, Tally, World, contents, differences
from benchmarks.tiny_clips import render_clip

_TABLE = re.compile(r"clips/[^/]+/\d+-")


def add_options(parser: argparse.ArgumentParser) -> None:
    hostile_builds.add_options(parser, 20, "pairs of builds; every fifth with a clip added")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, of which those in `must_be_0` must be."""
    rng, tally = random.Random(options.seed), Tally()
    ends: dict[str, Counter[str]] = {"equal": Counter(), "a clip added": Counter()}
    with World.made(options.folds, "--decode-workers", "1") as world:
        grown = grown_manifest(world)
        grown_calm = world.folder / "grown-calm"
        shutil.copytree(world.calm, grown_calm)
        tally.judge(world.command(grown_calm, manifest=grown).ended(), (0,))
        for number in range(options.trials):
            offset_s = rng.uniform(0, world.calm_s)
            if number % 5 == 4:
                kind, pair = "a clip added", add_a_clip(world, offset_s, grown, grown_calm, tally)
            else:
                kind, pair = "equal", build_twice(world, offset_s, tally)
            ends[kind][" and ".join(str(ended.code) for ended in pair)] += 1
            print(f"{kind}, {offset_s:.0f} s apart: {[ended.code for ended in pair]}", flush=True)
    return {**tally.results(), "pairs": options.trials, "exit_codes": {kind: dict(of) for kind, of in ends.items()}}


def grown_manifest(world: World) -> Path:
    """A manifest of the same name with a clip more, in another folder. The clips are the same files."""
    folder = world.folder / "grown"
    folder.mkdir()
    (folder / "clips").symlink_to(world.folder / "clips")
    render_clip(world.folder / "clips/more.mp4", seed=CLIPS)
    rows = world.manifest.read_text() + "more,clips/more.mp4,a,creator-more,50,train\n"
    (folder / world.manifest.name).write_text(rows)
    return folder / world.manifest.name


def build_twice(world: World, offset_s: float, tally: Tally) -> tuple[Ended, Ended]:
    """Start equal builds so many seconds apart, and judge both and what they made."""
    workspace = world.folder / "shared"
    pair = _together(world, offset_s, workspace, world.manifest, tally)
    if any(ended.code for ended in pair):
        tally.judge(world.command(workspace).ended(), (0,))
    tally.compare(world.calm, workspace)
    shutil.rmtree(workspace)
    return pair


def add_a_clip(world: World, offset_s: float, grown: Path, grown_calm: Path, tally: Tally) -> tuple[Ended, Ended]:
    """The same where the second build has a clip more. The first may end in words."""
    workspace = world.folder / "shared"
    pair = _together(world, offset_s, workspace, grown, tally)
    if any(ended.code for ended in pair):
        tally.judge(world.command(workspace, manifest=grown).ended(), (0,))
    for line in grown_differences(contents(world.calm), contents(grown_calm), contents(workspace)):
        tally.count("rows or files that differ", line)
    tally.count_partial_files(workspace)
    shutil.rmtree(workspace)
    return pair


def grown_differences(calm: Mapping[str, str], grown: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Lines on a workspace of two builds, of which one has a clip more; the other may have ended in words.

    calm: contents of an undisturbed build of the fewer clips. grown: the same, built upon by one of all clips. Which of
    them was the first to ingest shows in the numbers of the tables, and is not looked at.
    """
    optional = {name for name in calm if name.startswith(("datasets/", "runs/"))}
    unfinished = tuple({f"{name.split('/')[0]}/{name.split('/')[1]}/checkpoints/" for name in optional})
    kept = {name: held for name, held in found.items() if not _TABLE.match(name) and not name.startswith(unfinished)}
    wanted = {name: held for name, held in grown.items() if not _TABLE.match(name)}
    return differences({name: held for name, held in wanted.items() if name in kept or name not in optional}, kept)


def _together(world: World, offset_s: float, workspace: Path, second: Path, tally: Tally) -> tuple[Ended, Ended]:
    one = world.command(workspace)
    time.sleep(offset_s)
    two = world.command(workspace, manifest=second)
    pair = one.ended(), two.ended()
    for ended in pair:
        tally.judge(ended, (0, FAILED))
    return pair
