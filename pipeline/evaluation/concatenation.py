"""Fusion by concatenation: all encoders and one head on their embeddings, trained together."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, ModalityInput, to_device
from models.virality.vdv import build_encoder, encode
from pipeline.dataset.loading import ChallengeBatches, ClipBatch, ClipDataset
from pipeline.training.optimisation import loss_of, parameter_groups, reset_norm_statistics

_HIDDEN = 32


class Concatenation(nn.Module):
    """The modalities' networks, and a perceptron on their embeddings and scores.

    Trained end to end on the training clips, so that the head learns on the embeddings of the encoders that it is
    used with. The networks' own levels are supervised too, as they are in Vdv.
    """

    def __init__(self, config: VdvConfig, specs: Mapping[str, InputSpec]):
        super().__init__()
        self.specs = dict(specs)
        self.encoders = nn.ModuleDict({modality: build_encoder(config, spec) for modality, spec in specs.items()})
        size = sum(cast(int, encoder.embedding_size) + 2 for encoder in self.encoders.values())
        self.head = nn.Sequential(
            nn.LayerNorm(size), nn.Dropout(config.dropout), nn.Linear(size, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1)
        )

    def forward(self, modalities: Mapping[str, ModalityInput]) -> tuple[Tensor, Tensor, Tensor]:
        """Scores [B], levels supervised beside them [B, L], and whether any modality is present, bool [B].

        modalities: of B clips.
        """
        outputs = [encode(encoder, modalities[modality]) for modality, encoder in self.encoders.items()]
        present = torch.stack([output.present for output in outputs], 1)
        embeddings = [output.embedding for output in outputs]
        scores = torch.stack([output.score for output in outputs], 1)
        score = self.head(torch.cat([*embeddings, scores, present.to(scores.dtype)], 1)).squeeze(-1)
        return score, torch.cat([output.levels for output in outputs], 1), present.any(1)


def concatenation_scores(
    dataset: ClipDataset,
    train: Sequence[int],
    test: Sequence[int],
    config: VdvConfig,
    device: torch.device,
) -> np.ndarray:
    """Scores of the test clips by a Concatenation trained like the encoders, float64; NaN without any modality.

    Args:
        dataset: with the labels to train towards; `train` as fit.learnable_rows gives it.
    """
    torch.manual_seed(config.seed)
    model = Concatenation(config, dataset.inputs).to(device)
    view = dataset.view(*dataset.inputs, training=True)
    batches = ChallengeBatches(dataset.clips["challenge"].tolist(), train, config.batch_clips, config.seed)
    loader = DataLoader(view, batch_sampler=batches, collate_fn=view.collate)
    has_skeleton = any(spec.is_skeleton for spec in dataset.inputs.values())
    _train(model, loader, config, device, config.epochs_of(len(batches), has_skeleton))
    _settle_norms(model, loader, device)
    return _score(model.eval(), dataset.view(*dataset.inputs, training=False), test, config, device)


def _train(model: Concatenation, loader: DataLoader, config: VdvConfig, device: torch.device, epochs: int) -> None:
    groups = _parameter_groups(model, config)
    optimiser = torch.optim.AdamW(groups, config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in groups], total_steps=max(epochs * len(loader), 1)
    )
    model.train()
    for _ in range(epochs):
        for batch in loader:
            loss = _loss(model, batch, config, device)
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


def _loss(model: Concatenation, batch: ClipBatch, config: VdvConfig, device: torch.device) -> Tensor:
    score, levels, present = model(to_device(batch.inputs, device))
    target, challenge = batch.percentile.to(device), batch.challenge.to(device)
    counted = batch.counted.to(device) & present
    return loss_of(score, levels, target, challenge, counted, config)


@torch.no_grad()
def _settle_norms(model: Concatenation, loader: DataLoader, device: torch.device) -> None:
    for batch in loader if reset_norm_statistics(model) else ():
        model(to_device(batch.inputs, device))


@torch.inference_mode()
def _score(
    model: Concatenation,
    view: ClipDataset,
    rows: Sequence[int],
    config: VdvConfig,
    device: torch.device,
) -> np.ndarray:
    scores = []
    for batch in view.in_batches(rows, config.batch_clips):
        score, _, present = model(to_device(batch.inputs, device))
        scores.append(torch.where(present, score, torch.nan).cpu())
    return torch.cat(scores).double().numpy() if scores else np.zeros(0)
