"""Pairwise accuracy of scores of right and wrong episodes, with intervals over subjects."""

import numpy as np

from benchmarks.ui_prmd import Episodes

RESAMPLES = 2000  # of subjects


def pairwise_within(episodes: Episodes, rows: np.ndarray, score: np.ndarray) -> dict[tuple[int, int], float]:
    """By (movement, subject) of these rows: the share of (right, wrong) pairs in which the right one scores higher.

    Ties count half. score: float [rows].
    """
    shares = {}
    movement, subject, correct = (table[rows] for table in (episodes.movement, episodes.subject, episodes.correct))
    for one, other in sorted(set(zip(movement.tolist(), subject.tolist(), strict=True))):
        chosen = (movement == one) & (subject == other)
        shares[(one, other)] = float(_ahead(score[chosen & (correct == 1)], score[chosen & (correct == 0)]).mean())
    return shares


def pairs_of_subjects(episodes: Episodes, rows: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Share of pairs of a right episode of one subject and a wrong one of another in which the right one scores higher.

    float64 [P, P] of a movement's rows of P subjects. With as many episodes of all, its mean is the AUC.
    """
    subject, correct = episodes.subject[rows], episodes.correct[rows]
    subjects = np.unique(subject)
    right = [score[(subject == one) & (correct == 1)] for one in subjects]
    wrong = [score[(subject == one) & (correct == 0)] for one in subjects]
    return np.array([[_ahead(of_one, of_other).mean() for of_other in wrong] for of_one in right])


def _ahead(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """float64 [right, wrong]: 1 where the right one scores higher, 0.5 where both score the same."""
    difference = right[:, None] - wrong[None, :]
    return (difference > 0) + 0.5 * (difference == 0)


def resample_subjects(subjects: int) -> np.ndarray:
    """Subjects drawn with replacement, int64 [RESAMPLES, subjects]; always the same."""
    return np.random.default_rng(0).integers(0, subjects, (RESAMPLES, subjects))


def mean_and_interval(by_subject: np.ndarray) -> dict:
    """Mean of float [subjects] and its 95 % interval by bootstrap over subjects."""
    drawn = by_subject[resample_subjects(len(by_subject))].mean(1)
    return _rounded(float(by_subject.mean()), drawn)


def auc_and_interval(pairs: np.ndarray) -> dict:
    """Mean AUC of float [movements, P, P], each as `pairs_of_subjects` gives it, and its 95 % interval."""
    mean = pairs.mean(0)
    drawn = np.array([mean[np.ix_(some, some)].mean() for some in resample_subjects(len(mean))])
    return _rounded(float(mean.mean()), drawn)


def _rounded(value: float, drawn: np.ndarray) -> dict:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"mean": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}
