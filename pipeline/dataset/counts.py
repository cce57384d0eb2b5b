"""Counts of a dataset's clips, as its statistics.json states them."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pipeline.dataset.labels import TRAIN


def count_clips(clips: pd.DataFrame, modalities: Sequence[str]) -> dict:
    """Numbers of clips by ending, code, split, challenge and modality, and of copies.

    clips: of clips.parquet.
    """
    challenges = {}
    for name, group in clips.groupby("challenge"):
        challenges[str(name)] = {
            "clips": len(group),
            "labelled": int(group["label"].notna().sum()),
            "train": int((group["split"] == TRAIN).sum()),
        }
    return {
        "clips": len(clips),
        "status": {status: int((clips["status"] == status).sum()) for status in ("ok", "partial", "failed")},
        "codes": dict(sorted(Counter(code for code in clips["code"] if code).items())),
        "split": {str(side): int(count) for side, count in clips["split"].value_counts().sort_index().items()},
        "challenges": challenges,
        "modalities": {modality: int(clips[f"shard_{modality}"].notna().sum()) for modality in modalities},
        "copies": _count_copies(clips),
    }


def _count_copies(clips: pd.DataFrame) -> dict[str, int]:
    """Numbers of clips that are copies of an earlier one: the same file, and near-duplicates."""
    copies = clips[clips["copies"].notna() & (clips["copies"] != clips["clip_id"])]
    exact = clips.duplicated(["content_hash"]) & (clips["content_hash"] != "")
    same_file = int(exact[copies.index].sum())
    return {"of_a_file": same_file, "near": len(copies) - same_file}
