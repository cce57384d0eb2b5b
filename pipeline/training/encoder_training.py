"""The training of one modality's encoder by Lightning, resumed after its last whole epoch if it was killed."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.virality.config import VdvConfig
from models.virality.vdv import build_encoder, encode
from pipeline.core import storage
from pipeline.dataset.loading import ChallengeBatches, ClipBatch, ClipDataset
from pipeline.training.checkpoints import cache_key, fetch_epoch, read_encoder, write_encoder, write_epoch
from pipeline.training.optimisation import loss_of, parameter_groups, reset_norm_statistics

LOGS = "logs"


@dataclass(frozen=True)
class FittedEncoder:
    """A trained encoder."""

    encoder: nn.Module  # in eval mode, on the CPU
    loss: float  # on the last batch that it was trained on


@dataclass(frozen=True)
class _TrainingData:
    """The clips that one modality's encoder is trained on."""

    dataset: ClipDataset
    modality: str
    rows: np.ndarray  # int64
    config: VdvConfig

    @cached_property
    def epochs(self) -> int:
        return self.config.epochs_of(len(self.batches(0)), self.dataset.inputs[self.modality].is_skeleton)

    def batches(self, first_epoch: int) -> DataLoader:
        """Batches of the clips, augmented; every iteration is the next epoch."""
        view = self.dataset.view(self.modality, training=True)
        names = self.dataset.clips["challenge"].tolist()
        batches = ChallengeBatches(names, self.rows.tolist(), self.config.batch_clips, self.config.seed, first_epoch)
        return DataLoader(view, batch_sampler=batches, collate_fn=view.collate)


def fit_encoder(
    dataset: ClipDataset,
    modality: str,
    rows: np.ndarray,
    config: VdvConfig,
    device: torch.device,
    logs: str | None = None,
    checkpoint: str | None = None,
    loggers: Sequence[Logger] = (),
) -> FittedEncoder:
    """Train one modality's network on the labels of the clips of `rows`, int64 [n].

    Args:
        checkpoint: prefix of the paths of its checkpoints (pipeline.training.checkpoints); None: none are kept.
        loggers: that are told of it beside the `logs`.
    """
    data = _TrainingData(dataset, modality, rows, config)
    with storage.temporary_folder() as folder:
        scratch = str(folder)
        name = checkpoint and f"{checkpoint}.{_cache_key(data, device)}"
        stored = read_encoder(f"{name}.safetensors") if name else None
        if stored:
            encoder = build_encoder(config, dataset.inputs[modality])
            encoder.load_state_dict(stored[0])
            return FittedEncoder(encoder.eval(), **stored[1])
        lightning.seed_everything(config.seed, workers=True, verbose=False)
        training = _Training(build_encoder(config, dataset.inputs[modality]), data)
        _train(training, device, logs, scratch, f"{name}.ckpt" if name else None, loggers)
        encoder = training.settled_encoder(device)
        fitted = FittedEncoder(encoder.eval().cpu(), training.last_loss)
        if name:
            write_encoder(f"{name}.safetensors", encoder.state_dict(), {"loss": fitted.loss})
            storage.remove(f"{name}.ckpt")
    return fitted


def _cache_key(data: _TrainingData, device: torch.device) -> str:
    modality, clips = data.modality, data.dataset.clips
    columns = ["clip_id", "content_hash", "challenge", f"shard_{modality}", f"quality_{modality}", "percentile"]
    return cache_key(
        __name__,
        device,
        modality=modality,
        config=data.config.of_encoder(data.dataset.inputs[modality].is_skeleton),
        input=asdict(data.dataset.inputs[modality]),
        rows=data.rows,
        clips=clips[columns].iloc[data.rows],
    )


def _train(
    training: "_Training",
    device: torch.device,
    logs: str | None,
    scratch: str,
    checkpoint: str | None,
    others: Sequence[Logger],
) -> None:
    """Train the epochs that no checkpoint holds."""
    modality = training.data.modality
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
        max_epochs=training.data.epochs,
        gradient_clip_val=training.data.config.clip_norm,
        deterministic="warn",  # a few CUDA kernels have no deterministic form; on a CPU all have
        logger=[*loggers, *others],
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
    """One encoder with its loss and its optimiser.

    All that is random in an epoch is decided by the seed and the epoch's number, so an epoch is the same whether the
    one before it was trained by this process or by one that was killed.
    """

    def __init__(self, encoder: nn.Module, data: _TrainingData):
        super().__init__()
        self.encoder = encoder
        self.data = data
        self.epochs_done = 0
        self.last_loss = float("nan")

    @property
    def finished(self) -> bool:
        return self.epochs_done >= self.data.epochs

    def training_step(self, batch: ClipBatch, batch_index: int) -> Tensor | None:
        config, modality = self.data.config, self.data.modality
        if not batch_index:
            _seed(config.seed, self.current_epoch)
        encoded = encode(self.encoder, batch.inputs[modality])
        counted = batch.counted & encoded.present
        if not counted.any():
            return None  # nothing of this modality in the batch: Lightning goes on to the next
        levels = encoded.levels
        beside = levels if levels.shape[1] > 1 else levels[:, :0]  # a single one is the score
        loss = loss_of(encoded.score, beside, batch.percentile, batch.challenge, counted, config)
        value, clips = loss.detach(), len(batch.row)
        self.log(f"loss/{modality}", value, batch_size=clips)
        self.log(f"epoch_loss/{modality}", value, on_step=False, on_epoch=True, batch_size=clips)
        self.last_loss = float(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.epochs_done = self.current_epoch + 1

    @torch.no_grad()
    def settled_encoder(self, device: torch.device) -> nn.Module:
        """The encoder on `device`, its batch norms with the statistics of its weights over one more epoch."""
        encoder = self.encoder.to(device)
        if reset_norm_statistics(encoder):
            _seed(self.data.config.seed, self.epochs_done)
            encoder.train()
            for batch in self.data.batches(self.epochs_done):
                encode(encoder, batch.inputs[self.data.modality].to(device))
        return encoder

    def configure_optimizers(self) -> dict:  # type: ignore[override]
        config = self.data.config
        groups = parameter_groups(self.encoder, config.weight_decay)
        rate = config.rate(self.data.dataset.inputs[self.data.modality].is_skeleton)
        optimiser = torch.optim.AdamW(groups, lr=rate)
        steps = self.data.epochs * len(self.data.batches(0))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(steps, 1))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = {name: getattr(self, name) for name in _PROGRESS}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name in _PROGRESS:
            setattr(self, name, checkpoint["progress"][name])


_PROGRESS = ("epochs_done", "last_loss")  # of a _Training, beside its weights


def _seed(seed: int, epoch: int) -> None:
    """Seed dropout; the dataset seeds what is random in the clips in the same way."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))
