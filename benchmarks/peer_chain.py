"""What a user would chain today for benchmarks.peers: mmpose's inferencer, facenet-pytorch, torchvision and OpenCV.

Each stage is written as its library's documentation has it; weights are those of our extractors.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1, extract_face, fixed_image_standardization
from PIL import Image
from torchvision import models, transforms

from models.extractors.mmpose_compat import import_mmpose
from models.weights.profiles import Profile
from pipeline.decode.sampling import scaled_size


@dataclass(frozen=True)
class Found:
    """What there is of one kind in a frame: people with keypoints, or faces with embeddings, best first."""

    place: np.ndarray  # [N, 17, 2] keypoints of people, [N, 2, 2] corners of faces, in pixels of the frame given
    score: np.ndarray  # [N]
    embedding: np.ndarray  # [N, 512], of faces


class Chain:
    """The tools, with our extractors' weights. Each stage takes a clip's frames (uint8 BGR, as OpenCV gives them)."""

    def __init__(self, extractors: dict[str, Any], profile: Profile, device: torch.device, folder: str):
        self.device, self.profile, self.folder = device, profile, folder
        self.inferencer = mmpose_inferencer(extractors["pose"], device, folder)
        options = profile.entry("face")
        self.mtcnn = MTCNN(
            keep_all=True, min_face_size=options.min_face_size, thresholds=list(options.thresholds), device=device
        )
        self.embedder = InceptionResnetV1(pretrained=None)
        self.embedder.load_state_dict(extractors["face"]._network.state_dict())
        self.embedder.to(device).eval()
        self.resnets = {name: self._resnet(name, extractors[name]) for name in ("scene", "appearance")}

    def _resnet(self, name: str, extractor: Any) -> tuple[transforms.Compose, torch.nn.Module, torch.nn.Module, int]:
        entry = self.profile.entry(name)
        head = extractor._network._head
        trunk = models.get_model(entry.architecture, weights=None)
        trunk.fc = torch.nn.Identity()
        trunk.load_state_dict(extractor._network._trunk.state_dict())
        steps = transforms.Compose([
            transforms.ToPILImage(),
            transforms.Resize((entry.resize, entry.resize) if name == "scene" else entry.resize),
            transforms.CenterCrop(entry.input_size),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ])  # fmt: skip
        return steps, trunk.to(self.device).eval(), head, extractor.batch_size

    def run(self, stage: str, clip_id: str, frames: Iterable[np.ndarray]) -> Any:
        """A list of Found, one a frame; or of scene and appearance (features [T, D], best five probabilities)."""
        if stage == "pose":
            with own_suppression():
                return [self._pose(frame) for frame in frames]
        if stage == "face":
            faces = [self._face(frame) for frame in frames]
            np.savez(
                f"{self.folder}/{clip_id}_face.npz",
                faces=[len(found.score) for found in faces],
                box=np.concatenate([found.place for found in faces]),
                embedding=np.concatenate([found.embedding for found in faces]),
            )
            return faces
        features, best = self._features(stage, frames)
        np.save(f"{self.folder}/{clip_id}_{stage}.npy", features)
        return features, best

    def _pose(self, frame: np.ndarray) -> Found:
        entry = self.profile.entry("pose")
        answer = next(self.inferencer(frame, bbox_thr=entry.score_threshold, nms_thr=entry.nms_threshold))
        people = answer["predictions"][0]
        score = np.array([person["bbox_score"] for person in people], np.float32)
        order = np.argsort(-score, kind="stable")
        keypoints = np.array([person["keypoints"] for person in people], np.float32).reshape(-1, 17, 2)
        return Found(keypoints[order], score[order], np.zeros((0, 512)))

    @torch.no_grad()
    def _face(self, frame: np.ndarray) -> Found:
        picture = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        boxes, probabilities, _ = self.mtcnn.detect(picture, landmarks=True)
        if boxes is None:
            return Found(np.zeros((0, 2, 2)), np.zeros(0), np.zeros((0, 512)))
        boxes = boxes[: self.profile.entry("face").max_faces].astype(np.float32)  # detect puts the largest first
        crops = torch.stack([fixed_image_standardization(extract_face(picture, box)) for box in boxes])
        embeddings = self.embedder(crops.to(self.device)).cpu().numpy()
        return Found(boxes.reshape(-1, 2, 2), probabilities[: len(boxes)].astype(np.float32), embeddings)

    @torch.no_grad()
    def _features(self, stage: str, frames: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        steps, trunk, head, batch_size = self.resnets[stage]
        features: list[np.ndarray] = []
        best: list[np.ndarray] = []

        def run_batch(batch: list[torch.Tensor]) -> None:
            feature = trunk(torch.stack(batch).to(self.device))
            features.extend(feature.cpu().numpy())
            if stage == "scene":
                best.extend(head(feature).softmax(1).topk(5).values.cpu().numpy())

        batch: list[torch.Tensor] = []
        for frame in frames:
            batch.append(steps(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
            if len(batch) == batch_size:
                run_batch(batch)
                batch = []
        if batch:
            run_batch(batch)
        return np.array(features), np.array(best)


def mmpose_inferencer(extractor: Any, device: torch.device, folder: str) -> Any:
    """mmpose's own inferencer of our network: its config and its weights, written to files as a user has them."""
    import_mmpose()
    from mmengine.logging import MMLogger
    from mmpose.apis import MMPoseInferencer

    config = extractor.model.cfg.copy()
    del config.model.test_cfg["nms_pre"]
    config.dump(f"{folder}/pose.py")
    torch.save({"meta": {}, "state_dict": extractor.model.state_dict()}, f"{folder}/pose.pth")
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")  # it would warn that the checkpoint says nothing of its data set, and take the config's
    try:
        return MMPoseInferencer(f"{folder}/pose.py", f"{folder}/pose.pth", device=str(device))
    finally:
        logger.setLevel(level)


@contextmanager
def own_suppression() -> Iterator[None]:
    """mmpose's non-maximum suppression, which models.extractors.mmpose_compat replaces in this process."""
    from mmpose.evaluation.functional import nms_torch
    from mmpose.models.heads.hybrid_heads import rtmo_head, yoloxpose_head

    replaced = [(module, module.nms_torch) for module in (rtmo_head, yoloxpose_head)]
    for module, _ in replaced:
        module.nms_torch = nms_torch
    try:
        yield
    finally:
        for module, ours in replaced:
            module.nms_torch = ours


@torch.no_grad()
def opencv_frames(path: str, wanted: np.ndarray, max_side: int) -> Iterator[np.ndarray]:
    """The source frames of these indices (ascending), uint8 BGR; max_side 0: as large as they are."""
    video = cv2.VideoCapture(path)
    at = -1
    try:
        for index in wanted:
            while at < index:
                at += 1
                if not video.grab():
                    raise SystemExit(f"OpenCV's frames of {path} end at {at}; ours go on to {wanted[-1]}")
            _, frame = video.retrieve()
            height, width = frame.shape[:2]
            size = scaled_size(width, height, max_side or max(width, height))
            yield frame if size == (width, height) else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    finally:
        video.release()
