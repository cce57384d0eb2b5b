"""Other readings of the same evidence, to compare the joint model with: only the joint model is fitted anew."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch

from models.virality.config import CONTEXT
from models.virality.joint import Evidence
from models.virality.vdv import Vdv, encode
from pipeline.dataset.loading import ClipDataset
from pipeline.modalities.registry import find_modality
from pipeline.training.fit import Fitted
from pipeline.training.joint import NETWORK, WITHOUT_NETWORKS, fit_joint, read_context


@torch.inference_mode()
def read_evidence(model: Vdv, dataset: ClipDataset, rows: list[int], device: torch.device) -> dict[str, Evidence]:
    """What the joint model reads of these rows of the dataset, by modality, and of CONTEXT where it reads that."""
    evidence = {}
    for modality in model.modalities:
        parts = []
        for batch in dataset.view(modality, training=False).in_batches(rows, model.config.batch_clips):
            given = batch.inputs[modality].to(device)
            of_batch = model.read(modality, given, encode(model.encoders[modality], given))
            parts.append([value.cpu() for value in of_batch])
        evidence[modality] = Evidence(*(torch.cat(column) for column in zip(*parts, strict=True)))
    if model.context is not None:
        evidence[CONTEXT] = Evidence(*(value.cpu() for value in read_context(model.context, dataset.clips.iloc[rows])))
    return evidence


def other_fusion_scores(fitted: Fitted, evidence: Mapping[str, Evidence], rows: list[int]) -> pd.DataFrame:
    """Scores of clips by other readings of their evidence (`read_evidence`); NaN where one has no input.

    Those that are the joint model without something keep the context, where the model has it.

    Returns:
        Columns, indexed by `rows`:
        networks: the networks' scores alone, weighted clip by clip: the paper's attentive fusion of predictions.
        statistics: the statistics alone, without networks.
        no_gates: as if quality said nothing.
        content: without the context; only where the model has it.
        mean: of the modalities' parts, each in units of its spread.
        best_single: the modality whose part explains most of the training clips' labels.
        only_<modality>+<modality>: the joint model fitted anew to these modalities: to each two, to all but one, and to
            those that `looks_left_out` keeps.
        without_<modality>: the model as it is, as if the clips lacked the modality.
        The last four only where there are two modalities or more.
    """
    modalities = fitted.model.modalities
    context = tuple(name for name in fitted.evidence if name == CONTEXT)

    def anew(names: tuple[str, ...], **options: Any) -> np.ndarray:
        of_clips = {name: fitted.evidence[name] for name in names}
        joint = fit_joint(of_clips, fitted.clips, seed=fitted.model.config.seed, **options)
        return _summed(joint.parts({name: evidence[name] for name in names}), evidence)

    fused = {
        "networks": anew(modalities, kinds=(NETWORK,)),
        "statistics": anew(modalities + context, kinds=WITHOUT_NETWORKS),
        "no_gates": anew(modalities + context, gates=False),
    }
    if context:
        fused["content"] = anew(modalities)
    parts = fitted.joint.parts(evidence)
    if len(modalities) > 1:
        spread = {name: max(float(fitted.model.part(name).spread), 1e-9) for name in modalities}
        fused["mean"] = _summed({name: parts[name] / spread[name] for name in modalities}, evidence)
        best = max(modalities, key=lambda name: spread[name])
        fused["best_single"] = _summed({best: parts[best]}, evidence)
        for chosen in dict.fromkeys([*subsets(modalities), *looks_left_out(modalities).values()]):
            fused[only(chosen)] = anew(chosen + context)
        for modality in modalities:
            fused[f"without_{modality}"] = _summed(
                {name: part for name, part in parts.items() if name != modality}, evidence
            )
    return pd.DataFrame(fused, index=rows)


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Each two of the modalities, and all but each one; of six, all sets would be 56."""
    counts = sorted({2, len(modalities) - 1} - {0, 1, len(modalities)})
    return [chosen for count in counts for chosen in combinations(modalities, count)]


def looks_left_out(modalities: Sequence[str]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """What is left of the modalities without each that shows looks, then without all of these, by what is left out.

    A set that would leave none is not there.
    """
    looks = tuple(name for name in modalities if find_modality(name).shows_looks)
    sets = dict.fromkeys([*((name,) for name in looks), looks])
    kept = {left_out: tuple(name for name in modalities if name not in left_out) for left_out in sets if left_out}
    return {left_out: names for left_out, names in kept.items() if names}


def only(modalities: Sequence[str]) -> str:
    """Column of the joint model fitted anew to these modalities."""
    return f"only_{'+'.join(modalities)}"


def _summed(parts: Mapping[str, np.ndarray], evidence: Mapping[str, Evidence]) -> np.ndarray:
    """Sum of the parts; NaN where a clip has none of these modalities, whatever is known of its context."""
    present = np.stack([evidence[name].present.numpy() for name in parts if name != CONTEXT], 1).any(1)
    return np.where(present, np.sum(list(parts.values()), 0), np.nan)
