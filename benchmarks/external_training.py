"""Training of networks, the joint model and ExtraTrees on scored episodes, and their scores of others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import ExtraTreesRegressor
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from benchmarks.ui_prmd import COORDINATES, Episodes, Split, draw
from models.virality.config import VdvConfig
from models.virality.joint import MOTION_LIMIT, Part
from models.virality.pose_statistics import pose_statistics
from models.virality.psgcn import motion_statistics
from models.virality.skeleton import KINECT22
from models.virality.vdv import pose_network
from pipeline.dataset.folds import assign_folds
from pipeline.metrics.ranking import percentile_within
from pipeline.training.joint import KINDS, TrainingClips, calibrate, fit_joint
from pipeline.training.optimisation import loss_of, parameter_groups, reset_norm_statistics

SCORED_AT_ONCE = 100  # episodes
HELD_OUT_FOLDS = 3


class Numbers(NamedTuple):
    """Numbers of N episodes that the joint model reads."""

    statistics: np.ndarray  # float [N, S]; S may be 0
    score: np.ndarray  # float [N] of a network or of trees; of training episodes by one that did not see them


class Predicted(NamedTuple):
    """Scores of a split's episodes by a network, or by trees."""

    held_out: np.ndarray  # float32 [training rows] by one that did not see them
    test: np.ndarray  # float32 [test rows]


def fixed_draws(episodes: Episodes, config: VdvConfig) -> Tensor:
    """Every episode sampled as for scoring, float32 [N, K, 13, frames, 22]."""
    return torch.from_numpy(np.stack([draw(posture, config, None) for posture in episodes.postures]))


def motion_numbers(fixed: Tensor) -> np.ndarray:
    """The product's statistics of every episode (models.virality.psgcn.motion_statistics), the mean of its samplings:
    float32 [N, 847]. fixed: as `fixed_draws` gives it.
    """
    parts = []
    for some in fixed.split(SCORED_AT_ONCE):
        flat = some.flatten(0, 1)
        parts.append(motion_statistics(flat, _all_seen(flat)).unflatten(0, some.shape[:2]).nanmean(1))
    return torch.cat(parts).numpy()


def tree_statistics(episodes: Episodes) -> np.ndarray:
    """Input of the trees for every episode, float32 [N, S]."""
    return np.stack([pose_statistics(posture, KINECT22) for posture in episodes.postures])


def train_network(episodes: Episodes, rows: np.ndarray, config: VdvConfig) -> nn.Module:
    """The network of the skeleton modality trained on these rows, all movements together.

    As pipeline.training.encoder_training: RankNet within the challenge, which is one subject's episodes of one
    movement, on the network's score and each of its levels, Huber on the percentile, AdamW, one-cycle, gradients
    clipped, batch norms given the final weights' statistics in one last epoch. Batches are of whole challenges.
    """
    torch.manual_seed(config.seed)
    network = pose_network(config, KINECT22, COORDINATES)
    of_row = challenges(episodes)
    target = torch.from_numpy(percentiles(episodes.correct, of_row)).float()
    numbered = torch.from_numpy(np.unique(of_row, return_inverse=True)[1])
    optimiser = torch.optim.AdamW(parameter_groups(network, config.weight_decay), lr=config.pose_rate)
    batches = len(list(_batches(episodes, rows, config, 0)))
    epochs = config.epochs_of(batches, is_skeleton=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.pose_rate, total_steps=epochs * batches)
    for epoch in range(epochs):
        for some in _batches(episodes, rows, config, epoch):
            encoded = network(*_drawn(episodes, some, config, epoch))
            counted = torch.ones(len(some), dtype=torch.bool)
            beside = encoded.levels if encoded.levels.shape[1] > 1 else encoded.levels[:, :0]  # one is the score
            loss = loss_of(encoded.score, beside, target[some], numbered[some], counted, config)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimiser.step()
            schedule.step()
    _settle_norms(network, episodes, rows, config, epochs)
    return network.eval()


def challenges(episodes: Episodes) -> np.ndarray:
    """Challenge of every episode, str [N]: one subject's episodes of one movement are ranked."""
    return np.char.add(np.char.add(episodes.movement.astype(str), "/"), episodes.subject.astype(str))


def percentiles(values: np.ndarray, challenge: np.ndarray) -> np.ndarray:
    """Percentile of each value within its challenge, 0..1: float64 [N]."""
    return percentile_within(pd.Series(values), pd.Series(challenge)).to_numpy(copy=True)


def _batches(episodes: Episodes, rows: np.ndarray, config: VdvConfig, epoch: int) -> Iterator[np.ndarray]:
    """Rows of whole challenges, int64, at most `batch_clips` but one challenge at least, shuffled every epoch."""
    rng = np.random.default_rng((config.seed, epoch))
    of_row = challenges(episodes)[rows]
    batch = np.zeros(0, np.int64)
    for name in rng.permutation(np.unique(of_row)):
        of_challenge = rng.permutation(rows[of_row == name])
        if len(batch) and len(batch) + len(of_challenge) > config.batch_clips:
            yield batch
            batch = batch[:0]
        batch = np.concatenate([batch, of_challenge])
    yield batch


def _drawn(episodes: Episodes, rows: np.ndarray, config: VdvConfig, epoch: int) -> tuple[Tensor, Tensor]:
    drawn = [
        draw(episodes.postures[row], config, np.random.default_rng((config.seed, epoch, int(row)))) for row in rows
    ]
    streams = torch.from_numpy(np.concatenate(drawn))
    return streams, _all_seen(streams)


def _all_seen(streams: Tensor) -> Tensor:
    """Mask, bool [B, T, V], of streams [B, S, T, V]: a Kinect's skeleton has no gaps."""
    return torch.ones(len(streams), *streams.shape[2:], dtype=torch.bool)


@torch.no_grad()
def _settle_norms(network: nn.Module, episodes: Episodes, rows: np.ndarray, config: VdvConfig, epoch: int) -> None:
    reset_norm_statistics(network)
    for some in _batches(episodes, rows, config, epoch):
        network(*_drawn(episodes, some, config, epoch))


def predict_by_network(
    episodes: Episodes, fixed: Tensor, split: Split, config: VdvConfig, by_movement: bool
) -> Predicted:
    """Scores by networks of all movements; fixed: as `fixed_draws` gives it."""

    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return _score(train_network(episodes, train, config), fixed[test])

    return _held_out_too(episodes, split, predict, by_movement)


def predict_by_trees(
    episodes: Episodes, statistics: np.ndarray, split: Split, seed: int, by_movement: bool, trees: int
) -> Predicted:
    """Scores by ExtraTrees, one forest a movement or one for all; statistics: as `tree_statistics` gives it."""

    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        forest = fit_trees(statistics[train], episodes.correct[train].astype(float), seed, trees)
        return forest.predict(statistics[test]).astype(np.float32)

    score = Predicted(np.zeros(len(split.train), np.float32), np.zeros(len(split.test), np.float32))
    for trained, tested in _groups(episodes, split, by_movement):
        some = Split(split.name, split.train[trained], split.test[tested])
        score.held_out[trained], score.test[tested] = _held_out_too(episodes, some, predict, by_movement)
    return score


def _held_out_too(episodes: Episodes, split: Split, predict: Callable, by_movement: bool) -> Predicted:
    """Scores of a split's test rows, and of its training rows by what did not see them, as pipeline.training.fit does.

    Left out are whole movements where the test movement is unseen, else whole subjects; episodes where there is one.
    """
    by_movement_or_subject = episodes.subject if by_movement else episodes.movement
    group = _several(by_movement_or_subject[split.train], episodes.subject[split.train])
    fold_of = assign_folds(group, challenges(episodes)[split.train].tolist(), HELD_OUT_FOLDS)
    held_out = np.zeros(len(split.train), np.float32)
    for fold in range(fold_of.max() + 1):
        held_out[fold_of == fold] = predict(split.train[fold_of != fold], split.train[fold_of == fold])
    return Predicted(held_out, predict(split.train, split.test))


@torch.inference_mode()
def _score(network: nn.Module, fixed: Tensor) -> np.ndarray:
    """Mean score over the samplings, float32 [N]."""
    parts = []
    for some in fixed.split(SCORED_AT_ONCE):
        streams = some.flatten(0, 1)
        parts.append(network(streams, _all_seen(streams)).score.unflatten(0, some.shape[:2]).mean(1))
    return torch.cat(parts).numpy()


def _several(*groupings: np.ndarray) -> np.ndarray:
    """The first of these with more than one group, [N]; else each row is one of its own."""
    each = np.arange(len(groupings[0]))
    return next((group for group in groupings if len(np.unique(group)) > 1), each)


def _groups(episodes: Episodes, split: Split, by_movement: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks of the training rows and of the test rows, bool, of each tested movement, or of all at once."""
    if not by_movement:
        yield np.ones(len(split.train), bool), np.ones(len(split.test), bool)
        return
    for movement in np.unique(episodes.movement[split.test]):
        yield episodes.movement[split.train] == movement, episodes.movement[split.test] == movement


def joint_scores(
    episodes: Episodes,
    statistics: np.ndarray,
    split: Split,
    by_movement: bool,
    network: Predicted | None = None,
    trees: Predicted | None = None,
    kinds: Sequence[str] = KINDS,
) -> np.ndarray:
    """Scores of the test rows by the product's joint model (pipeline.training.joint) of the training rows, float64.

    Args:
        statistics: of every episode, as `motion_numbers` gives it; columns may be none.
        by_movement: one joint model a movement; else one for all, in which all subjects' episodes are ranked together.
        network, trees: of the split; None: no such block.
        kinds: of the other blocks, as fit_joint takes them.
    """
    challenge = challenges(episodes) if by_movement else episodes.movement.astype(str)
    scores = np.zeros(len(split.test))
    for trained, tested in _groups(episodes, split, by_movement):
        rows, test = split.train[trained], split.test[tested]
        ours, theirs = np.zeros(len(rows)), np.zeros(len(test))
        if network is not None:
            ours, theirs = network.held_out[trained], network.test[tested]
        given = {"pose": (Numbers(statistics[rows], ours), Numbers(statistics[test], theirs))}
        if trees is not None:
            none = statistics[:, :0]
            held_out, unseen = trees.held_out[trained], trees.test[tested]
            given["trees"] = Numbers(none[rows], held_out), Numbers(none[test], unseen)
        target = percentiles(episodes.correct[rows], challenge[rows])
        clips = TrainingClips(rows, challenge[rows], _several(episodes.subject[rows]), target)
        predict = fit_to({name: training for name, (training, _) in given.items()}, clips, kinds)
        scores[tested] = predict({name: others for name, (_, others) in given.items()})
    return scores


def fit_to(
    training: Mapping[str, Numbers], clips: TrainingClips, kinds: Sequence[str] = KINDS
) -> Callable[[Mapping[str, Numbers]], np.ndarray]:
    """A joint model of these numbers, by block, of the clips: what gives scores, float64 [N], to others' numbers."""
    parts = {name: Part(numbers.statistics.shape[1], MOTION_LIMIT) for name, numbers in training.items()}
    evidence = {name: calibrate(parts[name], *_tensors(numbers)) for name, numbers in training.items()}
    joint = fit_joint(evidence, clips, kinds)

    def predict(others: Mapping[str, Numbers]) -> np.ndarray:
        evidence = {name: parts[name].read(*_tensors(numbers)) for name, numbers in others.items()}
        return np.sum(list(joint.parts(evidence).values()), 0)

    return predict


def _tensors(numbers: Numbers) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Statistics, score, quality, presence: every episode is seen alike."""
    statistics, score = (torch.from_numpy(np.asarray(values, np.float32)) for values in numbers)
    return statistics, score[:, None], torch.ones(len(score)), torch.ones(len(score), dtype=torch.bool)


def fit_trees(statistics: np.ndarray, target: np.ndarray, seed: int, trees: int) -> ExtraTreesRegressor:
    """Extra trees (Geurts et al. 2006, scikit-learn) fitted on statistics [N, S] and target float [N].

    A split tries the square root of the number of statistics. For targets of 0 and 1 these are the classifier's trees:
    the variance that they reduce is half the Gini impurity, and they predict the share of ones.
    """
    with threadpool_limits(1):  # sums depend on how many threads share them
        return ExtraTreesRegressor(trees, max_features="sqrt", random_state=seed).fit(statistics, target)
