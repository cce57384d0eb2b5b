"""Fusion by concatenation: all encoders and one head on their embeddings, trained together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, ModalityInput, to_device
from models.virality.vdv import build_encoder, encode
from pipeline.dataset.folds import assign_folds
from pipeline.dataset.loading import ChallengeBatches, ClipBatch, ClipDataset
from pipeline.training.optimisation import loss_of, parameter_groups, reset_norm_statistics
from pipeline.training.ridge import fit_ridge, normal_score, read_clip_statistics

_HIDDEN = 32


class Concatenation(nn.Module):
    """The modalities' networks, and a perceptron on their embeddings, scores and ridge regressions' scores.

    Trained end to end on the training clips, so that the head learns on the embeddings of the encoders that it is
    used with. The networks' own levels are supervised too, as they are in Vdv. The regressions are fitted beforehand.
    """

    def __init__(self, config: VdvConfig, specs: Mapping[str, InputSpec]):
        super().__init__()
        self.specs = dict(specs)
        bare = replace(config, ridge=False)
        self.encoders = nn.ModuleDict({modality: build_encoder(bare, spec) for modality, spec in specs.items()})
        size = sum(cast(int, encoder.embedding_size) + 3 for encoder in self.encoders.values())
        self.head = nn.Sequential(
            nn.LayerNorm(size), nn.Dropout(config.dropout), nn.Linear(size, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1)
        )

    def forward(self, modalities: Mapping[str, ModalityInput], ridges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores [B], levels supervised beside them [B, L], and whether any modality is present, bool [B].

        modalities: of B clips. ridges: [B, M] scores of the ridge regressions.
        """
        outputs = [encode(encoder, modalities[modality]) for modality, encoder in self.encoders.items()]
        present = torch.stack([output.present for output in outputs], 1)
        embeddings = [output.embedding for output in outputs]
        scores = torch.stack([output.levels.mean(1) for output in outputs], 1)
        score = self.head(torch.cat([*embeddings, scores, ridges, present.to(ridges.dtype)], 1)).squeeze(-1)
        return score, torch.cat([output.levels for output in outputs], 1), present.any(1)


def concatenation_scores(
    dataset: ClipDataset,
    train: Sequence[int],
    test: Sequence[int],
    groups: np.ndarray,
    config: VdvConfig,
    device: torch.device,
) -> np.ndarray:
    """Scores of the test clips by a Concatenation trained like the encoders, float64; NaN without any modality.

    Args:
        dataset: with the labels to train towards; `train` as fit.learnable_rows gives it.
        groups: int64 [clips], creators. A training clip's regression is fitted without its creator, as on test clips,
            too, regressions score creators that they have not seen.
    """
    torch.manual_seed(config.seed)
    model = Concatenation(config, dataset.inputs).to(device)
    ridges = _ridge_scores(dataset, np.asarray(train), np.asarray(test), groups, config)
    view = dataset.view(*dataset.inputs, training=True)
    batches = ChallengeBatches(dataset.clips["challenge"].tolist(), train, config.batch_clips, config.seed)
    loader = DataLoader(view, batch_sampler=batches, collate_fn=view.collate)
    _train(model, loader, ridges, config, device, steps=config.epochs * len(batches))
    _settle_norms(model, loader, ridges, device)
    return _score(model.eval(), dataset.view(*dataset.inputs, training=False), test, ridges, config, device)


def _ridge_scores(
    dataset: ClipDataset, train: np.ndarray, test: np.ndarray, groups: np.ndarray, config: VdvConfig
) -> Tensor:
    """Scores of each modality's ridge regression, in units of their spread on training clips: float32 [clips, M]."""
    scores = np.zeros((len(dataset), len(dataset.inputs)), np.float32)
    if not config.ridge:
        return torch.from_numpy(scores)
    challenge = dataset.clips["challenge"].to_numpy(str)
    target = normal_score(dataset.clips["percentile"].to_numpy(float))
    fold_of = np.full(len(dataset), -1)
    fold_of[train] = assign_folds(groups[train], challenge[train].tolist(), config.inner_folds, config.seed)
    trained = np.isin(np.arange(len(dataset)), train)
    for place, modality in enumerate(dataset.inputs):
        statistics = read_clip_statistics(dataset, modality, [*train, *test])
        for fold in range(-1, fold_of.max() + 1):  # -1: the test clips, by a regression on all training clips
            seen = np.flatnonzero(trained & statistics.present & (fold_of != fold))
            unseen = np.intersect1d(np.flatnonzero(statistics.present & (fold_of == fold)), [*train, *test])
            if len(seen) > 1 and len(unseen):
                ridge = fit_ridge(
                    statistics.values[seen], target[seen], challenge[seen], groups[seen], config.seed, statistics.limit
                )
                scores[unseen, place] = ridge(statistics.values[unseen])
    spread = scores[train].std(0)
    return torch.from_numpy(scores / np.where(spread > 1e-6, spread, 1.0))


def _train(
    model: Concatenation, loader: DataLoader, ridges: Tensor, config: VdvConfig, device: torch.device, steps: int
) -> None:
    groups = _parameter_groups(model, config)
    optimiser = torch.optim.AdamW(groups, config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in groups], total_steps=max(steps, 1)
    )
    model.train()
    for _ in range(config.epochs):
        for batch in loader:
            loss = _loss(model, batch, ridges, config, device)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimiser.step()
            schedule.step()


def _parameter_groups(model: Concatenation, config: VdvConfig) -> list[dict]:
    """Parameter groups: each modality's network at the rate that it has alone, the head at that of most modalities."""
    parts = [(encoder, config.rate(model.specs[modality].is_skeleton)) for modality, encoder in model.encoders.items()]
    return [
        {**group, "lr": rate}
        for part, rate in [*parts, (model.head, config.learning_rate)]
        for group in parameter_groups(part, config.weight_decay)
    ]


def _loss(model: Concatenation, batch: ClipBatch, ridges: Tensor, config: VdvConfig, device: torch.device) -> Tensor:
    score, levels, present = model(to_device(batch.inputs, device), ridges[batch.row].to(device))
    target, challenge = batch.percentile.to(device), batch.challenge.to(device)
    counted = batch.counted.to(device) & present
    return loss_of(score, levels, target, challenge, counted, config)


@torch.no_grad()
def _settle_norms(model: Concatenation, loader: DataLoader, ridges: Tensor, device: torch.device) -> None:
    for batch in loader if reset_norm_statistics(model) else ():
        model(to_device(batch.inputs, device), ridges[batch.row].to(device))


@torch.inference_mode()
def _score(
    model: Concatenation,
    view: ClipDataset,
    rows: Sequence[int],
    ridges: Tensor,
    config: VdvConfig,
    device: torch.device,
) -> np.ndarray:
    scores = []
    for batch in view.in_batches(rows, config.batch_clips):
        score, _, present = model(to_device(batch.inputs, device), ridges[batch.row].to(device))
        scores.append(torch.where(present, score, torch.nan).cpu())
    return torch.cat(scores).double().numpy() if scores else np.zeros(0)
