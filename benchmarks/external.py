"""Accuracy of the pose model alone on real scored motion, UI-PRMD's Kinect half, beside ExtraTrees and STGCN++.

    python -m benchmarks.external --data ui_prmd_kinect.npz --work FOLDER
    python -m benchmarks.external --data ui_prmd_kinect.npz --work FOLDER --with-trees

Trained on nine, three and one subjects and tested on the others: the share of pairs of one movement and one subject in
which the episode done right scores above the one done wrong. And on an unseen movement, trained on the other nine: the
AUC over all subjects. With --with-trees, ExtraTrees are a block of the joint model, too. Every training's scores are
kept in FOLDER and not computed again; after a change of code take another folder.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.common import save, table
from benchmarks.external_metrics import auc_and_interval, mean_and_interval, pairs_of_subjects, pairwise_within
from benchmarks.external_training import (
    Predicted,
    fixed_draws,
    joint_scores,
    motion_numbers,
    predict_by_network,
    predict_by_trees,
    tree_statistics,
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
from pipeline.core.child_processes import called_in_processes
from pipeline.training.joint import CURVES, KINDS

# Chosen on subjects 1 to 5 alone. A movement done with the left is another one than with the right: nothing is
# mirrored. Of eight frames the body level would have two.
CONFIG = VdvConfig(modalities=("pose",), frames=16, samplings=2, batch_clips=64, pose_rate=3e-3, mirror=0.0)
MOTION = VdvConfig(frames=16)  # of the product's motion statistics
METHODS = ("trees", "psgcn", "st_gcn_plus")
MODEL, LINEAR = "joint", "joint without curves"
JOINTS: dict[str, tuple[str, ...]] = {  # joint models by name: the methods that are blocks beside the statistics
    MODEL: ("psgcn",),
    LINEAR: ("psgcn",),
    "statistics": (),
    "joint of st_gcn_plus": ("st_gcn_plus",),
}
WITH_TREES = {"joint with trees": ("psgcn", "trees")}
TREES = 200
TUNED_ON = 5  # subjects


@dataclass(frozen=True)
class Setting:
    """One split of the data, and the accuracy of ExtraTrees that was measured when the data was prepared."""

    name: str
    training: int | None  # subjects; None: all, and a movement is left out
    epochs: int  # more for fewer episodes
    floor: float


SETTINGS = (
    Setting("9 subjects", 9, 4, 0.969),
    Setting("3 subjects", 3, 6, 0.943),
    Setting("1 subject", 1, 12, 0.853),
    Setting("unseen movement", None, 4, 0.858),
)


@dataclass(frozen=True)
class Job:
    """One way to score the test episodes of one split."""

    data: Path
    subjects: int  # the first so many of the data's
    setting: Setting
    split: int
    method: str  # of METHODS, or the name of a joint model
    blocks: tuple[str, ...] | None  # of a joint model, the methods in it; None: it is none
    seed: int
    work: Path

    @property
    def path(self) -> Path:
        """File that keeps the scores."""
        name = f"{self.setting.name}-{self.split}-{self.method}-{self.seed}.npz".replace(" ", "-")
        return self.work / f"{self.subjects}-subjects" / name


class Scores(NamedTuple):
    """One method's scores, with one seed, of each split's test rows; and seconds of training and prediction."""

    splits: list[tuple[Split, np.ndarray]]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="ui_prmd_kinect.npz")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps what is done")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=10, help="5: those that it was tuned on; nothing is saved")
    parser.add_argument("--only", choices=[setting.name for setting in SETTINGS], help="one setting; nothing is saved")
    parser.add_argument("--with-trees", action="store_true", help="a joint model with ExtraTrees, too")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side, a core each")
    options = parser.parse_args()
    episodes = _episodes(options.data, options.subjects)
    settings = [setting for setting in SETTINGS if options.only in (None, setting.name)]
    joints = JOINTS | WITH_TREES if options.with_trees else JOINTS
    jobs = [
        Job(options.data, options.subjects, setting, split, method, blocks, seed, options.work)
        for seed in range(options.seeds)
        for setting in settings
        for split in range(len(_splits(episodes, setting)))
        for method, blocks in (*((method, None) for method in METHODS), *joints.items())
    ]
    for joint in (False, True):  # a joint model reads what its blocks have predicted
        left = [job for job in jobs if (job.blocks is not None) == joint and not job.path.exists()]
        run(left, options.workers)
    results = {
        setting.name: evaluate_setting(episodes, setting, [job for job in jobs if job.setting == setting])
        for setting in settings
    }
    print_results(results)
    if options.subjects == 10 and options.only is None:
        about = {
            "frames": CONFIG.frames,
            "samplings": CONFIG.samplings,
            "pose_rate": CONFIG.pose_rate,
            "epochs": {setting.name: setting.epochs for setting in SETTINGS},
            "trees": TREES,
        }
        save("external", {"seeds": options.seeds, "options": about, "settings": results})


def run(jobs: Sequence[Job], workers: int) -> None:
    """Runs the jobs and keeps their scores; ends with the first that fails."""
    for done in called_in_processes(workers, _run_job, [(job,) for job in jobs]):
        print(done, flush=True)


def _run_job(job: Job) -> str:
    torch.set_num_threads(1)
    episodes = _episodes(job.data, job.subjects)
    split = _splits(episodes, job.setting)[job.split]
    known = job.setting.training is not None
    if job.blocks is not None:
        statistics = _motion_numbers_of(job.data, job.subjects)
        blocks = {method: _read(replace(job, method=method, blocks=None)) for method in job.blocks}
        trees = blocks.pop("trees", None)
        network = next(iter(blocks.values()), None)
        kinds = tuple(kind for kind in KINDS if kind != CURVES or job.method != LINEAR)
        start = time.perf_counter()
        score = Predicted(np.zeros(0), joint_scores(episodes, statistics, split, known, network, trees, kinds))
    elif job.method == "trees":
        statistics = _tree_statistics_of(job.data, job.subjects)
        start = time.perf_counter()
        score = predict_by_trees(episodes, statistics, split, job.seed, known, TREES)
    else:
        fixed = _inputs_of_networks(job.data, job.subjects)
        config = replace(CONFIG, pose_network=job.method, epochs=job.setting.epochs, seed=job.seed)
        start = time.perf_counter()
        score = predict_by_network(episodes, fixed, split, config, known)
    seconds = time.perf_counter() - start
    job.path.parent.mkdir(parents=True, exist_ok=True)
    with storage.staged(os.fspath(job.path)) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, seconds=np.array(seconds), **score._asdict())
    return f"{job.setting.name}, {split.name}, {job.method}, seed {job.seed}: {seconds:.0f} s"


def _read(job: Job) -> Predicted:
    """What a finished job keeps."""
    with np.load(job.path) as file:
        return Predicted(file["held_out"], file["test"])


@cache
def _episodes(data: Path, subjects: int) -> Episodes:
    return only_subjects(load_episodes(data), subjects)


@cache
def _tree_statistics_of(data: Path, subjects: int) -> np.ndarray:
    return tree_statistics(_episodes(data, subjects))


@cache
def _motion_numbers_of(data: Path, subjects: int) -> np.ndarray:
    return motion_numbers(fixed_draws(_episodes(data, subjects), MOTION))


@cache
def _inputs_of_networks(data: Path, subjects: int) -> torch.Tensor:
    return fixed_draws(_episodes(data, subjects), CONFIG)


def _splits(episodes: Episodes, setting: Setting) -> list[Split]:
    if setting.training is None:
        return leave_movements_out(episodes)
    return leave_subjects_out(episodes, min(setting.training, len(np.unique(episodes.subject)) - 1))


def _scores(episodes: Episodes, jobs: Sequence[Job]) -> dict[str, list[Scores]]:
    """Scores by method, of each seed, read from the files of one setting's jobs."""
    splits = _splits(episodes, jobs[0].setting)
    by_seed: dict[str, dict[int, Scores]] = {}
    for job in jobs:
        with np.load(job.path) as file:
            test, seconds = file["test"], float(file["seconds"])
        before = by_seed.setdefault(job.method, {}).get(job.seed, Scores([], 0.0))
        by_seed[job.method][job.seed] = Scores([*before.splits, (splits[job.split], test)], before.seconds + seconds)
    return {method: list(of_method.values()) for method, of_method in by_seed.items()}


def evaluate_setting(episodes: Episodes, setting: Setting, jobs: Sequence[Job]) -> dict:
    """By method: its accuracy with interval, that on subjects not used for tuning, and the model's lead over it."""
    scores = _scores(episodes, jobs)
    accuracies = {name: [_accuracy(episodes, setting, one) for one in of_seeds] for name, of_seeds in scores.items()}
    interval = auc_and_interval if setting.training is None else mean_and_interval
    subjects = np.unique(episodes.subject)
    untouched = np.flatnonzero(subjects > TUNED_ON)
    of_model = np.mean(accuracies[MODEL], 0)
    results = {}
    for name, of_seeds in accuracies.items():
        mean = np.mean(of_seeds, 0)
        results[name] = {
            **interval(mean),
            "by_seed": [round(float(one.mean()), 4) for one in of_seeds],
            "model_ahead": interval(of_model - mean) if name != MODEL else None,
            "subjects_untouched": interval(_of(mean, untouched)) if len(untouched) else None,
            "seconds": round(float(np.mean([one.seconds for one in scores[name]])), 1),
        }
    pyramid, other = (np.mean(accuracies[name], 0) for name in ("psgcn", "st_gcn_plus"))
    return {"floor": setting.floor, "predictors": results, "pyramid_ahead_of_st_gcn_plus": interval(pyramid - other)}


def _of(accuracy: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """The part of `_accuracy` of some subjects."""
    return accuracy[subjects] if accuracy.ndim == 1 else accuracy[:, subjects][:, :, subjects]


def _accuracy(episodes: Episodes, setting: Setting, scores: Scores) -> np.ndarray:
    """Mean pairwise accuracy of each test subject, float64 [subjects]; or [movements, subjects, subjects]."""
    if setting.training is None:
        return np.stack([pairs_of_subjects(episodes, split.test, score) for split, score in scores.splits])
    of_subject: dict[int, list[float]] = {}
    for split, score in scores.splits:
        for (_, subject), value in pairwise_within(episodes, split.test, score).items():
            of_subject.setdefault(subject, []).append(value)
    return np.array([np.mean(of_subject[subject]) for subject in sorted(of_subject)])


def print_results(results: dict) -> None:
    for name, about in results.items():
        rows = []
        for predictor, result in about["predictors"].items():
            ahead = result["model_ahead"]
            untouched = result["subjects_untouched"]
            rows.append([
                predictor, f"{result['mean']:.3f}", f"{result['low']:.3f} to {result['high']:.3f}",
                f"{ahead['mean']:+.3f} ({ahead['low']:+.3f} to {ahead['high']:+.3f})" if ahead else "",
                f"{untouched['mean']:.3f}" if untouched else "", f"{result['seconds']:.0f}",
            ])  # fmt: skip
        header = [f"{name} (floor {about['floor']})", "mean", "95 %", "model ahead by", "subjects 6-10", "s"]
        print(table(rows, header))
        alone = about["pyramid_ahead_of_st_gcn_plus"]
        print(f"networks alone: pyramid ahead of st_gcn_plus by {alone['mean']:+.3f} ({alone['low']:+.3f} to "
              f"{alone['high']:+.3f})\n")  # fmt: skip


if __name__ == "__main__":
    main()
