"""Ridge regressions in closed form beside the networks, and the part of the label that each modality is to learn.

A clip's label is a sum over modalities, and to one modality the parts of the others are noise. Ridge regressions are
fitted in milliseconds, so they estimate each modality's part first, by backfitting (Breiman and Friedman 1985): every
modality's regression is fitted to what the other modalities' regressions leave of the label, again and again. The
modality's network is trained towards what its own regression leaves of that part in the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.special import ndtri
from scipy.stats import rankdata

from models.virality.masked import FEATURE_LIMIT, MOTION_LIMIT, Ridge
from models.virality.vdv import clip_statistics
from pipeline.dataset.folds import assign_folds
from pipeline.dataset.loading import ClipDataset

PENALTIES = np.logspace(0, 6, 19)  # of standardised statistics: from next to none to next to nothing left
PENALTY_FOLDS, PENALTY_REPEATS = 5, 3  # creators are dealt anew each time, or one deal's luck would choose the penalty
STACK_RIDGE = 1e-2  # penalty of `stacking_coefficients`, as a share of the number of clips


@dataclass(frozen=True)
class RidgeCoefficients:
    """A ridge regression fitted to the statistics of clips (models.virality.masked.Ridge)."""

    mean: np.ndarray  # float64 [S]
    scale: np.ndarray  # float64 [S], above 0
    coefficients: np.ndarray  # float64 [S]
    limit: float

    def __call__(self, statistics: np.ndarray) -> np.ndarray:
        """Predict from statistics [n, S]: float64 [n]."""
        ridge = Ridge(len(self.mean), self.limit)
        self.copy_to(ridge)
        with torch.inference_mode():
            return ridge(torch.from_numpy(statistics.astype(np.float32))).double().numpy()

    def copy_to(self, ridge: Ridge) -> None:
        buffers = (self.mean, self.scale, self.coefficients)
        ridge.set(*(torch.from_numpy(values.astype(np.float32)) for values in buffers))


def fit_ridge(
    statistics: np.ndarray, target: np.ndarray, challenge: np.ndarray, group: np.ndarray, seed: int, limit: float
) -> RidgeCoefficients:
    """Ridge regression within challenges: scores are compared only there, so differences between them are no evidence.

    The coefficients are a mean over all PENALTIES, each weighted by how likely its regressions, fitted on some groups,
    make the targets of the others (pseudo-Bayesian model averaging, Geisser and Eddy 1979; normal errors): the best
    penalty alone is often luck. Whole groups are held out, for a leave-one-out penalty would reward knowing the
    creators.

    Args:
        statistics: float [n, S], NaN where not known; target: float [n]; challenge, group: [n].
        limit: of the Ridge that the coefficients are for.
    """
    known = np.isfinite(statistics)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, statistics, 0.0).sum(0, dtype=float) / count
    scale = np.sqrt(np.square(np.where(known, statistics - mean, 0.0)).sum(0, dtype=float) / count)
    scale = np.where(scale > 1e-6, scale, np.inf)  # a constant says nothing
    squashed = limit * np.tanh(np.where(known, statistics - mean, 0.0) / (scale * limit))
    standard = centre_within(squashed, challenge)
    target_score = centre_within(target[:, None], challenge)[:, 0]
    errors = np.zeros(len(PENALTIES))
    for repeat in range(PENALTY_REPEATS):
        fold_of = assign_folds(group, challenge.tolist(), PENALTY_FOLDS, PENALTY_REPEATS * seed + repeat)
        for fold in range(fold_of.max() + 1):
            seen, unseen = fold_of != fold, fold_of == fold
            if seen.any():
                by_penalty = _solve_ridge(standard[seen], target_score[seen])
                errors += np.square(standard[unseen] @ by_penalty - target_score[unseen, None]).sum(0) / PENALTY_REPEATS
    coefficients = _solve_ridge(standard, target_score) @ likelihood_of_errors(errors, len(target_score))
    varies = np.isfinite(scale)
    return RidgeCoefficients(mean, np.where(varies, scale, 1.0), np.where(varies, coefficients, 0.0), limit)


def likelihood_of_errors(errors: np.ndarray, clips: int) -> np.ndarray:
    """Likelihood of each penalty, float64 [K] summing to 1, from squared errors [K] summed over `clips` held out."""
    if not errors.any():  # nothing could be held out: take the largest penalty
        return np.eye(len(errors))[-1]
    best = errors.min()
    weights = np.exp((best - errors) * clips / (2 * best)) if best > 0 else (errors == best).astype(float)
    return weights / weights.sum()


def _solve_ridge(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Coefficients for every penalty, float64 [S, len(PENALTIES)], by eigendecomposition of the smaller Gram matrix."""
    clips, count = design.shape
    if clips <= count:
        values, vectors = np.linalg.eigh(design @ design.T)
        return design.T @ (vectors @ ((vectors.T @ target)[:, None] / (values[:, None] + PENALTIES)))
    values, vectors = np.linalg.eigh(design.T @ design)
    return vectors @ ((vectors.T @ (design.T @ target))[:, None] / (values[:, None] + PENALTIES))


@dataclass(frozen=True)
class ClipStatistics:
    """The input of one modality's ridge regression for every clip of a dataset."""

    values: np.ndarray  # float32 [clips, S], NaN where not known
    present: np.ndarray  # bool [clips]
    limit: float  # of the ridge regression


def read_clip_statistics(dataset: ClipDataset, modality: str, rows: Sequence[int]) -> ClipStatistics:
    """Read the statistics of these rows of the dataset, drawn as for scoring; other rows count as not present."""
    view = dataset.view(modality, training=False)
    values, present = np.zeros((len(dataset), 0), np.float32), np.zeros(len(dataset), bool)
    for batch in view.in_batches(rows, 64):
        of_batch, present_in_batch = clip_statistics(dataset.inputs[modality], batch.inputs[modality])
        if not values.shape[1]:
            values = np.zeros((len(dataset), of_batch.shape[1]), np.float32)
        values[batch.row.numpy()], present[batch.row.numpy()] = of_batch.numpy(), present_in_batch.numpy()
    return ClipStatistics(values, present, MOTION_LIMIT if dataset.inputs[modality].is_skeleton else FEATURE_LIMIT)


@dataclass(frozen=True)
class FoldAssignment:
    """Folds of the n training clips, so that each clip is predicted by a regression that did not see it."""

    row: np.ndarray  # int64 [n] in the dataset
    challenge: np.ndarray  # str [n]
    group: np.ndarray  # int64 [n] one number a creator
    fold_of: np.ndarray  # int64 [n]
    seed: int


def backfit(
    statistics: Mapping[str, ClipStatistics], folds: FoldAssignment, percentile: np.ndarray, rounds: int
) -> dict[str, np.ndarray]:
    """Target of each modality, float64 [n]: what the other modalities leave of each clip's label, as a percentile,
    0..1, within its challenge.

    In each of `rounds` rounds every modality's regression is fitted on all folds but one and predicts that one; the
    label less the other modalities' stacked predictions is the modality's target in the next round. Without rounds the
    target is the label's own percentile, [n].
    """
    targets = dict.fromkeys(statistics, percentile)
    target_score = centre_within(normal_score(percentile)[:, None], folds.challenge)[:, 0]
    for _ in range(rounds if len(statistics) > 1 else 0):
        design = np.stack(
            [out_of_fold_scores(of_modality, folds, targets[modality]) for modality, of_modality in statistics.items()],
            1,
        )
        parts = design * stacking_coefficients(design, target_score, folds.challenge)
        rest = target_score[:, None] - (parts.sum(1, keepdims=True) - parts)
        targets = {
            modality: percentile_rank(rest[:, place], folds.challenge) for place, modality in enumerate(statistics)
        }
    return targets


def residual_percentile(statistics: ClipStatistics, folds: FoldAssignment, target: np.ndarray) -> np.ndarray:
    """What the modality's regression, fitted on other folds, leaves of `target`, a percentile: float64 [n], as a
    percentile, 0..1, within the challenge.
    """
    scores = out_of_fold_scores(statistics, folds, target)
    target_score = centre_within(normal_score(target)[:, None], folds.challenge)[:, 0]
    (coefficient,) = stacking_coefficients(scores[:, None], target_score, folds.challenge)
    return percentile_rank(target_score - scores * coefficient, folds.challenge)


def out_of_fold_scores(statistics: ClipStatistics, folds: FoldAssignment, target: np.ndarray) -> np.ndarray:
    """Predictions of `target`, a percentile, by regressions fitted on the other folds.

    float64 [n], centred within the challenge, in units of their spread; 0 where the modality is absent or no regression
    could be fitted.
    """
    present, target_score = statistics.present[folds.row], normal_score(target)
    scores, predicted = np.zeros((len(folds.row), 1)), np.zeros((len(folds.row), 1), bool)
    for fold in range(folds.fold_of.max() + 1):
        seen, unseen = present & (folds.fold_of != fold), present & (folds.fold_of == fold)
        if seen.sum() > 1 and unseen.any():
            seen_values = statistics.values[folds.row[seen]]
            ridge = fit_ridge(
                seen_values, target_score[seen], folds.challenge[seen], folds.group[seen], folds.seed, statistics.limit
            )
            scores[unseen, 0] = ridge(statistics.values[folds.row[unseen]])
            predicted[unseen] = True
    centred = centre_within(scores, folds.challenge, predicted)[:, 0]
    spread = np.sqrt(np.square(centred).mean())
    return centred / spread if spread > 1e-9 else centred


def stacking_coefficients(design: np.ndarray, target_score: np.ndarray, challenge: np.ndarray) -> np.ndarray:
    """Non-negative ridge regression of a target [n] on predictions [n, K] of clips that the predictors had not seen.

    Stacking (Breiman 1996). Both arguments are centred within the challenge (`centre_within`), the predictions in units
    of their spread. float64 [K]; all 0 where there are too few clips to tell.
    """
    clips, count = design.shape
    if clips <= count + len(np.unique(challenge)):
        return np.zeros(count)
    extra = np.sqrt(STACK_RIDGE * clips) * np.eye(count)
    return nnls(np.concatenate([design, extra]), np.concatenate([target_score, np.zeros(count)]))[0]


def normal_score(percentile: np.ndarray) -> np.ndarray:
    """Value of a standard normal variable at each percentile, 0..1: float64 [n]."""
    return ndtri(np.clip(np.asarray(percentile, float), 0.01, 0.99))


def percentile_rank(values: np.ndarray, challenge: np.ndarray) -> np.ndarray:
    """Percentile of each value within its challenge, 0..1: float64 [n]."""
    percentile = np.empty(len(values))
    for name in np.unique(challenge):
        rows = challenge == name
        percentile[rows] = (rankdata(values[rows]) - 0.5) / rows.sum()
    return percentile


def centre_within(values: np.ndarray, challenge: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Values less the mean of their challenge's present ones: float64 [n, K], 0 where absent.

    present: bool [n, K]; None: all.
    """
    present = np.ones(values.shape, bool) if present is None else present
    centred = np.where(present, values, 0.0)
    for name in np.unique(challenge):
        rows = challenge == name
        mean = centred[rows].sum(0) / np.maximum(present[rows].sum(0), 1)
        centred[rows] = np.where(present[rows], centred[rows] - mean, 0.0)
    return centred
