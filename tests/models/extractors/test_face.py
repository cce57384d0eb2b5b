import functools
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1, extract_face, fixed_image_standardization
from PIL import Image

from models.errors import ProfileError, WeightsError
from models.extractors.face import FaceExtractor, face_crops, select_faces
from models.extractors.face_embedding import EMBEDDING_SIZE, embedding_network
from models.extractors.face_search.cascade import Detections
from models.extractors.people import Face
from tests.support.real_frames import sampled

CPU = torch.device("cpu")


@functools.lru_cache
def trained() -> InceptionResnetV1:
    """facenet-pytorch's network with random weights whose BatchNorm has seen pictures: embeddings tell them apart."""
    torch.manual_seed(4)
    network = InceptionResnetV1(pretrained=None)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = None  # statistics of all that it has seen
    with torch.no_grad():
        network.train()(torch.nn.functional.interpolate(torch.randn(8, 3, 20, 20), scale_factor=8))
    return network.eval()


@pytest.fixture(scope="module")
def extractor(float32: None) -> FaceExtractor:
    return FaceExtractor(trained().state_dict(), device=CPU, batch_size=4)


def faces_of(extractor: FaceExtractor, frames: torch.Tensor) -> tuple[list[int], list[Face]]:
    prepared = extractor.prepare(frames)
    faces = []
    for start in range(0, len(prepared.inputs), extractor.batch_size):
        part = slice(start, start + extractor.batch_size)
        faces += extractor.infer(prepared.inputs[part], prepared.extras[part])
    return prepared.frame, faces


# Frames of 8 in which a face must be found; ../shared/clips/README.md says of these clips that the face is clear or
# visible. 8, 8, 7 and 8 were.
@pytest.mark.parametrize(
    ("clip", "least"), [("animatex_source_video", 7), ("xdyna_1", 6), ("animatex_dance_1", 6), ("mmdeploy_dance", 6)]
)
def test_faces_that_a_person_sees_clearly_are_found_in_most_frames(
    dance_clips: Path, extractor: FaceExtractor, clip: str, least: int
) -> None:
    frames = sampled(dance_clips / f"{clip}.mp4", 8)
    prepared = extractor.prepare(frames)
    assert len(set(prepared.frame)) >= least
    for index, detection in zip(prepared.frame, prepared.extras, strict=True):
        if detection.probability < 0.99:
            continue
        x1, y1, x2, y2 = detection.box
        assert 0 < x2 - x1 < frames.shape[2]
        left_eye, right_eye, _, left_mouth, right_mouth = detection.landmarks
        assert (detection.landmarks > [x1, y1]).all()
        assert (detection.landmarks < [x2, y2]).all()
        assert (left_eye + right_eye)[1] < (left_mouth + right_mouth)[1], "these people stand upright"
        assert index in range(8)


def test_embeddings_equal_the_networks_on_facenet_pytorchs_own_crops(
    dance_clips: Path, extractor: FaceExtractor
) -> None:
    frames = sampled(dance_clips / "mmdeploy_dance.mp4", 4)
    where, faces = faces_of(extractor, frames)
    assert len(faces) >= 3
    for index, face in zip(where, faces, strict=True):
        crop = extract_face(Image.fromarray(frames[index].numpy()), face.box)
        with torch.inference_mode():
            want = trained()(fixed_image_standardization(crop)[None])[0].numpy()
        np.testing.assert_allclose(face.embedding.astype(np.float32), want, atol=1e-3)
        assert face.embedding.dtype == np.float16
        assert np.linalg.norm(face.embedding.astype(np.float32)) == pytest.approx(1, abs=2e-3)
    apart = max(np.abs(face.embedding - faces[0].embedding).max() for face in faces)
    assert apart > 0.02, "the network must tell the faces apart for this to mean much"


def test_the_stored_crop_is_the_face_in_its_colours(dance_clips: Path, extractor: FaceExtractor) -> None:
    frames = sampled(dance_clips / "mmdeploy_dance.mp4", 2)
    prepared = extractor.prepare(frames)
    for crop, face in zip(prepared.inputs, extractor.infer(prepared.inputs, prepared.extras), strict=True):
        assert face.crop.startswith(b"\xff\xd8\xff")
        picture = cv2.imdecode(np.frombuffer(face.crop, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        decoded = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        assert decoded.shape == (160, 160, 3)
        error = np.abs(decoded.astype(int) - crop.permute(1, 2, 0).numpy()).mean()
        assert error < 3, "red and blue swapped would be far more"


def test_crops_of_every_position_and_size_equal_extract_face() -> None:
    pictures = torch.randint(0, 256, (2, 90, 120, 3), dtype=torch.uint8)
    boxes = np.array([[10.7, 5.2, 60.9, 70.3], [-8, -3.5, 20, 30], [100, 60, 150, 120], [4, 4, 5, 5], [0, 0, 120, 90]])
    frame = [0, 1, 1, 0, 1]
    crops = face_crops(pictures, frame, boxes)
    assert crops.shape == (5, 3, 160, 160)
    for index, box, crop in zip(frame, boxes, crops, strict=True):
        off = (crop.float() - extract_face(Image.fromarray(pictures[index].numpy()), box)).abs()
        assert off.max() <= 1
        assert (off > 0).float().mean() < 1e-3, "Pillow's fixed point may round a value in a thousand the other way"


def test_results_do_not_depend_on_what_shares_the_batch(extractor: FaceExtractor) -> None:
    inputs = torch.randint(0, 256, (4, 3, 160, 160), dtype=torch.uint8)
    blank = extractor.prepare(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert (len(blank.inputs), blank.frame, blank.extras) == (0, [], [])
    extras = [SimpleNamespace(box=n, landmarks=n, probability=n) for n in range(4)]
    together = extractor.infer(inputs, extras)
    alone = extractor.infer(inputs[2:3], extras[2:3])
    np.testing.assert_array_equal(alone[0].embedding, together[2].embedding)
    assert alone[0].box == together[2].box == 2
    assert extractor.infer(inputs[:0], []) == []


def test_no_more_than_the_largest_and_surest_faces_of_a_frame_are_kept() -> None:
    box = torch.tensor(
        [
            [0.0, 0, 10, 10],  # 100 px2 x 0.9 = 90
            [10, 10, 40, 40],  # 900 x 0.8 = 720
            [50, 50, 90, 90],  # reaches outside, see below
            [0, 0, 20, 20],  # other frame
            [200, 0, 260, 60],  # outside: nothing to crop
        ]
    )
    frame = torch.tensor([0, 0, 0, 1, 0])
    probability = torch.tensor([0.9, 0.8, 0.99, 0.7, 1.0])
    landmarks = torch.zeros(5, 5, 2)
    detections = Detections(*(values.numpy() for values in (frame, box, landmarks, probability)))
    # In a frame of 60 x 80 px the third box keeps (80 - 50) x (60 - 50) = 300 px2, x 0.99 = 297.
    kept = select_faces(detections, 60, 80, most=2)
    assert kept.frame.tolist() == [0, 0, 1]
    assert kept.box.tolist() == box[[1, 2, 3]].tolist()
    kept = select_faces(detections, 60, 80, most=9)
    assert kept.box.tolist() == box[[1, 2, 0, 3]].tolist()


def test_faces_beyond_max_faces_are_not_embedded(dance_clips: Path) -> None:
    frames = sampled(dance_clips / "mmaction2_demo_skeleton.mp4", 1)[:, 200:700, 500:1300]
    extractor = FaceExtractor(None, device=CPU, batch_size=2, max_faces=1)
    four = FaceExtractor(None, device=CPU, batch_size=2)
    assert len(four.prepare(frames).frame) == 2, "two people stand there"
    assert len(extractor.prepare(frames).frame) == 1


def test_the_published_checkpoint_with_its_classifier_and_without_batch_counters_loads() -> None:
    """20180402-114759-vggface2.pt holds logits for 8,631 people, which an embedding does not need."""
    state = {key: value for key, value in trained().state_dict().items() if "num_batches" not in key}
    state |= {"logits.weight": torch.zeros(8631, 512), "logits.bias": torch.zeros(8631)}
    loaded = FaceExtractor(state, device=CPU, batch_size=1)
    inputs = torch.randint(0, 256, (1, 3, 160, 160), dtype=torch.uint8)
    with torch.inference_mode():
        want = trained()(fixed_image_standardization(inputs.float()))
        got = loaded._network(fixed_image_standardization(inputs.float()))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_what_does_not_fit_is_refused_by_name() -> None:
    state = dict(trained().state_dict())
    del state["last_linear.weight"]
    with pytest.raises(WeightsError, match=r"InceptionResnetV1\); missing: last_linear\.weight"):
        FaceExtractor(state, device=CPU, batch_size=1)
    with pytest.raises(ProfileError, match="max_faces 0"):
        FaceExtractor(None, device=CPU, batch_size=1, max_faces=0)


def test_the_small_network_gives_embeddings_of_the_same_kind() -> None:
    faces = FaceExtractor(None, device=CPU, batch_size=2, architecture="resnet10-w32", seed=3)
    crops = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
    with torch.inference_mode():
        embeddings = faces._network((crops.float() - 127.5) / 128)
    assert embeddings.shape == (2, EMBEDDING_SIZE)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    assert not torch.equal(embeddings[0], embeddings[1])
    with pytest.raises(WeightsError, match=r"face embedding network \(FaceResNet\)"):
        embedding_network("resnet10-w32", trained().state_dict(), 0)


def test_an_unknown_face_network_is_refused_with_those_there_are() -> None:
    with pytest.raises(ProfileError, match="use one of inception-resnet-v1, resnet10-w32"):
        embedding_network("arcface", None, 0)
