"""Training and evaluation of the demo's scene and appearance networks, which see whole pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from models.extractors.appearance import OUTFIT_ATTRIBUTES, PATTERNS, AppearanceExtractor
from models.extractors.resnet import Preprocessing, normalised, square_crops
from models.extractors.scene import SceneExtractor
from simulation.training.augment import degrade, jitter_colours, random_affine, shift_hues
from simulation.training.fitting import RandomSamples, training_autocast
from simulation.training.training_frames import FrameSet

_SMOOTHING = 0.05  # of the categories' labels: a scene is rarely certain


@dataclass(frozen=True)
class PictureBatch:
    """B pictures with their targets."""

    pictures: Tensor  # uint8 [B, 3, S, S] RGB
    targets: Tensor  # float32 or int64 [B, ...] as the loss takes them


# A random change of a picture uint8 [S, S, 3] and its target.
Augmentation = Callable[[np.ndarray, Any, np.random.Generator], tuple[np.ndarray, Any]]


class Pictures(RandomSamples):
    """Pictures uint8 [N, S, S, 3] in memory with their targets [N, ...], augmented anew each time."""

    batch_type = PictureBatch

    def __init__(self, pictures: np.ndarray, targets: np.ndarray, augment: Augmentation, seed: int):
        super().__init__(seed)
        self.pictures, self.targets, self.augment = pictures, targets, augment

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        index = int(rng.integers(len(self.pictures)))
        picture, target = self.augment(self.pictures[index], self.targets[index], rng)
        return picture.transpose(2, 0, 1).copy(), target


def crop_frames(frames: FrameSet, preprocessing: Preprocessing, what: str) -> np.ndarray:
    """Crops of all frames as the extractors make them for their networks: uint8 [N, S, S, 3]."""
    side = preprocessing.crop
    crops = np.empty((len(frames), side, side, 3), np.uint8)
    for index in tqdm(range(len(frames)), what, mininterval=2.0):
        crops[index] = square_crops(frames.tensor(index), preprocessing)[0].permute(1, 2, 0).numpy()
    return crops


def logits(network: nn.Module, batch: PictureBatch, device: torch.device) -> Tensor:
    """Logits float32 [B, classes] of a ResNet of models.extractors.resnet."""
    with training_autocast(device):
        inputs = normalised(batch.pictures.to(device)).contiguous(memory_format=torch.channels_last)
        return network(inputs).float()


def scene_pictures(frames: FrameSet, preprocessing: Preprocessing, seed: int) -> Pictures:
    """Samples to learn scenes from: pictures and indices in script.SCENES.

    Colours change freely: a beach is one in any light, a wall has any paint.
    """

    def augment(picture: np.ndarray, scene: Any, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        picture = random_affine(picture, rng, size=0.25, shift=0.1, turn=0.1) if rng.random() < 0.8 else picture
        return jitter_colours(shift_hues(picture, rng), rng), scene

    return Pictures(crop_frames(frames, preprocessing, "pictures of scenes"), frames.scene, augment, seed)


def scene_loss(network: nn.Module, batch: PictureBatch, device: torch.device) -> Tensor:
    """Cross entropy of the scenes."""
    return cross_entropy(logits(network, batch, device), batch.targets.to(device), label_smoothing=_SMOOTHING)


def evaluate_scene(extractor: SceneExtractor, frames: FrameSet) -> float:
    """Accuracy: the share of frames whose most probable category is the scene."""
    scenes = []
    for index in range(len(frames)):
        prepared = extractor.prepare(frames.tensor(index).to(extractor.device))
        scenes.append(extractor.infer(prepared.inputs, prepared.extras)[0].top_category[0])
    return float((np.array(scenes) == frames.scene).mean())


def outfit_targets(outfit: np.ndarray) -> np.ndarray:
    """OUTFIT_ATTRIBUTES and the pattern's index, float32 [N, len(OUTFIT_ATTRIBUTES) + 1], of FrameSet.outfit [N, 15].

    Only what is visible of the clothes; nothing of its worth in likes.
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
    """Samples to learn clothes from: pictures, and `outfit_targets` of the lead's outfit.

    Colours change with those of the outfit: however few outfits there are, no colour belongs to one of them.
    """

    def augment(picture: np.ndarray, outfit: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        picture = random_affine(picture, rng, size=0.2, shift=0.06, turn=0.1) if rng.random() < 0.8 else picture
        if rng.random() < 0.7:
            mixing = colour_mixing(rng)
            picture = (picture @ mixing.T).clip(0, 255).astype(np.uint8)
            outfit = np.concatenate(((outfit[:12].reshape(4, 3) @ mixing.T).clip(0, 255).ravel(), outfit[12:]))
        return degrade(picture, rng), outfit_targets(outfit[None])[0]

    outfits = frames.outfit[frames.first[:-1]]
    return Pictures(crop_frames(frames, preprocessing, "pictures of clothes"), outfits, augment, seed)


def colour_mixing(rng: np.random.Generator) -> np.ndarray:
    """Random matrix float32 [3, 3] from RGB to RGB: channels exchanged, then more or less vivid; shading remains."""
    grey = np.full((3, 3), 1 / 3)
    vividness = np.exp(rng.uniform(-0.7, 0.4))
    mixing = (grey + vividness * (np.eye(3) - grey))[:, rng.permutation(3)]
    return mixing.astype(np.float32)


def appearance_loss(
    network: nn.Module, batch: PictureBatch, device: torch.device, mean: Tensor, deviation: Tensor
) -> Tensor:
    """Squared errors of the attributes in units of their deviation [A], plus cross entropy of the pattern."""
    outputs = logits(network, batch, device)
    targets = batch.targets.to(device)
    count = len(OUTFIT_ATTRIBUTES)
    errors = (outputs[:, :count] - (targets[:, :count] - mean) / deviation).square().mean()
    return errors + 0.3 * cross_entropy(outputs[:, count:], targets[:, count].long())


@dataclass(frozen=True)
class AppearanceScore:
    """Accuracy of the clothing attributes."""

    r2: dict[str, float]  # of every attribute
    pattern: float  # share of patterns recognised

    @property
    def mean(self) -> float:
        """Mean R² of the attributes."""
        return float(np.mean(list(self.r2.values())))

    def __str__(self) -> str:
        weakest = min(self.r2, key=lambda name: self.r2[name])
        return (
            f"R² of clothing attributes {self.mean:.3f} on average, weakest: {weakest} "
            f"{self.r2[weakest]:.3f}; patterns right {self.pattern:.3f}"
        )


def evaluate_appearance(
    extractor: AppearanceExtractor, classifier: nn.Linear, frames: FrameSet, mean: np.ndarray, deviation: np.ndarray
) -> AppearanceScore:
    """Accuracy of the network's last layer `classifier`, on the CPU, on the features of the extractor.

    `mean` and `deviation` [A] are those of the attributes in training.
    """
    features = []
    for index in range(len(frames)):
        prepared = extractor.prepare(frames.tensor(index).to(extractor.device))
        features += extractor.infer(prepared.inputs, prepared.extras)
    with torch.inference_mode():
        outputs = classifier(torch.from_numpy(np.stack(features)).float()).numpy()
    targets = outfit_targets(frames.outfit[frames.first[:-1]])
    count = len(OUTFIT_ATTRIBUTES)
    assert outputs.shape[1] == count + len(PATTERNS)
    errors = ((outputs[:, :count] * deviation + mean - targets[:, :count]) ** 2).mean(0) / targets[:, :count].var(0)
    correct = outputs[:, count:].argmax(1) == targets[:, count]
    return AppearanceScore(dict(zip(OUTFIT_ATTRIBUTES, (1 - errors).tolist(), strict=True)), float(correct.mean()))
