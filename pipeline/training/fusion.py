"""The fusion's training on encoders' scores of clips that they had not seen. The procedure is ours."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from models.virality.config import VdvConfig
from models.virality.fusion import AttentiveFusion, trust_of
from pipeline.dataset.folds import assign_folds
from pipeline.training.ridge import (
    PENALTY_FOLDS,
    centre_within,
    likelihood_of_errors,
    normal_score,
    stacking_coefficients,
)

STEEPNESS_PENALTIES = np.logspace(-1, 4, 11)  # from next to none to next to nothing left


@dataclass(frozen=True)
class HeldOut:
    """Scores of N clips by M encoders that were not trained on them."""

    row: Tensor  # int64 [N] in the dataset
    score: Tensor  # float32 [N, M]
    quality: Tensor  # float32 [N, M]
    present: Tensor  # bool [N, M]
    challenge: Tensor  # int64 [N]
    group: Tensor  # int64 [N] one number a creator
    percentile: Tensor  # float32 [N] 0..1


def train_attention(fusion: AttentiveFusion, held: HeldOut, config: VdvConfig) -> None:
    """Calibrate the fusion and fit the steepness of its attention in quality. Only the seed is random.

    With no clip held out (a single creator) the fusion stays the mean of the present modalities.
    """
    if not len(held.score):
        return
    centre, spread = _centre_and_spread(held)
    fusion.calibrate(
        centre=centre, spread=spread, reliability=torch.from_numpy(reliability(held, centre, spread)),
        **_usual_quality(held),
    )  # fmt: skip
    fusion.eval()
    if fusion.mode == "attention":
        fusion.calibrate(steepness=torch.from_numpy(_steepness(fusion, held, config.seed)))
    fusion.calibrate(gain=_gain(fusion, held))


def _usual_quality(held: HeldOut) -> dict[str, Tensor]:
    """Mean and standard deviation of each modality's quality where present: `usual` and `varies` of the fusion."""
    present = held.present.double()
    count = present.sum(0).clamp(min=1)
    usual = (held.quality * present).sum(0) / count
    varies = (((held.quality - usual) * present) ** 2).sum(0).div(count).sqrt()
    return {"usual": usual.float(), "varies": torch.where(varies > 1e-4, varies, torch.inf).float()}


def _steepness(fusion: AttentiveFusion, held: HeldOut, seed: int) -> np.ndarray:
    """float32 [M], at least 0: least squares of the label's normal score on the fused score, its size penalised.

    As in ridge.fit_ridge, a mean over all penalties, each weighted by how likely its steepness, fitted on some
    creators, makes the others' labels. Never negative: a modality that is worse where it is seen better is chance.
    """
    challenge, group = held.challenge.numpy(), held.group.numpy()
    label = centre_within(normal_score(held.percentile.numpy())[:, None], challenge)[:, 0]
    clarity = torch.where(held.present, fusion.clarity(held.quality), 0.0).double()
    calibrated = torch.where(held.present, (held.score - fusion.centre) / fusion.spread, 0.0).double()
    prior = fusion.prior().double()
    parts = prior / prior.sum() * calibrated

    def fused(steepness: np.ndarray, rows: np.ndarray) -> np.ndarray:
        trust = trust_of(torch.from_numpy(steepness), clarity[rows])
        return centre_within((parts[rows] * trust).sum(1, keepdim=True).numpy(), challenge[rows])[:, 0]

    def solve(rows: np.ndarray, penalty: float, start: np.ndarray) -> np.ndarray:
        def residuals(steepness: np.ndarray) -> np.ndarray:
            score = fused(steepness, rows)
            return np.concatenate([label[rows] - _slope(score, label[rows]) * score, np.sqrt(penalty) * steepness])

        return least_squares(residuals, start, bounds=(0, np.inf), max_nfev=50).x

    # From the largest penalty, which leaves next to nothing, to the smallest; each starts from the last solution.
    def path(rows: np.ndarray) -> list[np.ndarray]:
        steps = [np.full(len(prior), 1e-3)]
        for penalty in STEEPNESS_PENALTIES[::-1]:
            steps.append(solve(rows, penalty, np.maximum(steps[-1], 1e-3)))
        return steps[:0:-1]

    errors = np.zeros(len(STEEPNESS_PENALTIES))
    fold_of = assign_folds(group, challenge.tolist(), PENALTY_FOLDS, seed)
    for fold in range(fold_of.max() + 1):
        seen, unseen = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        if not len(seen):
            continue
        for place, steepness in enumerate(path(seen)):
            score = _slope(fused(steepness, seen), label[seen]) * fused(steepness, unseen)
            errors[place] += np.square(centre_within(label[unseen, None], challenge[unseen])[:, 0] - score).sum()
    return (likelihood_of_errors(errors, len(label)) @ np.stack(path(np.arange(len(label))))).astype(np.float32)


def _slope(score: np.ndarray, label: np.ndarray) -> float:
    return float(score @ label / max(score @ score, 1e-9))


@torch.inference_mode()
def _gain(fusion: AttentiveFusion, held: HeldOut) -> Tensor:
    """Slope of the label's normal score on the fused score within the challenge, []; 1 where it is not above 0."""
    score, _ = fusion(held.score, held.quality, held.present)
    challenge = held.challenge.numpy()
    centred = centre_within(score.double().numpy()[:, None], challenge)[:, 0]
    label = centre_within(normal_score(held.percentile.numpy())[:, None], challenge)[:, 0]
    slope = _slope(centred, label)
    return torch.tensor(slope if slope > 0 else 1.0)


def _centre_and_spread(held: HeldOut) -> tuple[Tensor, Tensor]:
    """Mean of each modality's scores [M], and standard deviation within a challenge [M], 1 where there is none."""
    count = held.present.sum(0)
    centre = torch.where(held.present, held.score, 0.0).sum(0) / count.clamp(min=1)
    centred = centre_within(held.score.double().numpy(), held.challenge.numpy(), held.present.numpy())
    spread = torch.from_numpy(np.sqrt((centred**2).sum(0) / np.maximum(held.present.numpy().sum(0), 1))).float()
    return centre, torch.where(spread > 1e-4, spread, 1.0)


def reliability(held: HeldOut, centre: Tensor, spread: Tensor) -> np.ndarray:
    """Coefficient of each modality's calibrated score in predicting the label, given the others' scores: float32 [M].

    Stacking coefficients (`modality_coefficients`), shrunk to their mean by the share of their variance that the error
    of a coefficient explains (empirical Bayes, Efron and Morris 1973): few clips cannot tell nearly equal modalities
    apart. Where all coefficients are 0, or there are too few clips, the modalities are equal.
    """
    design, target = _within_challenge(held, centre, spread)
    coefficients = stacking_coefficients(design, target, held.challenge.numpy())
    if not coefficients.any() or len(coefficients) < 2:
        return np.ones(len(coefficients), np.float32)
    rest = target - design @ coefficients
    free = max(len(target) - len(coefficients) - len(held.challenge.unique()), 1)
    error = rest @ rest / free * np.diag(np.linalg.pinv(design.T @ design)).mean()
    kept = max(0.0, 1 - error / max(coefficients.var(ddof=1), 1e-12))
    return (coefficients.mean() + kept * (coefficients - coefficients.mean())).astype(np.float32)


def modality_coefficients(held: HeldOut) -> np.ndarray:
    """Coefficients, float64 [M], of stacking the calibrated scores, 0 where absent, on the label's normal score, both
    within the challenge (ridge.stacking_coefficients).
    """
    return stacking_coefficients(*_within_challenge(held, *_centre_and_spread(held)), held.challenge.numpy())


def _within_challenge(held: HeldOut, centre: Tensor, spread: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated scores float64 [N, M], 0 where absent, and the percentile's normal score [N], within the challenge."""
    challenge = held.challenge.numpy()
    calibrated = ((held.score - centre) / spread).double().numpy()
    target = centre_within(normal_score(held.percentile.numpy())[:, None], challenge)[:, 0]
    return centre_within(calibrated, challenge, held.present.numpy()), target
