"""Other fusions of the same encoders' scores, to compare the attentive fusion with.

Only the fusion is trained anew, on the same scores of clips held out.
"""

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


def other_fusion_scores(model: Vdv, held: HeldOut, scores: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Scores of the clips of `scores` by other fusions; NaN where a fusion has no input.

    Args:
        held: what the model's fusion was trained on (fit.Fitted.held).
        scores: as scores.score_rows gives it, indexed by row.
        clips: the dataset's table, for the quality of each clip's modalities.

    Returns:
        Columns, indexed as `scores`:
        mean: of the calibrated scores.
        reliability: weights by reliability alone, the same for every clip: non-negative ridge stacking.
        best_single: the modality that is most reliable on the clips held out.
        only_<modality>+<modality>: the fusion calibrated and trained anew on these modalities, of each two and each
        three. without_<modality>: the model as it is, as if the clips lacked the modality.
        Without columns where there are fewer than two modalities.
    """
    modalities = model.modalities
    if len(modalities) < 2:
        return pd.DataFrame(index=scores.index)
    columns = [f"score_{modality}" for modality in modalities]
    encoded = torch.tensor(scores[columns].to_numpy(float, na_value=np.nan)).float()
    present = encoded.isfinite()
    quality = torch.tensor(clips.loc[scores.index, [f"quality_{modality}" for modality in modalities]].to_numpy(float))
    score, quality = encoded.nan_to_num(), quality.float()

    fusion, everything = model.fusion, list(range(len(modalities)))
    fused = {
        mode: _fuse_anew(replace(model.config, fusion=mode), held, everything, score, quality, present)
        for mode in ("mean", "reliability")
    }
    best = int(modality_coefficients(held).argmax())
    fused["best_single"] = _or_nan(score[:, best], present[:, best])
    for count in range(2, len(modalities)):
        for chosen in combinations(range(len(modalities)), count):
            name = "+".join(modalities[at] for at in chosen)
            fused[f"only_{name}"] = _fuse_anew(model.config, held, list(chosen), score, quality, present)
    for place, modality in enumerate(modalities):
        others = present.clone()
        others[:, place] = False
        fused[f"without_{modality}"] = _apply(fusion, score, quality, others)
    return pd.DataFrame({name: values.double().numpy() for name, values in fused.items()}, index=scores.index)


def _fuse_anew(
    config: VdvConfig, held: HeldOut, chosen: list[int], score: Tensor, quality: Tensor, present: Tensor
) -> Tensor:
    """Scores by a fusion trained on the chosen modalities alone."""
    some = replace(held, score=held.score[:, chosen], quality=held.quality[:, chosen], present=held.present[:, chosen])
    fusion = build_fusion(len(chosen), config)
    train_attention(fusion, some, config)
    return _apply(fusion, score[:, chosen], quality[:, chosen], present[:, chosen])


@torch.inference_mode()
def _apply(fusion: AttentiveFusion, score: Tensor, quality: Tensor, present: Tensor) -> Tensor:
    fused, _ = fusion.eval()(score, quality, present)
    return _or_nan(fused, present.any(1))


def _or_nan(values: Tensor, present: Tensor) -> Tensor:
    return torch.where(present, values, torch.nan)
