"""Accuracy of edits on UI-PRMD: how often the edit that gains most, in an episode done wrong, names the right limb.

A joint model a movement (the product's, pipeline.training.joint, of statistics alone) learns from nine subjects what is
right, and scores the tenth's. Into each episode done wrong the references' median motion of one limb is put, from its
start to its end, for an episode is one movement of some two seconds; the references are the other subjects' best-scored
episodes. The movements are those of Vakanski et al. 2018: six of the legs, four of the arms.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.external_training import Numbers, challenges, fit_to, fixed_draws, motion_numbers, percentiles
from benchmarks.ui_prmd import Episodes, draw, load_episodes
from models.virality.config import VdvConfig
from models.virality.skeleton import KINECT22, Posture
from pipeline.feedback.alignment import align_reference
from pipeline.feedback.edits import BLEND_S, apply_change, covered_share, median_change
from pipeline.feedback.motion import LIMBS, Motion, to_motion
from pipeline.training.joint import TrainingClips

ABOUT = {
    1: ("deep squat", "leg"), 2: ("hurdle step", "leg"), 3: ("inline lunge", "leg"), 4: ("side lunge", "leg"),
    5: ("sit to stand", "leg"), 6: ("straight leg raise", "leg"), 7: ("shoulder abduction", "arm"),
    8: ("shoulder extension", "arm"), 9: ("shoulder rotation", "arm"), 10: ("shoulder scaption", "arm"),
}  # fmt: skip
Scorer = Callable[[np.ndarray], np.ndarray]  # statistics [N, S] -> scores [N]
REFERENCES = 6
EACH = 2  # episodes done wrong of each subject and movement


def limbs_of_movements(path: Path) -> dict:
    """By movement, how often the best edit is of an arm, a leg, the trunk, the head; and of arms and legs alone."""
    episodes, config = load_episodes(path), VdvConfig()
    numbers = motion_numbers(fixed_draws(episodes, config))
    compared = challenges(episodes)
    rows, right, right_of_two, count = [], 0, 0, 0
    for movement, (title, about) in ABOUT.items():
        named, limbs = dict.fromkeys(("arm", "leg", "trunk", "head", "none"), 0), 0
        for subject in np.unique(episodes.subject):
            train = np.flatnonzero((episodes.movement == movement) & (episodes.subject != subject))
            scorer = _scorer(numbers[train], _clips(episodes, train, compared))
            best = train[np.argsort(-scorer(numbers[train]))[:REFERENCES]]
            references = [to_motion(episodes.postures[row], KINECT22) for row in best]
            own = (episodes.movement == movement) & (episodes.subject == subject) & (episodes.correct == 0)
            for row in np.flatnonzero(own)[:EACH]:
                gains = _gains(episodes.postures[row], references, scorer, config)
                named[max(gains, key=gains.__getitem__) if gains else "none"] += 1
                limbs += bool(gains) and max(("arm", "leg"), key=lambda limb: gains.get(limb, -np.inf)) == about
        rows.append({"movement": title, "about": about, **named, "right of arm and leg": limbs})
        right += named[about]
        right_of_two += limbs
        count += sum(named.values())
    # Of six limbs two are arms and two are legs.
    return {
        "episodes": count,
        "right": right / count,
        "chance": 1 / 3,
        "right_of_arm_and_leg": right_of_two / count,
        "movements": rows,
    }


def _clips(episodes: Episodes, rows: np.ndarray, compared: np.ndarray) -> TrainingClips:
    """The episodes as the joint model takes them. compared: challenge of every episode, str [N]."""
    target = percentiles(episodes.correct[rows], compared[rows])
    return TrainingClips(rows, compared[rows], episodes.subject[rows], target)


def _scorer(numbers: np.ndarray, clips: TrainingClips) -> Scorer:
    """A joint model of statistics [n, S] alone."""

    def of(statistics: np.ndarray) -> dict[str, Numbers]:
        return {"pose": Numbers(statistics, np.zeros(len(statistics)))}

    predict = fit_to(of(numbers), clips)
    return lambda statistics: predict(of(statistics))


def _gains(
    posture: Posture, references: Sequence[Motion | None], scorer: Scorer, config: VdvConfig
) -> dict[str, float]:
    """Of arm, leg, trunk and head, as far as a reference covers them; of arms and legs the better side's."""
    motion = to_motion(posture, KINECT22)
    aligned = [] if motion is None else [
        alignment for number, reference in enumerate(references) if reference
        for alignment in align_reference(reference, number, motion, KINECT22)
    ]  # fmt: skip
    if motion is None or not aligned:
        return {}
    postures, limbs = [posture], []
    start, end = float(motion.seconds[0]), float(motion.seconds[-1])
    for limb in LIMBS:
        change = median_change(motion, aligned, limb, KINECT22)
        if covered_share(motion, change, limb, start, end, KINECT22) > 0.5:
            postures.append(apply_change(posture, motion, change, limb, start - BLEND_S, end + BLEND_S, KINECT22))
            limbs.append(limb.rsplit("_", maxsplit=1)[-1])
    fixed = torch.from_numpy(np.stack([draw(edited, config, None) for edited in postures]))
    scores = scorer(motion_numbers(fixed))
    gains: dict[str, float] = {}
    for limb, score in zip(limbs, scores[1:] - scores[0], strict=True):
        gains[limb] = max(gains.get(limb, -np.inf), float(score))
    return gains
