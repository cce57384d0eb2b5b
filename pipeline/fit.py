"""A dataset in memory to a trained Vdv: encoders one by one, then the fusion on what they say of clips held out."""

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import cast

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.config import CUE_MODALITY, VdvConfig
from models.losses import percentile_huber, ranknet
from models.masked import Line, Mix
from models.vdv import Vdv, build_encoder, build_fusion, encode
from pipeline.errors import DataError
from pipeline.folds import deal_folds
from pipeline.fuse import HeldOut, train_attention
from pipeline.labels import TRAIN, group_clips
from pipeline.lines import Dealt, Numbers, backfit, fit_line, left_by_line, normal_score, read_numbers, stack, within
from pipeline.loading import ChallengeBatches, ClipBatch, ClipDataset, to_device

LOGS = "logs"


@dataclass(frozen=True)
class Fitted:
    """A trained model and what its training came across."""

    model: Vdv  # in eval mode, on the CPU
    rows: list[int]  # trained on
    held: HeldOut  # the clips that the fusion learned from, a column a cue of the model
    loss: dict[str, float]  # by cue, of the last batch


def fit(
    dataset: ClipDataset,
    config: VdvConfig,
    device: torch.device,
    logs: str | None = None,
    workers: int = 0,
) -> Fitted:
    """Trains on the dataset's training clips.

    The fusion must not trust a cue that merely memorised the clips: the training clips are dealt into
    `config.inner_folds` folds by creator, encoders are trained on all folds but one and score that one, and the fusion
    learns from these scores only. By them, too, each encoder's line and network get their shares of its score. The
    encoders of the model are trained on all training clips.

    To a cue, what the other cues tell of a clip's label is noise: each is trained towards what they leave of it, as
    lines.backfit finds.

    The same dataset, config and machine give the same weights, bit for bit on a CPU.

    Args:
        logs: folder for the logs of the model's encoders; None: none are written.
        workers: processes that read clips; 0: this one.

    Raises:
        DataError: there is nothing to learn from; says what to add. Or numbers ran out of bounds.
    """
    rows = learnable_rows(dataset, config)
    # Only the cues that the dataset has: an encoder that never sees an input would be noise in the file.
    modalities = tuple(CUE_MODALITY[cue] for cue in dataset.widths)
    model = Vdv(VdvConfig(**{**asdict(config), "modalities": modalities}), dataset.widths)
    loss = {}
    lessons = _lessons(dataset, rows, model.cues, config, workers)
    with _quiet(), _deterministic():
        held, mixes = _out_of_fold(dataset, lessons, config, device, workers)
        for cue in model.cues:
            fitted = fit_encoder(dataset, lessons[cue], lessons[cue].rows, config, device, logs, workers)
            model.encoders[cue], loss[cue] = fitted
            if cue in mixes:
                cast(Mix, model.encoders[cue].mix).set(*mixes[cue])
        # The attention starts from the seed too, whatever was trained before.
        torch.manual_seed(config.seed)
        fusion = build_fusion(len(model.cues), config)
        train_attention(fusion, held, config)
        model.fusion = fusion
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise DataError("training ran into numbers that are not finite; try a smaller learning_rate")
    return Fitted(model.eval(), rows, held, loss)


def learnable_rows(dataset: ClipDataset, config: VdvConfig) -> list[int]:
    """Rows of the training clips that have a label and at least one cue.

    Raises:
        DataError: no challenge has two of them with labels that differ.
    """
    clips = dataset.clips
    has_cue = np.zeros(len(clips), bool)
    for cue in dataset.widths:
        has_cue |= clips[f"shard_{CUE_MODALITY[cue]}"].notna().to_numpy(bool)
    training = (clips["split"] == TRAIN).to_numpy(bool)
    rows = np.flatnonzero(training & has_cue & clips["percentile"].notna().to_numpy(bool)).tolist()
    if not _teaches(dataset, rows, config):
        raise DataError(
            f"nothing can be learned: of {len(clips)} clips {int(clips['percentile'].notna().sum())} have engagement,"
            f" {int(training.sum())} are for training, {len(rows)} of those have features, and no challenge has two of"
            " them with different labels. Add likes to the manifest, for at least two clips of a challenge that decode"
        )
    return rows


def _teaches(dataset: ClipDataset, rows: Sequence[int], config: VdvConfig) -> bool:
    """Whether a challenge has two of the clips with labels that differ."""
    span = dataset.clips.iloc[list(rows)].groupby("challenge")["percentile"].agg(lambda values: np.ptp(values))
    return bool((span > config.tau).any())


@dataclass(frozen=True)
class Lesson:
    """What one cue is to learn."""

    cue: str
    rows: np.ndarray  # int64 [n] of the dataset, to train on
    percentile: np.ndarray  # float64 [clips of the dataset] what the cue is to tell; the line is fitted to it
    left: np.ndarray  # float64 [clips of the dataset] what the line leaves of it; the network is trained towards it
    group: np.ndarray  # int64 [clips of the dataset] labels.group_clips
    fold_of: np.ndarray  # int64 [clips of the dataset] inner fold of each of `rows`; -1: none of them
    numbers: Numbers


def _lessons(
    dataset: ClipDataset, rows: Sequence[int], cues: Sequence[str], config: VdvConfig, workers: int
) -> dict[str, Lesson]:
    clips = dataset.clips
    some = np.asarray(rows)
    group = group_clips(clips["creator_id"], clips["content_hash"], clips.index)
    challenge = clips["challenge"].to_numpy(str)
    fold_of = np.full(len(clips), -1)
    fold_of[some] = deal_folds(group[some], challenge[some].tolist(), config.inner_folds, config.seed)
    numbers = {cue: read_numbers(dataset, cue, rows, workers) for cue in cues}
    own = clips["percentile"].to_numpy(float)
    of_lines = deal_folds(group[some], challenge[some].tolist(), config.line_folds, config.seed)
    dealt = Dealt(some, challenge[some], group[some], of_lines, config.seed)
    targets = backfit(numbers, dealt, own[some], config.rounds)
    lessons = {}
    for cue in cues:
        percentile, left = own.copy(), own.copy()
        percentile[some] = targets[cue]
        left[some] = left_by_line(numbers[cue], dealt, targets[cue]) if config.line else targets[cue]
        lessons[cue] = Lesson(cue, some, percentile, left, group, fold_of, numbers[cue])
    return lessons


@dataclass(frozen=True)
class _Judged:
    """What encoders said of N clips."""

    row: Tensor  # int64 [N]
    levels: dict[str, Tensor]  # [N, L] by cue
    quality: Tensor  # [N, M]
    present: Tensor  # bool [N, M]


def _out_of_fold(
    dataset: ClipDataset, lessons: Mapping[str, Lesson], config: VdvConfig, device: torch.device, workers: int
) -> tuple[HeldOut, dict[str, tuple[Tensor, Tensor]]]:
    """Of those training clips whose fold leaves clips to learn from: what encoders that did not see them say. And, by
    cue, the centres and weights of its levels that go best with what the cue was to learn; none where nobody can tell.
    """
    first = next(iter(lessons.values()))
    fold_of = first.fold_of[first.rows]
    parts = []
    for fold in range(fold_of.max() + 1):
        seen, unseen = first.rows[fold_of != fold], first.rows[fold_of == fold]
        if not len(seen) or not _teaches(dataset, seen, config):
            continue
        encoders = {
            cue: fit_encoder(dataset, lesson, seen, config, device, None, workers)[0] for cue, lesson in lessons.items()
        }
        parts.append(_judge(dataset, unseen, encoders, config, device, workers))
    row = torch.cat([torch.zeros(0, dtype=torch.int64), *(part.row for part in parts)])
    challenges = dataset.clips["challenge"].to_numpy(str)[row.numpy()]
    mixes, scores = {}, []
    for place, (cue, lesson) in enumerate(lessons.items()):
        if not parts:
            scores.append(torch.zeros(0))
            continue
        levels = torch.cat([part.levels[cue] for part in parts])
        present = torch.cat([part.present[:, place] for part in parts])
        wanted = torch.from_numpy(lesson.percentile[row.numpy()])
        mixes[cue] = _mix(levels, present, wanted, challenges)
        scores.append(torch.where(present, (levels - mixes[cue][0]) @ mixes[cue][1], 0.0))
    none = torch.zeros(0, len(lessons))
    return HeldOut(
        row,
        torch.stack(scores, 1),
        torch.cat([none, *(part.quality for part in parts)]),
        torch.cat([none.bool(), *(part.present for part in parts)]),
        torch.tensor([dataset.challenges.index(name) for name in challenges], dtype=torch.int64),
        torch.from_numpy(dataset.clips["percentile"].to_numpy(np.float32)[row.numpy()]),
    ), mixes


def _mix(levels: Tensor, present: Tensor, percentile: Tensor, challenge: np.ndarray) -> tuple[Tensor, Tensor]:
    """Centres [L] and weights [L] of an encoder's levels [N, L]: by the stack of what clips unseen were to score.

    Where it finds nothing in any of them, equal weights of each level's spread.
    """
    values, there = levels[present].double().numpy(), present.numpy()
    if not len(values):
        return torch.zeros(levels.shape[1]), torch.ones(levels.shape[1])
    centred = within(values, challenge[there])
    spread = np.sqrt(np.square(centred).mean(0))
    spread = np.where(spread > 1e-6, spread, np.inf)  # a level that says the same of all says nothing
    wanted = within(normal_score(percentile.numpy()[there])[:, None], challenge[there])[:, 0]
    slopes = stack(centred / spread, wanted, challenge[there])
    weights = (slopes if slopes.any() else np.ones(len(slopes))) / spread
    return torch.from_numpy(values.mean(0)).float(), torch.from_numpy(weights).float()


@torch.inference_mode()
def _judge(
    dataset: ClipDataset,
    rows: Sequence[int] | np.ndarray,
    encoders: dict[str, nn.Module],
    config: VdvConfig,
    device: torch.device,
    workers: int,
) -> _Judged:
    view = dataset.view(*encoders, training=False)
    keys = [
        [(0, int(row)) for row in part]
        for part in np.split(rows, range(config.batch_clips, len(rows), config.batch_clips))
    ]
    parts = []
    for batch in DataLoader(view, batch_sampler=keys, collate_fn=view.collate, num_workers=workers):
        cues = to_device(batch.cues, device)
        said = {cue: encode(encoder.to(device), cue, cues[cue]) for cue, encoder in encoders.items()}
        present = torch.stack([one.present for one in said.values()], 1).cpu()
        quality = torch.stack([batch.cues[cue].quality for cue in encoders], 1)
        parts.append(_Judged(batch.row, {cue: one.levels.cpu() for cue, one in said.items()}, quality, present))
    return _Judged(
        torch.cat([part.row for part in parts]),
        {cue: torch.cat([part.levels[cue] for part in parts]).clone() for cue in encoders},
        torch.cat([part.quality for part in parts]).clone(),
        torch.cat([part.present for part in parts]).clone(),
    )


def fit_encoder(
    dataset: ClipDataset,
    lesson: Lesson,
    rows: Sequence[int] | np.ndarray,
    config: VdvConfig,
    device: torch.device,
    logs: str | None = None,
    workers: int = 0,
) -> tuple[nn.Module, float]:
    """One cue's encoder, its line fitted and its network trained on the clips of `rows`, in eval mode and on the CPU,
    and the network's loss on its last batch."""
    cue = lesson.cue
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    encoder = build_encoder(cue, config, dataset.widths)
    view = dataset.view(cue, training=True, percentile=lesson.left)
    batches = ChallengeBatches(dataset.clips["challenge"].tolist(), list(rows), config.batch_clips, config.seed)
    loader = DataLoader(view, batch_sampler=batches, collate_fn=view.collate, num_workers=workers)
    training = _Training(encoder, cue, config, steps=config.epochs * len(batches))
    with tempfile.TemporaryDirectory(prefix="vdv-fit-") as scratch:
        _trainer(config, device, logs, cue, scratch).fit(training, loader)
    _settle_norms(encoder, cue, loader, device)
    if encoder.line is not None:
        _fit_line(cast(Line, encoder.line), dataset, lesson, np.asarray(rows), config)
    return encoder.eval().cpu(), training.last_loss


def _fit_line(line: Line, dataset: ClipDataset, lesson: Lesson, rows: np.ndarray, config: VdvConfig) -> None:
    rows = rows[lesson.numbers.present[rows]]
    if len(rows) < 2:
        return  # it stays at zero
    challenge = dataset.clips["challenge"].to_numpy(str)[rows]
    target = normal_score(lesson.percentile[rows])
    fit_line(lesson.numbers.values[rows], target, challenge, lesson.group[rows], config.seed).give(line)


@torch.no_grad()
def _settle_norms(encoder: nn.Module, cue: str, loader: DataLoader, device: torch.device) -> None:
    """Gives the batch norms the statistics of the final weights over one epoch.

    Their running averages lag behind weights that still move, and after a short training hold mostly their start.
    """
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # from here on the plain mean over batches
    encoder.to(device).train()
    for batch in loader:
        encode(encoder, cue, to_device(batch.cues, device)[cue])


class _Training(lightning.LightningModule):
    """The loss and the optimiser of one encoder."""

    def __init__(self, encoder: nn.Module, cue: str, config: VdvConfig, steps: int):
        super().__init__()
        self.encoder = encoder
        self.cue = cue
        self.config = config
        self.steps = steps
        self.last_loss = float("nan")

    def training_step(self, batch: ClipBatch, _: int) -> Tensor | None:
        said = encode(self.encoder, self.cue, batch.cues[self.cue])
        counted = batch.counted & said.present
        if not counted.any():
            return None  # nothing of this cue in the batch: Lightning goes on to the next
        levels = said.levels[:, : cast(Mix, self.encoder.mix).network]  # the line is not trained here
        score = levels.mean(1)
        ranking = ranknet(score, batch.percentile, batch.challenge, counted, self.config.tau)
        loss = ranking + self.config.huber_weight * percentile_huber(score, batch.percentile, counted)
        if levels.shape[1] > 1:
            alone = [ranknet(level, batch.percentile, batch.challenge, counted, self.config.tau) for level in levels.T]
            loss = loss + self.config.level_weight * torch.stack(alone).mean()
        self.log(f"loss/{self.cue}", loss.detach(), batch_size=len(batch.row))
        self.last_loss = float(loss.detach())
        return loss

    def configure_optimizers(self) -> dict:  # type: ignore[override]
        config = self.config
        # Decay is for what multiplies; norms, biases and the learned adjacency keep their start.
        decayed = [parameter for name, parameter in self.named_parameters() if _is_decayed(name, parameter)]
        kept = [parameter for name, parameter in self.named_parameters() if not _is_decayed(name, parameter)]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=max(self.steps, 1))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _is_decayed(name: str, parameter: Tensor) -> bool:
    return parameter.ndim > 1 and not name.endswith(("adjacency", "importance"))


def _trainer(config: VdvConfig, device: torch.device, logs: str | None, cue: str, scratch: str) -> lightning.Trainer:
    loggers: list[Logger] = []
    if logs:
        loggers = [CSVLogger(logs, LOGS, f"csv/{cue}"), TensorBoardLogger(logs, LOGS, f"tensorboard/{cue}")]
    terminal = sys.stderr.isatty()
    return lightning.Trainer(
        default_root_dir=scratch,
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=config.epochs,
        gradient_clip_val=config.clip_norm,
        deterministic="warn",  # a few CUDA kernels have no deterministic form; on a CPU all have
        logger=loggers,
        callbacks=[TQDMProgressBar()] if terminal else [],
        enable_progress_bar=terminal,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's lines about devices, products of its makers and how many processes could read data."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Lightning switches deterministic kernels on for the whole process; what runs later gets its own back."""
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
