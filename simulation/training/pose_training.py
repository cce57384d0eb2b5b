"""Training and judging the demo's pose network: heatmaps of 17 joints, and tags that say whose a joint is.

Newell, Huang, Deng, "Associative Embedding: End-to-End Learning for Joint Detection and Grouping", 2017. The targets
and the loss are those of mmpose's codec and head (tests compare them), computed for a whole batch on its device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models.extractors.mmpose_compat import load_config
from models.extractors.pose import KEYPOINTS, PoseExtractor, build_network
from simulation.training.augment import recoloured
from simulation.training.fitting import training_autocast
from simulation.training.training_frames import FrameSet

MOST_PEOPLE = 4  # of a picture that are labelled
MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)  # COCO's joints in a mirror
_GREY = (114, 114, 114)
_PEAK_WEIGHT = 10.0  # of a heatmap's peak against its ground, of which there is some hundred times as much
# COCO's joints: what moves fast and is small is learned last, so it counts more.
_JOINT_WEIGHTS = (1.0,) * 7 + (1.7, 1.7, 2.5, 2.5, 1.0, 1.0, 1.2, 1.2, 1.5, 1.5)
_TAG_WEIGHT = 0.005
_PUSH = 0.5  # mmpose's, of the push against the pull


@dataclass(frozen=True)
class PoseBatch:
    pictures: Tensor  # uint8 [B, 3, h, w] RGB
    keypoints: Tensor  # float32 [B, MOST_PEOPLE, 17, 3] x, y in pixels of the input; 1 labelled, 0 not


class PoseSamples(Dataset):
    """Frames letterboxed into the network's input as the extractor does it, each time moved, turned and recoloured."""

    def __init__(self, frames: FrameSet, input_size: tuple[int, int], seed: int):
        """input_size: width, height of the network's input."""
        self.frames = frames
        self.input_size = input_size
        self.seed = seed

    def __len__(self) -> int:
        return 1 << 31  # any index is a sample of its own

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        frame = int(rng.integers(len(self.frames)))
        picture, people = self.frames.picture(frame), self.frames.keypoints[self.frames.people(frame)]
        mirror = rng.random() < 0.5
        matrix = _placement(picture.shape[1], picture.shape[0], self.input_size, mirror, rng)
        picture = cv2.warpAffine(picture, matrix, self.input_size, flags=cv2.INTER_LINEAR, borderValue=_GREY)
        points = np.zeros((MOST_PEOPLE, KEYPOINTS, 3), np.float32)
        people = people[:MOST_PEOPLE, MIRRORED] if mirror else people[:MOST_PEOPLE]
        moved = people[..., :2] @ matrix[:, :2].T + matrix[:, 2]
        inside = ((moved >= 0) & (moved <= np.array(self.input_size) - 1)).all(-1) & (people[..., 2] > 0)
        points[: len(people)] = np.concatenate((moved, inside[..., None]), axis=-1)
        return recoloured(picture, rng).transpose(2, 0, 1).copy(), points


def _placement(
    width: int, height: int, input_size: tuple[int, int], mirror: bool, rng: np.random.Generator
) -> np.ndarray:
    """float64 [2, 3] from pixels of the frame to pixels of the input: mmpose's letterbox, and then some."""
    fit = min(input_size[0] / width, input_size[1] / height)
    scale = fit * np.exp(rng.uniform(-0.35, 0.3))
    angle = rng.normal(0, 0.1) if rng.random() < 0.7 else 0.0
    shift = rng.normal(0, 0.06, 2) * np.array(input_size)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror:
        turn = turn @ np.diag([-1.0, 1.0])
    middle = np.array([width, height]) / 2
    target = np.array(input_size) / 2 + shift
    return np.column_stack((turn, target - turn @ middle))


def batches(samples: PoseSamples, batch: int, workers: int) -> Iterator[PoseBatch]:
    """Endless."""
    loader = DataLoader(
        samples,
        batch_size=batch,
        sampler=range(len(samples)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    for pictures, keypoints in loader:
        yield PoseBatch(pictures, keypoints)


class PoseTarget:
    """The codec's geometry on a device: from labelled keypoints to heatmaps, and the loss of a network's outputs."""

    def __init__(self, config: str):
        decoder = load_config(config).model.head.decoder
        self.input_size: tuple[int, int] = tuple(decoder.input_size)
        self.width, self.height = decoder.heatmap_size
        self.sigma = float(decoder.sigma)
        assert decoder.use_udp, "the step from input to heatmap pixels below is UDP's"

    def heatmap_pixels(self, keypoints: Tensor) -> Tensor:
        """x, y [..., 2] in pixels of the input -> pixels of the heatmap."""
        width, height = self.input_size
        steps = keypoints.new_tensor([(width - 1) / (self.width - 1), (height - 1) / (self.height - 1)])
        return keypoints / steps

    def heatmaps(self, keypoints: Tensor) -> Tensor:
        """keypoints [B, P, 17, 3] in pixels of the input -> [B, 17, H, W]: a Gaussian of height 1 at every joint."""
        centre = self.heatmap_pixels(keypoints[..., :2])
        across = self._bell(centre[..., 0], self.width) * keypoints[..., 2, None]
        down = self._bell(centre[..., 1], self.height)
        return (down[..., :, None] * across[..., None, :]).amax(dim=1)

    def _bell(self, centre: Tensor, side: int) -> Tensor:
        places = torch.arange(side, device=centre.device, dtype=centre.dtype)
        return torch.exp(-((places - centre[..., None]) ** 2) / (2 * self.sigma**2))

    def loss(self, heatmaps: Tensor, tags: Tensor, keypoints: Tensor) -> Tensor:
        """heatmaps, tags [B, 17, H, W], keypoints [B, P, 17, 3]; a scalar."""
        wanted = self.heatmaps(keypoints)
        joints = ((heatmaps - wanted) ** 2 * (1 + _PEAK_WEIGHT * wanted)).mean((0, 2, 3))
        joints = (joints * joints.new_tensor(_JOINT_WEIGHTS)).mean()
        return joints + _TAG_WEIGHT * self.tag_loss(tags, keypoints)

    def tag_loss(self, tags: Tensor, keypoints: Tensor) -> Tensor:
        """Pulls the tags of one person's joints together and pushes those of two people of a picture apart."""
        place = (self.heatmap_pixels(keypoints[..., :2]) + 0.5).long()
        x, y = place[..., 0].clamp(0, self.width - 1), place[..., 1].clamp(0, self.height - 1)
        at = (y * self.width + x).transpose(1, 2)  # [B, 17, P]
        own = tags.flatten(2).gather(2, at).transpose(1, 2)  # [B, P, 17]
        labelled = keypoints[..., 2]
        joints = labelled.sum(-1)
        there = (joints > 0).to(tags.dtype)  # [B, P]
        mean = (own * labelled).sum(-1) / joints.clamp(min=1)
        spread = ((own - mean[..., None]) ** 2 * labelled).sum(-1) / joints.clamp(min=1)
        people = there.sum(-1)
        pull = (spread * there).sum(-1) / people.clamp(min=1)
        both = there[:, :, None] * there[:, None, :]
        near = torch.exp(-((mean[:, :, None] - mean[:, None, :]) ** 2)) * both
        push = near.sum((1, 2)) / (people * (people - 1)).clamp(min=1) * (people > 1)
        return (pull + _PUSH * push).sum()


def pose_loss(network: Any, batch: PoseBatch, target: PoseTarget, device: torch.device) -> Tensor:
    """Of an mmpose estimator with an associative-embedding head."""
    preprocessor = network.data_preprocessor
    pictures = (batch.pictures.to(device).float() - preprocessor.mean) / preprocessor.std
    with training_autocast(device):
        heatmaps, tags = network.head(network.extract_feat(pictures.contiguous(memory_format=torch.channels_last)))
    return target.loss(heatmaps.float(), tags.float(), batch.keypoints.to(device))


def new_network(config: str, seed: int) -> nn.Module:
    """Random weights, on the CPU."""
    network = build_network(load_config(config), config, seed)
    return network.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class PoseScore:
    """How well the lead is found, through the extractor as a run uses it."""

    pck: float  # share of the lead's visible joints nearer than 0.2 torso lengths; a lead not found has none
    found: float  # share of leads of whom any joint is
    error_px: float  # median distance of visible joints, pixels of the frame
    people: float  # found a frame, for each that is there

    def __str__(self) -> str:
        return (
            f"PCK@0.2 {self.pck:.3f}, leads found {self.found:.3f}, median error {self.error_px:.1f} px, "
            f"{self.people:.2f} people found for each"
        )


def judge_pose(extractor: PoseExtractor, frames: FrameSet) -> PoseScore:
    """Of the people found the one nearest to the lead is compared with the lead; visible joints alone count."""
    near, found, distances, people = [], [], [], 0
    for start in range(0, len(frames), extractor.batch_size):
        indices = range(start, min(start + extractor.batch_size, len(frames)))
        prepared = [
            extractor.prepare(torch.from_numpy(frames.picture(index))[None].to(extractor.device)) for index in indices
        ]
        results = extractor.infer(
            torch.cat([part.inputs for part in prepared]), [extra for part in prepared for extra in part.extras]
        )
        for index, result in zip(indices, results, strict=True):
            lead = frames.keypoints[frames.first[index]]
            seen = lead[:, 2] == 2
            people += len(result)
            if not seen.any():
                continue
            if len(result) == 0:
                near.append(np.zeros(seen.sum(), bool))
                found.append(False)
                continue
            distance = np.linalg.norm(result.keypoints[:, seen, :2] - lead[seen, :2], axis=-1)
            best = distance[np.median(distance, axis=1).argmin()]
            near.append(best < 0.2 * torso(lead))
            found.append(bool(near[-1].any()))
            distances.append(best)
    return PoseScore(
        pck=float(np.concatenate(near).mean()),
        found=float(np.mean(found)),
        error_px=float(np.median(np.concatenate(distances))) if distances else float("nan"),
        people=people / max(1, len(frames.keypoints)),
    )


def torso(keypoints: np.ndarray) -> float:
    """Pixels from the left shoulder to the right hip, or the other way, the longer; keypoints [17, 3] as labelled."""
    left_shoulder, right_shoulder, left_hip, right_hip = keypoints[[5, 6, 11, 12], :2]
    return float(max(np.linalg.norm(left_shoulder - right_hip), np.linalg.norm(right_shoulder - left_hip)))
