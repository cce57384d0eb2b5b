"""Edits held against UI-PRMD: does the edit that gains most, in an episode done wrong, name the limbs that count?

A line a movement (the product's, pipeline.lines) learns from nine subjects what is right, and scores the tenth's. Into
each episode done wrong the references' median motion of one limb in one window is put; the references are the other
subjects' best-scored episodes. The movements are those of Vakanski et al. 2018: six of the legs, four of the arms.
"""

from pathlib import Path

import numpy as np
import torch

from benchmarks.external_training import challenges, fixed_draws, line_numbers
from benchmarks.ui_prmd import draw, load_episodes
from models.config import VdvConfig
from models.masked import MOTION_LIMIT
from models.skeleton import KINECT22
from pipeline.feedback.align import lay_over
from pipeline.feedback.edits import covered_share, difference, edited
from pipeline.feedback.limbs import LIMBS, as_dance
from pipeline.feedback.measure import window_ends
from pipeline.lines import fit_line, normal_score, place_within

ABOUT = {
    1: ("deep squat", "leg"), 2: ("hurdle step", "leg"), 3: ("inline lunge", "leg"), 4: ("side lunge", "leg"),
    5: ("sit to stand", "leg"), 6: ("straight leg raise", "leg"), 7: ("shoulder abduction", "arm"),
    8: ("shoulder extension", "arm"), 9: ("shoulder rotation", "arm"), 10: ("shoulder scaption", "arm"),
}  # fmt: skip
REFERENCES = 6
EACH = 2  # episodes done wrong of each subject and movement


def limbs_of_movements(path: Path) -> dict:
    """By movement, how often the best edit is of an arm, a leg, the trunk, the head."""
    episodes, config = load_episodes(path), VdvConfig()
    numbers = line_numbers(fixed_draws(episodes, config))
    compared = challenges(episodes)
    rows, right, count = [], 0, 0
    for movement, (title, about) in ABOUT.items():
        named = dict.fromkeys(("arm", "leg", "trunk", "head", "none"), 0)
        for subject in np.unique(episodes.subject):
            train = np.flatnonzero((episodes.movement == movement) & (episodes.subject != subject))
            target = normal_score(place_within(episodes.correct[train], compared[train]))
            line = fit_line(numbers[train], target, compared[train], episodes.subject[train], 0, MOTION_LIMIT)
            best = train[np.argsort(-line(numbers[train]))[:REFERENCES]]
            dances = [as_dance(episodes.postures[row], KINECT22) for row in best]
            own = (episodes.movement == movement) & (episodes.subject == subject) & (episodes.correct == 0)
            for row in np.flatnonzero(own)[:EACH]:
                named[_best_limb(episodes.postures[row], dances, line, config)] += 1
        rows.append({"movement": title, "about": about, **named})
        right += named[about]
        count += sum(named.values())
    # Of six limbs two are arms and two are legs.
    return {"episodes": count, "right": right / count, "chance": 1 / 3, "movements": rows}


def _best_limb(posture, dances, line, config: VdvConfig) -> str:
    ours = as_dance(posture, KINECT22)
    views = [] if ours is None else [
        view for number, dance in enumerate(dances) if dance for view in lay_over(dance, number, ours, KINECT22)
    ]  # fmt: skip
    if ours is None or not views:
        return "none"
    made, limbs = [posture], []
    for limb in LIMBS:
        each = np.stack([difference(ours, view.by_limb[limb], limb, KINECT22) for view in views])
        change = np.ma.median(np.ma.masked_invalid(each), axis=0).filled(np.nan)
        for start, end in window_ends(ours)[::2]:
            if covered_share(ours, change, limb, start, end, KINECT22) > 0.5:
                made.append(edited(posture, ours, change, limb, start, end, KINECT22))
                limbs.append(limb)
    if not limbs:
        return "none"
    fixed = torch.from_numpy(np.stack([draw(one, config, None) for one in made]))
    scores = line(line_numbers(fixed))
    return limbs[int(np.argmax(scores[1:]))].rsplit("_", maxsplit=1)[-1]
