"""Faces that MTCNN finds are given to whom they belong, and judged by what can be read of them."""

import numpy as np
import pytest
import torch

from models.extractors.face_search.cascade import DetectorOptions
from simulation.training.face_training import DetectedFaces, FaceTask, detect_faces, evaluate_faces, match
from tests.support.few_frames import few_frames


@pytest.fixture(scope="module")
def found() -> DetectedFaces:
    return detect_faces(few_frames(), DetectorOptions(30), None, processes=1)


def test_faces_are_cut_out_and_belong_to_the_people_of_their_frame(found: DetectedFaces) -> None:
    frames = few_frames()
    assert found.pictures.shape == (len(found.person), 160, 160, 3)
    assert len(found.person) >= len(frames) // 2
    assert np.isin(found.person, np.arange(len(frames.keypoints))).all()
    skin = found.pictures[:, 70:110, 60:100].reshape(len(found.person), -1).mean(1)
    assert skin.std() > 5  # not one picture many times


def test_a_box_belongs_to_the_nearest_face_and_far_from_all_to_nobody() -> None:
    truth = np.array([[100, 100, 140, 150], [0, 0, 0, 0], [300, 100, 360, 170]], np.float32)
    assert match(np.array([102, 98, 141, 149], np.float32), truth) == 0
    assert match(np.array([310, 110, 350, 160], np.float32), truth) == 2
    assert match(np.array([200, 100, 240, 150], np.float32), truth) is None
    assert match(np.array([-10, -10, 10, 10], np.float32), truth) is None  # zeros are no face
    assert match(np.array([0, 0, 9, 9], np.float32), np.zeros((0, 4), np.float32)) is None


def test_scores_of_an_embedding_that_knows_everything_and_of_one_that_knows_nothing(found: DetectedFaces) -> None:
    frames = few_frames()
    rng = np.random.default_rng(0)
    people, number = np.unique(frames.identity[found.person], return_inverse=True)
    centre = np.linalg.qr(rng.normal(size=(512, len(people) + 1)))[0].T
    smile = torch.from_numpy(centre[-1:])
    own = centre[number] + 0.5 * (frames.expression[found.person] - 0.5)[:, None] * centre[-1]
    knowing = DetectedFaces(found.pictures, found.person, own / np.linalg.norm(own, axis=1, keepdims=True))
    nothing = DetectedFaces(found.pictures, found.person, rng.normal(size=own.shape))
    best, worst = (evaluate_faces(frames, faces, smile) for faces in (knowing, nothing))
    assert best.expression > 0.99
    assert best.identity > 0.99
    assert abs(worst.identity - 0.5) < 0.3
    assert best.recall == worst.recall > 0.5


def test_a_face_lost_counts_as_not_found(found: DetectedFaces) -> None:
    frames = few_frames()
    smile = torch.ones(1, 512)
    half = len(found.person) // 2
    fewer = DetectedFaces(found.pictures[:half], found.person[:half], found.embedding[:half])
    assert evaluate_faces(frames, fewer, smile).recall < evaluate_faces(frames, found, smile).recall


def test_expression_is_read_by_a_dot_product_alone() -> None:
    task = FaceTask(people=3, seed=0).eval()
    faces = torch.randint(0, 256, (4, 3, 160, 160), dtype=torch.uint8)
    with torch.inference_mode():
        embedding = task.embedding((faces.float() - 127.5) / 128)
        people, expression = task(embedding)
        read = embedding @ torch.nn.functional.normalize(task.smile).T
    assert people.shape == (4, 3)
    torch.testing.assert_close(expression, read[:, 0] / 0.8 + 0.5, atol=1e-4, rtol=1e-4)
