"""The training of a whole model: the encoders one by one, then the joint model of their scores and of statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from models.virality.config import CONTEXT, VdvConfig
from models.virality.joint import Evidence
from models.virality.pretrained import start_pretrained
from models.virality.vdv import Vdv, clip_statistics, encode
from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.core.memory import keep_blocks
from pipeline.dataset.folds import assign_folds
from pipeline.dataset.labels import TRAIN, group_clips
from pipeline.dataset.loading import ClipDataset
from pipeline.training.encoder_training import FittedEncoder, fit_encoder
from pipeline.training.joint import KINDS, NETWORK, Joint, TrainingClips, calibrate, calibrate_context, fit_joint
from pipeline.training.lightning_loop import deterministic, quiet

# From so many training clips on, two networks, each trained on half of them, do as well as three.
MANY_CLIPS = 512


@dataclass(frozen=True)
class Fitted:
    """A trained model, and the clips and losses of its training."""

    model: Vdv  # in eval mode, on the CPU
    clips: TrainingClips
    evidence: dict[str, Evidence]  # by modality, and of the context; the networks' scores are of clips held out
    joint: Joint
    loss: dict[str, float]  # by modality, of its first network's last batch; of one that no network saw, none


def fit(
    dataset: ClipDataset,
    config: VdvConfig,
    device: torch.device,
    logs: str | None = None,
    checkpoints: str | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
    loggers: Sequence[Logger] = (),
) -> Fitted:
    """Train a model on the dataset's training clips.

    The joint model must not trust a network that merely memorised the clips: the training clips are dealt into
    `config.ensemble` parts by creator, of MANY_CLIPS and more into two; for each part there is a network of each
    modality that is trained on the others and scores this one, and the joint model is fitted to these scores. What
    the trained model says of a new clip is the mean of these networks.

    The same dataset, config and machine give the same weights, bit for bit on a CPU; so does a training that was killed
    at any moment and is started again with the same `checkpoints`.

    Args:
        logs: folder for the logs of the first network of each modality; None: none are written.
        checkpoints: folder, anywhere that pipeline.core.storage writes, for trained encoders and, after each epoch, the
            one in training (pipeline.training.checkpoints); the caller clears it. Encoders found in it are not trained
            again. None: no checkpoints.
        progress: called with encoders trained and encoders in all.
        loggers: that are told of the training of these networks beside the `logs`.

    Raises:
        DataError: there is nothing to learn from; says what to add. Or weights are not finite.
    """
    if device.type == "cpu":
        keep_blocks()
    clips = training_clips(dataset, learnable_rows(dataset, config))
    # Only the modalities that the dataset has: an encoder that never sees an input would be noise in the file.
    modalities = tuple(dataset.inputs)
    held_out = _held_out(dataset, clips, config)
    model = Vdv(replace(config, modalities=modalities, ensemble=len(held_out)), dataset.inputs)
    for network in model.pretrained.values():
        start_pretrained(network)
    unseen = {name: torch.full((len(clips.row),), torch.nan) for name in modalities}
    loss: dict[str, float] = {}
    trainings = [(place, name) for place in range(len(held_out)) for name in modalities]
    progress(0, len(trainings))
    with quiet(), deterministic():
        for done, (place, name) in enumerate(trainings, 1):
            out = held_out[place]
            checkpoint = storage.join(checkpoints, f"{place}.{name}") if checkpoints else None
            told = (logs, loggers) if place == 0 else (None, ())
            fitted = _fit_encoder(dataset, name, clips.row[~out], config, device, checkpoint, *told)
            model.ensemble(name)[place] = fitted.encoder
            if np.isfinite(fitted.loss):  # a network that saw no clip with the modality has none
                loss.setdefault(name, fitted.loss)
            unseen[name][out] = _scores(dataset, name, clips.row[out], fitted.encoder, config, device)
            progress(done, len(trainings))
        evidence = {name: _calibrate(model, name, dataset, clips, unseen[name]) for name in modalities}
        if model.context is not None:
            evidence[CONTEXT] = calibrate_context(model.context, dataset.clips.iloc[clips.row])
        joint = fit_joint(evidence, clips, kinds=KINDS if config.statistics else (NETWORK,), seed=config.seed)
        joint.copy_to(model, evidence)
    return Fitted(model.eval(), clips, evidence, joint, loss)


def training_clips(dataset: ClipDataset, rows: Sequence[int]) -> TrainingClips:
    clips, some = dataset.clips, np.asarray(rows)
    group = group_clips(clips["creator_id"], clips["copies"], clips.index)
    return TrainingClips(
        some, clips["challenge"].to_numpy(str)[some], group[some], clips["percentile"].to_numpy(float)[some]
    )


def learnable_rows(dataset: ClipDataset, config: VdvConfig) -> list[int]:
    """Rows of the training clips that have a label and at least one modality.

    Raises:
        DataError: no challenge has two of them with labels that differ.
    """
    clips = dataset.clips
    has_modality = np.zeros(len(clips), bool)
    for modality in dataset.inputs:
        has_modality |= clips[f"shard_{modality}"].notna().to_numpy(bool)
    training = (clips["split"] == TRAIN).to_numpy(bool)
    rows = np.flatnonzero(training & has_modality & clips["percentile"].notna().to_numpy(bool)).tolist()
    if not _has_pair(dataset, rows, config):
        raise DataError(
            f"nothing can be learned: of {len(clips)} clips {int(clips['percentile'].notna().sum())} have engagement,"
            f" {int(training.sum())} are for training, {len(rows)} of those have features, and no challenge has two of"
            " them with different labels. Add likes to the manifest, for at least two clips of a challenge that decode"
        )
    return rows


def _has_pair(dataset: ClipDataset, rows: Sequence[int], config: VdvConfig) -> bool:
    """Whether a challenge has two of the clips with labels that differ."""
    span = dataset.clips.iloc[list(rows)].groupby("challenge")["percentile"].agg(lambda values: np.ptp(values))
    return bool((span > config.tau).any())


def _held_out(dataset: ClipDataset, clips: TrainingClips, config: VdvConfig) -> list[np.ndarray]:
    """Of each network of a modality the training clips that it is not trained on, bool [n]; whole creators.

    No network is trained on clips of which there is nothing to learn. Where all would be, one is trained on all clips.
    """
    count = config.ensemble if len(clips.row) < MANY_CLIPS else min(config.ensemble, 2)
    fold_of = assign_folds(clips.group, clips.challenge.tolist(), count, config.seed)
    folds = [fold_of == fold for fold in range(fold_of.max() + 1)]
    learnable = [out for out in folds if _has_pair(dataset, clips.row[~out].tolist(), config)]
    return learnable or [np.zeros(len(clips.row), bool)]


@torch.inference_mode()
def _scores(
    dataset: ClipDataset, modality: str, rows: np.ndarray, encoder: nn.Module, config: VdvConfig, device: torch.device
) -> Tensor:
    """Scores of the clips by a network, [n] on the CPU; NaN in clips that lack the modality."""
    encoder.to(device)
    scores = [torch.zeros(0)]
    for batch in dataset.view(modality, training=False).in_batches(rows.tolist(), config.batch_clips):
        encoded = encode(encoder, batch.inputs[modality].to(device))
        scores.append(encoded.score.masked_fill(~encoded.present, torch.nan).cpu())
    encoder.cpu()
    return torch.cat(scores)


def _fit_encoder(
    dataset: ClipDataset,
    modality: str,
    rows: np.ndarray,
    config: VdvConfig,
    device: torch.device,
    checkpoint: str | None,
    logs: str | None,
    loggers: Sequence[Logger],
) -> FittedEncoder:
    fitted = fit_encoder(dataset, modality, rows, config, device, logs, checkpoint, loggers)
    if not all(bool(value.isfinite().all()) for value in fitted.encoder.state_dict().values()):
        raise DataError("training ran into numbers that are not finite; try a smaller learning_rate")
    return fitted


@torch.inference_mode()
def _calibrate(model: Vdv, modality: str, dataset: ClipDataset, clips: TrainingClips, network: Tensor) -> Evidence:
    """`calibrate` of the modality's part on the training clips."""
    view, part = dataset.view(modality, training=False), model.part(modality)
    read, pretrained = [], []
    for batch in view.in_batches(clips.row.tolist(), model.config.batch_clips):
        given = batch.inputs[modality]
        read.append((*clip_statistics(dataset.inputs[modality], given), given.quality))
        if modality in model.pretrained:
            pretrained.append(encode(model.pretrained[modality].eval(), given).score)
    statistics, present, quality = (torch.cat(column) for column in zip(*read, strict=True))
    networks = [network]
    if pretrained:
        networks.append(torch.where(present, torch.cat(pretrained), torch.nan))
    return calibrate(part, statistics, torch.stack(networks, 1), quality, present)
