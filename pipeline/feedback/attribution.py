"""Which joint in which frame a skeleton's score comes from: integrated gradients (Sundararajan et al., ICML 2017).

By captum, from the clip's mean pose, standing still, as the baseline. The attributions of a clip sum to how much its
score is above that of somebody who does nothing.
"""

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from models.virality.config import VdvConfig
from models.virality.skeleton import Posture
from models.virality.vdv import ModalityInput, encode
from pipeline.dataset.loading import fixed_frames

# Clips x samplings x steps that go through the network at once, with what backward needs of them: 0.2 GB.
_TOGETHER = 192
# The way from baseline to clip is walked slowly at first. Correlations of speeds do not depend on how large the speeds
# are: all that they add to the score is added in the first hundredth of the way, where even steps would have one node.
_EASE = 2


def integrated_gradients(encoder: nn.Module, modality: ModalityInput, steps: int = 24) -> Tensor:
    """What each joint in each segment of time adds to the skeleton's score, float32 [B, T, V], 0 of absent clips.

    Of the mixed score, network and line, of the K samplings' mean: segment t is the t-th frame of each sampling
    (`segment_seconds`). Confidence is as in the clip along the whole way, and so adds nothing. The sum over T and V is
    score(clip) - score(baseline).

    Args:
        encoder: of the skeleton modality, in eval mode, on the device of `modality`.
        modality: of B clips, as pipeline.dataset.loading's `pad` gives it.
        steps: nodes of the Gauss-Legendre quadrature along the way.
    """
    present = modality.mask.flatten(1).any(1)
    found = torch.zeros(modality.mask.shape[0], *modality.mask.shape[2:], device=modality.mask.device)
    if not present.any():
        return found
    values, mask = modality.values[present], modality.mask[present]
    values = torch.where(mask.any(-1)[:, :, None, :, None], values, 0.0)  # what is not there may be anything, NaN too
    baseline = mean_pose(values, mask)
    ones = torch.ones_like(values)

    def score(way: Tensor, values: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
        """way: 0 at the baseline, 1 at the clip."""
        between = baseline + way.pow(_EASE) * (values - baseline)
        none = between.new_zeros(len(between))
        return encode(encoder, "pose", ModalityInput(between, mask, none, none)).score

    with torch.enable_grad():
        parts = IntegratedGradients(score).attribute(
            ones,
            torch.zeros_like(values),
            additional_forward_args=(values, baseline, mask),
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=max(len(values), _TOGETHER // mask.shape[1]),
        )
    # What is the baseline's adds nothing; a speed of 0 has no derivative, which would make it NaN.
    parts = torch.where(values == baseline, 0.0, parts)
    found[present] = parts.sum((1, 2)).float()  # over samplings, of whose scores the clip's is the mean, and streams
    return found


def mean_pose(values: Tensor, mask: Tensor) -> Tensor:
    """The clips' mean pose in every frame that shows something, without motion; the shape of `values` [B, K, 9, T, V].

    Streams as skeleton.streams_at lays them out: joint and bone become their means, motions 0, confidence stays.
    """
    shown = mask.any(-1)[:, :, None, :, None]
    places = (values.shape[2] - 1) // 2  # streams of joints and bones; as many of their motions follow
    mean = (values * shown).sum(3, keepdim=True) / shown.sum(3, keepdim=True).clamp(min=1)
    still = torch.zeros_like(values)
    still[:, :, :places] = (mean * shown)[:, :, :places]
    still[:, :, -1] = values[:, :, -1]
    return still


def segment_seconds(posture: Posture, config: VdvConfig) -> np.ndarray:
    """float64 [T]: when each of the T segments of `integrated_gradients` is, the samplings' mean."""
    frames = fixed_frames(posture, config).reshape(config.samplings, config.frames)
    return posture.seconds[frames].mean(0)
