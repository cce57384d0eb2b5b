"""Assignment of clips to folds so that no creator, and no film, is in two of them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np


def assign_folds(
    groups: Sequence[int] | np.ndarray, challenges: Sequence[str], folds: int, seed: int = 0
) -> np.ndarray:
    """The fold of each clip, int64 [clips], 0..folds-1: whole groups, every challenge spread over the folds.

    Largest groups first, each to the fold with the fewest clips of its challenges (then of all); the seed orders equal
    groups. With fewer groups than folds, there are as many folds as groups.

    Args:
        groups: [clips] as labels.group_clips returns them; clips of one group stay together.
        challenges: [clips]
    """
    members: dict[int, list[int]] = defaultdict(list)
    for clip, group in enumerate(groups):
        members[int(group)].append(clip)
    folds = min(folds, len(members))

    def order(group: int) -> tuple[int, str]:
        return -len(members[group]), hashlib.sha256(f"{seed}/{group}".encode()).hexdigest()

    fold_of = np.full(len(groups), -1, np.int64)
    counts: list[Counter] = [Counter() for _ in range(folds)]
    for group in sorted(members, key=order):
        needed = Counter(challenges[clip] for clip in members[group])
        loads = [(sum(c[name] * n for name, n in needed.items()), c.total(), fold) for fold, c in enumerate(counts)]
        fold = min(loads)[2]
        fold_of[members[group]] = fold
        counts[fold].update(needed)
    return fold_of
