"""The skeleton model alone on real scored motion, UI-PRMD's Kinect half, against ExtraTrees and STGCN++.

    python -m benchmarks.external --data ui_prmd_kinect.npz --work FOLDER

Trained on nine, three and one subjects and judged on the others: the share of pairs of one movement and one subject in
which the episode done right scores above the one done wrong. And on an unseen movement, trained on the other nine: the
AUC over all subjects. Every training's scores are kept in FOLDER, and what is there is not done again; after a change
of code take another folder.
"""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.common import save, table
from benchmarks.external_judging import auc_and_interval, mean_and_interval, pairs_of_subjects, pairwise_within
from benchmarks.external_training import (
    fixed_draws,
    judge_by_network,
    judge_by_trees,
    predict_by_ridge,
    ridge_statistics,
    tree_numbers,
)
from benchmarks.ui_prmd import (
    Episodes,
    Split,
    leave_movements_out,
    leave_subjects_out,
    load_episodes,
    only_subjects,
)
from models.virality.config import VdvConfig
from pipeline.core import storage
from pipeline.core.child_processes import spawned_pool

NETWORK_SHARE = 0.3  # of the mix with the ridge; it, CONFIG and all of the ridges were chosen on subjects 1 to 5 alone
# A movement done with the left is another one than with the right: nothing is mirrored. Of eight frames the
# body level would have two. The ridge is fitted by itself.
CONFIG = VdvConfig(modalities=("pose",), frames=16, samplings=2, pose_rate=3e-3, mirror=0.0, ridge=False)
MOTION = VdvConfig(frames=16)  # how the product's motion statistics see an episode
WAYS = ("trees", "ridge", "psgcn", "st_gcn_plus")
PREDICTORS: dict[str, tuple[tuple[str, str, float], ...]] = {  # by name: way, what of its words, and share of it
    "trees": (("trees", "score", 1.0),),
    "psgcn": (("psgcn", "network", NETWORK_SHARE), ("ridge", "score", 1 - NETWORK_SHARE)),
    "psgcn, pyramid alone": (("psgcn", "network", 1.0),),
    "ridge alone": (("ridge", "score", 1.0),),
    "st_gcn_plus": (("st_gcn_plus", "network", 1.0),),
    "st_gcn_plus with the ridge": (("st_gcn_plus", "network", NETWORK_SHARE), ("ridge", "score", 1 - NETWORK_SHARE)),
}
TREES = 200
TUNED_ON = 5  # subjects


@dataclass(frozen=True)
class Setting:
    """A question, and what ExtraTrees were measured to reach when the data was prepared."""

    name: str
    training: int | None  # subjects; None: all, and a movement is left out
    epochs: int  # the fewer episodes, the more
    floor: float


SETTINGS = (
    Setting("9 subjects", 9, 4, 0.969),
    Setting("3 subjects", 3, 6, 0.943),
    Setting("1 subject", 1, 12, 0.853),
    Setting("unseen movement", None, 4, 0.858),
)


@dataclass(frozen=True)
class Job:
    """One training, or one forest a movement, and what it is asked."""

    data: Path
    subjects: int  # the first so many of the data's
    setting: Setting
    split: int
    way: str  # of WAYS
    seed: int
    work: Path

    @property
    def path(self) -> Path:
        """Where its scores are kept."""
        name = f"{self.setting.name}-{self.split}-{self.way}-{self.seed}.npz".replace(" ", "-")
        return self.work / f"{self.subjects}-subjects" / name


class Scores(NamedTuple):
    """What one predictor says, with one seed, of the test rows of each split; and seconds of training and judging."""

    splits: list[tuple[Split, np.ndarray]]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="ui_prmd_kinect.npz")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps what is done")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=10, help="5: those that it was tuned on; nothing is saved")
    parser.add_argument("--only", choices=[setting.name for setting in SETTINGS], help="one question; nothing is saved")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side, a core each")
    options = parser.parse_args()
    episodes = _episodes(options.data, options.subjects)
    settings = [setting for setting in SETTINGS if options.only in (None, setting.name)]
    jobs = [
        Job(options.data, options.subjects, setting, split, way, seed, options.work)
        for seed in range(options.seeds)
        for setting in settings
        for split in range(len(_splits(episodes, setting)))
        for way in WAYS
        if seed == 0 or way != "ridge"  # which is the same with every seed
    ]
    run([job for job in jobs if not job.path.exists()], options.workers)
    found = {
        setting.name: judge_setting(episodes, setting, [job for job in jobs if job.setting == setting])
        for setting in settings
    }
    print_results(found)
    if options.subjects == 10 and options.only is None:
        about = {
            "frames": CONFIG.frames,
            "samplings": CONFIG.samplings,
            "pose_rate": CONFIG.pose_rate,
            "epochs": {setting.name: setting.epochs for setting in SETTINGS},
            "network_share": NETWORK_SHARE,
            "trees": TREES,
        }
        save("external", {"seeds": options.seeds, "options": about, "settings": found})


def run(jobs: Sequence[Job], workers: int) -> None:
    """Does the jobs and keeps what they say; ends with the first that fails."""
    if workers == 1:
        for job in jobs:
            print(_do(job), flush=True)
        return
    with spawned_pool(workers) as pool:
        for done in as_completed([pool.submit(_do, job) for job in jobs]):
            print(done.result(), flush=True)


def _do(job: Job) -> str:
    torch.set_num_threads(1)
    episodes = _episodes(job.data, job.subjects)
    split = _splits(episodes, job.setting)[job.split]
    known = job.setting.training is not None
    if job.way == "trees":
        seen = _numbers_of_trees(job.data, job.subjects)
        start = time.perf_counter()
        said = {"score": judge_by_trees(episodes, seen, split, job.seed, known, TREES)}
    elif job.way == "ridge":
        numbers = _ridge_statistics_of(job.data, job.subjects)
        start = time.perf_counter()
        said = {"score": predict_by_ridge(episodes, numbers, split, known)}
    else:
        fixed = _inputs_of_networks(job.data, job.subjects)
        config = replace(CONFIG, pose_network=job.way, epochs=job.setting.epochs, seed=job.seed)
        start = time.perf_counter()
        said = {"network": judge_by_network(episodes, fixed, split, config, known)}
    seconds = time.perf_counter() - start
    job.path.parent.mkdir(parents=True, exist_ok=True)
    with storage.staged(os.fspath(job.path)) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, seconds=np.array(seconds), **said)
    return f"{job.setting.name}, {split.name}, {job.way}, seed {job.seed}: {seconds:.0f} s"


@cache
def _episodes(data: Path, subjects: int) -> Episodes:
    return only_subjects(load_episodes(data), subjects)


@cache
def _numbers_of_trees(data: Path, subjects: int) -> np.ndarray:
    return tree_numbers(_episodes(data, subjects))


@cache
def _ridge_statistics_of(data: Path, subjects: int) -> np.ndarray:
    return ridge_statistics(fixed_draws(_episodes(data, subjects), MOTION))


@cache
def _inputs_of_networks(data: Path, subjects: int) -> torch.Tensor:
    return fixed_draws(_episodes(data, subjects), CONFIG)


def _splits(episodes: Episodes, setting: Setting) -> list[Split]:
    if setting.training is None:
        return leave_movements_out(episodes)
    return leave_subjects_out(episodes, min(setting.training, len(np.unique(episodes.subject)) - 1))


def _scores(episodes: Episodes, jobs: Sequence[Job]) -> dict[str, list[Scores]]:
    """By predictor, of each seed, from what one setting's jobs have kept."""
    splits = _splits(episodes, jobs[0].setting)
    kept: dict[tuple[str, int], dict[int, dict[str, np.ndarray]]] = {}  # by way and seed, by split
    for job in jobs:
        with np.load(job.path) as file:
            kept.setdefault((job.way, job.seed), {})[job.split] = dict(file)
    found: dict[str, list[Scores]] = {}
    for seed in sorted({job.seed for job in jobs}):
        for predictor, parts in PREDICTORS.items():
            words = [(kept[way, 0 if way == "ridge" else seed], key, share) for way, key, share in parts]
            said = [
                (split, np.sum([share * of[place][key] for of, key, share in words], 0))
                for place, split in enumerate(splits)
            ]
            seconds = sum(float(of[place]["seconds"]) for of, _, _ in words for place in range(len(splits)))
            found.setdefault(predictor, []).append(Scores(said, seconds))
    return found


def judge_setting(episodes: Episodes, setting: Setting, jobs: Sequence[Job]) -> dict:
    """By predictor: its figure with interval, that of subjects it was not tuned on, and what psgcn has over it."""
    scores = _scores(episodes, jobs)
    figures = {name: [_figure(episodes, setting, said) for said in of_seeds] for name, of_seeds in scores.items()}
    interval = auc_and_interval if setting.training is None else mean_and_interval
    subjects = np.unique(episodes.subject)
    untouched = np.flatnonzero(subjects > TUNED_ON)
    ours = np.mean(figures["psgcn"], 0)
    found = {}
    for name, of_seeds in figures.items():
        mean = np.mean(of_seeds, 0)
        found[name] = {
            **interval(mean),
            "by_seed": [round(float(one.mean()), 4) for one in of_seeds],
            "psgcn_ahead": interval(ours - mean) if name != "psgcn" else None,
            "subjects_untouched": interval(_of(mean, untouched)) if len(untouched) else None,
            "seconds": round(float(np.mean([said.seconds for said in scores[name]])), 1),
        }
    pyramid, other = (np.mean(figures[name], 0) for name in ("psgcn, pyramid alone", "st_gcn_plus"))
    return {"floor": setting.floor, "predictors": found, "pyramid_ahead_of_st_gcn_plus": interval(pyramid - other)}


def _of(figure: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """The part of a figure, as `_figure` gives it, of some subjects."""
    return figure[subjects] if figure.ndim == 1 else figure[:, subjects][:, :, subjects]


def _figure(episodes: Episodes, setting: Setting, said: Scores) -> np.ndarray:
    """float64 [subjects] mean pairwise accuracy of each as a test subject; or [movements, subjects, subjects]."""
    if setting.training is None:
        return np.stack([pairs_of_subjects(episodes, split.test, score) for split, score in said.splits])
    of_subject: dict[int, list[float]] = {}
    for split, score in said.splits:
        for (_, subject), value in pairwise_within(episodes, split.test, score).items():
            of_subject.setdefault(subject, []).append(value)
    return np.array([np.mean(of_subject[subject]) for subject in sorted(of_subject)])


def print_results(found: dict) -> None:
    for name, about in found.items():
        rows = []
        for predictor, said in about["predictors"].items():
            ahead = said["psgcn_ahead"]
            rest = said["subjects_untouched"]
            rows.append([
                predictor, f"{said['mean']:.3f}", f"{said['low']:.3f} to {said['high']:.3f}",
                f"{ahead['mean']:+.3f} ({ahead['low']:+.3f} to {ahead['high']:+.3f})" if ahead else "",
                f"{rest['mean']:.3f}" if rest else "", f"{said['seconds']:.0f}",
            ])  # fmt: skip
        header = [f"{name} (floor {about['floor']})", "mean", "95 %", "psgcn ahead by", "subjects 6-10", "s"]
        print(table(rows, header))
        alone = about["pyramid_ahead_of_st_gcn_plus"]
        print(f"networks alone: pyramid ahead of st_gcn_plus by {alone['mean']:+.3f} ({alone['low']:+.3f} to "
              f"{alone['high']:+.3f})\n")  # fmt: skip


if __name__ == "__main__":
    main()
