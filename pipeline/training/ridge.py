"""The lines beside the networks: ridge regressions in closed form, and what each modality is to learn, found by them.

A clip's label is a sum over modalities; to one modality, what the others tell is noise. Lines are fitted in
milliseconds, so they find out first what each modality tells: by backfitting (Breiman and Friedman 1985), every
modality's line is fitted to what the other modalities' lines leave of the label, again and again. What is left in the
end is what the modality's network is trained to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.special import ndtri
from scipy.stats import rankdata
from torch.utils.data import DataLoader

from models.virality.masked import FEATURE_LIMIT, MOTION_LIMIT, Line
from models.virality.vdv import clip_numbers
from pipeline.dataset.folds import deal_folds
from pipeline.dataset.loading import ClipDataset

PENALTIES = np.logspace(0, 6, 19)  # of standardised numbers: from next to none to next to nothing left
PENALTY_FOLDS, PENALTY_DEALS = 5, 3  # creators are dealt anew each time, or one deal's luck would choose the penalty
STACK_RIDGE = 1e-2  # share of the clips that the stack counts on top, as evidence of nothing


@dataclass(frozen=True)
class Slopes:
    """A fitted line through numbers of a clip (models.virality.masked.Line)."""

    mean: np.ndarray  # float64 [S]
    scale: np.ndarray  # float64 [S], above 0
    slope: np.ndarray  # float64 [S]
    limit: float

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """[n, S] -> float64 [n]."""
        line = Line(len(self.mean), self.limit)
        self.give(line)
        with torch.inference_mode():
            return line(torch.from_numpy(numbers.astype(np.float32))).double().numpy()

    def give(self, line: Line) -> None:
        """Makes it the line's."""
        line.set(*(torch.from_numpy(values.astype(np.float32)) for values in (self.mean, self.scale, self.slope)))


def fit_line(
    numbers: np.ndarray, target: np.ndarray, challenge: np.ndarray, group: np.ndarray, seed: int, limit: float
) -> Slopes:
    """Ridge regression within challenges: only there are scores compared, so what differs between them is no evidence.

    The slopes are those of all PENALTIES, each weighed by how likely its lines, fitted on some groups, make the others
    (pseudo-Bayesian model averaging, Geisser and Eddy 1979; normal errors): the best penalty alone is often luck.
    Groups, for a leave-one-out penalty would be content to know the creators.

    Args:
        numbers: float [n, S], NaN where not known; target: float [n]; challenge, group: [n].
        limit: of the Line that it is to be.
    """
    known = np.isfinite(numbers)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, numbers, 0.0).sum(0, dtype=float) / count
    scale = np.sqrt(np.square(np.where(known, numbers - mean, 0.0)).sum(0, dtype=float) / count)
    scale = np.where(scale > 1e-6, scale, np.inf)  # what never changes tells nothing
    squashed = limit * np.tanh(np.where(known, numbers - mean, 0.0) / (scale * limit))
    standard = within(squashed, challenge)
    wanted = within(target[:, None], challenge)[:, 0]
    errors = np.zeros(len(PENALTIES))
    for deal in range(PENALTY_DEALS):
        fold_of = deal_folds(group, challenge.tolist(), PENALTY_FOLDS, PENALTY_DEALS * seed + deal)
        for fold in range(fold_of.max() + 1):
            seen, unseen = fold_of != fold, fold_of == fold
            if seen.any():
                slopes = _ridge(standard[seen], wanted[seen])
                errors += np.square(standard[unseen] @ slopes - wanted[unseen, None]).sum(0) / PENALTY_DEALS
    slope = _ridge(standard, wanted) @ likelihood_of_errors(errors, len(wanted))
    varies = np.isfinite(scale)
    return Slopes(mean, np.where(varies, scale, 1.0), np.where(varies, slope, 0.0), limit)


def likelihood_of_errors(errors: np.ndarray, clips: int) -> np.ndarray:
    """float64 [K], summing to 1: of each penalty, from its squared errors [K] summed over so many clips held out."""
    if not errors.any():  # nothing could be held out: next to nothing is believed
        return np.eye(len(errors))[-1]
    best = errors.min()
    weights = np.exp((best - errors) * clips / (2 * best)) if best > 0 else (errors == best).astype(float)
    return weights / weights.sum()


def _ridge(numbers: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float64 [S, len(PENALTIES)]: slopes for every penalty, by one eigendecomposition of the smaller Gram matrix."""
    clips, count = numbers.shape
    if clips <= count:
        values, vectors = np.linalg.eigh(numbers @ numbers.T)
        return numbers.T @ (vectors @ ((vectors.T @ target)[:, None] / (values[:, None] + PENALTIES)))
    values, vectors = np.linalg.eigh(numbers.T @ numbers)
    return vectors @ ((vectors.T @ (numbers.T @ target))[:, None] / (values[:, None] + PENALTIES))


@dataclass(frozen=True)
class Numbers:
    """What a modality's line sees of every clip of a dataset."""

    values: np.ndarray  # float32 [clips, S], NaN where not known
    present: np.ndarray  # bool [clips]
    limit: float  # of the line


def read_numbers(dataset: ClipDataset, modality: str, rows: Sequence[int], workers: int = 0) -> Numbers:
    """Of these rows of the dataset, drawn as for scoring; the others count as not present."""
    view = dataset.view(modality, training=False)
    size = 64
    keys = [[(0, row) for row in rows[at : at + size]] for at in range(0, len(rows), size)]
    values, present = np.zeros((len(dataset), 0), np.float32), np.zeros(len(dataset), bool)
    for batch in DataLoader(view, batch_sampler=keys, collate_fn=view.collate, num_workers=workers):
        numbers, there = clip_numbers(dataset.inputs[modality], batch.inputs[modality])
        if not values.shape[1]:
            values = np.zeros((len(dataset), numbers.shape[1]), np.float32)
        values[batch.row.numpy()], present[batch.row.numpy()] = numbers.numpy(), there.numpy()
    return Numbers(values, present, MOTION_LIMIT if dataset.inputs[modality].is_skeleton else FEATURE_LIMIT)


@dataclass(frozen=True)
class Dealt:
    """The n clips that lines are fitted to, dealt into folds so that each is judged by a line that did not see it."""

    row: np.ndarray  # int64 [n] in the dataset
    challenge: np.ndarray  # str [n]
    group: np.ndarray  # int64 [n] one number a creator
    fold_of: np.ndarray  # int64 [n]
    seed: int


def backfit(numbers: Mapping[str, Numbers], clips: Dealt, percentile: np.ndarray, rounds: int) -> dict[str, np.ndarray]:
    """float64 [n] by modality: the percentile, 0..1, within its challenge of what the other modalities leave of each
    clip's label.

    `rounds` times lines are fitted on all folds but one and judge that one; the label less what the stack of the other
    modalities' judgements tells is what the modality is fitted to next. Without rounds it is the label's own
    percentile, [n].
    """
    targets = dict.fromkeys(numbers, percentile)
    wanted = within(normal_score(percentile)[:, None], clips.challenge)[:, 0]
    for _ in range(rounds if len(numbers) > 1 else 0):
        design = np.stack([judge(known, clips, targets[modality]) for modality, known in numbers.items()], 1)
        told = design * stack(design, wanted, clips.challenge)
        rest = wanted[:, None] - (told.sum(1, keepdims=True) - told)
        targets = {modality: place_within(rest[:, place], clips.challenge) for place, modality in enumerate(numbers)}
    return targets


def left_by_line(numbers: Numbers, clips: Dealt, target: np.ndarray) -> np.ndarray:
    """float64 [n]: the percentile, 0..1, within its challenge of what the modality's own line leaves of `target`, a
    percentile, on clips that it was not fitted to."""
    told = judge(numbers, clips, target)
    wanted = within(normal_score(target)[:, None], clips.challenge)[:, 0]
    return place_within(wanted - told * stack(told[:, None], wanted, clips.challenge)[0], clips.challenge)


def judge(numbers: Numbers, clips: Dealt, target: np.ndarray) -> np.ndarray:
    """float64 [n]: what a line fitted on the other folds to `target`, a percentile, says of each clip, within the
    challenge and in units of its spread; 0 where the modality is absent or nobody can tell."""
    present, wanted = numbers.present[clips.row], normal_score(target)
    said, there = np.zeros((len(clips.row), 1)), np.zeros((len(clips.row), 1), bool)
    for fold in range(clips.fold_of.max() + 1):
        seen, unseen = present & (clips.fold_of != fold), present & (clips.fold_of == fold)
        if seen.sum() > 1 and unseen.any():
            known = numbers.values[clips.row[seen]]
            line = fit_line(known, wanted[seen], clips.challenge[seen], clips.group[seen], clips.seed, numbers.limit)
            said[unseen, 0] = line(numbers.values[clips.row[unseen]])
            there[unseen] = True
    centred = within(said, clips.challenge, there)[:, 0]
    spread = np.sqrt(np.square(centred).mean())
    return centred / spread if spread > 1e-9 else centred


def stack(design: np.ndarray, wanted: np.ndarray, challenge: np.ndarray) -> np.ndarray:
    """float64 [K]: coefficients, never negative, of a ridge regression of `wanted` [n] on judgements [n, K] of clips
    that the judges had not seen (stacking, Breiman 1996); all 0 where there are too few clips to tell.

    Both are within the challenge (`within`); the judgements in units of their spread.
    """
    clips, count = design.shape
    if clips <= count + len(np.unique(challenge)):
        return np.zeros(count)
    extra = np.sqrt(STACK_RIDGE * clips) * np.eye(count)
    return nnls(np.concatenate([design, extra]), np.concatenate([wanted, np.zeros(count)]))[0]


def normal_score(percentile: np.ndarray) -> np.ndarray:
    """float64 [n]: the percentile, 0..1, as the value of a standard normal variable."""
    return ndtri(np.clip(np.asarray(percentile, float), 0.01, 0.99))


def place_within(values: np.ndarray, challenge: np.ndarray) -> np.ndarray:
    """float64 [n]: percentile, 0..1, within the challenge."""
    place = np.empty(len(values))
    for name in np.unique(challenge):
        rows = challenge == name
        place[rows] = (rankdata(values[rows]) - 0.5) / rows.sum()
    return place


def within(values: np.ndarray, challenge: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """float64 [n, K] less the mean of the challenge's present ones; 0 where absent. present: bool [n, K]; None: all."""
    present = np.ones(values.shape, bool) if present is None else present
    centred = np.where(present, values, 0.0)
    for name in np.unique(challenge):
        rows = challenge == name
        mean = centred[rows].sum(0) / np.maximum(present[rows].sum(0), 1)
        centred[rows] = np.where(present[rows], centred[rows] - mean, 0.0)
    return centred
