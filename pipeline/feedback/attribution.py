"""Attribution of the pose's part of the score to joints and frames: integrated gradients (Sundararajan et al., 2017).

By captum, with the clip's mean pose, standing still, as the baseline. The attributions of a clip sum to its score less
that of somebody who does nothing.
"""

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from models.virality.config import VdvConfig
from models.virality.inputs import ModalityInput
from models.virality.pose_sampling import scoring_frames
from models.virality.skeleton import Posture
from models.virality.vdv import Vdv

# Clips x samplings x steps that go through the network at once; with what backward needs of them, 0.2 GB.
_BATCH = 192
# The path from baseline to clip is walked slowly at first. Correlations of speeds do not depend on how large the speeds
# are: all that they add to the score is added in the first hundredth of the path, where even steps would have one node.
_EASE = 2


def integrated_gradients(model: Vdv, pose: ModalityInput, steps: int = 24) -> Tensor:
    """Contributions of each joint in each segment of time to the pose's part of the score, float32 [B, T, V].

    0 of an absent clip. Of the K samplings' mean: segment t is the t-th frame of each sampling
    (`segment_seconds`). Confidence is as in the clip along the whole path, and so adds nothing. The sum over T and V is
    score(clip) - score(baseline).

    Args:
        model: in eval mode, on the device of `pose`.
        pose: of B clips, as pipeline.dataset.loading's `pad` gives it.
        steps: nodes of the Gauss-Legendre quadrature along the path.
    """
    present = pose.mask.flatten(1).any(1)
    attributions = torch.zeros(pose.mask.shape[0], *pose.mask.shape[2:], device=pose.mask.device)
    if not present.any():
        return attributions
    values, mask = pose.values[present], pose.mask[present]
    values = torch.where(mask[:, :, None], values, 0.0)  # absent values may be anything, NaN too
    baseline = mean_pose(values, mask)

    def score(progress: Tensor, values: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
        """progress: 0 at the baseline, 1 at the clip."""
        between = baseline + progress.pow(_EASE) * (values - baseline)
        return model.part_at_usual_quality("pose", between, mask, still=True)

    with torch.enable_grad():
        gradients = IntegratedGradients(score).attribute(
            torch.ones_like(values),
            torch.zeros_like(values),
            additional_forward_args=(values, baseline, mask),
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=max(len(values), _BATCH // mask.shape[1]),
        )
    # Values equal to the baseline's add nothing; a speed of 0 has no derivative, which would make them NaN.
    gradients = torch.where(values == baseline, 0.0, gradients)
    # Over samplings, of whose scores the clip's is the mean, and streams.
    attributions[present] = gradients.sum((1, 2)).float()
    return attributions


def mean_pose(values: Tensor, mask: Tensor) -> Tensor:
    """The clips' mean pose wherever a joint is seen, without motion; the shape of `values` [B, K, 9, T, V].

    Streams in the order of skeleton.streams_at: joint and bone become their means, motions 0, confidence stays.
    """
    shown = mask[:, :, None]
    static = (values.shape[2] - 1) // 2  # streams of joints and bones; as many of their motions follow
    mean = (values * shown).sum(3, keepdim=True) / shown.sum(3, keepdim=True).clamp(min=1)
    still = torch.zeros_like(values)
    still[:, :, :static] = (mean * shown)[:, :, :static]
    still[:, :, -1] = values[:, :, -1]
    return still


def segment_seconds(posture: Posture, config: VdvConfig) -> np.ndarray:
    """float64 [T] seconds of the T segments of `integrated_gradients`, the mean over samplings."""
    frames = scoring_frames(posture, config).reshape(config.samplings, config.frames)
    return posture.seconds[frames].mean(0)
