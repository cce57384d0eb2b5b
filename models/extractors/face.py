"""Faces of frames: box, landmarks and crop by MTCNN, and an embedding by a network trained on faces."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.device import autocast, halve_weights
from models.errors import ProfileError
from models.extractors.compiled import compiled
from models.extractors.extractor import Extractor, Prepared, pad_batch
from models.extractors.face_embedding import embedding_network, standardised
from models.extractors.face_search.cascade import Detections, DetectorOptions, FaceCascade
from models.extractors.people import Face, FaceDetection

CROP_SIDE = 160  # px, what InceptionResnetV1 was trained on
_JPEG_QUALITY = 90


class FaceExtractor(Extractor):
    """MTCNN detects the faces of every frame, a second network embeds them; a frame gives 0 to `max_faces` results.

    Of more faces than `max_faces`, those with the largest probability x area inside the frame are kept: the dancer's
    face is near the camera and clear, a passer-by's or a poster's is small or doubtful.
    """

    modality = "face"

    def __init__(
        self,
        state: Mapping[str, Tensor] | None,
        *,
        device: torch.device,
        batch_size: int,
        architecture: str = "inception-resnet-v1",
        max_faces: int = 4,
        detector: DetectorOptions | None = None,
        seed: int = 0,
    ) -> None:
        """
        Args:
            state: the embedding network's weights (a classifier's are ignored); None: random from `seed`. MTCNN's come
                with facenet-pytorch.
            architecture: one of face_embedding.ARCHITECTURES.
            max_faces: most faces kept a frame.
            detector: None: facenet-pytorch's defaults.

        Raises:
            ProfileError: a size below 1, or an unknown architecture.
            WeightsError: `state` does not fit.
        """
        if batch_size < 1 or max_faces < 1:
            raise ProfileError(f"face: batch_size is {batch_size}, max_faces {max_faces}; both must be 1 or more")
        self.batch_size = batch_size
        self.max_faces = max_faces
        self.device = device
        self._cascade = FaceCascade(detector or DetectorOptions(), device)
        network = embedding_network(architecture, state, seed)
        self._network = network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
        halve_weights(self._network, device)
        self._embed = compiled(self._network, device, embeds=True)

    @torch.inference_mode()
    def prepare(self, frames: Tensor) -> Prepared:
        """uint8 RGB frames [N, H, W, 3] -> inputs uint8 [M, 3, 160, 160], extras: M FaceDetection.

        Faces of a frame are sorted by probability x area, largest first.
        """
        frames = frames.contiguous()
        faces = select_faces(self._cascade(frames), frames.shape[1], frames.shape[2], self.max_faces)
        frame = faces.frame.tolist()
        if not frame:
            return Prepared(frames.new_empty((0, 3, CROP_SIDE, CROP_SIDE)))
        crops = face_crops(frames, frame, faces.box)
        detections = map(FaceDetection, faces.box, faces.landmarks, faces.probability.tolist())
        return Prepared(crops, frame, list(detections))

    @torch.inference_mode()
    def launch(self, inputs: Tensor, extras: list[Any]) -> tuple[Tensor, Tensor]:
        """M embeddings float16 [M, 512], and the M inputs.

        inputs: uint8 [M, 3, 160, 160], M <= batch_size; extras: their FaceDetections.
        """
        batch = pad_batch(inputs, self.batch_size).to(self.device).contiguous(memory_format=torch.channels_last)
        batch = standardised(batch)
        with autocast(self.device):
            embedding = self._embed(batch)
        return embedding[: len(inputs)].half(), inputs

    def collect(self, outputs: tuple[Tensor, Tensor], extras: list[FaceDetection]) -> list[Face]:
        """M faces; extras: their FaceDetections."""
        embeddings, pictures = (values.cpu().numpy() for values in outputs)
        return [
            Face(**vars(detection), crop=_jpeg(picture.transpose(1, 2, 0)), embedding=embedding)
            for detection, picture, embedding in zip(extras, pictures, embeddings, strict=True)
        ]


def select_faces(faces: Detections, height: int, width: int, most: int) -> Detections:
    """At most `most` faces a frame: those with the largest probability x area inside the frame, largest first.

    Boxes without a whole pixel inside the frame are left out: there is nothing to crop.
    """
    sides = np.minimum(np.trunc(faces.box[:, 2:]), (width, height)) - np.maximum(np.trunc(faces.box[:, :2]), 0)
    sides = sides.astype(np.float32).clip(min=0)
    weight = faces.probability * sides[:, 0] * sides[:, 1]
    order = np.lexsort((-weight, faces.frame))  # by frame, then by weight; equal ones keep their order
    order = order[weight[order] > 0]
    frame = faces.frame[order]
    return faces.at(order[np.arange(len(order)) - np.searchsorted(frame, frame) < most])


def face_crops(frames: Tensor, index: Sequence[int], boxes: np.ndarray) -> Tensor:
    """Faces, uint8 [M, 3, 160, 160], cut from frames uint8 [N, H, W, 3] as facenet-pytorch's extract_face does it.

    Of that function's three ways of resizing, this is the one for PIL images (bilinear, antialiased), the library's
    documented use; the one for tensors turns small faces into steps, and most faces in a dance clip are small.

    index: of each face's frame. boxes: float32 [M, 4], each with a pixel inside its frame.
    """
    height, width = frames.shape[1:3]
    low = np.maximum(boxes[:, :2], 0).astype(np.int64).tolist()
    high = np.minimum(boxes[:, 2:], (width, height)).astype(np.int64).tolist()
    pictures = frames.permute(0, 3, 1, 2)
    # Pillow resizes columns first, keeps whole levels, then rows: done at once, one value in six would be 1 off.
    narrow = [
        _resized(pictures[frame : frame + 1, :, top:bottom, left:right].float(), (bottom - top, CROP_SIDE))
        for frame, (left, top), (right, bottom) in zip(index, low, high, strict=True)
    ]
    # Levels of all are rounded together, one below the other: a GPU is given a third of the operators.
    parts = _whole_levels(torch.cat(narrow, dim=2)).split([part.shape[2] for part in narrow], dim=2)
    return _whole_levels(torch.cat([_resized(part, (CROP_SIDE, CROP_SIDE)) for part in parts])).byte()


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)


def _whole_levels(values: Tensor) -> Tensor:
    return (values + 0.5).floor_().clamp_(0, 255)


def _jpeg(picture: np.ndarray) -> bytes:
    """RGB uint8 [H, W, 3] as a JPEG file."""
    encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not encoded:
        raise RuntimeError("OpenCV could not encode a face as JPEG; is its JPEG codec built in?")
    return data.tobytes()
