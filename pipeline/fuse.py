"""The fusion's training, on scores that encoders gave to clips they had not seen. The recipe is ours."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.special import ndtri
from scipy.stats import rankdata
from torch import Tensor

from models.config import VdvConfig
from models.fusion import AttentiveFusion
from models.losses import percentile_huber, ranknet
from pipeline.loading import ChallengeBatches

RIDGE = 1e-2  # share of the clips that the fit of reliabilities counts on top, as evidence of nothing
GAIN_RATE = 0.1
BATCH_CLIPS = 256  # numbers only: as many clips as keep pairs of a challenge few enough


@dataclass(frozen=True)
class HeldOut:
    """What M encoders said of N clips that they were not trained on."""

    row: Tensor  # int64 [N] in the dataset
    score: Tensor  # float32 [N, M]
    quality: Tensor  # float32 [N, M]
    present: Tensor  # bool [N, M]
    challenge: Tensor  # int64 [N]
    percentile: Tensor  # float32 [N] 0..1


def train_attention(fusion: AttentiveFusion, held: HeldOut, config: VdvConfig) -> None:
    """Calibrates the fusion, then trains its attention; on the CPU, the seed decides all of it.

    With no clip held out (a single creator) the fusion stays as it is: the mean of what is there.
    """
    if not len(held.score):
        return
    torch.manual_seed(config.seed)
    centre, spread = _centre_and_spread(held)
    fusion.calibrate(centre, spread, torch.from_numpy(reliability(held, centre, spread)))
    decayed = [parameter for parameter in fusion.parameters() if parameter.ndim > 1]
    kept = [parameter for parameter in fusion.parameters() if parameter.ndim <= 1]
    # The losses ask for scores of a certain size, which a convex sum has not. Without a factor of their own they would
    # have the attention run after whichever cue is far out.
    gain = torch.nn.Parameter(torch.zeros(()))
    rates = [config.fusion_rate, config.fusion_rate, GAIN_RATE]
    batches = ChallengeBatches(held.challenge.tolist(), range(len(held.score)), BATCH_CLIPS, config.seed)
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": kept, "weight_decay": 0.0},
            {"params": [gain], "weight_decay": 0.0},
        ],
        lr=config.fusion_rate,
    )
    steps = max(config.fusion_epochs * len(batches), 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps)
    fusion.train()
    for _ in range(config.fusion_epochs):
        for keys in batches:
            rows = torch.tensor([row for _, row in keys])
            score, _ = fusion(held.score[rows], held.quality[rows], held.present[rows])
            counted = held.present[rows].any(1)
            target = held.percentile[rows]
            score = score * gain.exp()
            loss = ranknet(score, target, held.challenge[rows], counted, config.tau)
            loss = loss + config.huber_weight * percentile_huber(score, target, counted)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(fusion.parameters(), config.clip_norm)
            optimiser.step()
            schedule.step()
    fusion.eval()


def _centre_and_spread(held: HeldOut) -> tuple[Tensor, Tensor]:
    """[M] mean of each cue's scores, and their standard deviation within a challenge (1 where there is none)."""
    count = held.present.sum(0)
    centre = torch.where(held.present, held.score, 0.0).sum(0) / count.clamp(min=1)
    within = _within_challenge(held.score.double().numpy(), held.present.numpy(), held.challenge.numpy())
    spread = torch.from_numpy(np.sqrt((within**2).sum(0) / np.maximum(held.present.numpy().sum(0), 1))).float()
    return centre, torch.where(spread > 1e-4, spread, 1.0)


def reliability(held: HeldOut, centre: Tensor, spread: Tensor) -> np.ndarray:
    """float32 [M]: how far the label goes with each cue's calibrated score when the others are given.

    Coefficients, never negative, of a ridge regression of the percentile's normal score on the calibrated scores
    within the challenge (an absent one: 0): what stacking (Breiman 1996) gives each cue. Where nothing is left, or
    there are fewer clips than could tell, the cues are equal.
    """
    _, _, slopes = _stack(held, centre, spread)
    return (slopes if slopes.any() else np.ones(len(slopes))).astype(np.float32)


def left_by_others(held: HeldOut) -> np.ndarray:
    """float64 [N, M]: the percentile, 0..1, within its challenge, of what the other cues leave of a clip's label.

    The label's normal score less what the stack of held-out scores has of every other cue: a step of backfitting
    (Breiman and Friedman 1985). Where the stack finds nothing it is the label's own percentile.
    """
    design, target, slopes = _stack(held, *_centre_and_spread(held))
    told = design * slopes
    rest = target[:, None] - (told.sum(1, keepdims=True) - told)
    place = np.empty_like(rest)
    challenge = held.challenge.numpy()
    for name in np.unique(challenge):
        rows = challenge == name
        place[rows] = (rankdata(rest[rows], axis=0) - 0.5) / rows.sum()
    return place


def _stack(held: HeldOut, centre: Tensor, spread: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated scores [N, M] and the percentile's normal score [N], both within the challenge, and slopes [M] of the
    one on the other; all 0 where there are too few clips to tell."""
    present, challenge = held.present.numpy(), held.challenge.numpy()
    calibrated = ((held.score - centre) / spread).double().numpy()
    design = _within_challenge(calibrated, present, challenge)
    normal = ndtri(np.clip(held.percentile.double().numpy(), 0.01, 0.99))[:, None]
    target = _within_challenge(normal, np.ones_like(normal, bool), challenge)[:, 0]
    clips, cues = design.shape
    if clips <= cues + len(np.unique(challenge)):
        return design, target, np.zeros(cues)
    extra = np.sqrt(RIDGE * clips) * np.eye(cues)
    slopes, _ = nnls(np.concatenate([design, extra]), np.concatenate([target, np.zeros(cues)]))
    return design, target, slopes


def _within_challenge(values: np.ndarray, present: np.ndarray, challenge: np.ndarray) -> np.ndarray:
    """[N, M] less the mean of the challenge's present ones; 0 where absent."""
    within = np.where(present, values, 0.0)
    for name in np.unique(challenge):
        rows = challenge == name
        mean = within[rows].sum(0) / np.maximum(present[rows].sum(0), 1)
        within[rows] = np.where(present[rows], within[rows] - mean, 0.0)
    return within
