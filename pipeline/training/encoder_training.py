"""The training of one modality's encoder by Lightning, resumed after its last whole epoch if it was killed."""

import copy
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.virality.config import VdvConfig
from models.virality.inputs import to_device
from models.virality.masked import LevelMix, Ridge
from models.virality.vdv import build_encoder, encode
from pipeline.core import storage
from pipeline.dataset.loading import ChallengeBatches, ClipBatch, ClipDataset
from pipeline.training.checkpoints import cache_key, fetch_epoch, read_encoder, write_encoder, write_epoch
from pipeline.training.optimisation import loss_of, parameter_groups, reset_norm_statistics
from pipeline.training.ridge import ClipStatistics, fit_ridge, normal_score

LOGS = "logs"


@dataclass(frozen=True)
class TrainingTarget:
    """The part of the label that one modality is to learn, of each of a dataset's clips."""

    modality: str
    rows: np.ndarray  # int64 [n] of the dataset, to train on
    percentile: np.ndarray  # float64 [clips] the modality's part; its ridge regression is fitted to it
    residual_percentile: np.ndarray  # float64 [clips] what the regression leaves; the network is trained towards it
    group: np.ndarray  # int64 [clips] labels.group_clips
    fold_of: np.ndarray  # int64 [clips] inner fold of each of `rows`; -1: none of them
    statistics: ClipStatistics


@dataclass(frozen=True)
class FittedEncoder:
    """A trained encoder."""

    encoder: nn.Module  # in eval mode, on the CPU
    loss: float  # the network's, on the last batch that it was trained on
    epochs: int  # after which its weights were taken; with early stopping fewer than it was trained for


@dataclass(frozen=True)
class _TrainingData:
    """The clips that one modality's encoder is trained on, and those that stop its training."""

    dataset: ClipDataset
    target: TrainingTarget
    rows: np.ndarray  # int64, to train on
    unseen: np.ndarray | None  # int64, whose loss stops the training early; None: nothing stops it
    config: VdvConfig

    def batches(self, first_epoch: int) -> DataLoader:
        """Batches of the clips to train on, augmented; every iteration is the next epoch."""
        return self._loader(self.rows, first_epoch, training=True)

    def held_out(self) -> DataLoader:
        """Batches of the unseen clips, drawn as for scoring, the same each time."""
        assert self.unseen is not None
        return self._loader(self.unseen, 0, training=False)

    def _loader(self, rows: np.ndarray, first_epoch: int, training: bool) -> DataLoader:
        view = self.dataset.view(self.target.modality, training=training, percentile=self.target.residual_percentile)
        names = self.dataset.clips["challenge"].tolist()
        batches = ChallengeBatches(names, rows.tolist(), self.config.batch_clips, self.config.seed, first_epoch)
        return DataLoader(view, batch_sampler=batches, collate_fn=view.collate)


def fit_encoder(
    dataset: ClipDataset,
    target: TrainingTarget,
    rows: Sequence[int] | np.ndarray,
    config: VdvConfig,
    device: torch.device,
    logs: str | None = None,
    unseen: np.ndarray | None = None,
    epochs: int | None = None,
    checkpoint: str | None = None,
) -> FittedEncoder:
    """Train one modality's network and fit its ridge regression on the clips of `rows`.

    Args:
        unseen: with `config.patience`, clips whose loss stops the training; the encoder is the one of the best epoch.
        epochs: number trained of the schedule of `config.epochs`; None: all.
        checkpoint: prefix of the paths of its checkpoints (pipeline.training.checkpoints); None: none are kept.
    """
    modality = target.modality
    some = np.asarray(rows)
    data = _TrainingData(dataset, target, some, unseen if config.patience else None, config)
    with tempfile.TemporaryDirectory(prefix="vdv-fit-") as scratch:
        name = checkpoint and f"{checkpoint}.{_cache_key(data, epochs, device)}"
        stored = read_encoder(f"{name}.safetensors") if name else None
        if stored:
            encoder = build_encoder(config, dataset.inputs[modality])
            encoder.load_state_dict(stored[0])
            return FittedEncoder(encoder.eval(), **stored[1])
        lightning.seed_everything(config.seed, workers=True, verbose=False)
        training = _Training(build_encoder(config, dataset.inputs[modality]), data, epochs or config.epochs)
        _train(training, device, logs, scratch, f"{name}.ckpt" if name else None)
        encoder = training.best_encoder(device)
        if encoder.ridge is not None:
            _fit_ridge(cast(Ridge, encoder.ridge), dataset, target, some, config)
        fitted = FittedEncoder(encoder.eval().cpu(), training.last_loss, training.best_epochs)
        if name:
            write_encoder(f"{name}.safetensors", encoder.state_dict(), {"loss": fitted.loss, "epochs": fitted.epochs})
            storage.remove(f"{name}.ckpt")
    return fitted


def _cache_key(data: _TrainingData, epochs: int | None, device: torch.device) -> str:
    target, clips = data.target, data.dataset.clips
    modality = target.modality
    seen = data.rows if data.unseen is None else np.concatenate([data.rows, data.unseen])
    columns = ["clip_id", "content_hash", "challenge", f"shard_{modality}", f"quality_{modality}"]
    return cache_key(
        __name__,
        device,
        modality=modality,
        config=data.config.of_encoder(data.dataset.inputs[modality].is_skeleton),
        epochs=epochs,
        input=asdict(data.dataset.inputs[modality]),
        rows=data.rows,
        unseen=data.unseen,
        clips=clips[columns].iloc[seen],
        percentile=target.percentile[seen],
        residual_percentile=target.residual_percentile[seen],
        group=target.group[seen],
        statistics=target.statistics.values,
        present=target.statistics.present,
    )


def _fit_ridge(ridge: Ridge, dataset: ClipDataset, target: TrainingTarget, rows: np.ndarray, config: VdvConfig) -> None:
    rows = rows[target.statistics.present[rows]]
    if len(rows) < 2:
        return  # it stays at zero
    challenge = dataset.clips["challenge"].to_numpy(str)[rows]
    target_score = normal_score(target.percentile[rows])
    statistics = target.statistics.values[rows]
    fit_ridge(statistics, target_score, challenge, target.group[rows], config.seed, ridge.limit).copy_to(ridge)


def _train(training: "_Training", device: torch.device, logs: str | None, scratch: str, checkpoint: str | None) -> None:
    """Train the epochs that no checkpoint holds."""
    modality = training.data.target.modality
    local = fetch_epoch(checkpoint, scratch) if checkpoint else None
    if local:
        state = torch.load(local, map_location="cpu", weights_only=True)
        training.on_load_checkpoint(state)
        if training.finished:
            training.load_state_dict(state["state_dict"])
            return
    first = training.epochs_done
    loggers: list[Logger] = []
    if logs:
        if not first:
            _forget_logs(logs, modality)
        place = f"{modality}-from-{first}" if first else modality
        loggers = [CSVLogger(logs, LOGS, f"csv/{place}"), TensorBoardLogger(logs, LOGS, f"tensorboard/{place}")]
    callbacks: list[Callback] = [_KeepEpoch(checkpoint, scratch)] if checkpoint else []
    terminal = sys.stderr.isatty()
    trainer = lightning.Trainer(
        default_root_dir=scratch,
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=training.epochs,
        gradient_clip_val=training.data.config.clip_norm,
        deterministic="warn",  # a few CUDA kernels have no deterministic form; on a CPU all have
        logger=loggers,
        callbacks=[*callbacks, TQDMProgressBar()] if terminal else callbacks,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        enable_checkpointing=bool(checkpoint),
        log_every_n_steps=1,
    )
    try:
        trainer.fit(training, training.data.batches(first), ckpt_path=local, weights_only=True)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning makes a mere exit of it
            raise error.__context__ from None
        raise


def _forget_logs(logs: str, modality: str) -> None:
    """Delete the logs of a training of this modality that was killed and cannot be resumed."""
    for folder in Path(logs, LOGS).glob(f"*/{modality}*"):
        shutil.rmtree(folder)


class _KeepEpoch(Checkpoint):
    """Checkpoint after each epoch. A subclass of Checkpoint, so that Lightning calls it after the module's own hook."""

    def __init__(self, path: str, scratch: str):
        self._path, self._local = path, Path(scratch, "epoch.ckpt")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self._local)
        write_epoch(self._path, self._local)


class _Training(lightning.LightningModule):
    """One encoder with its loss, its optimiser and its early stopping.

    All that is random in an epoch is decided by the seed and the epoch's number, so an epoch is the same whether the
    one before it was trained by this process or by one that was killed.
    """

    def __init__(self, encoder: nn.Module, data: _TrainingData, epochs: int):
        super().__init__()
        self.encoder = encoder
        self.data, self.epochs = data, epochs
        self.epochs_done = 0
        self.last_loss = float("nan")
        self.best: dict[str, Tensor] = {}  # weights after the epoch with the lowest loss on clips unseen
        self.best_loss = float("nan")
        self.best_epochs = 0

    @property
    def finished(self) -> bool:
        if self.epochs_done >= self.epochs:
            return True
        return self.data.unseen is not None and self.epochs_done - self.best_epochs >= self.data.config.patience

    def best_encoder(self, device: torch.device) -> nn.Module:
        """The encoder after its best epoch, or after the last where none stops it, on `device`."""
        encoder = self.encoder.to(device)
        if self.best:
            encoder.load_state_dict(self.best)
            return encoder
        self.best_epochs = self.epochs_done
        return self._settle_norms(encoder, device)

    def training_step(self, batch: ClipBatch, batch_index: int) -> Tensor | None:
        if not batch_index:
            _seed(self.data.config.seed, self.current_epoch)
        loss, _ = self._loss(self.encoder, batch)
        if loss is None:
            return None  # nothing of this modality in the batch: Lightning goes on to the next
        self.log(f"loss/{self.data.target.modality}", loss.detach(), batch_size=len(batch.row))
        self.last_loss = float(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.epochs_done = self.current_epoch + 1
        if self.data.unseen is None:
            return
        candidate = self._settle_norms(copy.deepcopy(self.encoder), self.device).eval()
        loss = self._held_out_loss(candidate)
        self.log(f"held_out/{self.data.target.modality}", loss)
        # Not a number: none of the clips unseen has the modality, which is no reason to stop.
        if not loss >= self.best_loss:
            self.best = {name: value.cpu() for name, value in candidate.state_dict().items()}
            self.best_loss, self.best_epochs = loss, self.epochs_done
        self.trainer.should_stop = self.finished

    @torch.no_grad()
    def _held_out_loss(self, encoder: nn.Module) -> float:
        losses, counts = [], []
        for batch in self.data.held_out():
            on_device = ClipBatch(
                batch.row, to_device(batch.inputs, self.device), *(value.to(self.device) for value in batch[2:])
            )
            loss, count = self._loss(encoder, on_device)
            if loss is not None:
                losses.append(float(loss))
                counts.append(count)
        return float(np.average(losses, weights=counts)) if losses else math.nan

    def _loss(self, encoder: nn.Module, batch: ClipBatch) -> tuple[Tensor | None, int]:
        """The loss and the number of clips that it is of; None: of no clip."""
        config, modality = self.data.config, self.data.target.modality
        encoded = encode(encoder, batch.inputs[modality])
        counted = batch.counted & encoded.present
        if not counted.any():
            return None, 0
        levels = encoded.levels[:, : cast(LevelMix, encoder.mix).network_levels]  # the ridge is not trained here
        score = levels.mean(1)
        beside = levels if levels.shape[1] > 1 else levels[:, :0]  # a single one is the score
        loss = loss_of(score, beside, batch.percentile, batch.challenge, counted, config)
        return loss, int(counted.sum())

    @torch.no_grad()
    def _settle_norms(self, encoder: nn.Module, device: torch.device) -> nn.Module:
        """Give the batch norms of `encoder`, which is on `device`, its weights' statistics over one more epoch."""
        if not reset_norm_statistics(encoder):
            return encoder
        _seed(self.data.config.seed, self.epochs_done)
        encoder.train()
        modality = self.data.target.modality
        for batch in self.data.batches(self.epochs_done):
            encode(encoder, batch.inputs[modality].to(device))
        return encoder

    def configure_optimizers(self) -> dict:  # type: ignore[override]
        config = self.data.config
        groups = parameter_groups(self.encoder, config.weight_decay)
        rate = config.rate(self.data.dataset.inputs[self.data.target.modality].is_skeleton)
        optimiser = torch.optim.AdamW(groups, lr=rate)
        # The whole schedule, also where only its first epochs are trained: as those were that chose their number.
        steps = config.epochs * len(self.data.batches(0))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(steps, 1))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = {name: getattr(self, name) for name in _PROGRESS}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name in _PROGRESS:
            setattr(self, name, checkpoint["progress"][name])


_PROGRESS = ("epochs_done", "last_loss", "best", "best_loss", "best_epochs")  # of a _Training, beside its weights


def _seed(seed: int, epoch: int) -> None:
    """Seed dropout; the dataset seeds what is random in the clips in the same way."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))
