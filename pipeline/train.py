"""A dataset to a trained model: `runs/<id>/model.safetensors`, and `run.json`, which is written last."""

import json
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from models.config import CUE_MODALITY, VdvConfig
from models.losses import percentile_huber, ranknet
from models.masked import Encoded, MaskedBatchNorm
from models.vdv import Vdv
from pipeline import storage
from pipeline.dataset import read_statistics
from pipeline.errors import DataError, WorkspaceError
from pipeline.labels import TRAIN
from pipeline.loading import ChallengeBatches, ClipBatch, ClipDataset, to_device

RUN_SCHEMA = 1
MODEL, RUN, LOGS = "model.safetensors", "run.json", "logs"

log = logging.getLogger(__name__)


def train_fusion(
    workspace: str,
    dataset_dir: str,
    run_dir: str,
    config: VdvConfig,
    device: torch.device,
    workers: int = 0,
) -> None:
    """Trains on the dataset's training clips and writes the run.

    The same dataset, config and machine give the same weights, bit for bit on a CPU.

    Args:
        dataset_dir, run_dir: relative to the workspace.
        workers: processes that read clips; 0: this one.

    Raises:
        DataError: there is nothing to learn from; says what to add.
    """
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    dataset = ClipDataset(workspace, dataset_dir, config, training=True)
    statistics = read_statistics(workspace, dataset_dir)
    warn_if_untrained(statistics)
    rows = learnable_rows(dataset, config)
    # Only the cues that the dataset has: an encoder that never sees an input would be noise in the file.
    modalities = tuple(CUE_MODALITY[cue] for cue in dataset.widths)
    batches = ChallengeBatches(dataset.clips["challenge"].tolist(), rows, config.batch_clips, config.seed)
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=dataset.collate, num_workers=workers)
    model = Vdv(VdvConfig(**{**asdict(config), "modalities": modalities}), dataset.widths)
    training = _Training(model, config, steps=config.epochs * len(batches))

    folder = storage.join(workspace, run_dir)
    with tempfile.TemporaryDirectory(prefix="vdv-logs-") as temporary:
        local = str(storage.local_path(folder)) if storage.is_local(folder) else temporary
        shutil.rmtree(Path(local, LOGS), ignore_errors=True)  # of a run that was killed
        with _quiet(), _deterministic():
            _trainer(config, device, local).fit(training, loader)
        if local == temporary:
            _upload(Path(temporary), folder)
    _settle_norms(training.model, loader, device)
    finite = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    if not finite:
        raise DataError(f"training on {dataset_dir} ran into numbers that are not finite; try a smaller learning_rate")

    with storage.staged(storage.join(folder, MODEL)) as path:
        save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, path)
    run = {
        "schema": RUN_SCHEMA,
        "dataset": dataset_dir.rstrip("/").rsplit("/", 1)[-1],
        "config": asdict(model.config),
        "features": dataset.widths,
        "seed": config.seed,
        "device": str(device),
        "trained_on": len(rows),
        "final_loss": training.last_loss,
        "label": statistics["label"],
        "profiles": statistics["profiles"],
        "untrained": statistics["untrained"],
        "versions": {name: version(name) for name in ("vdv", "torch", "lightning", "numpy")},
    }
    storage.write_bytes(storage.join(folder, RUN), (json.dumps(run, indent=1) + "\n").encode())


@torch.no_grad()
def _settle_norms(model: Vdv, loader: DataLoader, device: torch.device) -> None:
    """Gives the batch norms the statistics of the final weights over one epoch.

    Their running averages lag behind weights that still move, and after a short training hold mostly their start.
    """
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # from here on the plain mean over batches
    model.to(device).train()
    for batch in loader:
        model(to_device(batch.cues, device))


def load_run(workspace: str, run_dir: str, device: torch.device) -> tuple[Vdv, dict]:
    """The trained model, ready to score, and its run.json.

    Raises:
        WorkspaceError: the run is of another schema, or its files do not belong together.
    """
    folder = storage.join(workspace, run_dir)
    run = json.loads(storage.read_bytes(storage.join(folder, RUN)))
    if run["schema"] != RUN_SCHEMA:
        raise WorkspaceError(
            f"{folder}/{RUN} is of schema {run['schema']}, this version reads {RUN_SCHEMA}; train anew"
        )
    model = Vdv(VdvConfig.from_dict(run["config"]), run["features"])
    with tempfile.TemporaryDirectory(prefix="vdv-model-") as temporary:
        path = Path(temporary, MODEL)
        path.write_bytes(storage.read_bytes(storage.join(folder, MODEL)))
        try:
            model.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise WorkspaceError(f"{folder}/{MODEL} does not fit its {RUN}: {error}") from error
    return model.to(device).eval(), run


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
    rows = np.flatnonzero(training & has_cue & clips["percentile"].notna().to_numpy(bool))
    span = clips.iloc[rows].groupby("challenge")["percentile"].agg(lambda values: values.max() - values.min())
    if not (span > config.tau).any():
        raise DataError(
            f"nothing can be learned: of {len(clips)} clips {int(clips['percentile'].notna().sum())} have engagement,"
            f" {int(training.sum())} are for training, {len(rows)} of those have features, and no challenge has two of"
            " them with different labels. Add likes to the manifest, for at least two clips of a challenge that decode"
        )
    return rows.tolist()


def warn_if_untrained(statistics: Mapping) -> None:
    """Says, where extractors had random weights, that scores mean nothing."""
    if statistics["untrained"]:
        log.warning(untrained_text(statistics["untrained"]))


def untrained_text(modalities: list[str]) -> str:
    return (
        f"UNTRAINED WEIGHTS: {', '.join(modalities)} features come from networks with random weights. The scores and"
        " metrics of this run mean nothing; use --profile full for real ones"
    )


class _Training(lightning.LightningModule):
    """The loss and the optimiser of a Vdv."""

    def __init__(self, model: Vdv, config: VdvConfig, steps: int):
        super().__init__()
        self.model = model
        self.config = config
        self.steps = steps
        self.last_loss = float("nan")

    def training_step(self, batch: ClipBatch, _: int) -> Tensor:
        said = self.model(batch.cues)
        losses = {"fused": self._loss(said.score, ~said.abstained, batch)}
        losses |= {cue: self._loss(encoded.score, encoded.present, batch) for cue, encoded in said.encoded.items()}
        levels = [self._levels(encoded, batch) for encoded in said.encoded.values() if encoded.levels.shape[1]]
        total = torch.stack(list(losses.values())).sum() + self.config.level_weight * sum(levels)
        self.log_dict({f"loss/{name}": value.detach() for name, value in losses.items()}, batch_size=len(batch.row))
        self.log("loss/total", total.detach(), batch_size=len(batch.row))
        self.last_loss = float(total.detach())
        return total

    def _loss(self, score: Tensor, present: Tensor, batch: ClipBatch) -> Tensor:
        counted = batch.counted & present
        ranking = ranknet(score, batch.percentile, batch.challenge, counted, self.config.tau)
        return ranking + self.config.huber_weight * percentile_huber(score, batch.percentile, counted)

    def _levels(self, encoded: Encoded, batch: ClipBatch) -> Tensor:
        counted = batch.counted & encoded.present
        of_level = [
            ranknet(score, batch.percentile, batch.challenge, counted, self.config.tau) for score in encoded.levels.T
        ]
        return torch.stack(of_level).mean()

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
    return parameter.ndim > 1 and not name.endswith("adjacency")


def _trainer(config: VdvConfig, device: torch.device, folder: str) -> lightning.Trainer:
    loggers: list[Logger] = [CSVLogger(folder, LOGS, "csv"), TensorBoardLogger(folder, LOGS, "tensorboard")]
    terminal = sys.stderr.isatty()
    return lightning.Trainer(
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


def _upload(logs: Path, folder: str) -> None:
    for path in sorted(logs.rglob("*")):
        if path.is_file():
            storage.write_bytes(storage.join(folder, path.relative_to(logs).as_posix()), path.read_bytes())
