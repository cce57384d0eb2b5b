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
from models.extractors.compiled import compiled


class HeadOutputs:
    """What an mmpose estimator's head returns for a batch of inputs, in float32: its `predict` decodes that.

    The network is compiled for a CPU and runs in half precision on a GPU, which suits networks, not coordinates: at
    640 px float16 has steps of half a pixel.
    """

    def __init__(self, model: Any, device: torch.device, is_part: bool = False):
        """is_part: whether this is part of what the caller has recorded."""
        network = _FromInputToHead(model.requires_grad_(False))
        self._network = network if is_part and device.type != "cpu" else compiled(network, device)
        self._device = device

    def __call__(self, inputs: Tensor, count: int) -> Any:
        """Maps of the first `count` of the inputs; the others only pad the batch, and need no decoding.

        inputs: float32 [B, 3, H, W] as the estimator's preprocessor gives them.
        """
        with autocast(self._device):
            return _finish(self._network(inputs), count)


class _FromInputToHead(torch.nn.Module):
    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self._extract, self._forward = model.extract_feat, model.head.forward  # `run_within` replaces them

    def forward(self, inputs: Tensor) -> Any:
        return self._forward(self._extract(inputs))


def run_within(model: Any, outputs: HeadOutputs, input_count: Callable[[], int]) -> None:
    """Have mmpose's own test step take the head's outputs from `outputs`.

    Every mmpose head's `predict` gets its tensors from its `forward`, and the features for that from `extract_feat`,
    which are of no other use: the inputs pass in their place.
    """
    sequence = tuple if model.test_cfg.get("flip_test", False) else list  # what `predict` insists on
    model.extract_feat = lambda inputs: sequence([inputs])
    model.head.forward = lambda features: outputs(features[0], input_count())


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
