"""Other ways to fuse the scores of the same encoders, to hold the attentive fusion against. Nothing is trained anew
but the fusion, on the same scores of clips held out."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from models.virality.config import VdvConfig
from models.virality.fusion import AttentiveFusion
from models.virality.vdv import Vdv, build_fusion
from pipeline.training.fusion import HeldOut, modality_coefficients, train_attention


def fuse_otherwise(model: Vdv, held: HeldOut, scores: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Scores of the clips that `scores` has, by other fusions; NaN where a fusion is given nothing.

    Args:
        held: what the model's fusion learned from (fit.Fitted.held).
        scores: as score.score_rows gives it, indexed by row.
        clips: the dataset's table, for the quality of each clip's modalities.

    Returns:
        Columns, indexed as `scores`:
        mean: calibrated scores, each modality as much as another.
        reliability: weighed by reliability alone, the same for every clip: non-negative ridge stacking.
        best_single: the modality found most reliable on the clips held out.
        only_<modality>+<modality>: the fusion calibrated and trained anew for these modalities, of each two and each
        three. without_<modality>: the model as it is, told that the clips lack the modality.
        Those that need two modalities or more are missing where there are fewer.
    """
    modalities = model.modalities
    if len(modalities) < 2:
        return pd.DataFrame(index=scores.index)
    said = torch.tensor(
        scores[[f"score_{modality}" for modality in modalities]].to_numpy(float, na_value=np.nan)
    ).float()
    present = said.isfinite()
    quality = torch.tensor(clips.loc[scores.index, [f"quality_{modality}" for modality in modalities]].to_numpy(float))
    score, quality = said.nan_to_num(), quality.float()

    fusion, everything = model.fusion, list(range(len(modalities)))
    found = {
        mode: _refused(replace(model.config, fusion=mode), held, everything, score, quality, present)
        for mode in ("mean", "reliability")
    }
    best = int(modality_coefficients(held).argmax())
    found["best_single"] = _where(score[:, best], present[:, best])
    for count in range(2, len(modalities)):
        for chosen in combinations(range(len(modalities)), count):
            name = "+".join(modalities[at] for at in chosen)
            found[f"only_{name}"] = _refused(model.config, held, list(chosen), score, quality, present)
    for place, modality in enumerate(modalities):
        left = present.clone()
        left[:, place] = False
        found[f"without_{modality}"] = _apply(fusion, score, quality, left)
    return pd.DataFrame({name: values.double().numpy() for name, values in found.items()}, index=scores.index)


def _refused(
    config: VdvConfig, held: HeldOut, chosen: list[int], score: Tensor, quality: Tensor, present: Tensor
) -> Tensor:
    """By a fusion of the chosen modalities alone."""
    some = replace(held, score=held.score[:, chosen], quality=held.quality[:, chosen], present=held.present[:, chosen])
    fusion = build_fusion(len(chosen), config)
    train_attention(fusion, some, config)
    return _apply(fusion, score[:, chosen], quality[:, chosen], present[:, chosen])


@torch.inference_mode()
def _apply(fusion: AttentiveFusion, score: Tensor, quality: Tensor, present: Tensor) -> Tensor:
    fused, _ = fusion.eval()(score, quality, present)
    return _where(fused, present.any(1))


def _where(values: Tensor, there: Tensor) -> Tensor:
    return torch.where(there, values, torch.nan)
