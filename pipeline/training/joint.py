"""The fit of the joint model: one additive Gaussian process over all that is known of a clip.

The normal score of a clip's percentile is a sum of blocks, an intercept a challenge, an effect a creator and noise. A
block is a linear function of some numbers of one modality, its coefficients normally distributed around 0 with a
variance of the block's own: a linear kernel (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006,
chapter 2), or, of waves along the statistics, a squared exponential one (models.virality.joint). How badly a clip shows
a modality fades that modality's blocks, by a slope that is fitted too. Variances and slopes maximise the marginal
likelihood times a weak prior, so that no clip has to be held out to choose them, and what two blocks say twice counts
once.

What is known of a clip before it is looked at, its context, may be one more block, of no modality.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtri
from torch import Tensor

from models.virality.config import CONTEXT
from models.virality.joint import WIDTH, ContextPart, Evidence, Part
from models.virality.vdv import Vdv
from pipeline.dataset.context import ContextUnits, context_numbers
from pipeline.dataset.folds import assign_folds

CLIPS = 2048  # from which variances and slopes are estimated, about, at most: the cost grows with their third power
STATISTICS, CURVES, NETWORK, PRETRAINED = "statistics", "curves", "network", "pretrained"  # kinds of blocks
WITHOUT_NETWORKS, NETWORKS = (STATISTICS, CURVES), (NETWORK, PRETRAINED)  # networks in the order of their scores
KINDS = WITHOUT_NETWORKS + NETWORKS
_INTERCEPT = 4.0  # variance of a challenge's intercept, the label's being 1: next to free
_LOG_SPREAD = 1.5  # standard deviation of the prior of a variance's logarithm
_SLOPE_SPREAD = 0.1  # of the half-normal prior of a slope
_NOISE, _CREATOR = 0.5, 0.1  # median of the prior of these variances; the blocks share the rest, 0.5
_CURVED = 0.1  # share of a block of waves in that rest, another block's being 1
_LEAST, _MOST = 1e-4, 1e2  # of a variance
_LEAST_SPREAD = 1e-6  # of what varies


@dataclass(frozen=True)
class TrainingClips:
    """The n clips that a joint model is fitted to."""

    row: np.ndarray  # int64 [n] in the dataset
    challenge: np.ndarray  # str [n]
    group: np.ndarray  # int64 [n] one number a creator
    percentile: np.ndarray  # float64 [n] of the label within the challenge, 0..1


@dataclass(frozen=True)
class _Block:
    """Numbers of n clips that share one variance."""

    modality: str
    kind: str
    values: np.ndarray  # float64 [n, D]; a row of zeros where the clip lacks the modality
    clarity: np.ndarray  # float64 [n]


@dataclass(frozen=True)
class Joint:
    """A fitted joint model."""

    coefficients: dict[tuple[str, str], np.ndarray]  # float64 [D] by modality and kind of block
    variances: dict[tuple[str, str], float]  # of a typical clip's value of the block, the label's units
    slopes: dict[str, float]  # by modality, at least 0
    creator: float  # variance of creators' effects
    noise: float  # variance of what nothing explains
    held_out: np.ndarray  # float64 [n] score of each clip, its challenge's intercept in it, fitted without its creator

    def parts(self, evidence: Mapping[str, Evidence]) -> dict[str, np.ndarray]:
        """The part of each clip's score by modality, float64 [B]."""
        parts = {}
        for modality, of_modality in evidence.items():
            value = np.zeros(len(of_modality.present))
            for kind, values in _values(of_modality).items():
                if (modality, kind) in self.coefficients:
                    value += values @ self.coefficients[modality, kind]
            parts[modality] = np.exp(self.slopes.get(modality, 0.0) * of_modality.clarity.double().numpy()) * value
        return parts

    def copy_to(self, model: Vdv, evidence: Mapping[str, Evidence]) -> None:
        """Set the model's parts. evidence: of the training clips."""
        for modality in evidence:
            part = model.part(modality)
            for kind, name in ((STATISTICS, "coefficients"), (CURVES, "wave_coefficients")):
                if (modality, kind) in self.coefficients:
                    part.set(**{name: torch.from_numpy(self.coefficients[modality, kind])})
            for place, kind in enumerate(NETWORKS[: len(part.network_coefficients)]):
                part.network_coefficients[place] = float(self.coefficients.get((modality, kind), np.zeros(1))[0])
            part.set(slope=self.slopes.get(modality, 0.0))
            value = part(evidence[modality])[evidence[modality].present]
            part.set(spread=value.std(correction=0) if len(value) else 0.0)


def normal_score(percentile: np.ndarray) -> np.ndarray:
    """Value of a standard normal variable at each percentile, 0..1: float64 [n]."""
    return ndtri(np.clip(np.asarray(percentile, float), 0.01, 0.99))


@torch.inference_mode()
def calibrate(part: Part, statistics: Tensor, networks: Tensor, quality: Tensor, present: Tensor) -> Evidence:
    """Set how a part standardises what it reads; return what it reads of the n training clips.

    Args:
        statistics, quality, present: [n, S], [n], bool [n], as `Part.read` takes them.
        networks: [n, N] scores of the clips by networks that did not see them, NaN where there is none.
    """
    known = present[:, None] & statistics.isfinite()
    count = known.sum(0).clamp(min=1)
    mean = torch.where(known, statistics, 0.0).double().sum(0) / count
    scale = (torch.where(known, statistics - mean, 0.0).square().sum(0) / count).sqrt()
    part.set(mean=mean, scale=torch.where(scale > _LEAST_SPREAD, scale, torch.inf))
    limited = part.limited(statistics)[present]
    if len(limited):
        part.set(centre=limited.mean(0), usual=quality[present].mean())
        length = torch.linalg.vector_norm(limited - part.centre, dim=1)
        part.set(longest=length.max().clamp(min=_LEAST_SPREAD))  # 0 where one clip has the modality
        part.set(width=WIDTH * length.square().mean().sqrt().clamp(min=_LEAST_SPREAD))
        part.set(waves_centre=part.waves(limited - part.centre).mean(0))
        part.set(varies=_spread(quality[present]))
    for place, scores in enumerate(networks.T):
        scored = scores[scores.isfinite()]
        if len(scored):
            part.network_mean[place], part.network_scale[place] = scored.mean(), _spread(scored)
    # Clips that no network was held out of count as average.
    return part.read(statistics, torch.where(networks.isfinite(), networks, part.network_mean), quality, present)


def calibrate_context(part: ContextPart, clips: pd.DataFrame) -> Evidence:
    """`calibrate` of the context's part. clips: the training clips."""
    units = ContextUnits.of(clips)
    part.set(last_upload_s=units.last_upload_s, usual_likes=units.usual_likes)
    ones = torch.ones(len(clips))
    return calibrate(part, _context(part, clips), torch.zeros(len(clips), 0), ones, ones.bool())


def read_context(part: ContextPart, clips: pd.DataFrame) -> Evidence:
    """What the context's part reads of these clips."""
    return part.read_numbers(_context(part, clips).to(part.mean.device))


def _context(part: ContextPart, clips: pd.DataFrame) -> Tensor:
    units = ContextUnits(float(part.last_upload_s), float(part.usual_likes))
    return torch.from_numpy(context_numbers(clips, units).astype(np.float32))


def _spread(values: Tensor) -> Tensor:
    """Standard deviation; infinite where there is next to none."""
    spread = values.std(correction=0)
    return torch.where(spread > _LEAST_SPREAD, spread, torch.inf)


def fit_joint(
    evidence: Mapping[str, Evidence],
    clips: TrainingClips,
    kinds: Sequence[str] = KINDS,
    gates: bool = True,
    seed: int = 0,
) -> Joint:
    """Fit variances, slopes and coefficients to the normal scores of the clips' percentiles.

    Args:
        evidence: by modality, of the clips in their order. The networks' scores must be of clips held out of their
            training.
        kinds: of the blocks that it is fitted to; the context is, wherever it is among the evidence.
        gates: False: no slopes.
        seed: of the creators whose clips estimate variances where there are more than CLIPS.
    """
    blocks = [
        _Block(modality, kind, values[kind], of_modality.clarity.double().numpy())
        for modality, of_modality in evidence.items()
        for values in [_values(of_modality)]
        for kind in (kinds if modality != CONTEXT else WITHOUT_NETWORKS)
        if kind in values and np.abs(values[kind]).max(initial=0.0) > _LEAST_SPREAD
    ]
    while True:
        joint = _fit_blocks(blocks, clips, gates, seed)
        # A network of which the others' clips say that its score is to be turned round is chance.
        turned = {name for name, values in joint.coefficients.items() if name[1] in NETWORKS and values[0] < 0}
        if not turned:
            return joint
        blocks = [block for block in blocks if (block.modality, block.kind) not in turned]


def _fit_blocks(blocks: Sequence[_Block], clips: TrainingClips, gates: bool, seed: int) -> Joint:
    target = normal_score(clips.percentile)
    spread = float(target.std()) or 1.0
    size = [float(np.sqrt(np.square(block.values).sum(1).mean())) for block in blocks]
    some = _sample(clips, seed)
    sampled = [
        _Block(block.modality, block.kind, block.values[some] / at, block.clarity[some])
        for block, at in zip(blocks, size, strict=True)
    ]
    variances, slopes, creator, noise = _hyperparameters(
        sampled, target[some] / spread, clips.challenge[some], clips.group[some], gates
    )
    scales = [np.sqrt(variance) / at for variance, at in zip(variances, size, strict=True)]
    design = [
        scale * np.exp(slopes[block.modality] * block.clarity)[:, None] * block.values
        for scale, block in zip(scales, blocks, strict=True)
    ]
    columns = np.concatenate(design, 1) if design else np.zeros((len(target), 0))
    held_out, weights = _posterior(columns, target / spread, clips.challenge, clips.group, creator, noise)
    ends = np.cumsum([block.values.shape[1] for block in blocks])[:-1]
    names = [(block.modality, block.kind) for block in blocks]
    of_blocks = np.split(weights, ends) if blocks else []
    return Joint(
        {name: spread * scale * of for name, scale, of in zip(names, scales, of_blocks, strict=True)},
        {name: float(variance) * spread**2 for name, variance in zip(names, variances, strict=True)},
        slopes, creator * spread**2, noise * spread**2, held_out * spread,
    )  # fmt: skip


def _values(evidence: Evidence) -> dict[str, np.ndarray]:
    """Numbers of each kind of block, float64 [n, D]."""
    networks = evidence.networks.double().numpy()
    statistics, waves = (values.double().numpy() for values in (evidence.statistics, evidence.waves))
    return {STATISTICS: statistics, CURVES: waves} | {
        kind: column[:, None] for kind, column in zip(NETWORKS, networks.T, strict=False)
    }


def _sample(clips: TrainingClips, seed: int) -> np.ndarray:
    """Places of the clips of some whole creators, about CLIPS; of all where there are fewer."""
    parts = -(-len(clips.group) // CLIPS)
    if parts < 2:
        return np.arange(len(clips.group))
    return np.flatnonzero(assign_folds(clips.group, clips.challenge.tolist(), parts, seed) == 0)


def _hyperparameters(
    blocks: Sequence[_Block], target: np.ndarray, challenge: np.ndarray, group: np.ndarray, gates: bool
) -> tuple[np.ndarray, dict[str, float], float, float]:
    """Variances of the blocks, slopes by modality, variance of creators and of noise: the mode of their posterior."""
    modalities = list(dict.fromkeys(block.modality for block in blocks))
    # A creator's effect explains what the clips have in common, and leaves the record nothing to explain; but it is of
    # no use for a creator who is new, and the record is. On made clips, likes by fame, creators new: Spearman .85, with
    # the effect .36 (benchmarks.records).
    most_of_creators = _LEAST if CONTEXT in modalities else _MOST
    kernels = [block.values @ block.values.T for block in blocks]
    clarity = {block.modality: block.clarity for block in blocks}
    same_creator = (group[:, None] == group).astype(float)
    intercept = _INTERCEPT * (challenge[:, None] == challenge)
    identity = np.eye(len(target))
    count = len(blocks)
    share = np.array([_CURVED if block.kind == CURVES else 1.0 for block in blocks])
    median = np.log([*0.5 * share / share.sum(), _CREATOR, _NOISE])

    def negative_log_posterior(x: np.ndarray) -> tuple[float, np.ndarray]:
        variances, slopes = np.exp(x[: count + 2]), dict(zip(modalities, x[count + 2 :], strict=True))
        gate = {modality: np.exp(slope * clarity[modality]) for modality, slope in slopes.items()}
        parts = [
            variance * kernel * np.outer(gate[block.modality], gate[block.modality])
            for variance, kernel, block in zip(variances[:count], kernels, blocks, strict=True)
        ]
        covariance = sum(parts, intercept + variances[count] * same_creator + variances[count + 1] * identity)
        factor = cho_factor(covariance, lower=True, overwrite_a=True)
        inverse = cho_solve(factor, identity)
        alpha = inverse @ target
        value = 0.5 * float(target @ alpha) + float(np.log(np.diag(factor[0])).sum())
        # Derivative of the likelihood by a kernel K is half the trace of (inverse - alpha alpha') K.
        slack = inverse - np.outer(alpha, alpha)
        by_part = [0.5 * float(np.vdot(slack, part)) for part in parts]
        creators = 0.5 * variances[count] * float(np.vdot(slack, same_creator))
        gradient = [*by_part, creators, 0.5 * variances[count + 1] * float(np.trace(slack))]
        for modality in modalities:
            of_modality = [part for part, block in zip(parts, blocks, strict=True) if block.modality == modality]
            gradient.append(float(sum(clarity[modality] @ (slack * part).sum(1) for part in of_modality)))
        away = (x[: count + 2] - median) / _LOG_SPREAD
        faded = x[count + 2 :] / _SLOPE_SPREAD
        value += 0.5 * float(away @ away + faded @ faded)
        return value, np.array(gradient) + np.concatenate([away / _LOG_SPREAD, faded / _SLOPE_SPREAD])

    highest = np.log([*[_MOST] * count, most_of_creators, _MOST])
    bounds = [*((np.log(_LEAST), high) for high in highest), *[(0.0, 1.0 if gates else 0.0)] * len(modalities)]
    start = np.concatenate([np.minimum(median, highest), np.zeros(len(modalities))])
    best = minimize(negative_log_posterior, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    variances = np.exp(best[: count + 2])
    slopes = dict(zip(modalities, best[count + 2 :].tolist(), strict=True))
    return variances[:count], slopes, float(variances[count]), float(variances[count + 1])


def _posterior(
    design: np.ndarray, target: np.ndarray, challenge: np.ndarray, group: np.ndarray, creator: float, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of clips without their creators [n], and the posterior mean of the weights of `design` [n, D], each
    standard normal beforehand.

    With fewer columns than clips it solves for the weights, else for the clips; the result is the same.
    """
    names, at = np.unique(challenge, return_inverse=True)
    intercepts = np.sqrt(_INTERCEPT) * np.eye(len(names))[at]
    columns = np.concatenate([design, intercepts], 1)
    whiten = _Whitening(group, creator, noise)
    white, white_target = whiten(columns), whiten(target[:, None])[:, 0]
    clips, count = white.shape
    if count < clips:
        lower = np.linalg.cholesky(np.eye(count) + white.T @ white)
        half = solve_triangular(lower, white.T, lower=True)
        weights = solve_triangular(lower.T, half @ white_target)
        rest = white_target - white @ weights
        slack = {name: np.eye(len(rows)) - half[:, rows].T @ half[:, rows] for name, rows in whiten.rows.items()}
    else:
        inverse = cho_solve(cho_factor(np.eye(clips) + white @ white.T, lower=True), np.eye(clips))
        rest = inverse @ white_target
        weights = white.T @ rest
        slack = {name: inverse[np.ix_(rows, rows)] for name, rows in whiten.rows.items()}
    held_out = target.copy()
    for name, rows in whiten.rows.items():
        # Leaving a group out in closed form (Rasmussen and Williams, equation 5.12, for blocks).
        held_out[rows] -= whiten.undo(np.linalg.solve(slack[name], rest[rows]))
    return held_out, weights[: design.shape[1]]


class _Whitening:
    """Takes from columns what a creator's clips have in common, as far as its effect explains it, in units of noise."""

    def __init__(self, group: np.ndarray, creator: float, noise: float):
        self.rows = {int(name): np.flatnonzero(group == name) for name in np.unique(group)}
        self._creator, self._noise = creator, noise

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        """[n, K] -> [n, K] with identity covariance of creators' effects and noise."""
        white = columns.copy()
        for rows in self.rows.values():
            share = 1 - np.sqrt(self._noise / (self._noise + len(rows) * self._creator))
            white[rows] -= share * columns[rows].mean(0)
        return white / np.sqrt(self._noise)

    def undo(self, white: np.ndarray) -> np.ndarray:
        """The inverse, for one creator's clips [k]."""
        more = np.sqrt((self._noise + len(white) * self._creator) / self._noise) - 1
        return np.sqrt(self._noise) * (white + more * white.mean())
