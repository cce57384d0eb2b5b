"""Accuracy of edits on UI-PRMD: how often the edit that gains most, in an episode done wrong, names the right limb.

A ridge regression a movement (the product's, pipeline.training.ridge) learns from nine subjects what is right, and
scores the tenth's. Into each episode done wrong the references' median motion of one limb is put, from its start to
its end, for an episode is one movement of some two seconds; the references are the other subjects' best-scored
episodes. The movements are those of Vakanski et al. 2018: six of the legs, four of the arms.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.external_training import challenges, fixed_draws, ridge_statistics
from benchmarks.ui_prmd import draw, load_episodes
from models.virality.config import VdvConfig
from models.virality.masked import MOTION_LIMIT
from models.virality.skeleton import KINECT22, Posture
from pipeline.feedback.alignment import align_reference
from pipeline.feedback.edits import BLEND_S, apply_change, covered_share, median_change
from pipeline.feedback.motion import LIMBS, Motion, to_motion
from pipeline.training.ridge import RidgeCoefficients, fit_ridge, normal_score, percentile_rank

ABOUT = {
    1: ("deep squat", "leg"), 2: ("hurdle step", "leg"), 3: ("inline lunge", "leg"), 4: ("side lunge", "leg"),
    5: ("sit to stand", "leg"), 6: ("straight leg raise", "leg"), 7: ("shoulder abduction", "arm"),
    8: ("shoulder extension", "arm"), 9: ("shoulder rotation", "arm"), 10: ("shoulder scaption", "arm"),
}  # fmt: skip
REFERENCES = 6
EACH = 2  # episodes done wrong of each subject and movement


def limbs_of_movements(path: Path) -> dict:
    """By movement, how often the best edit is of an arm, a leg, the trunk, the head; and of arms and legs alone."""
    episodes, config = load_episodes(path), VdvConfig()
    numbers = ridge_statistics(fixed_draws(episodes, config))
    compared = challenges(episodes)
    rows, right, right_of_two, count = [], 0, 0, 0
    for movement, (title, about) in ABOUT.items():
        named, limbs = dict.fromkeys(("arm", "leg", "trunk", "head", "none"), 0), 0
        for subject in np.unique(episodes.subject):
            train = np.flatnonzero((episodes.movement == movement) & (episodes.subject != subject))
            target = normal_score(percentile_rank(episodes.correct[train], compared[train]))
            ridge = fit_ridge(numbers[train], target, compared[train], episodes.subject[train], 0, MOTION_LIMIT)
            best = train[np.argsort(-ridge(numbers[train]))[:REFERENCES]]
            references = [to_motion(episodes.postures[row], KINECT22) for row in best]
            own = (episodes.movement == movement) & (episodes.subject == subject) & (episodes.correct == 0)
            for row in np.flatnonzero(own)[:EACH]:
                gains = _gains(episodes.postures[row], references, ridge, config)
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


def _gains(
    posture: Posture, references: Sequence[Motion | None], ridge: RidgeCoefficients, config: VdvConfig
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
    scores = ridge(ridge_statistics(fixed))
    gains: dict[str, float] = {}
    for limb, score in zip(limbs, scores[1:] - scores[0], strict=True):
        gains[limb] = max(gains.get(limb, -np.inf), float(score))
    return gains
