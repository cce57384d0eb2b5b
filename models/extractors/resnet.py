"""The ResNet under the scene and the appearance extractor, and the preprocessing that its weights were trained with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms import functional as transforms

from models.device import autocast, halve_weights
from models.errors import ProfileError
from models.extractors.compiled import compiled
from models.extractors.extractor import pad_batch
from models.extractors.narrow_resnet import NarrowResNet
from models.weights.state_dicts import load_into

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "resnet10-w32": NarrowResNet,
    "resnet18": torchvision.models.resnet18,
    "resnet34": torchvision.models.resnet34,
    "resnet50": torchvision.models.resnet50,
}
ARCHITECTURES = tuple(_BUILDERS)

# Mean and standard deviation of ImageNet's RGB values in 0..1; torchvision's and Places365's weights both use them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)

# Source pixels resized at a time. The resize works in float32: 8 Mpx are about 100 MB beside the frames.
_PIXELS_AT_ONCE = 8 << 20
_LONGEST_ASPECT = 8  # longer side over shorter; the widest films have 2.8


@dataclass(frozen=True)
class Preprocessing:
    """From a frame to a network's square input: resized (bilinear, antialiased), then cropped in the centre."""

    resize: int | tuple[int, int]  # px: the shorter side, aspect kept; or (height, width), aspect not kept
    crop: int = 224  # px, side of the network's input

    def __post_init__(self) -> None:
        shortest = min(self.resize) if isinstance(self.resize, tuple) else self.resize
        if not 0 < self.crop <= shortest:
            raise ProfileError(f"an input of {self.crop} px cannot be cut from a frame resized to {self.resize} px")


def square_crops(frames: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8 RGB frames [N, H, W, 3] -> uint8 [N, 3, crop, crop], as torchvision's transforms do it on tensors.

    torchvision resizes a uint8 *tensor* in float32 and rounds back, on every device alike; on a PIL image it resizes
    in fixed point, and values may differ by 1 of 255. The tensor form is used since it is the one a GPU can run.
    Where the aspect is kept, a frame longer than 8 times its width (or wider than 8 times its height) is first cut to
    that from its centre, so that a hostile frame of 1 x 1280 px is not blown up to 232 x 297,000.
    """
    if not isinstance(preprocessing.resize, tuple):
        frames = _crop_long_sides(frames)
    height, width = frames.shape[1:3]
    size = list(preprocessing.resize) if isinstance(preprocessing.resize, tuple) else [preprocessing.resize]
    crops = frames.new_empty((len(frames), 3, preprocessing.crop, preprocessing.crop))
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    for start in range(0, len(frames), at_once):
        part = frames[start : start + at_once].permute(0, 3, 1, 2)
        part = transforms.resize(part, size, transforms.InterpolationMode.BILINEAR, antialias=True)
        crops[start : start + at_once] = transforms.center_crop(part, [preprocessing.crop, preprocessing.crop])
    return crops


def _crop_long_sides(frames: Tensor) -> Tensor:
    height, width = frames.shape[1:3]
    longest = _LONGEST_ASPECT * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return frames[:, top : top + longest, left : left + longest]


def new_trunk(architecture: str, classes: int, seed: int) -> nn.Module:
    """A ResNet with random weights drawn from `seed`, its classifier `fc`; architecture: one of ARCHITECTURES."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Without zero_init_residual an untrained ResNet's activations double with every block.
        return _BUILDERS[architecture](weights=None, num_classes=classes, zero_init_residual=True)


def normalised(inputs: Tensor) -> Tensor:
    """uint8 RGB [..., 3, H, W] -> float32, normalised as networks trained on ImageNet expect."""
    mean, std = _statistics(inputs.device)
    return (inputs.float() / 255 - mean) / std


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation [3, 1, 1], kept on the device: to copy them there anew for every batch would wait for it."""
    with torch.inference_mode(False):  # training uses them, too
        mean, std = (torch.tensor(values).view(3, 1, 1).to(device) for values in (_MEAN, _STD))
    return mean, std


class ResNet:
    """A ResNet that returns the pooled feature and the logits; it pads batches to one shape."""

    def __init__(
        self,
        architecture: str,
        state: Mapping[str, Tensor] | None,
        *,
        name: str,
        classes: int,
        device: torch.device,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        """
        Args:
            architecture: one of ARCHITECTURES.
            state: torchvision's keys; None: random weights drawn from `seed`, the same on every machine and call.
            name: of the network, in errors.

        Raises:
            ProfileError: unknown architecture, or a batch size below 1.
            WeightsError: `state` does not fit.
        """
        if architecture not in _BUILDERS:
            raise ProfileError(f"{name}: unknown architecture {architecture!r}; use one of {', '.join(ARCHITECTURES)}")
        if batch_size < 1:
            raise ProfileError(f"{name}: batch_size is {batch_size}; it must be 1 or more")
        trunk = new_trunk(architecture, classes, seed)
        if state is not None:
            load_into(trunk, state, f"{name} ({architecture}, {classes} classes)")
        self.device = device
        self.batch_size = batch_size
        head = trunk.fc
        assert isinstance(head, nn.Linear)
        self.feature_size = head.in_features
        trunk.fc = nn.Identity()
        self._trunk = trunk.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self._head = head.to(device).eval().requires_grad_(False)
        for part in (self._trunk, self._head):
            halve_weights(part, device)
        self._embed = compiled(self._trunk, device, embeds=True)

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 RGB [M, 3, S, S], M <= batch_size -> feature float32 [M, D], logits float32 [M, classes]."""
        count = len(inputs)
        batch = pad_batch(inputs, self.batch_size).to(self.device).contiguous(memory_format=torch.channels_last)
        batch = normalised(batch)
        with autocast(self.device):
            feature = self._embed(batch)
            logits = self._head(feature)
        return feature[:count].float(), logits[:count].float()
