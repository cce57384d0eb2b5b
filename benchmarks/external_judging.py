"""How well scores order right above wrong, by subject, and how sure that is."""

import numpy as np

from benchmarks.ui_prmd import Episodes

RESAMPLES = 2000  # of subjects


def pairwise_within(episodes: Episodes, rows: np.ndarray, score: np.ndarray) -> dict[tuple[int, int], float]:
    """By (movement, subject) of these rows: the share of (right, wrong) pairs in which the right one scores higher.

    Ties count half. score: float [rows].
    """
    found = {}
    movement, subject, correct = (table[rows] for table in (episodes.movement, episodes.subject, episodes.correct))
    for one, other in sorted(set(zip(movement.tolist(), subject.tolist(), strict=True))):
        here = (movement == one) & (subject == other)
        found[(one, other)] = float(_ahead(score[here & (correct == 1)], score[here & (correct == 0)]).mean())
    return found


def pairs_of_subjects(episodes: Episodes, rows: np.ndarray, score: np.ndarray) -> np.ndarray:
    """float64 [P, P] of a movement's rows of P subjects: the share of pairs of a right episode of one subject and a
    wrong one of another in which the right one scores higher. With as many episodes of all, its mean is the AUC.
    """
    subject, correct = episodes.subject[rows], episodes.correct[rows]
    subjects = np.unique(subject)
    right = [score[(subject == one) & (correct == 1)] for one in subjects]
    wrong = [score[(subject == one) & (correct == 0)] for one in subjects]
    return np.array([[_ahead(mine, theirs).mean() for theirs in wrong] for mine in right])


def _ahead(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """float64 [right, wrong]: 1 where the right one scores higher, 0.5 where both score the same."""
    difference = right[:, None] - wrong[None, :]
    return (difference > 0) + 0.5 * (difference == 0)


def subjects_drawn(subjects: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """int64 [resamples, subjects]: places of subjects drawn with replacement, the same for whatever is compared."""
    return np.random.default_rng(seed).integers(0, subjects, (resamples, subjects))


def mean_and_interval(by_subject: np.ndarray) -> dict:
    """The mean of float [subjects], and the ends of its 95 % interval by bootstrap over subjects."""
    drawn = by_subject[subjects_drawn(len(by_subject))].mean(1)
    return _said(float(by_subject.mean()), drawn)


def auc_and_interval(pairs: np.ndarray) -> dict:
    """The mean AUC of float [movements, P, P], each as `pairs_of_subjects` gives it, and its 95 % interval."""
    mean = pairs.mean(0)
    drawn = np.array([mean[np.ix_(some, some)].mean() for some in subjects_drawn(len(mean))])
    return _said(float(mean.mean()), drawn)


def _said(value: float, drawn: np.ndarray) -> dict:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"mean": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}
