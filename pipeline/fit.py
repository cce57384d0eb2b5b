"""A dataset in memory to a trained Vdv: encoders one by one, then the fusion on what they say of clips held out."""

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

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
from models.vdv import Vdv, build_encoder, encode
from pipeline.errors import DataError
from pipeline.folds import deal_folds
from pipeline.fuse import HeldOut, left_by_others, train_attention
from pipeline.labels import TRAIN, group_clips
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
    learns from these scores only. The encoders of the model are trained on all training clips.

    To a cue, what the other cues tell of a clip's label is noise. So this is done `config.rounds` times: from the
    second on, each cue is trained towards what the others' held-out scores left of the label (fuse.left_by_others).

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
    with _quiet(), _deterministic():
        own = dataset.clips["percentile"].to_numpy(float)
        targets = {cue: own.copy() for cue in model.cues}
        held = _out_of_fold(dataset, rows, targets, config, device, workers)
        for _ in range(config.rounds - 1 if len(model.cues) > 1 else 0):
            for cue, left in zip(model.cues, left_by_others(held).T, strict=True):
                targets[cue][held.row.numpy()] = left
            held = _out_of_fold(dataset, rows, targets, config, device, workers)
        for cue in model.cues:
            fitted = fit_encoder(dataset, cue, rows, targets[cue], config, device, logs, workers)
            model.encoders[cue], loss[cue] = fitted
        # The attention starts from the seed too, whatever was trained before.
        torch.manual_seed(config.seed)
        fusion = type(model.fusion)(len(model.cues), config.fusion_hidden, config.modality_dropout)
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


def _out_of_fold(
    dataset: ClipDataset,
    rows: Sequence[int],
    targets: Mapping[str, np.ndarray],
    config: VdvConfig,
    device: torch.device,
    workers: int,
) -> HeldOut:
    """Of those clips of `rows` whose fold leaves clips to learn from: what encoders that did not see them say."""
    clips = dataset.clips.iloc[list(rows)]
    groups = group_clips(clips["creator_id"], clips["content_hash"], clips.index)
    fold_of = deal_folds(groups, clips["challenge"].tolist(), config.inner_folds, config.seed)
    parts = []
    for fold in range(fold_of.max() + 1):
        seen = [row for row, at in zip(rows, fold_of, strict=True) if at != fold]
        unseen = [row for row, at in zip(rows, fold_of, strict=True) if at == fold]
        if not seen or not _teaches(dataset, seen, config):
            continue
        encoders = {
            cue: fit_encoder(dataset, cue, seen, targets[cue], config, device, None, workers)[0]
            for cue in dataset.widths
        }
        parts.append(_judge(dataset, unseen, encoders, config, device, workers))
    if not parts:
        return _judge(dataset, [], {cue: nn.Identity() for cue in dataset.widths}, config, device, workers)
    return HeldOut(*(torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])))


@torch.inference_mode()
def _judge(
    dataset: ClipDataset,
    rows: Sequence[int],
    encoders: dict[str, nn.Module],
    config: VdvConfig,
    device: torch.device,
    workers: int,
) -> HeldOut:
    view = dataset.view(*encoders, training=False)
    keys = [[(0, row) for row in rows[at : at + config.batch_clips]] for at in range(0, len(rows), config.batch_clips)]
    found: list[tuple[Tensor, ...]] = []
    for batch in DataLoader(view, batch_sampler=keys, collate_fn=view.collate, num_workers=workers):
        cues = to_device(batch.cues, device)
        said = [encode(encoder.to(device), cue, cues[cue]) for cue, encoder in encoders.items()]
        score, present = (torch.stack([getattr(one, name) for one in said], 1).cpu() for name in ("score", "present"))
        quality = torch.stack([batch.cues[cue].quality for cue in encoders], 1)
        found.append((batch.row, score, quality, present, batch.challenge, batch.percentile))
    none, nothing = torch.zeros(0, len(encoders)), torch.zeros(0, dtype=torch.int64)
    empty = (nothing, none, none, none.bool(), nothing, torch.zeros(0))
    return HeldOut(*(torch.cat(parts).clone() for parts in zip(empty, *found, strict=True)))


def fit_encoder(
    dataset: ClipDataset,
    cue: str,
    rows: Sequence[int],
    percentile: np.ndarray,
    config: VdvConfig,
    device: torch.device,
    logs: str | None = None,
    workers: int = 0,
) -> tuple[nn.Module, float]:
    """One cue's encoder trained on the clips of `rows`, in eval mode and on the CPU, and its last batch's loss.

    percentile: float [clips of the dataset], what to train towards.
    """
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    encoder = build_encoder(cue, config, dataset.widths)
    view = dataset.view(cue, training=True, percentile=percentile)
    batches = ChallengeBatches(dataset.clips["challenge"].tolist(), rows, config.batch_clips, config.seed)
    loader = DataLoader(view, batch_sampler=batches, collate_fn=view.collate, num_workers=workers)
    training = _Training(encoder, cue, config, steps=config.epochs * len(batches))
    with tempfile.TemporaryDirectory(prefix="vdv-fit-") as scratch:
        _trainer(config, device, logs, cue, scratch).fit(training, loader)
    _settle_norms(encoder, cue, loader, device)
    return encoder.eval().cpu(), training.last_loss


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
        ranking = ranknet(said.score, batch.percentile, batch.challenge, counted, self.config.tau)
        loss = ranking + self.config.huber_weight * percentile_huber(said.score, batch.percentile, counted)
        if said.levels.shape[1]:
            levels = [
                ranknet(level, batch.percentile, batch.challenge, counted, self.config.tau) for level in said.levels.T
            ]
            loss = loss + self.config.level_weight * torch.stack(levels).mean()
        self.log(f"loss/{self.cue}", loss.detach(), batch_size=len(batch.row))
        self.last_loss = float(loss.detach())
        return loss

    def configure_optimizers(self) -> dict:  # type: ignore[override]
        config = self.config
        # Decay is for what multiplies; norms, biases and the learned adjacency keep their start.
        rates, groups = [], []
        for rate, of_line in ((config.learning_rate, False), (config.line_rate, True)):
            own = [(name, parameter) for name, parameter in self.named_parameters() if (".line." in name) == of_line]
            decayed = [parameter for name, parameter in own if _is_decayed(name, parameter)]
            kept = [parameter for name, parameter in own if not _is_decayed(name, parameter)]
            groups += [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
            rates += [rate, rate]
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=max(self.steps, 1))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _is_decayed(name: str, parameter: Tensor) -> bool:
    return parameter.ndim > 1 and not name.endswith("adjacency")


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
