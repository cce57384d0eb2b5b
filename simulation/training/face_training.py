"""Training and evaluation of the demo's face embedding: identity and expression of faces that MTCNN crops."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize
from tqdm import tqdm

from models.extractors.face import FaceExtractor
from models.extractors.face_embedding import EMBEDDING_SIZE, FaceResNet, standardised
from models.extractors.face_search.cascade import DetectorOptions
from pipeline.core.child_processes import spawned_pool
from simulation.training.augment import jitter_colours, random_affine
from simulation.training.fitting import training_autocast
from simulation.training.picture_training import PictureBatch, Pictures
from simulation.training.training_frames import FrameSet, decode_jpeg

_SHARPNESS = 14.0  # of the softmax over cosines
# A blank face and the broadest smile lie this far apart along one direction of the unit sphere, so that the expression
# is a large part of an embedding, and not only for a reader who knows the direction.
_EXPRESSION_SPAN = 0.8
_EXPRESSION_WEIGHT = 6.0
_FRAMES_A_TASK = 40
_FRONTAL_DEG, _LARGE_PX = 30.0, 40.0  # of a face that must be detected


@dataclass(frozen=True)
class DetectedFaces:
    """Faces that MTCNN detected in a FrameSet, matched to its people."""

    pictures: np.ndarray  # uint8 [K, 160, 160, 3] RGB
    person: np.ndarray  # int64 [K] index among the set's people
    embedding: np.ndarray  # float32 [K, 512] by the extractor's network


def detect_faces(
    frames: FrameSet, detector: DetectorOptions, state: dict[str, Tensor] | None, processes: int
) -> DetectedFaces:
    """Run the face extractor on every frame, in parallel on the CPU.

    `state` holds weights of FaceResNet; None: random ones, where only the pictures are needed.
    """
    tasks = [range(start, min(start + _FRAMES_A_TASK, len(frames))) for start in range(0, len(frames), _FRAMES_A_TASK)]
    inputs = [_part(frames, task) for task in tasks]
    with spawned_pool(processes, _start, (detector, state)) as pool:
        parts = list(tqdm(pool.map(_detect, inputs), "finding faces", len(inputs), mininterval=2.0))
    return DetectedFaces(
        pictures=np.concatenate([part.pictures for part in parts]),
        person=np.concatenate(
            [part.person + frames.first[task.start] for part, task in zip(parts, tasks, strict=True)]
        ),
        embedding=np.concatenate([part.embedding for part in parts]),
    )


def _part(frames: FrameSet, task: range) -> tuple[tuple[bytes, ...], list[np.ndarray]]:
    """JPEG files of a task's frames, and the face boxes in each."""
    boxes = [frames.face_box[frames.people(index)] for index in task]
    return frames.jpegs[task.start : task.stop], boxes


_extractors: list[FaceExtractor] = []  # of this process: one


def _start(detector: DetectorOptions, state: dict[str, Tensor] | None) -> None:
    torch.set_num_threads(1)
    options: dict[str, Any] = {"batch_size": 1, "architecture": "resnet10-w32", "detector": detector}
    _extractors[:] = [FaceExtractor(state, device=torch.device("cpu"), **options)]


def _detect(part: tuple[tuple[bytes, ...], list[np.ndarray]]) -> DetectedFaces:
    (extractor,) = _extractors
    pictures, people, embeddings = [], [], []
    jpegs, boxes_of = part
    before = 0
    for jpeg, boxes in zip(jpegs, boxes_of, strict=True):
        frame = torch.from_numpy(decode_jpeg(jpeg))[None]
        prepared = extractor.prepare(frame)
        for picture, detection in zip(prepared.inputs, prepared.extras, strict=True):
            person = match(detection.box, boxes)
            if person is None:
                continue
            (face,) = extractor.infer(picture[None], [detection])
            pictures.append(picture.permute(1, 2, 0).numpy())
            people.append(before + person)
            embeddings.append(face.embedding.astype(np.float32))
        before += len(boxes)
    return DetectedFaces(
        pictures=np.array(pictures, np.uint8).reshape(-1, 160, 160, 3),
        person=np.array(people, np.int64),
        embedding=np.array(embeddings, np.float32).reshape(-1, EMBEDDING_SIZE),
    )


def match(box: np.ndarray, truth: np.ndarray) -> int | None:
    """Index of the true face box [P, 4] nearest to a detected one [4]; None: none is within half its size."""
    sides = (truth[:, 2:] - truth[:, :2]).max(1)
    distance = np.linalg.norm((truth[:, :2] + truth[:, 2:]) / 2 - (box[:2] + box[2:]) / 2, axis=1)
    distance = np.where(sides > 0, distance / np.maximum(sides, 1), np.inf)
    return int(distance.argmin()) if len(distance) and distance.min() < 0.5 else None


class FaceTask(nn.Module):
    """The embedding, with heads for the two tasks of its training: identity among `people`, and expression."""

    def __init__(self, people: int, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = FaceResNet()
            self.people = nn.Parameter(torch.randn(people, EMBEDDING_SIZE))
            self.smile = nn.Parameter(torch.randn(1, EMBEDDING_SIZE))

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the people [B, people] and expression [B] of embeddings [B, 512] of length 1."""
        expression = linear(embedding, normalize(self.smile))[:, 0] / _EXPRESSION_SPAN + 0.5
        return _SHARPNESS * linear(embedding, normalize(self.people)), expression


def face_pictures(frames: FrameSet, faces: DetectedFaces, seed: int) -> tuple[Pictures, int]:
    """Samples with targets [K, 2] (person, numbered from 0, and expression), and the number of people."""
    people, number = np.unique(frames.identity[faces.person], return_inverse=True)

    def augment(picture: np.ndarray, target: Any, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        picture = random_affine(picture, rng, size=0.1, shift=0.06, turn=0.1) if rng.random() < 0.8 else picture
        return jitter_colours(picture, rng), target

    targets = np.stack((number, frames.expression[faces.person]), 1).astype(np.float32)
    return Pictures(faces.pictures, targets, augment, seed), len(people)


def face_loss(task: Any, batch: PictureBatch, device: torch.device) -> Tensor:
    """Loss of a FaceTask: cross entropy of the person, and squared error of the expression over its variance, 1/12."""
    faces = standardised(batch.pictures.to(device)).contiguous(memory_format=torch.channels_last)
    with training_autocast(device):
        embedding = task.embedding(faces)
    people, expression = task(embedding.float())
    targets = batch.targets.to(device)
    identity = cross_entropy(people, targets[:, 0].long())
    return identity + _EXPRESSION_WEIGHT * 12 * (expression - targets[:, 1]).square().mean()


@dataclass(frozen=True)
class FaceScore:
    """Accuracy of detection and embedding."""

    recall: float  # of the leads' faces that are frontal and over 40 px
    expression: float  # correlation of the expression with a linear reading of the embedding
    identity: float  # AUC: two faces of one person are more similar than two of different people

    def __str__(self) -> str:
        return (
            f"MTCNN finds {self.recall:.3f} of frontal faces over 40 px; expression read linearly, r = "
            f"{self.expression:.3f}; one person told from others, AUC {self.identity:.3f}"
        )


def evaluate_faces(frames: FrameSet, faces: DetectedFaces, smile: Tensor) -> FaceScore:
    """Accuracy on frames with these detected faces; `smile` [1, 512] is the learned direction of the expression."""
    leads = frames.first[:-1]
    width = frames.face_box[leads, 2] - frames.face_box[leads, 0]
    required = leads[(np.abs(frames.yaw_deg[leads]) < _FRONTAL_DEG) & (width > _LARGE_PX)]
    read = faces.embedding @ normalize(smile)[0].numpy()
    expression = np.corrcoef(read, frames.expression[faces.person])[0, 1]
    return FaceScore(
        recall=float(np.isin(required, faces.person).mean()),
        expression=float(expression),
        identity=_auc(faces.embedding, frames.identity[faces.person]),
    )


def _auc(embedding: np.ndarray, identity: np.ndarray, most: int = 1000) -> float:
    """Probability that a random pair of one person is more similar than a random pair of two people."""
    chosen: Sequence[int] = np.random.default_rng(0).permutation(len(embedding))[:most].tolist()
    similarity = embedding[chosen] @ embedding[chosen].T
    pairs = identity[chosen][:, None] == identity[chosen][None]
    upper = np.triu(np.ones_like(pairs), 1)
    ranks = rankdata(similarity[upper])
    same = pairs[upper]
    return float((ranks[same].sum() - same.sum() * (same.sum() + 1) / 2) / (same.sum() * (~same).sum()))
