"""The fusion's training, on scores that encoders gave to clips they had not seen. The recipe is ours."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from models.virality.config import VdvConfig
from models.virality.fusion import AttentiveFusion, trust_of
from pipeline.dataset.folds import deal_folds
from pipeline.training.ridge import PENALTY_FOLDS, likelihood_of_errors, normal_score, stack, within

STEEPNESS_PENALTIES = np.logspace(-1, 4, 11)  # from next to none to next to nothing left


@dataclass(frozen=True)
class HeldOut:
    """What M encoders said of N clips that they were not trained on."""

    row: Tensor  # int64 [N] in the dataset
    score: Tensor  # float32 [N, M]
    quality: Tensor  # float32 [N, M]
    present: Tensor  # bool [N, M]
    challenge: Tensor  # int64 [N]
    group: Tensor  # int64 [N] one number a creator
    percentile: Tensor  # float32 [N] 0..1


def train_attention(fusion: AttentiveFusion, held: HeldOut, config: VdvConfig) -> None:
    """Calibrates the fusion and finds how steeply its attention follows quality; the seed decides all of it.

    With no clip held out (a single creator) the fusion stays as it is: the mean of what is there.
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
    """`usual` and `varies` of the fusion: of each modality's quality where the modality is present."""
    there = held.present.double()
    count = there.sum(0).clamp(min=1)
    usual = (held.quality * there).sum(0) / count
    varies = (((held.quality - usual) * there) ** 2).sum(0).div(count).sqrt()
    return {"usual": usual.float(), "varies": torch.where(varies > 1e-4, varies, torch.inf).float()}


def _steepness(fusion: AttentiveFusion, held: HeldOut, seed: int) -> np.ndarray:
    """float32 [M], at least 0: least squares of the label's normal score on the fused score, its size penalised.

    As in a modality's line (lines.fit_line) all penalties have a say, each by how likely its steepness, found on some
    creators, makes the others' labels. A modality is never trusted less for being seen better: chance may say so.
    """
    challenge, group = held.challenge.numpy(), held.group.numpy()
    wanted = within(normal_score(held.percentile.numpy())[:, None], challenge)[:, 0]
    clarity = torch.where(held.present, fusion.clarity(held.quality), 0.0).double()
    calibrated = torch.where(held.present, (held.score - fusion.centre) / fusion.spread, 0.0).double()
    prior = fusion.prior().double()
    parts = prior / prior.sum() * calibrated

    def told(steepness: np.ndarray, rows: np.ndarray) -> np.ndarray:
        trust = trust_of(torch.from_numpy(steepness), clarity[rows])
        return within((parts[rows] * trust).sum(1, keepdim=True).numpy(), challenge[rows])[:, 0]

    def found(rows: np.ndarray, penalty: float, start: np.ndarray) -> np.ndarray:
        def rest(steepness: np.ndarray) -> np.ndarray:
            said = told(steepness, rows)
            return np.concatenate([wanted[rows] - _slope(said, wanted[rows]) * said, np.sqrt(penalty) * steepness])

        return least_squares(rest, start, bounds=(0, np.inf), max_nfev=50).x

    # From the largest penalty, next to nothing, to the smallest, each from what the last one found.
    def path(rows: np.ndarray) -> list[np.ndarray]:
        steps = [np.full(len(prior), 1e-3)]
        for penalty in STEEPNESS_PENALTIES[::-1]:
            steps.append(found(rows, penalty, np.maximum(steps[-1], 1e-3)))
        return steps[:0:-1]

    errors = np.zeros(len(STEEPNESS_PENALTIES))
    fold_of = deal_folds(group, challenge.tolist(), PENALTY_FOLDS, seed)
    for fold in range(fold_of.max() + 1):
        seen, unseen = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        if not len(seen):
            continue
        for place, steepness in enumerate(path(seen)):
            said = _slope(told(steepness, seen), wanted[seen]) * told(steepness, unseen)
            errors[place] += np.square(within(wanted[unseen, None], challenge[unseen])[:, 0] - said).sum()
    return (likelihood_of_errors(errors, len(wanted)) @ np.stack(path(np.arange(len(wanted))))).astype(np.float32)


def _slope(said: np.ndarray, wanted: np.ndarray) -> float:
    return float(said @ wanted / max(said @ said, 1e-9))


@torch.inference_mode()
def _gain(fusion: AttentiveFusion, held: HeldOut) -> Tensor:
    """[] slope of the label's normal score on the fused score within the challenge; 1 where there is none above 0."""
    score, _ = fusion(held.score, held.quality, held.present)
    challenge = held.challenge.numpy()
    told = within(score.double().numpy()[:, None], challenge)[:, 0]
    wanted = within(normal_score(held.percentile.numpy())[:, None], challenge)[:, 0]
    slope = _slope(told, wanted)
    return torch.tensor(slope if slope > 0 else 1.0)


def _centre_and_spread(held: HeldOut) -> tuple[Tensor, Tensor]:
    """[M] mean of each modality's scores, and their standard deviation within a challenge (1 where there is none)."""
    count = held.present.sum(0)
    centre = torch.where(held.present, held.score, 0.0).sum(0) / count.clamp(min=1)
    centred = within(held.score.double().numpy(), held.challenge.numpy(), held.present.numpy())
    spread = torch.from_numpy(np.sqrt((centred**2).sum(0) / np.maximum(held.present.numpy().sum(0), 1))).float()
    return centre, torch.where(spread > 1e-4, spread, 1.0)


def reliability(held: HeldOut, centre: Tensor, spread: Tensor) -> np.ndarray:
    """float32 [M]: how far the label goes with each modality's calibrated score when the others are given.

    Coefficients of the stack (`slopes_of_modalities`), drawn to their mean by the share of their variance that is no
    more than the error of a coefficient (empirical Bayes, Efron and Morris 1973): few clips can't tell modalities apart
    that are nearly equal. Where nothing is left, or there are fewer clips than could tell, the modalities are equal.
    """
    design, target = _within_challenge(held, centre, spread)
    slopes = stack(design, target, held.challenge.numpy())
    if not slopes.any() or len(slopes) < 2:
        return np.ones(len(slopes), np.float32)
    rest = target - design @ slopes
    free = max(len(target) - len(slopes) - len(held.challenge.unique()), 1)
    error = rest @ rest / free * np.diag(np.linalg.pinv(design.T @ design)).mean()
    kept = max(0.0, 1 - error / max(slopes.var(ddof=1), 1e-12))
    return (slopes.mean() + kept * (slopes - slopes.mean())).astype(np.float32)


def slopes_of_modalities(held: HeldOut) -> np.ndarray:
    """float64 [M]: coefficients of the stack (lines.stack) of the percentile's normal score on the calibrated scores
    within the challenge, an absent one 0."""
    return stack(*_within_challenge(held, *_centre_and_spread(held)), held.challenge.numpy())


def _within_challenge(held: HeldOut, centre: Tensor, spread: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated scores float64 [N, M], 0 where absent, and the percentile's normal score [N], within the challenge."""
    challenge = held.challenge.numpy()
    calibrated = ((held.score - centre) / spread).double().numpy()
    target = within(normal_score(held.percentile.numpy())[:, None], challenge)[:, 0]
    return within(calibrated, challenge, held.present.numpy()), target
