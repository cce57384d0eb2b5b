"""Changes to the heads of mmpose's networks: precision, and bounds on work. No result changes.

Two kinds of head serve: one-stage heads (RTMO), which give whole people, and heads that group keypoints by associative
embedding, which give 17 heatmaps of joints and a tag a joint that says whose it is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.device import autocast


def run_in_autocast(model: Any, device: torch.device, wanted: Callable[[], int]) -> None:
    """Makes the network run in the device's precision, and what decodes its outputs in float32.

    Half precision suits the network, not coordinates: at 640 px float16 has steps of half a pixel. Every mmpose head's
    `predict` gets its tensors from its `forward`, so that is where float32 begins, and where the outputs of inputs that
    only pad the batch (those behind the first `wanted()`) are cut off, so that nobody decodes them.
    """
    extract, forward = model.extract_feat, model.head.forward

    def extract_feat(inputs: Tensor) -> Any:
        with autocast(device):
            return extract(inputs)

    def head_forward(features: Any) -> Any:
        with autocast(device):
            return _finish(forward(features), wanted())

    model.extract_feat = extract_feat
    model.head.forward = head_forward


def _finish(outputs: Any, count: int) -> Any:
    if isinstance(outputs, Tensor):
        return outputs[:count].float()
    if isinstance(outputs, tuple | list):
        return type(outputs)(_finish(output, count) for output in outputs)
    return outputs  # None where a head lacks a branch


def decode_only_kept(head: Any, max_persons: int, score_threshold: float) -> None:
    """Bounds the head's costliest step of decoding by the people that the extractor keeps.

    Whoever would be cut afterwards gets NaN instead, and the extractor leaves NaN out.
    """
    if hasattr(head, "dcc"):
        _bound_coordinates(head.dcc, max_persons)
    elif hasattr(head.decoder, "_fill_missing_keypoints"):
        _bound_filling(head.decoder, max_persons, score_threshold)


def _bound_coordinates(classifier: Any, max_persons: int) -> None:
    """RTMO: non-maximum suppression hands people on best first; the rest would be decoded for nothing."""
    decode = classifier.forward_test

    def forward_test(pose_feats: Tensor, bbox_cs: Tensor, grids: Tensor) -> Tensor:
        kept = decode(pose_feats[:max_persons], bbox_cs[:max_persons], grids[:max_persons])
        cut = len(grids) - len(kept)
        return torch.cat((kept, kept.new_full((cut, *kept.shape[1:]), float("nan"))))

    classifier.forward_test = forward_test


def _bound_filling(decoder: Any, max_persons: int, score_threshold: float) -> None:
    """Associative embedding: joints that a group lacks are searched for over the whole heatmap, each.

    With `use_udp` mmpose has by then overwritten the heatmaps with their logarithm, and gives a joint that it filled
    in the logarithm for a score. Here the joint gets the score meant.
    """
    fill = decoder._fill_missing_keypoints

    def fill_missing(
        keypoints: np.ndarray, scores: np.ndarray, heatmaps: np.ndarray, tags: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """keypoints [G, 17, 2], scores [G, 17] where 0 is a joint that is missing."""
        whole = scores.mean(axis=-1)
        kept = np.flatnonzero(whole > score_threshold)
        kept = kept[np.argsort(-whole[kept], kind="stable")][:max_persons]
        filled, filled_scores = np.full_like(keypoints, np.nan), np.zeros_like(scores)
        if len(kept):
            missing = scores[kept] <= 0
            filled[kept], found = fill(keypoints[kept], scores[kept], heatmaps, tags)
            filled_scores[kept] = np.where(missing, np.exp(found), found) if decoder.use_udp else found
        return filled, filled_scores

    decoder._fill_missing_keypoints = fill_missing
