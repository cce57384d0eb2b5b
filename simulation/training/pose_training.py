"""Training and evaluation of the demo's pose network: heatmaps of 17 joints, and tags that group joints into people.

Newell, Huang, Deng, "Associative Embedding: End-to-End Learning for Joint Detection and Grouping", 2017. The targets
and the loss are those of mmpose's codec and head (tests compare them), computed for a whole batch on its device.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models.extractors.mmpose_compat import load_config
from models.extractors.pose import KEYPOINTS, PoseExtractor, build_network
from simulation.filming.visibility import VISIBLE
from simulation.training.augment import jitter_colours
from simulation.training.fitting import RandomSamples, training_autocast
from simulation.training.training_frames import FrameSet

MOST_PEOPLE = 4  # of a picture that are labelled
MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)  # COCO's joints in a mirror
_GREY = (114, 114, 114)
_PEAK_WEIGHT = 10.0  # of a heatmap's peak against its ground, which is some hundred times as large
# Of COCO's joints: small ones that move fast are learned last, so they count more.
_JOINT_WEIGHTS = (1.0,) * 7 + (1.7, 1.7, 2.5, 2.5, 1.0, 1.0, 1.2, 1.2, 1.5, 1.5)
_TAG_WEIGHT = 0.005
_PUSH_WEIGHT = 0.5  # mmpose's, of the push against the pull


@dataclass(frozen=True)
class PoseBatch:
    """B pictures with their keypoints."""

    pictures: Tensor  # uint8 [B, 3, h, w] RGB
    keypoints: Tensor  # float32 [B, MOST_PEOPLE, 17, 3] x, y in pixels of the input; 1 labelled, 0 not


class PoseSamples(RandomSamples):
    """Frames letterboxed into the network's input (width, height) as by the extractor, moved, turned and recoloured."""

    batch_type = PoseBatch

    def __init__(self, frames: FrameSet, input_size: tuple[int, int], seed: int):
        super().__init__(seed)
        self.frames, self.input_size = frames, input_size

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
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
        return jitter_colours(picture, rng).transpose(2, 0, 1).copy(), points


def _placement(
    width: int, height: int, input_size: tuple[int, int], mirror: bool, rng: np.random.Generator
) -> np.ndarray:
    """Matrix float64 [2, 3] from pixels of the frame to pixels of the input: mmpose's letterbox and a random change."""
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


class PoseTarget:
    """Targets of a network of this mmpose config: heatmaps of labelled keypoints, and the loss of outputs."""

    def __init__(self, config: str):
        decoder = load_config(config).model.head.decoder
        self.input_size: tuple[int, int] = tuple(decoder.input_size)
        self.width, self.height = decoder.heatmap_size
        self.sigma = float(decoder.sigma)
        assert decoder.use_udp, "the step from input to heatmap pixels below is UDP's"

    def heatmap_pixels(self, keypoints: Tensor) -> Tensor:
        """Pixels of the heatmap of x, y [..., 2] in pixels of the input."""
        width, height = self.input_size
        steps = keypoints.new_tensor([(width - 1) / (self.width - 1), (height - 1) / (self.height - 1)])
        return keypoints / steps

    def heatmaps(self, keypoints: Tensor) -> Tensor:
        """Heatmaps [B, 17, H, W] of keypoints [B, P, 17, 3] in pixels of the input: Gaussians of height 1 at joints."""
        centre = self.heatmap_pixels(keypoints[..., :2])
        across = self._bell(centre[..., 0], self.width) * keypoints[..., 2, None]
        down = self._bell(centre[..., 1], self.height)
        return (down[..., :, None] * across[..., None, :]).amax(dim=1)

    def _bell(self, centre: Tensor, side: int) -> Tensor:
        pixels = torch.arange(side, device=centre.device, dtype=centre.dtype)
        return torch.exp(-((pixels - centre[..., None]) ** 2) / (2 * self.sigma**2))

    def loss(self, heatmaps: Tensor, tags: Tensor, keypoints: Tensor) -> Tensor:
        """Scalar loss of heatmaps and tags [B, 17, H, W] against keypoints [B, P, 17, 3]."""
        target = self.heatmaps(keypoints)
        joints = ((heatmaps - target) ** 2 * (1 + _PEAK_WEIGHT * target)).mean((0, 2, 3))
        joints = (joints * joints.new_tensor(_JOINT_WEIGHTS)).mean()
        return joints + _TAG_WEIGHT * self.tag_loss(tags, keypoints)

    def tag_loss(self, tags: Tensor, keypoints: Tensor) -> Tensor:
        """Scalar that pulls together the tags of one person's joints and pushes apart those of two in a picture."""
        pixels = (self.heatmap_pixels(keypoints[..., :2]) + 0.5).long()
        x, y = pixels[..., 0].clamp(0, self.width - 1), pixels[..., 1].clamp(0, self.height - 1)
        at = (y * self.width + x).transpose(1, 2)  # [B, 17, P]
        tags = tags.flatten(2).gather(2, at).transpose(1, 2)  # [B, P, 17]
        labelled = keypoints[..., 2]
        joints = labelled.sum(-1)
        present = (joints > 0).to(tags.dtype)  # [B, P]
        mean = (tags * labelled).sum(-1) / joints.clamp(min=1)
        spread = ((tags - mean[..., None]) ** 2 * labelled).sum(-1) / joints.clamp(min=1)
        people = present.sum(-1)
        pull = (spread * present).sum(-1) / people.clamp(min=1)
        both = present[:, :, None] * present[:, None, :]
        near = torch.exp(-((mean[:, :, None] - mean[:, None, :]) ** 2)) * both
        push = near.sum((1, 2)) / (people * (people - 1)).clamp(min=1) * (people > 1)
        return (pull + _PUSH_WEIGHT * push).sum()


def pose_loss(network: Any, batch: PoseBatch, target: PoseTarget, device: torch.device) -> Tensor:
    """Loss of an mmpose estimator with an associative-embedding head."""
    preprocessor = network.data_preprocessor
    pictures = (batch.pictures.to(device).float() - preprocessor.mean) / preprocessor.std
    with training_autocast(device):
        heatmaps, tags = network.head(network.extract_feat(pictures.contiguous(memory_format=torch.channels_last)))
    return target.loss(heatmaps.float(), tags.float(), batch.keypoints.to(device))


def new_network(config: str, seed: int) -> nn.Module:
    """The network of an mmpose config with random weights, on the CPU."""
    network = build_network(load_config(config), config, seed)
    return network.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class PoseScore:
    """Accuracy of the lead's pose, through the extractor as a run uses it."""

    pck: float  # share of the lead's visible joints nearer than 0.2 torso lengths; none of a lead who was not detected
    recall: float  # share of leads with any such joint
    error_px: float  # median distance of visible joints, pixels of the frame
    people: float  # detected people for each person in the frames

    def __str__(self) -> str:
        return (
            f"PCK@0.2 {self.pck:.3f}, leads found {self.recall:.3f}, median error {self.error_px:.1f} px, "
            f"{self.people:.2f} people found for each"
        )


def evaluate_pose(extractor: PoseExtractor, frames: FrameSet) -> PoseScore:
    """Compare the detected person nearest to the lead with the lead; visible joints alone count."""
    near, detected, distances, people = [], [], [], 0
    for start in range(0, len(frames), extractor.batch_size):
        indices = range(start, min(start + extractor.batch_size, len(frames)))
        prepared = [extractor.prepare(frames.tensor(index).to(extractor.device)) for index in indices]
        results = extractor.infer(
            torch.cat([part.inputs for part in prepared]), [extra for part in prepared for extra in part.extras]
        )
        for index, result in zip(indices, results, strict=True):
            lead = frames.keypoints[frames.first[index]]
            visible = lead[:, 2] == VISIBLE
            people += len(result)
            if not visible.any():
                continue
            if len(result) == 0:
                near.append(np.zeros(visible.sum(), bool))
                detected.append(False)
                continue
            distance = np.linalg.norm(result.keypoints[:, visible, :2] - lead[visible, :2], axis=-1)
            best = distance[np.median(distance, axis=1).argmin()]
            near.append(best < 0.2 * torso(lead))
            detected.append(bool(near[-1].any()))
            distances.append(best)
    return PoseScore(
        pck=float(np.concatenate(near).mean()),
        recall=float(np.mean(detected)),
        error_px=float(np.median(np.concatenate(distances))) if distances else float("nan"),
        people=people / max(1, len(frames.keypoints)),
    )


def torso(keypoints: np.ndarray) -> float:
    """Pixels from left shoulder to right hip or from right shoulder to left hip, the longer; keypoints [17, 3]."""
    left_shoulder, right_shoulder, left_hip, right_hip = keypoints[[5, 6, 11, 12], :2]
    return float(max(np.linalg.norm(left_shoulder - right_hip), np.linalg.norm(right_shoulder - left_hip)))
