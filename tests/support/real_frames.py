"""Frames of real clips for the extractors' tests, read with OpenCV: nothing here is ours."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor


def sampled(clip: Path, count: int) -> Tensor:
    """`count` frames spread evenly over the clip: uint8 RGB [count, H, W, 3]."""
    return _sampled(clip, count).clone()


@cache
def _sampled(clip: Path, count: int) -> Tensor:
    video = cv2.VideoCapture(str(clip))
    last = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) - 1
    wanted = set(np.linspace(0, last, count + 2).astype(int)[1:-1].tolist())
    frames = []
    for index in range(last + 1):
        assert video.grab(), f"{clip} ends at frame {index}"
        if index in wanted:
            _, frame = video.retrieve()
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        if len(frames) == count:
            break
    video.release()
    return torch.from_numpy(np.stack(frames))
