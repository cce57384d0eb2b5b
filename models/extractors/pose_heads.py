"""Changes to the heads of mmpose's networks: precision, and bounds on work. No result changes.

Two kinds of head are supported: one-stage heads (RTMO), which predict whole people (models.extractors.rtmo decodes
them), and heads that group keypoints by associative embedding: 17 heatmaps of joints, and a tag that groups the joints
of one person.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.device import autocast


def run_in_autocast(model: Any, device: torch.device, input_count: Callable[[], int]) -> None:
    """Run the network in the device's precision, and the decoding of its outputs in float32.

    Half precision suits the network, not coordinates: at 640 px float16 has steps of half a pixel. Every mmpose head's
    `predict` gets its tensors from its `forward`, so that is where float32 begins, and where the outputs of inputs that
    only pad the batch (all after the first `input_count()`) are cut off, so that they are not decoded.
    """
    extract, forward = model.extract_feat, model.head.forward

    def extract_feat(inputs: Tensor) -> Any:
        with autocast(device):
            return extract(inputs)

    def head_forward(features: Any) -> Any:
        with autocast(device):
            return _finish(forward(features), input_count())

    model.extract_feat = extract_feat
    model.head.forward = head_forward


def _finish(outputs: Any, count: int) -> Any:
    if isinstance(outputs, Tensor):
        return outputs[:count].float()
    if isinstance(outputs, tuple | list):
        return type(outputs)(_finish(output, count) for output in outputs)
    return outputs  # None where a head lacks a branch


def bound_filling(head: Any, max_persons: int, score_threshold: float) -> None:
    """Look for the missing joints of those people only whom the extractor keeps; the others get NaN, which it drops.

    With associative embedding, each joint that a group lacks is searched for over the whole heatmap. With `use_udp`
    mmpose has by then overwritten the heatmaps with their logarithm, so that a joint filled in has the logarithm of its
    score. Here it gets the score itself.
    """
    decoder: Any = getattr(head, "decoder", None)
    if not hasattr(decoder, "_fill_missing_keypoints"):
        return
    fill = decoder._fill_missing_keypoints

    def fill_missing(
        keypoints: np.ndarray, scores: np.ndarray, heatmaps: np.ndarray, tags: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """keypoints [G, 17, 2], scores [G, 17]; 0 is a missing joint."""
        group_scores = scores.mean(axis=-1)
        kept = np.flatnonzero(group_scores > score_threshold)
        kept = kept[np.argsort(-group_scores[kept], kind="stable")][:max_persons]
        filled, filled_scores = np.full_like(keypoints, np.nan), np.zeros_like(scores)
        if len(kept):
            missing = scores[kept] <= 0
            filled[kept], values = fill(keypoints[kept], scores[kept], heatmaps, tags)
            filled_scores[kept] = np.where(missing, np.exp(values), values) if decoder.use_udp else values
        return filled, filled_scores

    decoder._fill_missing_keypoints = fill_missing
