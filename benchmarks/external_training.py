"""Trains networks, lines beside them, and ExtraTrees on scored episodes, and says what they say of others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.ui_prmd import COORDINATES, Episodes, Split, draw
from models.config import VdvConfig
from models.masked import Mix
from models.psgcn import motion_statistics
from models.skeleton import KINECT22, MOTION_STEP_S, Posture
from models.vdv import skeleton_network
from pipeline.lines import Slopes, fit_line, normal_score, place_within, within
from pipeline.pose_statistics import fit_trees, pose_statistics
from pipeline.recipe import forget_statistics, loss_of, parameter_groups

JUDGED_AT_ONCE = 100  # episodes
FRAMES = 32  # that a line's numbers are taken from, evenly in time
LEAST = 1e-3  # trunk lengths; below it a logarithm would tell noise from noise
STEPS = (-0.7, 0.0, 0.7)  # standard deviations at which a number's soft steps lie
STEEPNESS = 1.5
SHARED = 0.4  # of the line in all: the line of all movements; the rest is the movement's own


@dataclass(frozen=True)
class LineNumbers:
    """What lines see of N episodes."""

    places: np.ndarray  # float64 [N, 880] where joints and bones are, which way bones point, way covered a second
    changes: np.ndarray  # float64 [N, 396] how far bones turn from where they began, way covered a 31st of the clip
    motion: np.ndarray  # float64 [N, 583] models.psgcn.motion_statistics, as the product has them


def fixed_draws(episodes: Episodes, config: VdvConfig) -> Tensor:
    """float32 [N, K, 13, frames, 22]: every episode as scoring sees it."""
    return torch.from_numpy(np.stack([draw(posture, config, None) for posture in episodes.postures]))


def line_numbers(episodes: Episodes, fixed: Tensor) -> LineNumbers:
    """fixed: as `fixed_draws` gives it, for the product's own numbers."""
    places, changes = zip(*(_places_and_changes(posture) for posture in episodes.postures), strict=True)
    parts = []
    for some in fixed.split(JUDGED_AT_ONCE):
        numbers = motion_statistics(some.flatten(0, 1), _all_seen(some.flatten(0, 1)))
        parts.append(numbers.unflatten(0, some.shape[:2]).mean(1))
    return LineNumbers(np.stack(places), np.stack(changes), torch.cat(parts).double().numpy())


def _places_and_changes(posture: Posture) -> tuple[np.ndarray, np.ndarray]:
    """float64 [S] each. Deviations and speeds as logarithms: people differ in them by factors."""
    at = np.linspace(0, len(posture.position) - 1, FRAMES)
    before = np.floor(at).astype(int)
    after, share = np.minimum(before + 1, len(posture.position) - 1), (at - before)[:, None, None]
    joint = posture.position[before].astype(float) * (1 - share) + posture.position[after] * share  # [FRAMES, V, C]
    bone = joint - joint[:, list(KINECT22.parents)]
    length = np.linalg.norm(bone, axis=2, keepdims=True)
    direction = np.where(length > LEAST, bone / np.maximum(length, LEAST), 0.0)
    step_s = (posture.seconds[-1] - posture.seconds[0]) / (FRAMES - 1)
    fast, turning = _ways([joint, bone]) * MOTION_STEP_S / step_s, _ways([joint, direction])
    places = [*(_spread_of(x) for x in (joint, bone, direction)), _log([fast.mean(1), fast.std(1)])]
    changes = [_spread_of(direction - direction[0]), _log([turning.mean(1), turning.std(1), turning.max(1)])]
    return np.concatenate(places), np.concatenate(changes)


def _ways(of: list[np.ndarray]) -> np.ndarray:
    """n of [FRAMES, V, C] -> [n, FRAMES - 1, V] way covered from each frame to the next."""
    return np.stack([np.linalg.norm(np.diff(x, axis=0), axis=2) for x in of])


def _spread_of(x: np.ndarray) -> np.ndarray:
    """[FRAMES, V, C] -> [4 V C] mean, logarithm of the deviation, least and largest."""
    return np.concatenate([x.mean(0).ravel(), _log([x.std(0)]), x.min(0).ravel(), x.max(0).ravel()])


def _log(values: list[np.ndarray]) -> np.ndarray:
    return np.log(np.maximum(np.concatenate([value.ravel() for value in values]), LEAST))


def tree_numbers(episodes: Episodes) -> np.ndarray:
    """float32 [N, S]: what the trees see of every episode."""
    return np.stack([pose_statistics(posture, KINECT22) for posture in episodes.postures])


def train_network(episodes: Episodes, rows: np.ndarray, config: VdvConfig) -> nn.Module:
    """The network of the skeleton cue trained on these rows, all movements together.

    As pipeline.encoder_training: RankNet within the challenge, which is one subject's episodes of one movement, on the
    network's score and each of its levels, Huber on the percentile, AdamW, one-cycle, gradients clipped, batch norms
    given the final weights' statistics in one last epoch. Batches are of whole challenges.
    """
    torch.manual_seed(config.seed)
    network = skeleton_network(config, KINECT22, COORDINATES)
    of_row = challenges(episodes)
    target = torch.from_numpy(place_within(episodes.correct, of_row)).float()
    numbered = torch.from_numpy(np.unique(of_row, return_inverse=True)[1])
    levels_of = cast(Mix, network.mix).network
    optimiser = torch.optim.AdamW(parameter_groups(network, config.weight_decay), lr=config.learning_rate)
    steps = config.epochs * len(list(_batches(episodes, rows, config, 0)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=steps)
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
    """str [N]: what is compared is one subject's episodes of one movement."""
    return np.char.add(np.char.add(episodes.movement.astype(str), "/"), episodes.subject.astype(str))


def _batches(episodes: Episodes, rows: np.ndarray, config: VdvConfig, epoch: int) -> Iterator[np.ndarray]:
    """int64 rows of whole challenges, at most `batch_clips` but one challenge at least, dealt anew every epoch."""
    rng = np.random.default_rng((config.seed, epoch))
    of_row = challenges(episodes)[rows]
    batch = np.zeros(0, np.int64)
    for name in rng.permutation(np.unique(of_row)):
        own = rng.permutation(rows[of_row == name])
        if len(batch) and len(batch) + len(own) > config.batch_clips:
            yield batch
            batch = batch[:0]
        batch = np.concatenate([batch, own])
    yield batch


def _drawn(episodes: Episodes, rows: np.ndarray, config: VdvConfig, epoch: int) -> tuple[Tensor, Tensor]:
    drawn = [
        draw(episodes.postures[row], config, np.random.default_rng((config.seed, epoch, int(row)))) for row in rows
    ]
    streams = torch.from_numpy(np.concatenate(drawn))
    return streams, _all_seen(streams)


def _all_seen(streams: Tensor) -> Tensor:
    """bool [B, T, V] of streams [B, S, T, V]: a Kinect's skeleton has no gaps."""
    return torch.ones(len(streams), *streams.shape[2:], dtype=torch.bool)


@torch.no_grad()
def _settle_norms(network: nn.Module, episodes: Episodes, rows: np.ndarray, config: VdvConfig) -> None:
    forget_statistics(network)
    for some in _batches(episodes, rows, config, config.epochs):
        network(*_drawn(episodes, some, config, config.epochs))


def judge_by_network(
    episodes: Episodes, fixed: Tensor, split: Split, config: VdvConfig, by_movement: bool
) -> np.ndarray:
    """float32 [test rows]: what one network trained on a split's training rows says, in units of its spread over them.

    Args:
        fixed: as `fixed_draws` gives it.
        by_movement: a unit a movement; the test rows' movements must be among the training rows'.
    """
    network = train_network(episodes, split.train, config)
    known = _score(network, fixed[split.train, :1])  # one sampling shows the spread
    said = _score(network, fixed[split.test])
    for rows, asked in _groups(episodes, split, by_movement):
        own = np.isin(split.train, rows)
        said[asked] /= _spread(known[own], challenges(episodes)[rows])
    return said


@torch.inference_mode()
def _score(network: nn.Module, fixed: Tensor) -> np.ndarray:
    """float32 [N]: the mean over the network's levels and the samplings."""
    levels_of = cast(Mix, network.mix).network
    parts = []
    for some in fixed.split(JUDGED_AT_ONCE):
        streams = some.flatten(0, 1)
        score = network(streams, _all_seen(streams)).levels[:, :levels_of].mean(1)
        parts.append(score.unflatten(0, some.shape[:2]).mean(1))
    return torch.cat(parts).numpy()


def _groups(episodes: Episodes, split: Split, by_movement: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training rows, int64, and which of the test rows, bool, of each movement of the test rows; or of all at once."""
    if not by_movement:
        yield split.train, np.ones(len(split.test), bool)
        return
    for movement in np.unique(episodes.movement[split.test]):
        yield split.train[episodes.movement[split.train] == movement], episodes.movement[split.test] == movement


def _spread(values: np.ndarray, challenge: np.ndarray) -> float:
    """Standard deviation within the challenge, never 0."""
    centred = within(np.asarray(values, float)[:, None], challenge)[:, 0]
    return max(float(np.sqrt(np.square(centred).mean())), 1e-6)


def judge_by_lines(episodes: Episodes, numbers: LineNumbers, split: Split, by_movement: bool) -> dict[str, np.ndarray]:
    """What ridge regressions in closed form (pipeline.lines) fitted to a split's training rows say of its test rows.

    Seen movements: a line a movement, through soft steps of each number, so that it bends; and one line of all
    movements, through numbers standardised within each. Both see places and changes. An unseen movement: one line
    through changes, which mean the same in every movement; there all subjects are compared, and the penalty is chosen
    on movements held out. No seed: it would only deal the folds that choose penalties.

    Args:
        by_movement: the test rows' movements are among the training rows'.

    Returns:
        float32 [test rows] each, in units of its spread over the training rows: `line`, `motion` of the product's own
        motion statistics (a line a movement, or one of all), and, of seen movements, `own` and `shared`, which `line`
        is made of.
    """
    motion = _standardised(episodes, numbers.motion, split, by_movement)
    if not by_movement:
        changes = np.tanh(_standardised(episodes, numbers.changes, split, by_movement))
        return {"line": _across(episodes, changes, split, False), "motion": _across(episodes, motion, split, False)}
    standard = _standardised(episodes, np.concatenate([numbers.places, numbers.changes], 1), split, by_movement)
    own = _a_movement(episodes, soft_steps(standard), split)
    shared = _across(episodes, np.tanh(standard), split, True)
    line = (1 - SHARED) * own + SHARED * shared
    return {"line": line, "own": own, "shared": shared, "motion": _a_movement(episodes, motion, split)}


def soft_steps(standard: np.ndarray) -> np.ndarray:
    """[N, S] in standard deviations -> [N, len(STEPS) S] between -1 and 1: how far each number is past each step."""
    return np.tanh(STEEPNESS * np.concatenate([standard - step for step in STEPS], 1))


def _standardised(episodes: Episodes, numbers: np.ndarray, split: Split, by_movement: bool) -> np.ndarray:
    """[N, S] by mean and deviation over the training rows (of the movement); rows of neither side are 0."""
    standard = np.zeros(numbers.shape)
    for rows, asked in _groups(episodes, split, by_movement):
        mean, scale = numbers[rows].mean(0), numbers[rows].std(0)
        for some in (rows, split.test[asked]):
            standard[some] = (numbers[some] - mean) / np.where(scale > 1e-6, scale, np.inf)
    return standard


def _a_movement(episodes: Episodes, numbers: np.ndarray, split: Split) -> np.ndarray:
    challenge = challenges(episodes)
    said = np.zeros(len(split.test), np.float32)
    for rows, asked in _groups(episodes, split, True):
        line = _fitted(episodes, numbers, rows, challenge, _held_together(episodes, rows))
        said[asked] = line(numbers[split.test[asked]]) / _spread(line(numbers[rows]), challenge[rows])
    return said


def _across(episodes: Episodes, numbers: np.ndarray, split: Split, by_movement: bool) -> np.ndarray:
    """by_movement: compared within the subject, else between all; the unit is a movement's."""
    challenge = challenges(episodes) if by_movement else episodes.movement.astype(str)
    group = _held_together(episodes, split.train) if by_movement else episodes.movement[split.train]
    line = _fitted(episodes, numbers, split.train, challenge, group)
    said = np.zeros(len(split.test), np.float32)
    for rows, asked in _groups(episodes, split, by_movement):
        said[asked] = line(numbers[split.test[asked]]) / _spread(line(numbers[rows]), challenge[rows])
    return said


def _held_together(episodes: Episodes, rows: np.ndarray) -> np.ndarray:
    """int64 [rows] what is held out as one to choose a penalty: subjects, or episodes where there is one subject."""
    subject = episodes.subject[rows]
    return subject if len(np.unique(subject)) > 1 else np.arange(len(rows))


def _fitted(
    episodes: Episodes, numbers: np.ndarray, rows: np.ndarray, challenge: np.ndarray, group: np.ndarray
) -> Slopes:
    target = normal_score(place_within(episodes.correct[rows], challenge[rows]))
    return fit_line(numbers[rows].astype(np.float32), target, challenge[rows], group, 0)


def judge_by_trees(
    episodes: Episodes, numbers: np.ndarray, split: Split, seed: int, by_movement: bool, trees: int
) -> np.ndarray:
    """float32 [test rows]: what ExtraTrees trained on a split say, one forest a movement or one for all.

    numbers: as `tree_numbers` gives it.
    """
    said = np.zeros(len(split.test), np.float32)
    for rows, asked in _groups(episodes, split, by_movement):
        forest = fit_trees(numbers[rows], episodes.correct[rows].astype(float), seed, trees)
        said[asked] = forest.predict(numbers[split.test[asked]])
    return said
