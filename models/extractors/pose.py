"""Every person of a frame: 17 COCO keypoints, a box and a score, by any of mmpose's bottom-up networks, in batches.

mmpose's inference takes one picture at a time. Here letterbox, normalisation, network and the rules of decoding are
mmpose's too, so the numbers are the same, but a batch holds frames of any mix of clips.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.device import halve_weights
from models.errors import ProfileError, WeightsError
from models.extractors.extractor import Extractor, Prepared, pad_batch
from models.extractors.mmpose_compat import import_mmpose, load_config
from models.extractors.people import People
from models.extractors.pose_heads import HeadOutputs, bound_filling, run_within
from models.extractors.recorded import recorded
from models.extractors.rtmo import PeopleDecoder

KEYPOINTS = 17  # COCO's

# Most candidates of a frame that enter non-maximum suppression, best score first (`max_persons` of the rest are decoded
# to keypoints). A trained network scores some ten candidates a person above its threshold, so this is a crowd; an
# untrained one would send in all of its 2,000 anchors. A bound on work, not a knob.
MAX_CANDIDATES = 300

# Parts of RTMO that only training uses. Published weights may lack them, or hold buffers of the losses, which a network
# built for inference does not have.
_TRAINING_ONLY = ("head.loss_", "head.head_module.out_kpt_reg.", "head.dcc.sigma_fc.")
_NOT_WEIGHTS = ("head.loss_", "data_preprocessor.")

# Lowest score of a joint that counts for a box, where boxes are made of joints. mmpose's threshold of a joint.
_MIN_JOINT_SCORE = 0.1

_FRAMES_AT_ONCE = 32  # resized together on a GPU: 1080p frames as float32 take 25 MB each
_FRAME_SIZES = 64  # whose letterbox and grid are kept: uploads of one challenge have few sizes, and a grid takes 10 KB


@dataclass(frozen=True)
class Letterbox:
    """Placement of a frame in the network's input: scaled by one factor, centred, padded. In mmpose's terms."""

    frame_shape: tuple[int, int]  # height, width of the frame
    input_size: tuple[int, int]  # width, height of the network's input
    center: np.ndarray  # float32 [2] of the frame, pixels
    scale: np.ndarray  # float32 [2] width, height of the whole input in frame pixels


class PoseExtractor(Extractor):
    """A pose network with its letterbox. See `models.extractors.extractor.Extractor` for the life cycle.

    Args:
        config: an mmpose bottom-up config: its name, or the path of a config file.
        state_dict: the network's weights; None builds a randomly initialised network from `seed`.
        device: where it runs.
        batch_size: inputs a forward pass; smaller batches are padded to it.
        input_size: pixels of the input, multiples of 32: the side of a square, or width and height; None takes the
            config's own. Smaller is faster (cost grows with its area) and loses small people first.
        max_persons: kept a frame, best score first.
        score_threshold: people at or below it are dropped, 0..1. mmpose's own value for RTMO is 0.1.
        nms_threshold: of two people whose boxes overlap more than this (IoU), the better one stays; above 0, below 1.
            Heads that group keypoints suppress nobody and ignore it.
        seed: of the random initialisation.

    Raises:
        ProfileError: an option out of range, an unknown config, or a network that is not bottom-up.
        WeightsError: `state_dict` does not fit the network; says which keys.
    """

    modality = "pose"

    def __init__(
        self,
        config: str,
        state_dict: dict[str, Tensor] | None,
        device: torch.device,
        batch_size: int,
        input_size: int | tuple[int, int] | None,
        max_persons: int,
        score_threshold: float,
        nms_threshold: float,
        seed: int = 0,
    ):
        _check(batch_size, input_size, max_persons, score_threshold, nms_threshold)
        self.batch_size = batch_size
        self.device = device
        self.max_persons = max_persons
        self.score_threshold = score_threshold
        settings = load_config(config)
        # The head reads the keys it knows. Several scales a frame cannot be batched.
        settings.model.setdefault("test_cfg", {}).update(
            score_thr=score_threshold, nms_thr=nms_threshold, nms_pre=MAX_CANDIDATES, multiscale_test=False
        )
        resize = _resize_step(settings, config)
        if input_size is not None:
            size = input_size if isinstance(input_size, tuple) else (input_size, input_size)
            _set_input_size(settings, resize, size)
        # mmpose's estimator; as Any, for its types are not torch's
        self.model: Any = build_network(settings, config, seed)
        if state_dict is not None:
            _load(self.model, state_dict, config)
        # channels last is what a GPU's tensor cores want
        self.model.to(device, memory_format=torch.channels_last).eval()
        # What `head.forward` calls; the rest of the head decodes, in float32.
        for part in (self.model.backbone, self.model.neck if self.model.with_neck else None,
                     getattr(self.model.head, "head_module", None)):  # fmt: skip
            if part is not None:
                halve_weights(part, device)
        self._input_count = batch_size
        self._is_rtmo = hasattr(self.model.head, "dcc")
        self._outputs = HeadOutputs(self.model, device, is_part=self._is_rtmo)
        if self._is_rtmo:
            self._decoder = PeopleDecoder(
                self.model.head,
                max_candidates=MAX_CANDIDATES,
                max_persons=max_persons,
                score_threshold=score_threshold,
                nms_threshold=nms_threshold,
                input_size=resize["input_size"],
            )
            self._decode_batch = recorded(lambda inputs: self._decoded(inputs, batch_size), device)
        else:
            run_within(self.model, self._outputs, input_count=lambda: self._input_count)
            bound_filling(self.model.head, max_persons, score_threshold)

        from mmpose.registry import TRANSFORMS

        self._resize = TRANSFORMS.build(resize)
        self._border = torch.tensor(self._resize.pad_val, dtype=torch.float32).view(1, -1, 1, 1).to(device)
        self._letterbox = lru_cache(_FRAME_SIZES)(self._new_letterbox)
        self._grid = lru_cache(_FRAME_SIZES)(self._new_grid)

    def prepare(self, frames: Tensor) -> Prepared:
        """Inputs uint8 [N, 3, S, S] BGR, which mmpose's networks expect; extras: Letterboxes.

        frames: uint8 [N, H, W, 3] RGB, on the extractor's device.
        """
        count, height, width = frames.shape[:3]
        letterbox = self._letterbox(height, width)
        input_width, input_height = letterbox.input_size
        if count == 0:
            inputs = torch.zeros(0, 3, input_height, input_width, dtype=torch.uint8, device=frames.device)
        elif frames.device.type == "cpu":
            inputs = self._resize_as_mmpose(frames)
        else:
            chunks = [self._resize_in_torch(chunk) for chunk in frames.split(_FRAMES_AT_ONCE)]
            inputs = torch.cat(chunks)
        return Prepared(inputs=inputs, frame=list(range(count)), extras=[letterbox] * count)

    def launch(self, inputs: Tensor, extras: list[Letterbox]) -> Any:
        """Decoded people on the device; of heads that group keypoints, mmpose's results, which are waited for.

        inputs: uint8 [M, 3, S, S] BGR, M <= batch_size; extras: their M letterboxes.
        """
        if not extras:
            return None
        batch = pad_batch(inputs, self.batch_size)
        with torch.inference_mode():
            if self._is_rtmo:
                data = self.model.data_preprocessor({"inputs": batch, "data_samples": []}, False)
                if self.device.type == "cpu":
                    return self._decoded(data["inputs"], len(extras))
                # All shapes the same on a GPU, so that bits do not depend on how full the batch is.
                return self._decode_batch(data["inputs"])
            self._input_count = len(extras)
            samples = [self._sample(letterbox) for letterbox in extras]
            return self.model.test_step({"inputs": batch, "data_samples": samples})

    def _decoded(self, inputs: Tensor, count: int) -> Tensor:
        """People of the first `count` of a batch that is normalised."""
        return self._decoder(self._outputs(inputs, count))

    def collect(self, outputs: Any, extras: list[Letterbox]) -> list[People]:
        """M results; extras: the M letterboxes."""
        if not extras:
            return []
        if not self._is_rtmo:
            return [self._people(result.pred_instances) for result in outputs]
        decoded = outputs[: len(extras)].cpu().numpy()  # [M, max_persons, 56]
        return [self._placed(people, letterbox) for people, letterbox in zip(decoded, extras, strict=True)]

    def _new_letterbox(self, height: int, width: int) -> Letterbox:
        # mmpose's transform on one pixel in place of the frame: only the geometry is needed
        placed = self._resize.transform({"img": np.zeros((1, 1, 3), np.uint8), "ori_shape": (height, width)})
        return Letterbox((height, width), placed["input_size"], placed["input_center"], placed["input_scale"])

    def _resize_as_mmpose(self, frames: Tensor) -> Tensor:
        """Resize with mmpose's transform, to the same bits. It works a channel at a time, so RGB may enter."""
        shape = tuple(frames.shape[1:3])
        resized = [self._resize.transform({"img": frame, "ori_shape": shape})["img"] for frame in frames.numpy()]
        return torch.from_numpy(np.stack(resized)[..., ::-1].transpose(0, 3, 1, 2).copy())

    def _resize_in_torch(self, frames: Tensor) -> Tensor:
        """Resize with the same geometry on the device: bilinear, no antialiasing, constant border. Not the same bits:
        OpenCV rounds positions to 1/32 px.
        """
        x, y = self._grid(*frames.shape[1:3])
        grid = torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), dim=-1)
        # zeros outside of (picture - border) are the border outside of the picture, also where the two blend
        pictures = frames.permute(0, 3, 1, 2).float() - self._border
        sampled = torch.nn.functional.grid_sample(
            pictures, grid.expand(len(frames), -1, -1, -1), mode="bilinear", padding_mode="zeros", align_corners=False
        )
        return (sampled + self._border).round_().clamp_(0, 255).to(torch.uint8).flip(1)

    def _new_grid(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """x float32 [S] of the input's columns and y [S] of its rows in a frame whose corners are at -1 and 1."""
        import cv2
        from mmpose.structures.bbox import get_warp_matrix

        letterbox = self._letterbox(height, width)
        forward = get_warp_matrix(letterbox.center, letterbox.scale, 0.0, letterbox.input_size)
        back = cv2.invertAffineTransform(forward)  # [2, 3] input pixel -> frame pixel; no rotation
        columns, rows = (torch.arange(side, dtype=torch.float64) for side in letterbox.input_size)
        x = 2 * (columns * back[0, 0] + back[0, 2]) + 1
        y = 2 * (rows * back[1, 1] + back[1, 2]) + 1
        return (x / width - 1).float().to(self.device), (y / height - 1).float().to(self.device)

    def _sample(self, letterbox: Letterbox) -> Any:
        from mmpose.structures import PoseDataSample

        height_width = letterbox.input_size[::-1]
        return PoseDataSample(
            metainfo={
                "ori_shape": letterbox.frame_shape,
                "img_shape": height_width,
                "input_size": letterbox.input_size,
                "input_center": letterbox.center,
                "input_scale": letterbox.scale,
                "flip_indices": self.model.dataset_meta["flip_indices"],
            }
        )

    def _people(self, instances: Any) -> People:
        """mmpose's result on one frame."""
        points = np.asarray(instances.keypoints, np.float32).reshape(-1, KEYPOINTS, 2)
        confidence = np.asarray(instances.keypoint_scores, np.float32).reshape(-1, KEYPOINTS, 1)
        confidence = confidence.clip(0, 1)  # a heatmap's peak may pass 1
        scores = np.asarray(instances.bbox_scores, np.float32).reshape(-1).clip(0, 1)
        if "bboxes" in instances:
            boxes = np.asarray(instances.bboxes, np.float32).reshape(-1, 4)
        else:  # heads that group keypoints predict no box
            boxes = boxes_around(points, confidence[..., 0])
        return self._best(np.concatenate((points, confidence), axis=2), boxes, scores)

    def _placed(self, decoded: np.ndarray, letterbox: Letterbox) -> People:
        """PeopleDecoder's result on one frame, float32 [max_persons, 56], in pixels of that frame."""
        decoded = decoded[decoded[:, -1] > self.score_threshold]
        joints = 2 * KEYPOINTS
        points, confidence, boxes, scores = np.split(decoded, [joints, joints + KEYPOINTS, joints + KEYPOINTS + 4], 1)
        size, center, scale = letterbox.input_size, letterbox.center, letterbox.scale
        points, boxes = (
            (values.reshape(-1, count, 2) / size * scale + center - 0.5 * scale).astype(np.float32)
            for values, count in ((points, KEYPOINTS), (boxes, 2))
        )
        keypoints = np.concatenate((points, confidence[..., None]), axis=2)
        return self._best(keypoints, boxes.reshape(-1, 4), scores[:, 0])

    def _best(self, keypoints: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> People:
        """At most `max_persons` people above the threshold, best first; none with a number that is not finite."""
        finite = np.isfinite(keypoints).all(axis=(1, 2)) & np.isfinite(boxes).all(axis=1)
        kept = np.flatnonzero(finite & (scores > self.score_threshold))
        kept = kept[np.argsort(-scores[kept], kind="stable")][: self.max_persons]
        return People(keypoints[kept], boxes[kept], scores[kept])


def boxes_around(points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """points [P, 17, 2], confidence [P, 17] -> boxes [P, 4] around the joints seen, or around all where none was.

    A joint that a grouping head only guessed may lie anywhere.
    """
    seen = confidence >= _MIN_JOINT_SCORE
    seen |= ~seen.any(axis=1, keepdims=True)
    low = np.where(seen[..., None], points, np.inf).min(axis=1)
    high = np.where(seen[..., None], points, -np.inf).max(axis=1)
    return np.concatenate((low, high), axis=1)


def _check(
    batch_size: int,
    input_size: int | tuple[int, int] | None,
    max_persons: int,
    score_threshold: float,
    nms_threshold: float,
) -> None:
    if batch_size < 1:
        raise ProfileError(f"pose: batch_size is {batch_size}; it must be at least 1")
    sides = input_size if isinstance(input_size, tuple) else (input_size,)
    if any(side is not None and (side < 32 or side % 32) for side in sides):
        raise ProfileError(f"pose: input_size is {input_size}; it must be a multiple of 32 pixels")
    if not 1 <= max_persons <= MAX_CANDIDATES:
        raise ProfileError(f"pose: max_persons is {max_persons}; it must be in 1..{MAX_CANDIDATES}")
    if not 0 <= score_threshold < 1:
        raise ProfileError(f"pose: score_threshold is {score_threshold}; it must be in 0..1")
    if not 0 < nms_threshold < 1:
        raise ProfileError(f"pose: nms_threshold is {nms_threshold}; it must lie between 0 and 1")


def _resize_step(settings: Any, config: str) -> dict[str, Any]:
    """The letterbox step of the config's test pipeline, as a dict to build; it stays part of `settings`."""
    try:
        steps = settings.test_dataloader.dataset.pipeline
    except AttributeError as error:
        raise ProfileError(f"pose config {config!r} has no test_dataloader.dataset.pipeline") from error
    resize = next((step for step in steps if step["type"] == "BottomupResize"), None)
    if resize is None:
        raise ProfileError(f"pose config {config!r} is not of a bottom-up network: its pipeline has no BottomupResize")
    if resize.get("use_udp", False):
        raise ProfileError(f"pose config {config!r} asks for use_udp, which this extractor does not support")
    # frames of any shape can share a batch only if all are fitted into the same input size
    resize["resize_mode"] = "fit"
    resize["aug_scales"] = None
    resize["input_size"] = tuple(resize["input_size"])
    return resize


def _set_input_size(settings: Any, resize: dict[str, Any], size: tuple[int, int]) -> None:
    """size: width, height. Heads that decode heatmaps need it: their heatmaps grow with the input."""
    settings.model.test_cfg["input_size"] = size
    decoder = settings.model.head.get("decoder")
    if decoder and "heatmap_size" in decoder:
        parts = zip(size, decoder["heatmap_size"], decoder["input_size"], strict=True)
        decoder["heatmap_size"] = tuple(side * heatmap // original for side, heatmap, original in parts)
        decoder["input_size"] = size
    resize["input_size"] = size


def build_network(settings: Any, config: str, seed: int) -> Any:
    """mmpose's estimator of a loaded config, initialised as the config says from `seed` alone; downloads nothing.

    Raises:
        ProfileError: its keypoints are not COCO's 17. config: its name in the error.
    """
    import_mmpose()
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope
    from mmpose.apis.inference import dataset_meta_from_config
    from mmpose.models import build_pose_estimator

    with torch.random.fork_rng(devices=[]), DefaultScope.overwrite_default_scope("mmpose"):
        torch.manual_seed(seed)
        model = build_pose_estimator(settings.model)
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel("WARNING")  # else it logs how each of some 400 tensors was initialised
        try:
            model.init_weights()
        finally:
            logger.setLevel(level)
        meta = dataset_meta_from_config(settings, "test")
    if meta is None or meta["num_keypoints"] != KEYPOINTS:
        raise ProfileError(f"pose config {config!r} does not give COCO's {KEYPOINTS} keypoints")
    # as in mmpose.apis.init_model, so that mmpose's inference functions accept this model too
    model.cfg = settings
    model.dataset_meta = meta
    return model


def _load(model: torch.nn.Module, state_dict: dict[str, Tensor], config: str) -> None:
    """Load the weights. Raises WeightsError that names keys that are missing, unexpected or of another shape."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in state_dict and not key.startswith(_TRAINING_ONLY)]
    unexpected = [key for key in state_dict if key not in expected and not key.startswith(_NOT_WEIGHTS)]
    mismatched = [
        f"{key} is {list(value.shape)}, must be {list(expected[key].shape)}"
        for key, value in state_dict.items()
        if key in expected and value.shape != expected[key].shape
    ]
    problems = [
        f"{len(keys)} {kind}: {'; '.join(keys[:5])}{' ...' if len(keys) > 5 else ''}"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched))
        if keys
    ]
    if problems:
        raise WeightsError(f"the weights do not fit the pose network {config!r}: " + "; ".join(problems))
    model.load_state_dict({key: value for key, value in state_dict.items() if key in expected}, strict=False)
