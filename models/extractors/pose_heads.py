"""Changes to the heads of mmpose's networks: precision, and bounds on work. No result changes.

Two kinds of head are supported: one-stage heads (RTMO), which predict whole people, and heads that group keypoints by
associative embedding: 17 heatmaps of joints, and a tag that groups the joints of one person.
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


def bound_decoding(head: Any, max_persons: int, score_threshold: float) -> None:
    """Limit the costliest step of the head's decoding to the people that the extractor keeps.

    All others get NaN, which the extractor drops.
    """
    if hasattr(head, "dcc"):
        _bound_coordinates(head.dcc, max_persons)
    elif hasattr(head.decoder, "_fill_missing_keypoints"):
        _bound_filling(head.decoder, max_persons, score_threshold)


def _bound_coordinates(classifier: Any, max_persons: int) -> None:
    """RTMO: non-maximum suppression returns people best first; only `max_persons` of them need decoding."""
    decode = classifier.forward_test

    def forward_test(pose_feats: Tensor, bbox_cs: Tensor, grids: Tensor) -> Tensor:
        kept = decode(pose_feats[:max_persons], bbox_cs[:max_persons], grids[:max_persons])
        dropped = len(grids) - len(kept)
        return torch.cat((kept, kept.new_full((dropped, *kept.shape[1:]), float("nan"))))

    classifier.forward_test = forward_test


def _bound_filling(decoder: Any, max_persons: int, score_threshold: float) -> None:
    """Associative embedding: each joint that a group lacks is searched for over the whole heatmap.

    With `use_udp` mmpose has by then overwritten the heatmaps with their logarithm, so that a joint filled in has the
    logarithm of its score. Here it gets the score itself.
    """
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
