"""The training of a whole model: encoders one by one, then the fusion on their scores of clips held out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.virality.config import VdvConfig
from models.virality.inputs import to_device
from models.virality.masked import LevelMix
from models.virality.vdv import Vdv, build_fusion, encode
from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.core.memory import keep_blocks
from pipeline.dataset.folds import assign_folds
from pipeline.dataset.labels import TRAIN, group_clips
from pipeline.dataset.loading import ClipDataset
from pipeline.training.encoder_training import TrainingTarget, fit_encoder
from pipeline.training.fusion import HeldOut, train_attention
from pipeline.training.lightning_loop import deterministic, quiet
from pipeline.training.ridge import (
    FoldAssignment,
    backfit,
    centre_within,
    normal_score,
    read_clip_statistics,
    residual_percentile,
    stacking_coefficients,
)


@dataclass(frozen=True)
class Fitted:
    """A trained model, and the clips, losses and epochs of its training."""

    model: Vdv  # in eval mode, on the CPU
    rows: list[int]  # trained on
    held: HeldOut  # the clips that the fusion was trained on, a column a modality of the model
    loss: dict[str, float]  # by modality, of the last batch
    epochs: dict[str, int]  # by modality, trained


def fit(
    dataset: ClipDataset,
    config: VdvConfig,
    device: torch.device,
    logs: str | None = None,
    checkpoints: str | None = None,
) -> Fitted:
    """Train a model on the dataset's training clips.

    The fusion must not trust a modality that merely memorised the clips: the training clips are dealt into
    `config.inner_folds` folds by creator, encoders are trained on all folds but one and score that one, and the fusion
    is trained on these scores only. They also decide the weights of each encoder's network and ridge regression in its
    score. The encoders of the model are trained on all training clips.

    To a modality, the other modalities' parts of a clip's label are noise: each is trained towards what they leave of
    the label, as ridge.backfit estimates it.

    With `config.patience` an encoder of the folds stops when its loss on the fold that it scores no longer falls; the
    encoders of the model are trained for as many epochs as those took to their best, on average.

    The same dataset, config and machine give the same weights, bit for bit on a CPU; so does a training that was killed
    at any moment and is started again with the same `checkpoints`.

    Args:
        logs: folder for the logs of the model's encoders; None: none are written.
        checkpoints: folder, anywhere that pipeline.core.storage writes, for trained encoders and, after each epoch, the
            one in training (pipeline.training.checkpoints); the caller clears it. Encoders found in it are not trained
            again. None: no checkpoints.

    Raises:
        DataError: there is nothing to learn from; says what to add. Or weights are not finite.
    """
    if device.type == "cpu":
        keep_blocks()
    rows = learnable_rows(dataset, config)
    # Only the modalities that the dataset has: an encoder that never sees an input would be noise in the file.
    modalities = tuple(dataset.inputs)
    model = Vdv(VdvConfig(**{**asdict(config), "modalities": modalities}), dataset.inputs)
    loss, epochs = {}, {}
    targets = _training_targets(dataset, rows, model.modalities, config)
    with quiet(), deterministic():
        held, mixes, best_epochs = _out_of_fold(dataset, targets, config, device, checkpoints)
        for modality in model.modalities:
            fitted = fit_encoder(
                dataset, targets[modality], targets[modality].rows, config, device, logs,
                epochs=best_epochs.get(modality), checkpoint=_checkpoint_prefix(checkpoints, "all", modality),
            )  # fmt: skip
            model.encoders[modality], loss[modality], epochs[modality] = fitted.encoder, fitted.loss, fitted.epochs
            if modality in mixes:
                cast(LevelMix, model.encoders[modality].mix).set(*mixes[modality])
        fusion = build_fusion(len(model.modalities), config)
        train_attention(fusion, held, config)
        model.fusion = fusion
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise DataError("training ran into numbers that are not finite; try a smaller learning_rate")
    return Fitted(model.eval(), rows, held, loss, epochs)


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


def _training_targets(
    dataset: ClipDataset, rows: Sequence[int], modalities: Sequence[str], config: VdvConfig
) -> dict[str, TrainingTarget]:
    clips = dataset.clips
    some = np.asarray(rows)
    group = group_clips(clips["creator_id"], clips["copies"], clips.index)
    challenge = clips["challenge"].to_numpy(str)
    fold_of = np.full(len(clips), -1)
    fold_of[some] = assign_folds(group[some], challenge[some].tolist(), config.inner_folds, config.seed)
    statistics = {modality: read_clip_statistics(dataset, modality, rows) for modality in modalities}
    label = clips["percentile"].to_numpy(float)
    ridge_fold_of = assign_folds(group[some], challenge[some].tolist(), config.ridge_folds, config.seed)
    folds = FoldAssignment(some, challenge[some], group[some], ridge_fold_of, config.seed)
    parts = backfit(statistics, folds, label[some], config.rounds)
    targets = {}
    for modality, part in parts.items():
        percentile, residual = label.copy(), label.copy()
        percentile[some] = part
        residual[some] = residual_percentile(statistics[modality], folds, part) if config.ridge else part
        targets[modality] = TrainingTarget(modality, some, percentile, residual, group, fold_of, statistics[modality])
    return targets


@dataclass(frozen=True)
class _FoldScores:
    """Levels' scores of N clips of a fold by encoders that did not see them."""

    row: Tensor  # int64 [N]
    levels: dict[str, Tensor]  # [N, L] by modality
    quality: Tensor  # [N, M]
    present: Tensor  # bool [N, M]


def _checkpoint_prefix(checkpoints: str | None, fold: str, modality: str) -> str | None:
    return storage.join(checkpoints, f"{fold}.{modality}") if checkpoints else None


def _out_of_fold(
    dataset: ClipDataset,
    targets: Mapping[str, TrainingTarget],
    config: VdvConfig,
    device: torch.device,
    checkpoints: str | None,
) -> tuple[HeldOut, dict[str, tuple[Tensor, Tensor]], dict[str, int]]:
    """Scores of the training clips by encoders that did not see them; clips whose fold leaves nothing to learn from are
    left out. And, by modality, the centres and weights of its levels that fit its target best, and the mean of the best
    numbers of epochs; both empty where no fold could be scored.
    """
    first = next(iter(targets.values()))
    fold_of = first.fold_of[first.rows]
    parts = []
    epochs: dict[str, list[int]] = {modality: [] for modality in targets}
    for fold in range(fold_of.max() + 1):
        seen, unseen = first.rows[fold_of != fold], first.rows[fold_of == fold]
        if not len(seen) or not _has_pair(dataset, seen, config):
            continue
        encoders = {}
        for modality, target in targets.items():
            fitted = fit_encoder(
                dataset, target, seen, config, device, None,
                unseen=unseen, checkpoint=_checkpoint_prefix(checkpoints, f"fold-{fold}", modality),
            )  # fmt: skip
            encoders[modality] = fitted.encoder
            epochs[modality].append(fitted.epochs)
        parts.append(_score(dataset, unseen, encoders, config, device))
    row = torch.cat([torch.zeros(0, dtype=torch.int64), *(part.row for part in parts)])
    challenges = dataset.clips["challenge"].to_numpy(str)[row.numpy()]
    mixes, scores = {}, []
    for place, (modality, target) in enumerate(targets.items()):
        if not parts:
            scores.append(torch.zeros(0))
            continue
        levels = torch.cat([part.levels[modality] for part in parts])
        present = torch.cat([part.present[:, place] for part in parts])
        target_score = torch.from_numpy(target.percentile[row.numpy()])
        mixes[modality] = _fit_mix(levels, present, target_score, challenges)
        scores.append(torch.where(present, (levels - mixes[modality][0]) @ mixes[modality][1], 0.0))
    none = torch.zeros(0, len(targets))
    return (
        HeldOut(
            row,
            torch.stack(scores, 1),
            torch.cat([none, *(part.quality for part in parts)]),
            torch.cat([none.bool(), *(part.present for part in parts)]),
            torch.tensor([dataset.challenges.index(name) for name in challenges], dtype=torch.int64),
            torch.from_numpy(first.group[row.numpy()].astype(np.int64)),
            torch.from_numpy(dataset.clips["percentile"].to_numpy(np.float32)[row.numpy()]),
        ),
        mixes,
        {modality: max(1, round(float(np.mean(best)))) for modality, best in epochs.items() if best},
    )


def _fit_mix(levels: Tensor, present: Tensor, percentile: Tensor, challenge: np.ndarray) -> tuple[Tensor, Tensor]:
    """Centres [L] and weights [L] of an encoder's levels [N, L], by stacking on the target of clips held out.

    Where all stacking coefficients are 0, weights that give each level's spread the same say.
    """
    values, rows = levels[present].double().numpy(), present.numpy()
    if not len(values):
        return torch.zeros(levels.shape[1]), torch.ones(levels.shape[1])
    centred = centre_within(values, challenge[rows])
    spread = np.sqrt(np.square(centred).mean(0))
    spread = np.where(spread > 1e-6, spread, np.inf)  # a level that scores all alike has no say
    target_score = centre_within(normal_score(percentile.numpy()[rows])[:, None], challenge[rows])[:, 0]
    coefficients = stacking_coefficients(centred / spread, target_score, challenge[rows])
    weights = (coefficients if coefficients.any() else np.ones(len(coefficients))) / spread
    return torch.from_numpy(values.mean(0)).float(), torch.from_numpy(weights).float()


@torch.inference_mode()
def _score(
    dataset: ClipDataset,
    rows: Sequence[int] | np.ndarray,
    encoders: dict[str, nn.Module],
    config: VdvConfig,
    device: torch.device,
) -> _FoldScores:
    view = dataset.view(*encoders, training=False)
    keys = [
        [(0, int(row)) for row in part]
        for part in np.split(rows, range(config.batch_clips, len(rows), config.batch_clips))
    ]
    parts = []
    for batch in DataLoader(view, batch_sampler=keys, collate_fn=view.collate):
        inputs = to_device(batch.inputs, device)
        encoded = {modality: encode(encoder.to(device), inputs[modality]) for modality, encoder in encoders.items()}
        present = torch.stack([one.present for one in encoded.values()], 1).cpu()
        quality = torch.stack([batch.inputs[modality].quality for modality in encoders], 1)
        levels = {modality: one.levels.cpu() for modality, one in encoded.items()}
        parts.append(_FoldScores(batch.row, levels, quality, present))
    return _FoldScores(
        torch.cat([part.row for part in parts]),
        {modality: torch.cat([part.levels[modality] for part in parts]).clone() for modality in encoders},
        torch.cat([part.quality for part in parts]).clone(),
        torch.cat([part.present for part in parts]).clone(),
    )
