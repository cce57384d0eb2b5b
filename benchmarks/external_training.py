"""Training of networks, their ridge regression and ExtraTrees on scored episodes, and their scores of others."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from benchmarks.ui_prmd import COORDINATES, Episodes, Split, draw
from models.virality.config import VdvConfig
from models.virality.masked import MOTION_LIMIT, LevelMix
from models.virality.pose_statistics import pose_statistics
from models.virality.psgcn import motion_statistics
from models.virality.skeleton import KINECT22
from models.virality.vdv import pose_network
from pipeline.training.optimisation import loss_of, parameter_groups, reset_norm_statistics
from pipeline.training.ridge import centre_within, fit_ridge, normal_score, percentile_rank

SCORED_AT_ONCE = 100  # episodes


def fixed_draws(episodes: Episodes, config: VdvConfig) -> Tensor:
    """Every episode sampled as for scoring, float32 [N, K, 13, frames, 22]."""
    return torch.from_numpy(np.stack([draw(posture, config, None) for posture in episodes.postures]))


def ridge_statistics(fixed: Tensor) -> np.ndarray:
    """Input of the product's ridge regression for every episode (models.virality.psgcn.motion_statistics), the mean of
    its samplings: float32 [N, 847]. fixed: as `fixed_draws` gives it.
    """
    parts = []
    for some in fixed.split(SCORED_AT_ONCE):
        flat = some.flatten(0, 1)
        parts.append(motion_statistics(flat, _all_seen(flat)).unflatten(0, some.shape[:2]).mean(1))
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
    target = torch.from_numpy(percentile_rank(episodes.correct, of_row)).float()
    numbered = torch.from_numpy(np.unique(of_row, return_inverse=True)[1])
    levels_of = cast(LevelMix, network.mix).network_levels
    optimiser = torch.optim.AdamW(parameter_groups(network, config.weight_decay), lr=config.pose_rate)
    steps = config.epochs * len(list(_batches(episodes, rows, config, 0)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.pose_rate, total_steps=steps)
    for epoch in range(config.epochs):
        for some in _batches(episodes, rows, config, epoch):
            levels = network(*_drawn(episodes, some, config, epoch)).levels[:, :levels_of]
            score, wanted, challenge = levels.mean(1), target[some], numbered[some]
            counted = torch.ones(len(some), dtype=torch.bool)
            beside = levels if levels_of > 1 else levels[:, :0]  # a single one is the score
            loss = loss_of(score, beside, wanted, challenge, counted, config)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimiser.step()
            schedule.step()
    _settle_norms(network, episodes, rows, config)
    return network.eval()


def challenges(episodes: Episodes) -> np.ndarray:
    """Challenge of every episode, str [N]: one subject's episodes of one movement are ranked."""
    return np.char.add(np.char.add(episodes.movement.astype(str), "/"), episodes.subject.astype(str))


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
def _settle_norms(network: nn.Module, episodes: Episodes, rows: np.ndarray, config: VdvConfig) -> None:
    reset_norm_statistics(network)
    for some in _batches(episodes, rows, config, config.epochs):
        network(*_drawn(episodes, some, config, config.epochs))


def predict_by_network(
    episodes: Episodes, fixed: Tensor, split: Split, config: VdvConfig, by_movement: bool
) -> np.ndarray:
    """Scores of the test rows by one network trained on the training rows, in units of their spread over those.

    Args:
        fixed: as `fixed_draws` gives it.
        by_movement: a unit a movement; the test rows' movements must be among the training rows'.
    """
    network = train_network(episodes, split.train, config)
    of_training = _score(network, fixed[split.train, :1])  # one sampling is enough for the spread
    scores = _score(network, fixed[split.test])
    for rows, tested in _groups(episodes, split, by_movement):
        scores[tested] /= _spread(of_training[np.isin(split.train, rows)], challenges(episodes)[rows])
    return scores


@torch.inference_mode()
def _score(network: nn.Module, fixed: Tensor) -> np.ndarray:
    """Mean score over the network's levels and the samplings, float32 [N]."""
    levels_of = cast(LevelMix, network.mix).network_levels
    parts = []
    for some in fixed.split(SCORED_AT_ONCE):
        streams = some.flatten(0, 1)
        score = network(streams, _all_seen(streams)).levels[:, :levels_of].mean(1)
        parts.append(score.unflatten(0, some.shape[:2]).mean(1))
    return torch.cat(parts).numpy()


def _groups(episodes: Episodes, split: Split, by_movement: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training rows, int64, and mask of the test rows, bool, of each tested movement, or of all at once."""
    if not by_movement:
        yield split.train, np.ones(len(split.test), bool)
        return
    for movement in np.unique(episodes.movement[split.test]):
        yield split.train[episodes.movement[split.train] == movement], episodes.movement[split.test] == movement


def _spread(values: np.ndarray, challenge: np.ndarray) -> float:
    """Standard deviation within the challenge, never 0."""
    centred = centre_within(np.asarray(values, float)[:, None], challenge)[:, 0]
    return max(float(np.sqrt(np.square(centred).mean())), 1e-6)


def predict_by_ridge(episodes: Episodes, statistics: np.ndarray, split: Split, by_movement: bool) -> np.ndarray:
    """Scores of the test rows by the product's ridge regression on the training rows, in units of their spread there.

    float32 [test rows]; one regression (pipeline.training.ridge) a movement, or one for all. Its penalty is chosen on
    held-out subjects; on held-out episodes where there is one subject; on held-out movements where the test movement is
    unseen, and there all subjects are ranked together. No seed: it would only assign the folds of that choice.

    Args:
        statistics: as `ridge_statistics` gives it.
    """
    challenge = challenges(episodes) if by_movement else episodes.movement.astype(str)
    scores = np.zeros(len(split.test), np.float32)
    for rows, tested in _groups(episodes, split, by_movement):
        group = _held_together(episodes, rows) if by_movement else episodes.movement[rows]
        target = normal_score(percentile_rank(episodes.correct[rows], challenge[rows]))
        ridge = fit_ridge(statistics[rows], target, challenge[rows], group, 0, MOTION_LIMIT)
        scores[tested] = ridge(statistics[split.test[tested]]) / _spread(ridge(statistics[rows]), challenge[rows])
    return scores


def _held_together(episodes: Episodes, rows: np.ndarray) -> np.ndarray:
    """Groups held out whole to choose a penalty, int64 [rows]: subjects; episodes, where there is one subject."""
    subject = episodes.subject[rows]
    return subject if len(np.unique(subject)) > 1 else np.arange(len(rows))


def predict_by_trees(
    episodes: Episodes, statistics: np.ndarray, split: Split, seed: int, by_movement: bool, trees: int
) -> np.ndarray:
    """Scores of the test rows by ExtraTrees, float32, one forest a movement or one for all.

    statistics: as `tree_statistics` gives it.
    """
    scores = np.zeros(len(split.test), np.float32)
    for rows, tested in _groups(episodes, split, by_movement):
        forest = fit_trees(statistics[rows], episodes.correct[rows].astype(float), seed, trees)
        scores[tested] = forest.predict(statistics[split.test[tested]])
    return scores


def fit_trees(statistics: np.ndarray, target: np.ndarray, seed: int, trees: int) -> ExtraTreesRegressor:
    """Extra trees (Geurts et al. 2006, scikit-learn) fitted on statistics [N, S] and target float [N].

    A split tries the square root of the number of statistics. For targets of 0 and 1 these are the classifier's trees:
    the variance that they reduce is half the Gini impurity, and they predict the share of ones.
    """
    with threadpool_limits(1):  # sums depend on how many threads share them
        return ExtraTreesRegressor(trees, max_features="sqrt", random_state=seed).fit(statistics, target)
