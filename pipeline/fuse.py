"""The fusion's training, on scores that encoders gave to clips they had not seen. The recipe is ours."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.config import VdvConfig
from models.fusion import AttentiveFusion
from models.losses import percentile_huber, ranknet
from pipeline.lines import normal_score, stack, within
from pipeline.loading import ChallengeBatches

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
    if fusion.weigh:
        _train(fusion, held, config)
    fusion.eval()
    fusion.gain.copy_(_gain(fusion, held))


def _train(fusion: AttentiveFusion, held: HeldOut, config: VdvConfig) -> None:
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


@torch.inference_mode()
def _gain(fusion: AttentiveFusion, held: HeldOut) -> Tensor:
    """[] slope of the label's normal score on the fused score within the challenge; 1 where there is none above 0."""
    score, _ = fusion(held.score, held.quality, held.present)
    challenge = held.challenge.numpy()
    told = within(score.double().numpy()[:, None], challenge)[:, 0]
    wanted = within(normal_score(held.percentile.numpy())[:, None], challenge)[:, 0]
    slope = float(told @ wanted / max(told @ told, 1e-9))
    return torch.tensor(slope if slope > 0 else 1.0)


def _centre_and_spread(held: HeldOut) -> tuple[Tensor, Tensor]:
    """[M] mean of each cue's scores, and their standard deviation within a challenge (1 where there is none)."""
    count = held.present.sum(0)
    centre = torch.where(held.present, held.score, 0.0).sum(0) / count.clamp(min=1)
    centred = within(held.score.double().numpy(), held.challenge.numpy(), held.present.numpy())
    spread = torch.from_numpy(np.sqrt((centred**2).sum(0) / np.maximum(held.present.numpy().sum(0), 1))).float()
    return centre, torch.where(spread > 1e-4, spread, 1.0)


def reliability(held: HeldOut, centre: Tensor, spread: Tensor) -> np.ndarray:
    """float32 [M]: how far the label goes with each cue's calibrated score when the others are given.

    Coefficients of the stack (`slopes_of_cues`), drawn to their mean by the share of their variance that is no more
    than the error of a coefficient (empirical Bayes, Efron and Morris 1973): few clips can't tell cues apart that are
    nearly equal. Where nothing is left, or there are fewer clips than could tell, the cues are equal.
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


def slopes_of_cues(held: HeldOut) -> np.ndarray:
    """float64 [M]: coefficients of the stack (lines.stack) of the percentile's normal score on the calibrated scores
    within the challenge, an absent one 0."""
    return stack(*_within_challenge(held, *_centre_and_spread(held)), held.challenge.numpy())


def _within_challenge(held: HeldOut, centre: Tensor, spread: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated scores float64 [N, M], 0 where absent, and the percentile's normal score [N], within the challenge."""
    challenge = held.challenge.numpy()
    calibrated = ((held.score - centre) / spread).double().numpy()
    target = within(normal_score(held.percentile.numpy())[:, None], challenge)[:, 0]
    return within(calibrated, challenge, held.present.numpy()), target
