"""Random pose weights that see about as many people as trained ones do."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from models.weights.profiles import Profile
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool
from pipeline.decode.sampling import expected_frames
from pipeline.ingest.clip_table import IngestedClip
from pipeline.modalities.registry import is_trained

_THRESHOLD = 0.1  # mmpose's own for RTMO


def to_stir(profile: Profile) -> tuple[bool, Profile]:
    """Whether the profile's pose weights are to be stirred, and the profile with the threshold that goes with it."""
    if is_trained(profile)["pose"]:
        return False, profile
    return True, profile.with_options("pose", score_threshold=_THRESHOLD)


def some_frames(clips: Sequence[IngestedClip], sampling: SamplingOptions, count: int) -> dict[str, np.ndarray]:
    """`count` frames of every clip as our decoder gives them: uint8 RGB [n, H, W, 3] by clip_id."""
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    with DecodePool(sampling, DecodeLimits(), 1) as pool:
        for clip in clips:
            expected = expected_frames(clip.probe.duration_s, clip.probe.fps, sampling)
            for event in pool.run([DecodeJob(clip.clip_id, clip.uri, (max(1, expected // count),))]):
                if isinstance(event, Chunk):
                    found[clip.clip_id] += list(event.frames.copy())
                    event.release()
                elif isinstance(event, Ending) and event.status == "failed":
                    raise SystemExit(f"{clip.clip_id} cannot be measured, it failed to decode: {event.reason}")
    return {clip_id: np.stack(frames[:count]) for clip_id, frames in found.items()}


@torch.no_grad()
def stir(extractor: Any, pictures: Sequence[torch.Tensor]) -> None:
    """Gives a random RTMO as many candidates a frame as a trained one has, of several sizes, scores well spread."""
    model, head = extractor.model, extractor.model.head
    inputs = torch.cat([extractor.prepare(frames).inputs for frames in pictures])
    inputs = model.data_preprocessor({"inputs": inputs, "data_samples": []}, False)["inputs"]
    extractor._input_count = len(inputs)
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all that passes
        layer.train()
    head.forward(model.extract_feat(inputs))
    model.eval()
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    scores, boxes, _, _, poses = head.forward(model.extract_feat(inputs))
    last = head.head_module
    for level in range(len(scores)):
        _rescale(last.out_cls[level], scores[level], -7.0, 2.0)  # 0.8 % of a normal distribution pass 0.1
        _rescale(last.out_bbox[level], boxes[level], 0.0, 0.1)
        last.out_bbox[level].bias[2:] += 1.5  # log of a box's sides in cells: 4.5
        _rescale(last.out_pose[level], poses[level], 0.0, 1.0)
    for encoding in (head.dcc.x_fc, head.dcc.y_fc):
        encoding.weight.mul_(0.1)  # softer heatmaps: random ones have far peaks of equal height, where rounding decides


def _rescale(layer: torch.nn.Conv2d, outputs: torch.Tensor, mean: float, deviation: float) -> None:
    factor = deviation / outputs.std()
    assert layer.bias is not None
    layer.bias.sub_(outputs.mean()).mul_(factor).add_(mean)
    layer.weight.mul_(factor)
