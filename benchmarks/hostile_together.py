"""Two builds at once on one workspace: equal ones, and one whose manifest has got a clip more since the other began."""

import argparse
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
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
        states = undisturbed_states(world, grown, tally)
        for number in range(options.trials):
            offset_s = rng.uniform(0, world.calm_s)
            if number % 5 == 4:
                kind, pair = "a clip added", add_a_clip(world, offset_s, grown, states, tally)
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


def undisturbed_states(world: World, grown: Path, tally: Tally) -> list[dict[str, str]]:
    """Contents of a workspace that is built undisturbed: of the fewer clips, then of all, then of the fewer and all.

    A clip that was gone for a while comes back in a new shard, so the last differs from the one before.
    """
    workspace = world.folder / "grown-calm"
    shutil.copytree(world.calm, workspace)
    states = [contents(workspace)]
    for builds in ([grown], [world.manifest, grown]):
        for manifest in builds:
            tally.judge(world.command(workspace, manifest=manifest).ended(), (0,))
        states.append(contents(workspace))
    return states


def build_twice(world: World, offset_s: float, tally: Tally) -> tuple[Ended, Ended]:
    """Start equal builds so many seconds apart, and judge both and what they made."""
    workspace = world.folder / "shared"
    pair = _together(world, offset_s, workspace, world.manifest, tally)
    if any(ended.code for ended in pair):
        tally.judge(world.command(workspace).ended(), (0,))
    tally.compare(world.calm, workspace)
    shutil.rmtree(workspace)
    return pair


def add_a_clip(
    world: World, offset_s: float, grown: Path, states: Sequence[Mapping[str, str]], tally: Tally
) -> tuple[Ended, Ended]:
    """The same where the second build has a clip more. The one whose clips the other ingested anew may end in words."""
    workspace = world.folder / "shared"
    pair = _together(world, offset_s, workspace, grown, tally)
    if all(ended.code for ended in pair):
        tally.count("crashes of the run", "each of two builds stopped the other")
    if any(ended.code for ended in pair):
        tally.judge(world.command(workspace, manifest=grown).ended(), (0,))
    for line in grown_differences(states, contents(workspace)):
        tally.count("rows or files that differ", line)
    tally.count_partial_files(workspace)
    shutil.rmtree(workspace)
    return pair


def grown_differences(states: Sequence[Mapping[str, str]], found: Mapping[str, str]) -> list[str]:
    """Lines on how a workspace of two builds, of which one has a clip more, differs from the nearest undisturbed one.

    states: see `undisturbed_states`. Of what the states before left behind, all but the features of the fewer clips may
    be missing, for the build that would have made it may have ended in words. Which build was the first to ingest shows
    in the numbers of the tables, and is not looked at.
    """
    fewer = states[0]
    lines = []
    for before, state in pairwise(states):
        made = {name for name in before if name.startswith(("datasets/", "runs/"))}
        optional = made | (before.keys() - fewer.keys())
        unfinished = tuple({f"{'/'.join(name.split('/')[:2])}/checkpoints/" for name in made})
        kept = {name: of for name, of in found.items() if not _TABLE.match(name) and not name.startswith(unfinished)}
        needed = kept.keys() | (state.keys() - optional)
        wanted = {name: of for name, of in state.items() if name in needed and not _TABLE.match(name)}
        lines.append(differences(wanted, kept))
    return min(lines, key=len)


def _together(world: World, offset_s: float, workspace: Path, second: Path, tally: Tally) -> tuple[Ended, Ended]:
    one = world.command(workspace)
    time.sleep(offset_s)
    two = world.command(workspace, manifest=second)
    pair = one.ended(), two.ended()
    for ended in pair:
        tally.judge(ended, (0, FAILED))
    return pair
