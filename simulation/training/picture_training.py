"""Training and judging the demo's scene and appearance networks, which look at whole pictures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from models.extractors.appearance import OUTFIT_ATTRIBUTES, PATTERNS, AppearanceExtractor
from models.extractors.resnet import Preprocessing, normalised, square_crops
from models.extractors.scene import SceneExtractor
from simulation.training.augment import moved, recoloured, roughened, with_colours_turned
from simulation.training.fitting import training_autocast
from simulation.training.training_frames import FrameSet

_SMOOTHING = 0.05  # of the categories; a scene is rarely a matter of 100 %


@dataclass(frozen=True)
class PictureBatch:
    pictures: Tensor  # uint8 [B, 3, S, S] RGB
    targets: Tensor  # float32 or int64 [B, ...] whatever the loss takes


# Of a picture uint8 [S, S, 3] and what is true of it, at random: both anew.
Change = Callable[[np.ndarray, Any, np.random.Generator], tuple[np.ndarray, Any]]


class Pictures(Dataset):
    """Pictures in memory with their targets, each time changed by `change`."""

    def __init__(self, pictures: np.ndarray, targets: np.ndarray, change: Change, seed: int):
        """pictures: uint8 [N, S, S, 3]; targets: [N, ...]."""
        self.pictures = pictures
        self.targets = targets
        self.change = change
        self.seed = seed

    def __len__(self) -> int:
        return 1 << 31  # any index is a sample of its own

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        rng = np.random.default_rng((self.seed, index))
        chosen = int(rng.integers(len(self.pictures)))
        picture, target = self.change(self.pictures[chosen], self.targets[chosen], rng)
        return picture.transpose(2, 0, 1).copy(), target

    def batches(self, batch: int, workers: int) -> Iterator[PictureBatch]:
        """Endless."""
        ahead = 4 if workers else None
        loader = DataLoader(self, batch, sampler=range(len(self)), num_workers=workers, prefetch_factor=ahead)
        for pictures, targets in loader:
            yield PictureBatch(pictures, targets)


def crops(frames: FrameSet, preprocessing: Preprocessing, what: str) -> np.ndarray:
    """Every frame as the extractors give it to their networks: uint8 [N, S, S, 3]."""
    side = preprocessing.crop
    made = np.empty((len(frames), side, side, 3), np.uint8)
    for index in tqdm(range(len(frames)), what, mininterval=2.0):
        frame = torch.from_numpy(frames.picture(index))[None]
        made[index] = square_crops(frame, preprocessing)[0].permute(1, 2, 0).numpy()
    return made


def logits(network: nn.Module, batch: PictureBatch, device: torch.device) -> Tensor:
    """float32 [B, classes] of a ResNet of models.extractors.resnet."""
    with training_autocast(device):
        inputs = normalised(batch.pictures.to(device)).contiguous(memory_format=torch.channels_last)
        return network(inputs).float()


def scene_pictures(frames: FrameSet, preprocessing: Preprocessing, seed: int) -> Pictures:
    """Targets are places in script.SCENES. Colours change freely: a beach is one in any light, a wall has any paint."""

    def change(picture: np.ndarray, scene: Any, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        picture = moved(picture, rng, size=0.25, shift=0.1, turn=0.1) if rng.random() < 0.8 else picture
        return recoloured(with_colours_turned(picture, rng), rng), scene

    return Pictures(crops(frames, preprocessing, "pictures of scenes"), frames.scene, change, seed)


def scene_loss(network: nn.Module, batch: PictureBatch, device: torch.device) -> Tensor:
    return cross_entropy(logits(network, batch, device), batch.targets.to(device), label_smoothing=_SMOOTHING)


def judge_scene(extractor: SceneExtractor, frames: FrameSet) -> float:
    """The share of frames whose most probable category is the scene."""
    found = []
    for index in range(len(frames)):
        prepared = extractor.prepare(torch.from_numpy(frames.picture(index))[None].to(extractor.device))
        found.append(extractor.infer(prepared.inputs, prepared.extras)[0].top_category[0])
    return float((np.array(found) == frames.scene).mean())


def outfit_targets(outfit: np.ndarray) -> np.ndarray:
    """float32 [N, 15] of FrameSet.outfit -> [N, len(OUTFIT_ATTRIBUTES) + 1], the last the number of the pattern.

    Only what can be seen of the clothes; nothing of what it is worth.
    """
    colours = outfit[:, :12].reshape(-1, 4, 3) / 255  # top, bottom, shoes, accent
    chroma = colours.max(2) - colours.min(2)
    light = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    # red against green, yellow against blue: the hue, as far as there is colour to have one
    opponent = np.stack((colours[..., 0] - colours[..., 1], colours[..., :2].mean(2) - colours[..., 2]), 2)
    pattern, sleeves, legs = outfit[:, 12], outfit[:, 13], outfit[:, 14]
    patterned = (pattern > 0) * np.linalg.norm(colours[:, 0] - colours[:, 3], axis=1)
    columns = {
        "top chroma": chroma[:, 0],
        "top lightness": light[:, 0],
        "top red-green": opponent[:, 0, 0],
        "top yellow-blue": opponent[:, 0, 1],
        "bottom chroma": chroma[:, 1],
        "bottom lightness": light[:, 1],
        "bottom red-green": opponent[:, 1, 0],
        "bottom yellow-blue": opponent[:, 1, 1],
        "shoes chroma": chroma[:, 2],
        "top-bottom lightness difference": np.abs(light[:, 0] - light[:, 1]),
        "top-bottom colour difference": np.linalg.norm(colours[:, 0] - colours[:, 1], axis=1),
        "pattern contrast": patterned,
        "sleeves": sleeves,
        "legs": legs,
    }
    return np.stack([*(columns[name] for name in OUTFIT_ATTRIBUTES), pattern], 1).astype(np.float32)


def appearance_pictures(frames: FrameSet, preprocessing: Preprocessing, seed: int) -> Pictures:
    """Targets are the lead's outfit, [15] as in FrameSet; `change` turns them into `outfit_targets`.

    Colours change with those of the outfit: however few outfits there are, no colour belongs to one of them.
    """

    def change(picture: np.ndarray, outfit: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        picture = moved(picture, rng, size=0.2, shift=0.06, turn=0.1) if rng.random() < 0.8 else picture
        if rng.random() < 0.7:
            mixing = colour_mixing(rng)
            picture = (picture @ mixing.T).clip(0, 255).astype(np.uint8)
            outfit = np.concatenate(((outfit[:12].reshape(4, 3) @ mixing.T).clip(0, 255).ravel(), outfit[12:]))
        return roughened(picture, rng), outfit_targets(outfit[None])[0]

    outfits = frames.outfit[frames.first[:-1]]
    return Pictures(crops(frames, preprocessing, "pictures of clothes"), outfits, change, seed)


def colour_mixing(rng: np.random.Generator) -> np.ndarray:
    """float32 [3, 3] from RGB to other RGB: channels exchanged, then more or less vivid. Shading stays shading."""
    grey = np.full((3, 3), 1 / 3)
    vividness = np.exp(rng.uniform(-0.7, 0.4))
    mixing = (grey + vividness * (np.eye(3) - grey))[:, rng.permutation(3)]
    return mixing.astype(np.float32)


def appearance_loss(
    network: nn.Module, batch: PictureBatch, device: torch.device, mean: Tensor, deviation: Tensor
) -> Tensor:
    """Squared errors of the attributes in units of their deviation [A], and the pattern's class."""
    said = logits(network, batch, device)
    wanted = batch.targets.to(device)
    count = len(OUTFIT_ATTRIBUTES)
    errors = (said[:, :count] - (wanted[:, :count] - mean) / deviation).square().mean()
    return errors + 0.3 * cross_entropy(said[:, count:], wanted[:, count].long())


@dataclass(frozen=True)
class AppearanceScore:
    explained: dict[str, float]  # R² of every attribute
    pattern: float  # share of patterns told right

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.explained.values())))

    def __str__(self) -> str:
        weakest = min(self.explained, key=lambda name: self.explained[name])
        return (
            f"R² of clothing attributes {self.mean:.3f} on average, weakest: {weakest} "
            f"{self.explained[weakest]:.3f}; patterns right {self.pattern:.3f}"
        )


def judge_appearance(
    extractor: AppearanceExtractor, classifier: nn.Linear, frames: FrameSet, mean: np.ndarray, deviation: np.ndarray
) -> AppearanceScore:
    """What the network's last layer reads out of the stored feature.

    Args:
        classifier: that layer, on the CPU.
        mean, deviation: [A] of the attributes in training.
    """
    features = []
    for index in range(len(frames)):
        prepared = extractor.prepare(torch.from_numpy(frames.picture(index))[None].to(extractor.device))
        features += extractor.infer(prepared.inputs, prepared.extras)
    with torch.inference_mode():
        said = classifier(torch.from_numpy(np.stack(features)).float()).numpy()
    wanted = outfit_targets(frames.outfit[frames.first[:-1]])
    count = len(OUTFIT_ATTRIBUTES)
    assert said.shape[1] == count + len(PATTERNS)
    errors = ((said[:, :count] * deviation + mean - wanted[:, :count]) ** 2).mean(0) / wanted[:, :count].var(0)
    right = said[:, count:].argmax(1) == wanted[:, count]
    return AppearanceScore(dict(zip(OUTFIT_ATTRIBUTES, (1 - errors).tolist(), strict=True)), float(right.mean()))
