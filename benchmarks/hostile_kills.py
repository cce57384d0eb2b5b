"""kill -9 of the main process of whole builds, at moments drawn from all that was left to do.

Kills follow one another on one workspace until a build ends by itself, or is left to after ten of them; that workspace
must be as an undisturbed one.
Builds use one process a stage or two, in turn: with two, the folds are trained in processes of their own.
"""

import argparse
import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks import hostile_builds
from benchmarks.common import table
from benchmarks.hostile_builds import Ended, Tally, World, ours_in

DAMAGED = "files called damaged"
_WORKERS = (1, 2)
_SPENT = re.compile(r"^  (\w+) +(?:(\d+) min )?(\d+) s", re.MULTILINE)  # tasks.terminal_text.times_text


def add_options(parser: argparse.ArgumentParser) -> None:
    hostile_builds.add_options(parser, 200, "kills")
    parser.add_argument("--in-a-row", type=int, default=10, help="kills of one workspace, at most (default 10)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, of which those in `must_be_0` must be."""
    rng, tally = random.Random(options.seed), Tally()
    tally.counts[DAMAGED] = 0
    with World.made(options.folds, "--log-level", "INFO") as world:
        paces = {workers: pace(world, workers, tally) for workers in _WORKERS}
        kills, rounds = Counter[str](), 0
        while kills.total() < options.trials:
            most = min(options.in_a_row, options.trials - kills.total())
            kills += kill_until_finished(world, paces, most, rng, tally)
            rounds += 1
        left = killed_left(world, tally)
    print(table([(task, count) for task, count in kills.most_common()], ("task", "kills")))
    seconds = {f"{workers} process a stage": round(pace[""], 1) for workers, pace in paces.items()}
    return {
        **tally.results(),
        "kills": kills.total(),
        "seed": options.seed,
        "rounds": rounds,
        "temporary_folders_removed": left,
        "kills_by_task": dict(kills.most_common()),
        "undisturbed_s": seconds,
    }


def killed_left(world: World, tally: Tally) -> int:
    """The temporary folders that all the killed builds left, which a build an hour later must remove; how many."""
    left, hour_ago = ours_in(world.temporary), time.time() - 3600
    for name in left:
        os.utime(world.temporary / name, (hour_ago, hour_ago))
    tally.judge(world.command(world.folder / "later").ended(), (0,))
    for name in ours_in(world.temporary):
        tally.count("partial files", f"temporary, of a killed build: {name}")
    return len(left)


def pace(world: World, workers: int, tally: Tally) -> dict[str, float]:
    """Seconds of each task of an undisturbed build, and of all of it under ""."""
    workspace = world.folder / f"pace-{workers}"
    calm = world.command(workspace, "--decode-workers", str(workers)).ended()
    tally.judge(calm, (0,))
    tally.compare(world.calm, workspace)
    shutil.rmtree(workspace)
    spent = {task: 60 * int(minutes or 0) + float(seconds) for task, minutes, seconds in _SPENT.findall(calm.output)}
    return {"": calm.wall_s, **spent}


def kill_until_finished(
    world: World, paces: Mapping[int, Mapping[str, float]], most: int, rng: random.Random, tally: Tally
) -> Counter[str]:
    """Kill builds of one workspace until one ends by itself, which the one after `most` kills may; kills by task."""
    workspace = world.folder / "rough"
    kills: Counter[str] = Counter()
    done: set[str] = set()
    while True:
        workers = rng.choice(_WORKERS)
        build = world.command(workspace, "--decode-workers", str(workers))
        if kills.total() == most:
            ended = build.ended()
        else:
            ended = build.killed_after(rng.uniform(0, left_s(paces[workers], done)))
        judge(ended, tally)
        done |= set(ended.tasks_done)
        if ended.code == -9 and not ended.hung:
            kills[ended.last_task] += 1
            print(f"kill {kills.total()} of {most}: {ended.last_task} after {ended.wall_s:.0f} s", flush=True)
            continue
        if ended.code == 0:
            tally.compare(world.calm, workspace)
        shutil.rmtree(workspace, ignore_errors=True)
        return kills


def left_s(pace: Mapping[str, float], done: set[str]) -> float:
    """Seconds that a build takes that finds these tasks done."""
    return pace[""] - sum(seconds for task, seconds in pace.items() if task in done)


def judge(ended: Ended, tally: Tally) -> None:
    """Judge a build by itself; one that was killed, and one that found what the killed ones had left."""
    tally.judge(ended, (0, -9))
    for line in ended.output.splitlines():
        if " is damaged" in line:
            tally.count(DAMAGED, line)
